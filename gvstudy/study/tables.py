"""The paper's tables, the trials that choose their weights, and the older controls."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from gvstudy.config import Run
from gvstudy.gradients import PADDINGS
from gvstudy.study.common import (
    ADDED,
    AUTHORS_GV,
    BASES,
    BUDGETS,
    GRID_SIZES,
    GV_PAIR,
    OFFICIAL,
    OFFICIAL_SIZES,
    PIXELS,
    PLAIN,
    RESCALED,
    SMALL,
    TRIAL_SEED,
    official_run,
    seeds_from_zero,
    with_and_without_gv,
    with_tv2,
)

FACTORS = (0.01, 0.1, 1, 10)  # multiples of the authors' weights, tried with every pixel loss
TV_FACTORS = (*FACTORS, 100)  # tried in the sweep
CHOSEN = {  # the multiples of highest luma PSNR in the reference results `weights`
    "l2+tv2": 0.1,
    "l2+gv": 0.01,
    "l1+tv2": 1,
    "l1+gv": 0.1,
    "ssim+tv2": 10,
    "ssim+gv": 0.1,
}
GV_WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the sweep; the authors' is in the middle
PATCH_SIZES = (4, 8, 16, 32)  # of the sweep, pixels
RATES: dict[str, tuple[float, ...]] = {  # learning rates tried for every loss, by recipe
    "official": (0.016, 0.04, 0.1, 0.25, 0.6, 1.5),
    "official-adam": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "published-vdsr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1),  # its own rate, 0.1, and smaller ones
}
PUBLISHED: dict[str, dict[str, Any]] = {  # added in size "full", besides recipe and crop size
    "vdsr": {"channels": "luma", "batch_size": 64, "learning_rate": 0.1},
    "edsr": {"batch_size": 16, "learning_rate": 1e-4},
    "espcn": {"channels": "luma", "batch_size": 16, "learning_rate": 0.01},
}
BEST = {  # the rates of highest luma PSNR in the reference results `trials`
    ("official", "l2"): 0.1,
    ("official", "l2+gv"): 0.1,
    ("official", "l1"): 0.04,
    ("official-adam", "l2"): 3e-3,
    ("official-adam", "l2+gv"): 3e-3,
    ("published-vdsr", "l2"): 0.01,
    ("published-vdsr", "l2+gv"): 3e-3,
}


def headline(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """VDSR at x2 with L2 and with L2 + GV: the pair that decides the verdict."""
    seeds = seeds or seeds_from_zero(size, 6, small=2)
    return [_table_run(size, loss=loss, seed=seed) for seed in seeds for loss in GV_PAIR]


def table1(size: str) -> list[Run]:
    """Three models x three scales x {base, base + GV}, the seeds in the outer loop."""
    return [
        _table_run(size, model=model, scale=scale, loss=loss, seed=seed)
        for seed in seeds_from_zero(size, 6, small=2)
        for scale in (2, 3, 4)
        for model in BASES
        for loss in with_and_without_gv(model)
    ]


def table2(size: str) -> list[Run]:
    """VDSR at x2: {L2, L1, SSIM} x {alone, + TV, + GV}, with the authors' weights."""
    return [
        _table_run(size, loss=f"{pixel}{added}", seed=seed)
        for seed in seeds_from_zero(size, 6, small=2)
        for pixel in PIXELS
        for added in ADDED
    ]


def official(size: str) -> list[Run]:
    """VDSR at x2 as the authors' script trains it: SGD, 375 steps of 64 crops of 128 x 128.

    Three things differ. The script draws the initial weights otherwise (`fan="fan_out"`), takes 390
    steps, as each of its epochs ends with half a batch, and computes in float32 everywhere.

    It is the same in every size but "smoke", which takes four steps of small crops.
    """
    small = GRID_SIZES["smoke"] | {"crop_size": 24}
    return [
        Run(loss=loss, seed=seed, **(OFFICIAL | (small if size == "smoke" else {})))
        for seed in range(8)
        for loss in GV_PAIR
    ]


def weights(size: str) -> list[Run]:
    """The trials that choose the weights of TV and GV: equally many for each, by pixel loss.

    Measure them on `TRIAL_SET`. The pixel losses alone are included for comparison.
    """
    alone = [_table_run(size, loss=pixel, seed=TRIAL_SEED) for pixel in PIXELS]
    return alone + [
        _table_run(size, loss=f"{pixel}+{added}", seed=TRIAL_SEED, factor=factor)
        for factor in FACTORS
        for pixel in PIXELS
        for added in ("tv2", "gv")
    ]


def chosen(size: str) -> list[Run]:
    """Table 2's TV and GV again, with the weights that the trials chose."""
    return [
        _table_run(size, loss=loss, seed=seed, factor=factor)
        for seed in seeds_from_zero(size, 6, small=2)
        for loss, factor in CHOSEN.items()
    ]


def arms(size: str) -> list[Run]:
    """The official recipe at its own learning rate: L2 and L1, alone and with GV, and L2 + TV."""
    losses = (*GV_PAIR, "l1", "l1+gv", "l2+tv2")
    return [
        official_run(size, loss=loss, seed=seed)
        for seed in seeds_from_zero(size, 8)
        for loss in losses
    ]


def again(size: str) -> list[Run]:
    """L2, L2 + GV, L2 with the rescaled gradient, and L2 + TV, each with sixteen new seeds.

    Eight seeds left the PSNR undecided and prompted this rerun, so their runs aren't in this grid.
    """
    return [
        official_run(size, seed=8 + seed, **fields)
        for seed in seeds_from_zero(size, 16, small=2)
        for fields in (*PLAIN, {"loss": "l2+tv2"}, RESCALED)
    ]


