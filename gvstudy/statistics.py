"""What paired differences say: intervals over images and over seeds, and the verdict's rule.

Two losses are compared run by run at the same seed, so that initial weights and crops are the same.
The unit that a claim hangs on is the seed: another training may come out otherwise, however many
images agree. So the test and its interval are over seeds; the interval over images, after averaging
over seeds, says how far the result holds for other pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from scipy import stats

MARGINS = {"psnr_y": 0.05, "psnr_rgb": 0.05, "ssim_y": 0.001, "ssim_paper": 0.001}  # no difference
LEVEL = 0.05  # of every test; intervals cover 1 - LEVEL
FEWEST_SEEDS = {"official": 8}  # of a verdict, by recipe; its seeds differ most
SEEDS = 6  # of a verdict, with every other recipe
FEWEST_IMAGES = 6  # five can't reach p < .0625 in a test of signs, so Set5 only describes
CELL = ["model", "scale", "set"]
PAIR = [*CELL, "image", "seed"]
Cell = tuple[str, int, str]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Effect:
    """The mean difference between two losses, and how sure it is."""

    mean: float
    images: tuple[float, float]  # bootstrap interval over images, seeds averaged
    seeds: tuple[float, float]  # t-interval over seeds, images averaged
    p: float  # of no difference: t-test over seeds
    p_apart: float  # of a difference beyond the margin: two one-sided tests over seeds
    by_seed: tuple[float, ...]  # each seed's own mean difference
    image_count: int


def differences(ours: pd.DataFrame, base: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Ours minus base, a row an image (of a model, scale and set) and a column a seed.

    Raises ValueError where a run or an image of one has no partner in the other.
    """
    one, other = (rows.set_index(PAIR)[metric] for rows in (ours, base))
    if not one.index.sort_values().equals(other.index.sort_values()):
        raise ValueError(
            f"the rows don't pair up by {', '.join(PAIR)}: {len(one)} and {len(other)} rows, "
            f"{len(one.index.intersection(other.index))} in common"
        )
    return (one - other).unstack("seed")


def effect(difference: pd.DataFrame, margin: float) -> Effect:
    """The effect that `differences` show; a difference within +-`margin` counts as none."""
    by_image, by_seed = difference.mean(axis=1).to_numpy(), difference.mean(axis=0).to_numpy()
    low, high = _p(by_seed, -margin, "greater"), _p(by_seed, margin, "less")
    return Effect(
        mean=float(by_image.mean()),
        images=_bootstrap(by_image),
        seeds=_t_interval(by_seed),
        p=_p(by_seed, 0, "two-sided"),
        p_apart=max(low, high),
        by_seed=tuple(float(value) for value in by_seed),
        image_count=len(by_image),
    )


def compare(ours: pd.DataFrame, base: pd.DataFrame, metric: str) -> dict[Cell, Effect]:
    """The effect of ours against base in every model, scale and set.

    A seed that a cell hasn't, or whose run diverged in either arm, drops out of it. A metric that
    has no margin in `MARGINS` can't be found equivalent.
    """
    found = differences(ours, base, metric)
    cells = {cell: some.dropna(axis=1, how="all") for cell, some in found.groupby(level=CELL)}
    return {cell: effect(some, MARGINS.get(metric, 0)) for cell, some in cells.items()}


def judge(primary: Mapping[Key, Effect], recipe: str = "tuned") -> dict[Key, str]:
    """The verdicts on a claim's primary hypotheses, corrected by Holm for being several."""
    corrected = holm([found.p for found in primary.values()])
    pairs = zip(primary.items(), corrected, strict=True)
    return {cell: verdict(found, p, recipe) for (cell, found), p in pairs}


def tabulate(
    effects: Mapping[tuple[Any, ...], Effect], names: Sequence[str] = CELL
) -> pd.DataFrame:
    """A row an effect and a column a field of `Effect`; `names` are those of the key's parts."""
    index = pd.MultiIndex.from_tuples(effects, names=names)
    return pd.DataFrame([asdict(found) for found in effects.values()], index=index)


def means(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean, `low` and `high` (t-interval over seeds) and number of `seeds`, by cell and loss."""
    by_seed = rows.groupby([*CELL, "loss", "seed"])[metric].mean()

    def told(values: pd.Series) -> pd.Series:
        low, high = _t_interval(values.to_numpy())
        return pd.Series({"mean": values.mean(), "low": low, "high": high, "seeds": len(values)})

    return by_seed.groupby(level=[*CELL, "loss"]).apply(told).unstack()


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction (1979): what each p becomes as one of several primary hypotheses."""
    order = np.argsort(p_values)
    raised = np.sort(p_values) * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1)
    return corrected.tolist()


def verdict(found: Effect, p: float, recipe: str = "tuned") -> str:
    """What may be said of the claim that ours is larger; `p` is corrected by `holm`.

    "confirmed" and "contradicted" take enough seeds, p below `LEVEL` and intervals over seeds and
    over images that both leave out zero; "no difference" takes equivalence within the margin. With
    fewer seeds that agree it is "consistent with" or "against", else "undecided".
    """
    if found.image_count < FEWEST_IMAGES:
        return "descriptive"
    enough = len(found.by_seed) >= FEWEST_SEEDS.get(recipe, SEEDS)
    if enough and found.p_apart < LEVEL:
        return "no difference"
    outside = found.images[0] > 0 or found.images[1] < 0
    if enough:
        if p < LEVEL and outside:
            return "confirmed" if found.mean > 0 else "contradicted"
        return "undecided"
    agree = len({np.sign(value) for value in found.by_seed}) == 1
    if agree and outside:
        return "consistent with" if found.mean > 0 else "against"
    return "undecided"


def _p(values: np.ndarray, mean: float, alternative: str) -> float:
    """Student's test of that mean; 1 for a single value, which speaks against nothing."""
    if len(values) < 2:
        return 1.0
    return float(stats.ttest_1samp(values, mean, alternative=alternative).pvalue)


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    """Student's interval; infinite for a single value."""
    if len(values) < 2:
        return (-np.inf, np.inf)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(1 - LEVEL)
    return float(low), float(high)


def _bootstrap(values: np.ndarray) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) == 0:
        return float(values.min()), float(values.max())
    found = stats.bootstrap(
        (values,), np.mean, confidence_level=1 - LEVEL, n_resamples=2000, rng=0
    ).confidence_interval
    return float(found.low), float(found.high)
