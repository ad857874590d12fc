"""PSNR lost and variance gained by weight: curves fitted to trials, and what they choose.

The rule is that of experiment 10 in `data/reference/PLAN.md`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial
from torch import Tensor

from gvstudy.config import Run
from gvstudy.data.sets import load_images
from gvstudy.evaluation import evaluate, measure
from gvstudy.perceptual import measure_perceptual
from gvstudy.rivals import Sharpened
from gvstudy.study.common import AUTHORS_GV
from gvstudy.study.statistics import differences
from gvstudy.study.store import Store

METRICS = ("psnr_y", "variance_ratio", "variance_distance")
LARGEST_COST = 0.05  # dB of PSNR that a chosen weight may cost
POINTS = 1000  # weights at which a curve is evaluated
AMOUNTS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)  # of the unsharp mask that are tried
CHOSEN_AMOUNT = 0.135  # by the rule, from the trials
MATCHED_AMOUNT = 0.113  # the variance ratio rises as far as GV's at the authors' weight
MOST_TESTED = 6  # trained rivals, GV apart if it isn't among them
SHARPENED = "sharpened"  # among the rivals: L2 whose images are sharpened
NAMES = {  # of the rivals, for readers
    "gv": "GV",
    "gv-charbonnier": "GV, Charbonnier",
    "deviation": "deviation",
    "gv-log": "log variance",
    "gv-multiscale": "multi-scale GV",
    "gv-laplacian": "GV and Laplacian",
    "maps": "gradient maps",
    "maps-charbonnier": "gradient loss",
    "frequency": "focal frequency",
    "gmsd": "GMSD",
    "tv": "TV",
    SHARPENED: "L2 sharpened",
}


def trial_changes(
    trials: pd.DataFrame, alone: pd.DataFrame, metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """What a weight changes, by weight and seed: the mean over images of `metrics`, minus L2's.

    A seed whose training diverged is left out.

    Args:
        trials: a row per image, seed and `weight` of one loss, as `Store.results` gives them.
        alone: the rows of L2, with the same images and seeds.

    Raises ValueError where the rows of a weight and those of `alone` don't pair up.
    """
    found = {
        weight: pd.DataFrame(
            {metric: differences(rows, alone, metric).mean() for metric in metrics}
        )
        for weight, rows in trials.groupby("weight")
    }
    return pd.concat(found, names=["weight", "seed"]).dropna().reset_index()


def rival_changes(
    trials: pd.DataFrame, sharp: pd.DataFrame | None = None, metrics: Sequence[str] = METRICS
) -> dict[str, pd.DataFrame]:
    """The `trial_changes` of every rival by its name, those of `SHARPENED` last.

    Args:
        trials: results of a grid of trials, `fronts` or `edsr_fronts`, its pixel loss included.
        sharp: those of `sharpened`, for the same seeds and images; amounts count as weights.
        metrics: columns of both.
    """
    rivals = trials["loss"].str.partition("+")[2]
    alone = trials[rivals == ""]
    weight = trials["gv_weight"]
    if "tv_weight" in trials:
        weight = weight.fillna(trials["tv_weight"])
    weighted = trials.assign(weight=weight)
    found = {
        name: trial_changes(rows, alone, metrics)
        for name, rows in weighted.groupby(rivals, sort=False)
        if name
    }
    if sharp is not None:
        found[SHARPENED] = trial_changes(sharp.assign(weight=sharp["amount"]), alone, metrics)
    return found


def points(changed: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The mean changes over seeds of each `rival` and `weight`, a row each."""
    means = {
        name: some.drop(columns="seed").groupby("weight").mean() for name, some in changed.items()
    }
    return pd.concat(means, names=["rival"]).reset_index()


