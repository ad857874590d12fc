"""The study's grids: which runs make the paper's tables, in which size."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from gvstudy.runs import Run

BASES = {"vdsr": "l2", "edsr": "l1", "espcn": "l2"}  # each model's own pixel loss
AUTHORS_GV = 0.01
AUTHORS_TV2 = 1e-8 * 64 * 128**2  # times a mean over crops' pixels: their sum is over 64 x 128^2
FACTORS = (0.01, 0.1, 1, 10)  # of the authors' weights: what is tried for every pixel loss
CHOSEN = {  # of the authors' weights, by the kept results `weights`: highest PSNR, luma
    "l2+tv2": 0.1,
    "l2+gv": 0.01,
    "l1+tv2": 1,
    "l1+gv": 0.1,
    "ssim+tv2": 10,
    "ssim+gv": 0.1,
}
TRIAL_SEED = 100  # of the trials that weights are chosen by; no result has it
TRIAL_SET = "BSDS500-valid"  # the pictures that decide
SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 4, "batch_size": 2},
    "quick": {"steps": 500, "batch_size": 4, "crop_size": 36},  # all controls in minutes
    "reduced": {"steps": 2000, "train_set": "BSDS500"},
    "full": {"steps": 30000, "train_set": "BSDS500-T91", "size": "paper"},  # for a GPU
}
SMALL = ("smoke", "quick")  # sizes that show how it goes: fewer seeds, fewer settings
PUBLISHED: dict[str, dict[str, Any]] = {  # of size "full", besides the recipe and the crops
    "vdsr": {"channels": "luma", "batch_size": 64, "learning_rate": 0.1},
    "edsr": {"batch_size": 16, "learning_rate": 1e-4},
    "espcn": {"channels": "luma", "batch_size": 16, "learning_rate": 0.01},
}
OFFICIAL: dict[str, Any] = {
    "size": "paper",
    "channels": "rgb-to-grey",
    "upsample": "bilinear",
    "downsample": "bilinear",
    "train_set": "DIV2K_train_centre128",
    "recipe": "official",
    "steps": 375,
    "batch_size": 64,
    "crop_size": 128,
    "learning_rate": 0.1,
}
TESTS = ("Set5", "Set14", "DIV2K_valid_centre256", "Urban100-first20")


def test_sets(size: str) -> tuple[str, ...]:
    """The sets that a grid of that size is measured on where none are named."""
    return ("builtin-test",) if size in SMALL else TESTS


def table1(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """Three models x three scales x {base, base + GV}, the seeds in the outer loop."""
    return [
        _run(size, model=model, scale=scale, loss=loss, seed=seed)
        for seed in seeds or _seeds(size)
        for scale in (2, 3, 4)
        for model, base in BASES.items()
        for loss in (base, f"{base}+gv")
    ]


def table2(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """VDSR at x2: {L2, L1, SSIM} x {alone, + TV, + GV}, with the authors' weights."""
    return [
        _run(size, loss=f"{pixel}{added}", seed=seed)
        for seed in seeds or _seeds(size)
        for pixel in ("l2", "l1", "ssim")
        for added in ("", "+tv2", "+gv")
    ]


def weights(size: str) -> list[Run]:
    """The trials that TV's and GV's weights are chosen by: as many for each with each pixel loss.

    They are to be measured on `TRIAL_SET`. The pixel losses alone are there to compare with.
    """
    pixels = ("l2", "l1", "ssim")
    alone = [_run(size, loss=pixel, seed=TRIAL_SEED) for pixel in pixels]
    return alone + [
        _run(size, loss=f"{pixel}+{added}", seed=TRIAL_SEED, factor=factor)
        for factor in FACTORS
        for pixel in pixels
        for added in ("tv2", "gv")
    ]


def chosen(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """Table 2's TV and GV once more, at the weights that the trials chose."""
    return [
        _run(size, loss=loss, seed=seed, factor=factor)
        for seed in seeds or _seeds(size)
        for loss, factor in CHOSEN.items()
    ]


def headline(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """The pair that a verdict hangs on: VDSR at x2, L2 and L2 + GV."""
    seeds = seeds or _seeds(size)
    return [_run(size, loss=loss, seed=seed) for seed in seeds for loss in ("l2", "l2+gv")]


def official(size: str, seeds: Sequence[int] = range(8)) -> list[Run]:
    """VDSR at x2 as the authors' script trains it: SGD, 375 steps of 64 crops of 128 x 128.

    The size changes nothing, but for "smoke", which takes four steps of small crops.
    """
    small = {"steps": 4, "batch_size": 2, "crop_size": 24, "train_set": "builtin-train"}
    return [
        Run(loss=loss, seed=seed, **(OFFICIAL | (small if size == "smoke" else {})))
        for seed in seeds
        for loss in ("l2", "l2+gv")
    ]


def first_seeds(grid: Sequence[Run], count: int | None) -> list[Run]:
    """The runs of a grid that have one of its first so many seeds; None for all."""
    seeds = sorted({run.seed for run in grid})[:count]
    return [run for run in grid if run.seed in seeds]


def factors(rows: pd.DataFrame) -> pd.Series:
    """By result row, the weight of its regulariser as a multiple of the authors'; 0 for none."""
    gv = rows["gv_weight"] / AUTHORS_GV
    tv = rows["tv_weight"] * rows["batch_size"] * rows["crop_size"] ** 2 / AUTHORS_TV2
    return gv.fillna(tv).fillna(0).round(6)


def is_shown(run: Run) -> bool:
    """Whether figures show the run's model: VDSR's pair at x2 and at x3, as in the paper."""
    pair = run.model == "vdsr" and run.scale in (2, 3) and run.loss in ("l2", "l2+gv")
    plain = run.gv_weight == AUTHORS_GV and not run.start_steps
    recipe = run.recipe == "tuned" or (run.recipe == "official" and run.size == "paper")
    return pair and plain and recipe and run.seed == 0


def _seeds(size: str) -> range:
    return range(2 if size in SMALL else 6)  # as many as a verdict needs


def _run(
    size: str, *, model: str = "vdsr", scale: int = 2, loss: str, seed: int, factor: float = 1
) -> Run:
    """A run of the tables; the regulariser has the authors' weight times `factor`."""
    fields = {"size": "paper" if model == "espcn" else "reduced"} | SIZES[size]
    if size == "full":
        crops = {"vdsr": 41 // scale * scale, "edsr": 48 * scale, "espcn": 17 * scale}
        fields |= PUBLISHED[model] | {"recipe": f"published-{model}", "crop_size": crops[model]}
    weight = AUTHORS_GV * factor
    run = Run(model=model, scale=scale, loss=loss, seed=seed, gv_weight=weight, **fields)
    return with_tv2(run, factor) if loss.endswith("+tv2") else run


def with_tv2(run: Run, factor: float) -> Run:
    """The run with TV's weight as a multiple of the authors', by pixel."""
    return replace(run, tv_weight=AUTHORS_TV2 * factor / (run.batch_size * run.crop_size**2))


TABLES: dict[str, Callable[[str], list[Run]]] = {
    "headline": headline,
    "table1": table1,
    "table2": table2,
    "official": official,
    "weights": weights,
    "chosen": chosen,
}
