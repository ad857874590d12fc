"""Paired comparisons of two losses: intervals over images and over seeds, and verdicts.

Two losses are compared run by run at the same seed, so that both runs start from the same weights
and see the same crops. A claim depends on the seeds: another training may turn out differently,
however many images agree. So the test and its interval are over seeds. The interval over images,
after averaging over seeds, says how far the result holds for other pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

from gvstudy.config import RECIPES
from gvstudy.validation import check_choice

# Differences up to these count as no difference.
MARGINS = {"psnr_y": 0.05, "psnr_rgb": 0.05, "ssim_y": 0.001, "ssim_paper": 0.001}
LABELS = {"psnr_y": "PSNR, dB", "ssim_y": "SSIM", "variance_ratio": "variance ratio"}
DIGITS = {"psnr_y": 2, "psnr_rgb": 2, "ssim_y": 4, "variance_ratio": 2}  # 4 for others
LEVEL = 0.05  # significance level of every test; intervals cover 1 - LEVEL
FEWEST_SEEDS = 6  # that a verdict needs
FEWEST_SEEDS_BY_RECIPE = {"official": 8}  # where seeds differ most
FEWEST_IMAGES = 6  # that a verdict needs; Set5 has five, too few to stand for other pictures
CELL = ["model", "scale", "set"]
PAIRING = [*CELL, "image", "seed"]  # the columns by which rows of two losses are paired
Cell = tuple[str, int, str]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Effect:
    """The mean difference between two losses, and how certain it is."""

    mean: float
    images: tuple[float, float]  # bootstrap interval over images, seeds averaged
    seeds: tuple[float, float]  # t-interval over seeds, images averaged
    p: float  # for the hypothesis of no difference: t-test over seeds
    p_apart: float  # for a difference beyond the margin: two one-sided tests over seeds
    by_seed: tuple[float, ...]  # each seed's own mean difference
    image_count: int


def differences(ours: pd.DataFrame, base: pd.DataFrame, metric: str) -> pd.DataFrame:
    """`ours` minus `base`: one row per image (of a model, scale and set), one column per seed.

    Raises ValueError where a run, or an image of a run, has no partner in the other frame.
    """
    one, other = (rows.set_index(PAIRING)[metric] for rows in (ours, base))
    if not one.index.sort_values().equals(other.index.sort_values()):
        raise ValueError(
            f"the rows don't pair up by {', '.join(PAIRING)}: {len(one)} and {len(other)} rows, "
            f"{len(one.index.intersection(other.index))} in common"
        )
    return (one - other).unstack("seed")


def effect(difference: pd.DataFrame, margin: float) -> Effect:
    """The effect in a frame from `differences`; up to `margin` either way counts as none."""
    by_image, by_seed = difference.mean(axis=1).to_numpy(), difference.mean(axis=0).to_numpy()
    low, high = _t_test(by_seed, -margin, "greater"), _t_test(by_seed, margin, "less")
    return Effect(
        mean=float(by_image.mean()),
        images=_bootstrap_interval(by_image),
        seeds=_t_interval(by_seed),
        p=_t_test(by_seed, 0, "two-sided"),
        p_apart=max(low, high),
        by_seed=tuple(float(value) for value in by_seed),
        image_count=len(by_image),
    )


def compare(ours: pd.DataFrame, base: pd.DataFrame, metric: str) -> dict[Cell, Effect]:
    """The effect of `ours` against `base` for every model, scale and set.

    A seed is left out of a cell that doesn't have it, or where one of its two runs diverged. Then
    an image is left out where any value isn't finite, as the PSNR of a perfect SR. A metric without
    a margin in `MARGINS` can't be found equivalent. Raises ValueError where nothing remains.
    """
    found = differences(ours, base, metric).replace([np.inf, -np.inf], np.nan)
    effects = {}
    for cell, some in found.groupby(level=CELL):
        finite = some.dropna(axis=1, how="all").dropna()
        if finite.empty:
            raise ValueError(f"{metric} of {cell}: no image has finite values of both losses")
        effects[cell] = effect(finite, MARGINS.get(metric, 0))
    return effects


def changes(
    pairs: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]], metrics: Sequence[str] = tuple(LABELS)
) -> dict[tuple[str, str], Effect]:
    """What the first of each pair changes against the second, by the pair's name and the metric.

    Raises ValueError for a pair with rows of more than one model, scale or set.
    """
    found = {}
    for (name, (ours, base)), metric in product(pairs.items(), metrics):
        cells = compare(ours, base, metric)
        if len(cells) != 1:
            raise ValueError(f"{name!r} has rows of {len(cells)} cells, must have one: {[*cells]}")
        (found[name, metric],) = cells.values()
    return found


def judge(
    family: Mapping[Key, Effect], recipe: str = "tuned", *, equivalence: bool = True
) -> dict[Key, str]:
    """The verdicts on a family of hypotheses: Holm's correction runs over all of it.

    The tests for a difference are corrected as one set, those for equivalence as another. No effect
    may be in two families. With `equivalence=False` nothing is called "no difference": for plans
    that rule out that claim beforehand.
    """
    effects = family.values()
    different = holm([found.p for found in effects])
    equivalent = holm([found.p_apart if equivalence else 1.0 for found in effects])
    return {
        key: verdict(found, p, p_apart, recipe)
        for (key, found), p, p_apart in zip(family.items(), different, equivalent, strict=True)
    }


def judge_planned(
    effects: Mapping[tuple[str, str], Effect],
    recipe: str = "official",
    *,
    equivalence: bool = False,
) -> dict[tuple[str, str], str]:
    """The plan's verdicts on a family from `changes`, by default of the authors' recipe.

    PSNR and SSIM are judged, metrics without a margin in `MARGINS` are not; at 375 steps nothing is
    called equivalent. For longer trainings ask for `equivalence`.
    """
    family = {key: found for key, found in effects.items() if key[1] in MARGINS}
    return judge(family, recipe, equivalence=equivalence)


def table(
    effects: Mapping[tuple[str, str], Effect], verdicts: Mapping[tuple[str, str], str] | None = None
) -> pd.DataFrame:
    """Effects from `changes` to read: a row for each pair, with its number of seeds.

    A cell holds the mean, the interval over seeds, and the verdict if there is one. A metric that
    `LABELS` lacks is shown under its own name.
    """
    shown: dict[str, dict[str, Any]] = {}
    for (name, metric), found in effects.items():
        row = shown.setdefault(name, {"seeds": len(found.by_seed)})
        said = (verdicts or {}).get((name, metric))
        shown_as = describe(found, DIGITS.get(metric, 4)) + (f", {said}" if said else "")
        row[LABELS.get(metric, metric)] = shown_as
    return pd.DataFrame.from_dict(shown, orient="index")


def describe(found: Effect, digits: int) -> str:
    """The mean and, for two seeds or more, the interval over them: "+0.35 (+0.14 to +0.57)"."""
    mean, low, high = (f"{value:+.{digits}f}" for value in (found.mean, *found.seeds))
    return f"{mean} ({low} to {high})" if len(found.by_seed) > 1 else mean


def tabulate(
    effects: Mapping[tuple[Any, ...], Effect], names: Sequence[str] = CELL
) -> pd.DataFrame:
    """One row per effect, one column per field of `Effect`; `names` label the parts of the keys."""
    index = pd.MultiIndex.from_tuples(effects, names=names)
    return pd.DataFrame([asdict(found) for found in effects.values()], index=index)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values of a family of hypotheses after Holm's correction (1979)."""
    order = np.argsort(p_values)
    raised = np.sort(p_values) * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return corrected.tolist()