def curve(changed: pd.DataFrame, *, logarithmic: bool = True) -> pd.DataFrame:
    """The parabola that fits each metric's changes best, at weights from the least to the largest.

    Args:
        changed: from `trial_changes`; at least three weights.
        logarithmic: the parabola is one in log weight; if not, in the weight itself.

    Returns a row for each of `POINTS` weights, equally spaced, with `weight` and the fitted
    changes. Raises ValueError for fewer than three weights, and for weights that a logarithm can't
    take.
    """
    scaled, grid = (np.log, np.geomspace) if logarithmic else (np.asarray, np.linspace)
    weights = changed["weight"].to_numpy(dtype=float)
    if len(set(weights)) < 3:
        raise ValueError(f"a parabola through {len(set(weights))} weights; expected 3 or more")
    if logarithmic and weights.min() <= 0:
        raise ValueError(f"a weight of {weights.min():g}; expected positive ones")
    at_weights = grid(weights.min(), weights.max(), POINTS)
    fitted = {
        metric: Polynomial.fit(scaled(weights), changed[metric], 2)(scaled(at_weights))
        for metric in METRICS
    }
    return pd.DataFrame({"weight": at_weights, **fitted})


def chosen(fitted: pd.DataFrame) -> float:
    """The weight with the smallest variance distance among those that cost little PSNR.

    Little is at most `LARGEST_COST`. If no weight costs so little, it is the smallest.
    """
    cheap = fitted[fitted["psnr_y"] >= -LARGEST_COST]
    if cheap.empty:
        return float(fitted["weight"].min())
    return float(cheap.loc[cheap["variance_distance"].idxmin(), "weight"])


def matched(fitted: pd.DataFrame, rise: float) -> float | None:
    """The smallest weight whose fitted variance ratio rises by `rise`; None if it never does."""
    reached = fitted[fitted["variance_ratio"] >= rise]
    return None if reached.empty else float(reached["weight"].min())


def at(fitted: pd.DataFrame, weight: float) -> pd.Series:
    """The fitted changes at the weight of the curve that is nearest to this one."""
    return fitted.loc[(fitted["weight"] - weight).abs().idxmin()]


def curves(changed: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The `curve` of each rival's changes; that of `SHARPENED` has amounts in place of weights."""
    return {name: curve(some, logarithmic=name != SHARPENED) for name, some in changed.items()}


def choices(fitted: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What the rule chooses from `curves`, "gv" included: a row a rival, the best first.

    The columns are the chosen `weight`; whether it is `at_end` of the weights tried; the fitted
    changes there; and the `matched` weight, NaN where the variance ratio never rises as far as with
    GV at the authors' weight. The best reaches the smallest variance distance.
    """
    rise = at(fitted["gv"], AUTHORS_GV)["variance_ratio"]
    rows = {}
    for name, one in fitted.items():
        weight, ends = chosen(one), (one["weight"].min(), one["weight"].max())
        rows[name] = {"weight": weight, "at_end": weight in ends, "matched": matched(one, rise)}
        rows[name] |= at(one, weight)[list(METRICS)]
    return pd.DataFrame.from_dict(rows, orient="index").sort_values("variance_distance")


def to_test(found: pd.DataFrame) -> list[str]:
    """The trained rivals that `choices` sends to the test, the best first.

    They are the first six whose variance distance is below TV's, and GV in any case.
    """
    trained = found.drop(index=SHARPENED)
    better = trained[trained["variance_distance"] < trained.loc["tv", "variance_distance"]]
    first = list(better.index[:MOST_TESTED])
    return first if "gv" in first else [*first, "gv"]


def sharpened(
    store: Store,
    runs: Iterable[Run],
    amounts: Sequence[float],
    pictures: str,
    *,
    perceptual: bool = False,
) -> pd.DataFrame:
    """The rows of runs whose images are sharpened by each amount, measured on a set of pictures.

    Runs that the store lacks are trained. A row has the run's id and description, `set`, `image`,
    `amount` and `METRICS`; with `perceptual` also `PERCEPTUAL_METRICS`. The store doesn't keep it.
    """
    images, measured = load_images(pictures), _measure_all if perceptual else measure
    rows = []
    for run in runs:
        model = store.train_or_load(run, progress=False).model
        keys = {"run": store.id(run), "set": pictures} | run.description()
        options: dict[str, Any] = {"downsample": run.downsample, "measured": measured}
        for amount in amounts:
            found = evaluate(Sharpened(model, amount), images, run.scale, **options)
            rows.append(found.assign(amount=amount, **keys))
    return pd.concat(rows, ignore_index=True)


def _measure_all(sr: Tensor, hr: Tensor, scale: int) -> dict[str, float]:
    return measure(sr, hr, scale) | measure_perceptual(sr, hr, scale)
