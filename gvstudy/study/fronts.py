"""PSNR lost and variance gained by weight: curves fitted to trials, and what they choose.

The rule is that of experiment 10 in `data/reference/PLAN.md`, whose runs are still to come.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.polynomial import Polynomial

from gvstudy.study.statistics import differences
from gvstudy.validation import check_choice

METRICS = ("psnr_y", "variance_ratio", "variance_distance")
LARGEST_COST = 0.05  # dB of PSNR that a chosen weight may cost
POINTS = 1000  # weights at which a curve is evaluated
SPACINGS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "log": (np.log, np.geomspace),
    "linear": (np.asarray, np.linspace),
}


def trial_changes(trials: pd.DataFrame, alone: pd.DataFrame) -> pd.DataFrame:
    """What a weight changes, by weight and seed: the mean over images of `METRICS`, minus L2's.

    A seed whose training diverged is left out.

    Args:
        trials: a row per image, seed and `weight` of one loss, as `Store.results` gives them.
        alone: the rows of L2, with the same images and seeds.

    Raises ValueError where the rows of a weight and those of `alone` don't pair up.
    """
    found = {
        weight: pd.DataFrame(
            {metric: differences(rows, alone, metric).mean() for metric in METRICS}
        )
        for weight, rows in trials.groupby("weight")
    }
    return pd.concat(found, names=["weight", "seed"]).dropna().reset_index()


def curve(changed: pd.DataFrame, spacing: str = "log") -> pd.DataFrame:
    """The parabola that fits each metric's changes best, at weights from the least to the largest.

    Args:
        changed: from `trial_changes`; at least three weights.
        spacing: "log", a parabola in log weight; "linear", in the weight itself.

    Returns a row for each of `POINTS` weights, equally spaced, with `weight` and the fitted
    changes. Raises ValueError for fewer than three weights, for weights that a logarithm can't
    take, and for an unknown spacing.
    """
    check_choice("spacing", spacing, SPACINGS)
    scaled, grid = SPACINGS[spacing]
    weights = changed["weight"].to_numpy(dtype=float)
    if len(set(weights)) < 3:
        raise ValueError(f"a parabola through {len(set(weights))} weights; expected 3 or more")
    if spacing == "log" and weights.min() <= 0:
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