def verdict(found: Effect, p: float, p_apart: float, recipe: str = "tuned") -> str:
    """The verdict on the claim that ours is larger; both p values are corrected by `holm`.

    An effect may be both significant and equivalent; then it is "no difference".
    "confirmed" and "contradicted" need enough seeds, p below `LEVEL`, and intervals over seeds and
    over images that both exclude zero. "no difference" needs enough seeds and `p_apart` below
    `LEVEL`: equivalence within the margin. With fewer seeds that all agree, and an interval over
    images that excludes zero, it is "consistent with" or "against". Fewer than `FEWEST_IMAGES`
    images are "described"; everything else is "undecided". Whether all planned seeds are there is
    for the caller to see. The recipe decides how many seeds are enough. Raises ValueError for an
    unknown recipe.
    """
    check_choice("recipe", recipe, RECIPES)
    if found.image_count < FEWEST_IMAGES:
        return "described"
    enough = len(found.by_seed) >= FEWEST_SEEDS_BY_RECIPE.get(recipe, FEWEST_SEEDS)
    if enough and p_apart < LEVEL:
        return "no difference"
    excludes_zero = found.images[0] > 0 or found.images[1] < 0
    if enough:
        if p < LEVEL and excludes_zero:
            return "confirmed" if found.mean > 0 else "contradicted"
        return "undecided"
    agree = len({np.sign(value) for value in found.by_seed}) == 1
    if agree and excludes_zero:
        return "consistent with" if found.mean > 0 else "against"
    return "undecided"


def _t_test(values: np.ndarray, mean: float, alternative: str) -> float:
    """The p value of Student's t-test for that mean; 1 for a single value, which shows nothing."""
    if len(values) < 2:
        return 1.0
    return float(stats.ttest_1samp(values, mean, alternative=alternative).pvalue)


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's t-interval for the mean; infinite for a single value."""
    if len(values) < 2:
        return (-np.inf, np.inf)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(1 - LEVEL)
    return float(low), float(high)


def _bootstrap_interval(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap (BCa) interval for the mean; a point where all values are the same."""
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.min()), float(values.max())
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - LEVEL, n_resamples=2000, rng=0
    ).confidence_interval
    return float(found.low), float(found.high)