def scales(size: str) -> list[Run]:
    """L2, L2 + GV and L2 with the rescaled gradient at x3 and x4, as `again` has them at x2."""
    return [
        official_run(size, seed=seed, scale=scale, **fields)
        for seed in seeds_from_zero(size, 16)
        for scale in (3, 4)
        for fields in (*PLAIN, RESCALED)
    ]


def models(size: str) -> list[Run]:
    """The official recipe with EDSR and ESPCN, each with its own pixel loss, alone and with GV.

    Crops and steps are those of VDSR. Both models output three channels, the only way they can.
    """
    sizes = {"edsr": OFFICIAL_SIZES[size]["size"], "espcn": "paper"}
    return [
        official_run(
            size, model=model, scale=scale, loss=loss, seed=seed, channels="rgb", size=model_size
        )
        for seed in seeds_from_zero(size, 8)
        for scale in (2, 3, 4)
        for model, model_size in sizes.items()
        for loss in with_and_without_gv(model)
    ]


def rates(size: str) -> list[Run]:
    """The trials that choose learning rates, equally many for every loss of a recipe."""
    return [
        official_run(size, loss=loss, seed=TRIAL_SEED + trial, recipe=recipe, learning_rate=rate)
        for trial in seeds_from_zero(size, 2)
        for recipe, loss in BEST
        for rate in (RATES[recipe][2:4] if size in SMALL else RATES[recipe])
    ]


def best(size: str) -> list[Run]:
    """The official recipe, every loss at its best learning rate."""
    return _at_best(size, "official", 8)


def adam(size: str) -> list[Run]:
    """The official recipe with Adam, every loss at its best learning rate."""
    return _at_best(size, "official-adam", 6)


def own(size: str) -> list[Run]:
    """VDSR's own loss, half the sum of squares, and its own clipping, at the best rate."""
    return _at_best(size, "published-vdsr", 6)


def pixel_only(size: str) -> list[Run]:
    """L2's gradient, rescaled to the norm that L2 + GV's has at the run's own weights.

    Those weights drift away from the ones that L2 + GV reaches, and the two norms with them.
    """
    return [official_run(size, seed=seed, **RESCALED) for seed in seeds_from_zero(size, 8)]


def budget(size: str) -> list[Run]:
    """The official recipe with more steps."""
    return [
        official_run(size, loss=loss, seed=seed, steps=times * OFFICIAL_SIZES[size]["steps"])
        for times in BUDGETS
        if size not in SMALL or times == 3
        for seed in seeds_from_zero(size, 6)
        for loss in GV_PAIR
    ]


def finetuned(size: str) -> list[Run]:
    """A model trained with L2, then for a quarter more steps with L2 or with L2 + GV."""
    steps = GRID_SIZES[size]["steps"]
    fields = GRID_SIZES[size] | {"start_steps": steps, "steps": max(3, steps // 4)}
    return [
        Run(loss=loss, seed=seed, learning_rate=5e-4, **fields)
        for seed in seeds_from_zero(size, 6)
        for loss in GV_PAIR
    ]


def sweep(size: str) -> list[Run]:
    """GV's weight, patch size and padding, and TV's weight: recipe `tuned`, a seed for trials."""
    settings = list(product(PATCH_SIZES, PADDINGS, GV_WEIGHTS))
    if size in SMALL:  # only those that differ from the authors' setting in one thing
        authors = (8, "zeros", AUTHORS_GV)
        settings = [
            setting
            for setting in settings
            if sum(ours != theirs for ours, theirs in zip(setting, authors, strict=True)) < 2
        ]
    run = Run(**({"seed": TRIAL_SEED} | GRID_SIZES[size]))
    gv = [
        replace(run, loss="l2+gv", patch_size=patch_size, padding=padding, gv_weight=weight)
        for patch_size, padding, weight in settings
    ]
    tv = [
        with_tv2(replace(run, loss="l2+tv2"), factor)
        for factor in (TV_FACTORS[2:] if size in SMALL else TV_FACTORS)
    ]
    return [run, *gv, *tv]


GRIDS = (
    headline,
    table1,
    table2,
    official,
    weights,
    chosen,
    arms,
    again,
    scales,
    models,
    rates,
    best,
    adam,
    pixel_only,
    own,
    budget,
    finetuned,
    sweep,
)


def _table_run(
    size: str, *, model: str = "vdsr", scale: int = 2, loss: str, seed: int, factor: float = 1
) -> Run:
    """Make a run of the tables; the regulariser has the authors' weight times `factor`."""
    fields = {"size": "paper" if model == "espcn" else "reduced"} | GRID_SIZES[size]
    if size == "full":
        crops = {"vdsr": 41 // scale * scale, "edsr": 48 * scale, "espcn": 17 * scale}
        fields |= PUBLISHED[model] | {"recipe": f"published-{model}", "crop_size": crops[model]}
    weight = AUTHORS_GV * factor
    run = Run(model=model, scale=scale, loss=loss, seed=seed, gv_weight=weight, **fields)
    return with_tv2(run, factor) if loss.endswith("+tv2") else run


def _at_best(size: str, recipe: str, seeds: int) -> list[Run]:
    """Make the runs of one recipe, every loss at its best learning rate."""
    return [
        official_run(size, loss=loss, seed=seed, recipe=recipe, learning_rate=rate)
        for seed in seeds_from_zero(size, seeds)
        for (of, loss), rate in BEST.items()
        if of == recipe
    ]
