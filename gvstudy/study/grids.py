"""The study's grids: which runs fill the paper's tables, and which serve as controls.

Each is a function of `size`, a key of `GRID_SIZES`, and returns the runs in the order of training.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pandas as pd

from gvstudy.config import FEWEST_STEPS, Run, distinct
from gvstudy.gradients import PADDINGS
from gvstudy.validation import check_choice

BASES = {"vdsr": "l2", "edsr": "l1", "espcn": "l2"}  # each model's own pixel loss
PIXELS, ADDED = ("l2", "l1", "ssim"), ("", "+tv2", "+gv")  # of the paper's table 2
GV_PAIR = ("l2", "l2+gv")  # the comparison that the paper's claim is about
AUTHORS_GV = 0.01
AUTHORS_TV2 = 1e-8 * 64 * 128**2  # the authors sum over 64 crops of 128 x 128 pixels; we average
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
BUDGETS = (3, 10, 30)  # multiples of the authors' number of steps
RATES: dict[str, tuple[float, ...]] = {  # learning rates tried for every loss, by recipe
    "official": (0.016, 0.04, 0.1, 0.25, 0.6, 1.5),
    "official-adam": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "published-vdsr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1),  # its own rate, 0.1, and smaller ones
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
CONSTANTS = (1, 3, 10, 30, 100, 300)  # factors on the loss that are tried, by loss
LONGER_CONSTANTS = (1, 10, 30, 100)  # likewise at ten times the steps
CELLS: tuple[dict[str, Any], ...] = (  # where the best constant is looked for besides VDSR at x2
    {"model": "vdsr", "scale": 3},
    {"model": "vdsr", "scale": 4},
    {"model": "edsr", "scale": 2, "channels": "rgb"},
    {"model": "espcn", "scale": 2, "channels": "rgb", "size": "paper"},
)
CELLS_AT_X2 = CELLS[2:]  # other models than VDSR
# Those of highest luma PSNR in the results `constant_trials` and `other_constant_trials`.
BEST_CONSTANT = {
    ("vdsr", 2, "l2"): 300,
    ("vdsr", 2, "l2+gv"): 300,
    ("vdsr", 3, "l2"): 300,
    ("vdsr", 3, "l2+gv"): 300,
    ("vdsr", 4, "l2"): 100,
    ("vdsr", 4, "l2+gv"): 100,
    ("edsr", 2, "l1"): 100,
    ("edsr", 2, "l1+gv"): 30,
    ("espcn", 2, "l2"): 100,
    ("espcn", 2, "l2+gv"): 100,
}
# Likewise for VDSR at x2 with the authors' initial weights, in the results `fan_out_trials` and
# `table2_constant_trials`.
BEST_CONSTANT_FAN_OUT = {"l2": 300, "l2+gv": 300, "l1": 100, "ssim": 30}
# The variants in full size: as they are, and times that constant.
IN_FULL: tuple[dict[str, Any], ...] = tuple(
    {"loss": loss, "pixel_weight": constant}
    for loss in GV_PAIR
    for constant in (1, BEST_CONSTANT_FAN_OUT[loss])
)
BEST_CONSTANT_LONGER = {"l2": 100, "l2+gv": 100}  # at ten times the steps, in `longer_trials`
RIVALS = {  # weight at which a regulariser's gradient is as long as that of GV at its weight
    "gv": AUTHORS_GV,
    "gv-charbonnier": 0.006,
    "deviation": 0.015,
    "gv-log": 6.5e-5,
    "gv-multiscale": 0.01,
    "gv-laplacian": 0.01,
    "maps": 0.008,
    "maps-charbonnier": 0.004,
    "frequency": 1.0,
    "gmsd": 0.004,
    "tv": 0.02,
}
RIVAL_FACTORS = (0.03, 0.1, 0.3, 1, 3)  # multiples of these weights that are tried
RIVAL_STEPS = 1000
RIVALS_CHOSEN = {  # the rivals that are tested, at weights by the plan's rule; from `fronts`
    "gv-charbonnier": 0.00357,
    "deviation": 0.0149,
    "gv-laplacian": 0.00437,
    "gv": 0.00468,
    "gv-multiscale": 0.00441,
    "gv-log": 0.000195,
}
RIVALS_MATCHED = {  # their variance ratio rises as far as GV's at its weight; from `fronts`
    "gv": AUTHORS_GV,
    "gv-charbonnier": 0.00263,
    "deviation": 0.0124,
    "gv-laplacian": 0.00897,
    "gv-multiscale": 0.00997,
}
RIVALS_FIRST = tuple(RIVALS_CHOSEN)[:3]  # those that are tested elsewhere, too
RIVALS_CHOSEN_EDSR = {  # likewise with EDSR, from `edsr_fronts`; the largest tried
    "gv-charbonnier": 0.018,
    "deviation": 0.045,
    "gv-laplacian": 0.03,
}
RIVAL_RATES = (1e-3, 2e-3, 4e-3)  # learning rates that are tried for L2 and the first of them
EDGE_WEIGHTS = (0.012, 0.036, 0.12, 0.36)  # of the gradient loss; the first is in `fronts`, too
EDGE_CHOSEN = 0.36  # the best of these in `edge_trials`; the largest tried
COLOUR_WEIGHTS = (0.036, 0.12, 0.36, 1.2)  # of the gradient loss by channel
COLOUR_CHOSEN = ("l1", 0.36)  # the best of these in `colour_trials`
BEST_COLOUR_RATE = 4e-3  # the best for all three, in `colour_rates`
COLOUR_RATES = (1e-3, 2e-3, 4e-3, 8e-3)  # learning rates tried with it, and with L2 and L1
MODEL_RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 16e-3)  # with it and L1, with EDSR and ESPCN
FULL_RATES = (5e-4, 1e-3, 2e-3, 4e-3)  # likewise with it and L1 in full size
BEST_MODEL_RATE = {"edsr": 4e-3, "espcn": 8e-3}  # the best for both, in `colour_model_rates`
BEST_FULL_RATE = 2e-3  # the best for VDSR with both, in `colour_full_rates`
TO_THE_END: dict[str, dict[str, Any]] = {  # the long trainings of experiment 8
    "vdsr": {"steps": 20000},
    "edsr": {"steps": 20000},
    "espcn": {"steps": 30000, "size": "paper", "channels": "luma", "recipe": "published-espcn"}
    | {"crop_size": 34},
}
END_WEIGHTS = (0.0, AUTHORS_GV / 10, AUTHORS_GV)  # of GV there; 0: the pixel loss alone
END_RATES = {  # learning rates tried with each of them, the recipe's own included
    "vdsr": (1e-3, 2e-3, 4e-3),
    "edsr": (1e-3, 2e-3, 4e-3),
    "espcn": (2.5e-3, 5e-3, 1e-2),
}
BEST_END_RATE = {  # those of highest luma PSNR in `to_the_end_rates`, by model and weight of GV
    ("vdsr", 0.0): 4e-3,
    ("vdsr", 0.001): 4e-3,
    ("vdsr", 0.01): 2e-3,
    ("edsr", 0.0): 2e-3,
    ("edsr", 0.001): 2e-3,
    ("edsr", 0.01): 2e-3,
    ("espcn", 0.0): 2.5e-3,
    ("espcn", 0.001): 2.5e-3,
    ("espcn", 0.01): 5e-3,
}
LONG_RATES = {  # tried in experiment 18, in trainings of full length
    "edsr": (2.5e-4, 5e-4, 1e-3),
    "espcn": (6.25e-4, 1.25e-3, 2.5e-3, 5e-3),
}
BEST_LONG_RATE = {  # those of highest luma PSNR in `long_rates`, by model and weight of GV
    ("espcn", 0.0): 1.25e-3,
    ("espcn", 0.001): 1.25e-3,
    ("espcn", 0.01): 1.25e-3,
}
BEST_RIVAL_RATE = 4e-3  # the best for both, in `rival_rates`; the largest tried
SEEDS_SEEN = range(24)  # of the authors' recipe in older results
SEEDS_NEW = range(24, 40)  # first used after the plan was committed; these decide
SEEDS_FAN_OUT = range(40, 56)  # decide experiment 11
SEEDS_EXACT = range(1, 9)  # decide experiment 9
SEEDS_EDGE = range(30, 40)  # decide experiment 12
SEEDS_COLOUR = range(40, 50)  # decide experiment 13
SEEDS_ELSEWHERE = range(50, 56)  # decide experiment 14
SEEDS_FULL = range(60, 66)  # decide experiment 16
SEEDS_MODELS = range(66, 72)  # decide experiment 17
SEEDS_LONG = range(72, 78)  # decide experiment 18
SEEDS_EQUAL = range(78, 86)  # decide experiment 19
TRIAL_SEED = 100  # weights and rates are chosen with this seed and above; no result uses them
TRIAL_SET = "BSDS500-valid"  # weights and rates are chosen on these images
TESTS = ("Set5", "Set14", "DIV2K_valid_centre256", "Urban100-first20")

GRID_SIZES: dict[str, dict[str, Any]] = {
    "smoke": {"steps": 4, "batch_size": 2, "train_set": "builtin-train"},
    "quick": {"steps": 500, "batch_size": 4, "crop_size": 36, "train_set": "builtin-train"},
    "reduced": {"steps": 2000, "train_set": "BSDS500"},
    "full": {"steps": 30000, "train_set": "BSDS500-T91", "size": "paper"},  # for a GPU
}
SMALL = ("smoke", "quick")  # sizes that only show how it works: fewer seeds, fewer settings
PUBLISHED: dict[str, dict[str, Any]] = {  # added in size "full", besides recipe and crop size
    "vdsr": {"channels": "luma", "batch_size": 64, "learning_rate": 0.1},
    "edsr": {"batch_size": 16, "learning_rate": 1e-4},
    "espcn": {"channels": "luma", "batch_size": 16, "learning_rate": 0.01},
}
OFFICIAL: dict[str, Any] = {  # VDSR at x2 as the authors' script trains it; see `official`
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
OFFICIAL_SIZES: dict[str, dict[str, Any]] = {  # the same, scaled down to the grid's size
    "smoke": OFFICIAL | {"size": "reduced", "crop_size": 48} | GRID_SIZES["smoke"],
    "quick": OFFICIAL
    | {"size": "reduced", "batch_size": 4, "crop_size": 36, "train_set": "builtin-train"},
    "reduced": OFFICIAL | {"size": "reduced", "batch_size": 16, "crop_size": 48},
    "full": OFFICIAL,
}
# L2's gradient, rescaled at every step by the ratio of norms at this run's own weights.
RESCALED = {"loss": "l2+gv", "recipe": "official-pixel-only"}
PLAIN: tuple[dict[str, Any], ...] = tuple({"loss": loss} for loss in GV_PAIR)
# L2's direction with the step lengths of L2 + GV, and the other way round.
YOKED: dict[str, Any] = {"loss": "l2", "lengths_from": "l2+gv"}
MIRROR: dict[str, Any] = {"loss": "l2+gv", "lengths_from": "l2"}


def test_sets(size: str) -> tuple[str, ...]:
    """Return the sets that a grid of this size is measured on by default.

    Raises ValueError for an unknown size.
    """
    check_choice("size", size, GRID_SIZES)
    return ("builtin-test",) if size in SMALL else TESTS


def trial_and_test_set(size: str) -> tuple[str, str]:
    """Return the set that notebooks 7, 8 and A5 choose on in that size, and the one they test on.

    Raises ValueError for an unknown size.
    """
    check_choice("size", size, GRID_SIZES)
    small = {
        "smoke": ("builtin-valid_centre192", "builtin-valid_centre192"),
        "quick": ("builtin-valid", "builtin-test"),
    }
    return small.get(size, (TRIAL_SET, "DIV2K_valid_centre256"))


# The paper's tables, and the trials that choose their weights.


def headline(size: str, seeds: Sequence[int] | None = None) -> list[Run]:
    """VDSR at x2 with L2 and with L2 + GV: the pair that decides the verdict."""
    seeds = seeds or _seeds(size, 6, small=2)
    return [_table_run(size, loss=loss, seed=seed) for seed in seeds for loss in GV_PAIR]


def table1(size: str) -> list[Run]:
    """Three models x three scales x {base, base + GV}, the seeds in the outer loop."""
    return [
        _table_run(size, model=model, scale=scale, loss=loss, seed=seed)
        for seed in _seeds(size, 6, small=2)
        for scale in (2, 3, 4)
        for model in BASES
        for loss in _with_and_without_gv(model)
    ]


def table2(size: str) -> list[Run]:
    """VDSR at x2: {L2, L1, SSIM} x {alone, + TV, + GV}, with the authors' weights."""
    return [
        _table_run(size, loss=f"{pixel}{added}", seed=seed)
        for seed in _seeds(size, 6, small=2)
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
        for seed in _seeds(size, 6, small=2)
        for loss, factor in CHOSEN.items()
    ]


# The controls: mostly the authors' recipe for VDSR at x2, with one thing changed.


def arms(size: str) -> list[Run]:
    """The official recipe at its own learning rate: L2 and L1, alone and with GV, and L2 + TV."""
    losses = (*GV_PAIR, "l1", "l1+gv", "l2+tv2")
    return [
        _official_run(size, loss=loss, seed=seed) for seed in _seeds(size, 8) for loss in losses
    ]


def again(size: str) -> list[Run]:
    """L2, L2 + GV, L2 with the rescaled gradient, and L2 + TV, each with sixteen new seeds.

    Eight seeds left the PSNR undecided and prompted this rerun, so their runs aren't in this grid.
    """
    return [
        _official_run(size, seed=8 + seed, **fields)
        for seed in _seeds(size, 16, small=2)
        for fields in (*PLAIN, {"loss": "l2+tv2"}, RESCALED)
    ]


def scales(size: str) -> list[Run]:
    """L2, L2 + GV and L2 with the rescaled gradient at x3 and x4, as `again` has them at x2."""
    return [
        _official_run(size, seed=seed, scale=scale, **fields)
        for seed in _seeds(size, 16)
        for scale in (3, 4)
        for fields in (*PLAIN, RESCALED)
    ]


def models(size: str) -> list[Run]:
    """The official recipe with EDSR and ESPCN, each with its own pixel loss, alone and with GV.

    Crops and steps are those of VDSR. Both models output three channels, the only way they can.
    """
    sizes = {"edsr": OFFICIAL_SIZES[size]["size"], "espcn": "paper"}
    return [
        _official_run(
            size, model=model, scale=scale, loss=loss, seed=seed, channels="rgb", size=model_size
        )
        for seed in _seeds(size, 8)
        for scale in (2, 3, 4)
        for model, model_size in sizes.items()
        for loss in _with_and_without_gv(model)
    ]


def rates(size: str) -> list[Run]:
    """The trials that choose learning rates, equally many for every loss of a recipe."""
    return [
        _official_run(size, loss=loss, seed=TRIAL_SEED + trial, recipe=recipe, learning_rate=rate)
        for trial in _seeds(size, 2)
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
    return [_official_run(size, seed=seed, **RESCALED) for seed in _seeds(size, 8)]


def budget(size: str) -> list[Run]:
    """The official recipe with more steps."""
    return [
        _official_run(size, loss=loss, seed=seed, steps=times * OFFICIAL_SIZES[size]["steps"])
        for times in BUDGETS
        if size not in SMALL or times == 3
        for seed in _seeds(size, 6)
        for loss in GV_PAIR
    ]


def finetuned(size: str) -> list[Run]:
    """A model trained with L2, then for a quarter more steps with L2 or with L2 + GV."""
    steps = GRID_SIZES[size]["steps"]
    fields = GRID_SIZES[size] | {"start_steps": steps, "steps": max(3, steps // 4)}
    return [
        Run(loss=loss, seed=seed, learning_rate=5e-4, **fields)
        for seed in _seeds(size, 6)
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


# The planned experiments, in the order of `data/reference/PLAN.md`. They are computed in float32 on
# every machine, and the variants of a seed are adjacent, so that pairs are complete early.


def constant_trials(size: str) -> list[Run]:
    """Experiment 1: the trials that choose a constant factor for L2, L2 + GV and L1.

    Measure them on `TRIAL_SET`.
    """
    return [*_constant_trials(size, GV_PAIR), *_constant_trials(size, ("l1",))]


def constants(size: str) -> list[Run]:
    """Experiment 1: L2 and L2 + GV, as they are and each times its best constant."""
    return [
        _planned_run(size, seed=seed, **variant)
        for seed in _new_and_seen(size)
        for variant in (*PLAIN, *_scaled("vdsr", 2))
    ]


def small_constants(size: str) -> list[Run]:
    """Experiment 1, described only: 3, 10 and 30 times L2."""
    return [
        _planned_run(size, loss="l2", seed=seed, pixel_weight=constant)
        for seed in _new(size, 16)
        for constant in (3, 10, 30)
    ]


def other_constant_trials(size: str) -> list[Run]:
    """Experiment 1: the same trials at x3 and x4, and at x2 with EDSR and ESPCN.

    Each model has its own pixel loss. Measure them on `TRIAL_SET`.
    """
    return [
        run
        for cell in CELLS
        for run in _constant_trials(size, _with_and_without_gv(cell["model"]), **cell)
    ]


def other_constants(size: str) -> list[Run]:
    """Experiment 1: base and base + GV, each times its best constant, in the same four cells."""
    return [
        _planned_run(size, seed=seed, **cell, **variant)
        for seed in _new(size, 8)
        for cell in CELLS
        for variant in _scaled(cell["model"], cell["scale"])
    ]


def lengths(size: str) -> list[Run]:
    """Experiment 1: L2 and L2 + GV, and each with the other's step lengths.

    With them comes the older control, L2's gradient rescaled by the ratio of norms.
    """
    return [
        _planned_run(size, seed=seed, **variant)
        for seed in _new_and_seen(size)
        for variant in (*PLAIN, YOKED, MIRROR, RESCALED)
    ]


def lengths_checks(size: str) -> list[Run]:
    """Experiment 1: yoked by the clipped gradient; L2 and L2 + GV without weight decay."""
    undecayed = [plain | {"recipe": "official-undecayed"} for plain in PLAIN]
    return [
        _planned_run(size, seed=seed, **variant)
        for seed in _new(size, 8)
        for variant in (YOKED | {"lengths_of": "clipped"}, *undecayed)
    ]


def large_crops(size: str) -> list[Run]:
    """Experiment 3: two crops a batch, as large as the authors', at x2, x3 and x4.

    The constants are those that small crops chose at the same scale.
    """
    crops = {"batch_size": 2} | ({} if size in SMALL else {"crop_size": 128})
    return [
        _planned_run(size, scale=scale, seed=seed, **crops, **variant)
        for seed in _new(size, 16)
        for scale in (2, 3, 4)
        for variant in (*PLAIN, *_scaled("vdsr", scale))
    ]


def valid_padding(size: str) -> list[Run]:
    """Experiment 3: small crops at x3 and x4, with GV that leaves out the frame."""
    return [
        _planned_run(size, scale=scale, seed=seed, padding="valid", **variant)
        for seed in _new(size, 8)
        for scale in (3, 4)
        for variant in PLAIN
    ]


def to_the_end_rates(size: str) -> list[Run]:
    """Experiment 8: the trials of a learning rate for the pixel loss and both weights of GV.

    They take a quarter of the steps. Measure them on `TRIAL_SET`.
    """
    return [
        _end_run(size, TRIAL_SEED, model, weight, rate, quarter=True)
        for model in BASES
        for rate in _tried(size, END_RATES[model])
        for weight in END_WEIGHTS
    ]


def to_the_end(size: str) -> list[Run]:
    """Experiment 8: the pixel loss and both weights of GV, each at the best rate of its trials."""
    return [
        _end_run(size, seed, model, weight, BEST_END_RATE[model, weight])
        for seed in _new(size, 6)
        for model in BASES
        for weight in END_WEIGHTS
    ]


def fronts(size: str) -> list[Run]:
    """Experiment 10: the trials that find what each rival's variance costs, beside L2.

    Measure them on `TRIAL_SET`.
    """
    return _rival_trials(size, _around_centres(size, RIVALS))


def rivals(size: str) -> list[Run]:
    """Experiment 10: the rivals at the weights that their trials chose, beside L2."""
    return [
        run
        for seed in _new(size, 6)
        for run in _rival_runs(size, seed, RIVALS_CHOSEN.items(), precision="float32")
    ]


def rival_rates(size: str) -> list[Run]:
    """Experiment 10: the trials that choose a learning rate for L2 and for the first rival.

    Measure them on `TRIAL_SET`.
    """
    first = [next(iter(RIVALS_CHOSEN.items()))]
    return [
        run
        for rate in RIVAL_RATES
        for run in _rival_runs(size, TRIAL_SEED, first, precision="bfloat16", learning_rate=rate)
    ]


def edsr_fronts(size: str) -> list[Run]:
    """Experiment 10: the trials of the first three rivals' weights with EDSR, beside L1.

    Measure them on `TRIAL_SET`.
    """
    return _rival_trials(size, _around_centres(size, RIVALS_FIRST), model="edsr")


def other_rivals(size: str) -> list[Run]:
    """Experiment 10: the first three rivals at x3 and x4, and at x2 with EDSR and ESPCN, likewise.

    At x3 and x4, and with ESPCN, the weights are those of VDSR at x2.
    """
    return [
        run for seed in _new(size, 6) for cell in CELLS for run in _first_rivals(size, seed, **cell)
    ]


def longer_rivals(size: str) -> list[Run]:
    """Experiment 10: the first three rivals at x2, with ten times the steps."""
    steps = 3 * GRID_SIZES[size]["steps"] if size in SMALL else 10 * RIVAL_STEPS
    return [run for seed in _new(size, 6) for run in _first_rivals(size, seed, steps=steps)]


def rivals_best_rate(size: str) -> list[Run]:
    """Experiment 10: L2 and the first rival at x2, both at the best rate of their trials."""
    first = [next(iter(RIVALS_CHOSEN.items()))]
    rate = BEST_RIVAL_RATE
    return [
        run
        for seed in _new(size, 6)
        for run in _rival_runs(size, seed, first, precision="float32", learning_rate=rate)
    ]


def edge_trials(size: str) -> list[Run]:
    """Experiment 12: the trials of the gradient loss's weight, in bfloat16, beside L2.

    Measure them on `TRIAL_SET`.
    """
    return _rival_trials(size, [("maps-charbonnier", weight) for weight in EDGE_WEIGHTS])


def edge_loss(size: str) -> list[Run]:
    """Experiment 12: L2, L2 with the gradient loss at the weight of its trials, and L1."""
    edge = [("maps-charbonnier", EDGE_CHOSEN)]
    return [
        run
        for seed in _new(size, 10, SEEDS_EDGE)
        for pixel, added in (("l2", edge), ("l1", []))
        for run in _rival_runs(size, seed, added, precision="float32", pixel=pixel)
    ]


def colour_trials(size: str) -> list[Run]:
    """Experiment 13: trials of the gradient loss by channel, beside L2 and L1, in bfloat16.

    Measure them on `TRIAL_SET`.
    """
    tried = [("maps-charbonnier-rgb", weight) for weight in COLOUR_WEIGHTS]
    return [run for pixel in ("l2", "l1") for run in _rival_trials(size, tried, pixel=pixel)]


def colour_loss(size: str) -> list[Run]:
    """Experiment 13: L2, L1, and L1 with the gradient loss by channel, as its trials chose it."""
    return _colour_and_bases(size, _new(size, 10, SEEDS_COLOUR), precision="float32")


def colour_elsewhere(size: str) -> list[Run]:
    """Experiment 14: the same loss beside L1 at x3 and x4, and at x2 with EDSR and ESPCN."""
    return [
        run
        for seed in _new(size, 6, SEEDS_ELSEWHERE)
        for cell in CELLS
        for run in _colour_runs(size, seed, precision="float32", **cell)
    ]


def colour_longer(size: str) -> list[Run]:
    """Experiment 14: the same with VDSR at x2 and ten times the steps."""
    steps = 3 * GRID_SIZES[size]["steps"] if size in SMALL else 10 * RIVAL_STEPS
    return [
        run
        for seed in _new(size, 6, SEEDS_ELSEWHERE)
        for run in _colour_runs(size, seed, precision="float32", steps=steps)
    ]


def colour_rates(size: str) -> list[Run]:
    """Experiment 15: the trials of a learning rate for L2, L1 and that loss, in bfloat16.

    Measure them on `TRIAL_SET`.
    """
    return [
        run
        for trial in _seeds(size, 2)
        for rate in _tried(size, COLOUR_RATES)
        for run in _colour_and_bases(
            size, [TRIAL_SEED + trial], precision="bfloat16", learning_rate=rate
        )
    ]


def colour_best_rate(size: str) -> list[Run]:
    """Experiment 15: L2, L1 and that loss, at the rate that is best for each of them."""
    seeds = _new(size, 6, SEEDS_ELSEWHERE)
    return _colour_and_bases(size, seeds, precision="float32", learning_rate=BEST_COLOUR_RATE)


def colour_model_rates(size: str) -> list[Run]:
    """Experiment 17: the trials of a learning rate for L1 and that loss, with EDSR and ESPCN.

    Measure them on `TRIAL_SET`.
    """
    return [
        run
        for trial in _seeds(size, 2)
        for rate in (MODEL_RATES[::3] if size in SMALL else MODEL_RATES)
        for cell in CELLS_AT_X2
        for run in _colour_runs(
            size, TRIAL_SEED + trial, precision="float32", learning_rate=rate, **cell
        )
    ]


def colour_models(size: str) -> list[Run]:
    """Experiment 17: L1 and that loss with EDSR and ESPCN, at the best rate of their trials."""
    return [
        run
        for seed in _new(size, 6, SEEDS_MODELS)
        for cell in CELLS_AT_X2
        for run in _colour_runs(
            size,
            seed,
            precision="float32",
            learning_rate=BEST_MODEL_RATE[cell["model"]],
            **cell,
        )
    ]


def colour_full_rates(size: str) -> list[Run]:
    """Experiment 16: the trials of a learning rate for L1 and that loss in full size; for a GPU.

    Measure them on `TRIAL_SET`.
    """
    return [
        run
        for model in ("vdsr", "edsr")
        for rate in _tried(size, FULL_RATES)
        for run in _full_colour_runs(size, TRIAL_SEED, model, 2, learning_rate=rate)
    ]


def colour_full(size: str) -> list[Run]:
    """Experiment 16: L1 and that loss with VDSR in full size and ten times the steps; for a GPU."""
    return [
        run
        for seed in _new(size, 6, SEEDS_FULL)
        for run in _full_colour_runs(size, seed, "vdsr", 10, learning_rate=BEST_FULL_RATE)
    ]


def long_rates(size: str) -> list[Run]:
    """Experiment 18: the trials of experiment 8's rates again, longer and smaller, two models.

    They take all steps. Measure them on `TRIAL_SET`.
    """
    return [
        _end_run(size, TRIAL_SEED + trial, model, weight, rate)
        for trial in _seeds(size, 2)
        for model, rates in LONG_RATES.items()
        for rate in _tried(size, rates)
        for weight in END_WEIGHTS
    ]


def long_best_rate(size: str) -> list[Run]:
    """Experiment 18: the pixel loss and both weights of GV, each at the best rate of these trials.

    With EDSR they haven't chosen yet.
    """
    return [
        _end_run(size, seed, model, weight, rate)
        for seed in _new(size, 6, SEEDS_LONG)
        for (model, weight), rate in BEST_LONG_RATE.items()
    ]


def equal_variance(size: str) -> list[Run]:
    """Experiment 19: the rivals that reach GV's variance ratio, at the weights where they do."""
    return [
        run
        for seed in _new(size, 8, SEEDS_EQUAL)
        for run in _rival_runs(size, seed, RIVALS_MATCHED.items(), precision="bfloat16")
    ]


def fan_out_trials(size: str) -> list[Run]:
    """Experiment 11: the trials of a constant, with initial weights as in the authors' script.

    Measure them on `TRIAL_SET`.
    """
    return _constant_trials(size, GV_PAIR, fan="fan_out")


def fan_out_lengths(size: str) -> list[Run]:
    """Experiment 11: L2 and L2 + GV, and each with the other's step lengths, likewise."""
    return [
        _script_run(size, seed=seed, **variant)
        for seed in _new(size, 16, SEEDS_FAN_OUT)
        for variant in (*PLAIN, YOKED, MIRROR)
    ]


def fan_out_constants(size: str) -> list[Run]:
    """Experiment 11: L2 and L2 + GV, each times its best constant, likewise."""
    return [
        _script_run(size, seed=seed, loss=loss, pixel_weight=BEST_CONSTANT_FAN_OUT[loss])
        for seed in _new(size, 16, SEEDS_FAN_OUT)
        for loss in GV_PAIR
    ]


def fan_out_small_constants(size: str) -> list[Run]:
    """Experiment 11, described only: 3, 10 and 30 times L2, likewise."""
    return [
        _script_run(size, seed=seed, loss="l2", pixel_weight=constant)
        for seed in _new(size, 16, SEEDS_FAN_OUT)
        for constant in (3, 10, 30)
    ]


def table2_constant_trials(size: str) -> list[Run]:
    """Experiment 4: the trials of a constant for L1 and SSIM, with the script's initial weights.

    Measure them on `TRIAL_SET`.
    """
    return _constant_trials(size, ("l1", "ssim"), fan="fan_out")


def table2_official(size: str) -> list[Run]:
    """Experiment 4: table 2's nine losses, as they are and times a constant, likewise.

    The constant is the best one of the pixel loss, for all three losses that have it.
    """
    return [
        _script_run(size, seed=seed, loss=f"{pixel}{added}", pixel_weight=constant)
        for seed in _new(size, 8)
        for pixel in PIXELS
        for constant in (1, BEST_CONSTANT_FAN_OUT[pixel])
        for added in ADDED
    ]


def longer_trials(size: str) -> list[Run]:
    """Experiment 5: the trials of a constant for L2 and L2 + GV at ten times the steps, likewise.

    Measure them on `TRIAL_SET`.
    """
    steps = (3 if size in SMALL else 10) * OFFICIAL_SIZES[size]["steps"]
    return [
        _script_run(size, seed=TRIAL_SEED, steps=steps, loss=loss, pixel_weight=constant)
        for constant in LONGER_CONSTANTS
        for loss in GV_PAIR
    ]


def longer(size: str) -> list[Run]:
    """Experiment 5: ten and thirty times the steps, likewise; as they are and times a constant.

    With the fewer steps there is L2 with the step lengths of L2 + GV as well.
    """
    steps = OFFICIAL_SIZES[size]["steps"]
    budgets = BUDGETS[:2] if size in SMALL else BUDGETS[1:]
    scaled = [{"loss": loss, "pixel_weight": k} for loss, k in BEST_CONSTANT_LONGER.items()]
    return [
        _script_run(size, seed=seed, steps=times * steps, **variant)
        for seed in _new(size, 8)
        for times in budgets
        for variant in (*PLAIN, *scaled, *([YOKED] if times == budgets[0] else []))
    ]


def full_size(size: str) -> list[Run]:
    """Experiment 6: VDSR with 20 layers of 64 channels, likewise; as it is and times constants."""
    return [
        _script_run(size, size="paper", seed=seed, **variant)
        for seed in _new(size, 8)
        for variant in IN_FULL
    ]


def exact(size: str) -> list[Run]:
    """Experiment 9: the same in full, on 64 crops of 128, as the authors train it; for a GPU."""
    return [
        _script_run(size if size in SMALL else "full", seed=seed, **variant)
        for seed in _new(size, 8, SEEDS_EXACT)
        for variant in IN_FULL
    ]


GRIDS: dict[str, Callable[[str], list[Run]]] = {
    grid.__name__.replace("_", "-"): grid
    for grid in (
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
        constant_trials,
        constants,
        small_constants,
        other_constant_trials,
        other_constants,
        lengths,
        lengths_checks,
        large_crops,
        valid_padding,
        to_the_end_rates,
        to_the_end,
        fronts,
        rivals,
        rival_rates,
        edsr_fronts,
        other_rivals,
        longer_rivals,
        rivals_best_rate,
        edge_trials,
        edge_loss,
        colour_trials,
        colour_loss,
        colour_elsewhere,
        colour_longer,
        colour_rates,
        colour_best_rate,
        colour_model_rates,
        colour_models,
        colour_full_rates,
        colour_full,
        long_rates,
        long_best_rate,
        equal_variance,
        fan_out_trials,
        fan_out_lengths,
        fan_out_constants,
        fan_out_small_constants,
        table2_constant_trials,
        table2_official,
        longer_trials,
        longer,
        full_size,
        exact,
    )
}


def runs_of(names: Iterable[str], size: str, seeds: int | None = None) -> dict[Run, str]:
    """Map each run of the named grids, once, to the names of those grids that it belongs to.

    Runs that differ only in what their loss doesn't use count as one. With `seeds`, only the first
    so many seeds of each grid are taken. Raises ValueError for an unknown grid or size.
    """
    check_choice("size", size, GRID_SIZES)
    found: dict[str, Run] = {}
    grids: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        check_choice("grid", name, GRIDS)
        for run in distinct(first_seeds(GRIDS[name](size), seeds)):
            found.setdefault(run.key, run)
            grids.setdefault(run.key, []).append(name)
    return {run: " ".join(grids[key]) for key, run in found.items()}


def first_seeds(grid: Sequence[Run], count: int | None) -> list[Run]:
    """Return the runs of a grid that have one of its first `count` seeds; None: all of them."""
    seeds = list(dict.fromkeys(run.seed for run in grid))[:count]
    return [run for run in grid if run.seed in seeds]


def keeps_weights(run: Run) -> bool:
    """Whether saved results include the run's weights, for figures that show its model.

    These are VDSR's pair at x2 and x3, as in the paper: seed 0, the authors' weight of GV.
    """
    pair = run.model == "vdsr" and run.scale in (2, 3) and run.loss in GV_PAIR
    plain = run.gv_weight == AUTHORS_GV and run.pixel_weight == 1
    plain = plain and not (run.start_steps or run.lengths_from)
    recipe = run.recipe == "tuned" or (run.recipe == "official" and run.size == "paper")
    return pair and plain and recipe and run.seed == 0


def factors(rows: pd.DataFrame) -> pd.Series:
    """Return each result row's regulariser weight as a multiple of the authors'; 0 without one."""
    gv = rows["gv_weight"] / AUTHORS_GV
    tv = rows["tv_weight"] * rows["batch_size"] * rows["crop_size"] ** 2 / AUTHORS_TV2
    return gv.fillna(tv).fillna(0).round(6)


def with_tv2(run: Run, factor: float) -> Run:
    """Return the run with TV's weight at `factor` times the authors', counted per pixel."""
    return replace(run, tv_weight=AUTHORS_TV2 * factor / (run.batch_size * run.crop_size**2))


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


def _official_run(grid_size: str, /, **fields: Any) -> Run:
    """Make a run of the authors' training in the grid's size, with crops that fit the scale."""
    fields = OFFICIAL_SIZES[grid_size] | fields
    scale = fields.get("scale", 2)
    fields["crop_size"] = fields["crop_size"] // scale * scale
    return with_tv2(Run(**fields), 1)


def _planned_run(grid_size: str, /, **fields: Any) -> Run:
    """Make a run of a planned experiment: the authors' training, in float32 on every machine."""
    return _official_run(grid_size, precision="float32", **fields)


def _script_run(grid_size: str, /, **fields: Any) -> Run:
    """Make such a run that starts from the initial weights of the authors' script."""
    return _planned_run(grid_size, fan="fan_out", **fields)


def _end_run(
    grid_size: str, seed: int, model: str, weight: float, rate: float, *, quarter: bool = False
) -> Run:
    """Make a run of experiments 8 and 18, or a trial with a quarter of the steps."""
    fields = {"model": model, "train_set": "BSDS500", "precision": "float32"} | TO_THE_END[model]
    if grid_size in SMALL:
        fields |= GRID_SIZES[grid_size]
    if quarter:
        fields["steps"] = max(FEWEST_STEPS, fields["steps"] // 4)
    base, with_gv = _with_and_without_gv(model)
    loss = {"loss": with_gv, "gv_weight": weight} if weight else {"loss": base}
    return Run(seed=seed, learning_rate=rate, **loss, **fields)


def _rival_runs(
    grid_size: str,
    seed: int,
    weights: Iterable[tuple[str, float]],
    /,
    *,
    precision: str,
    pixel: str = "",
    **cell: Any,
) -> list[Run]:
    """Make one seed of experiments 10, 12 to 17 and 19: a pixel loss, alone and with these rivals.

    `cell` says what differs from VDSR at x2. The pixel loss is by default the model's own.
    """
    fields: dict[str, Any] = {"train_set": "BSDS500", "steps": RIVAL_STEPS, "recipe": "tuned"}
    if grid_size in SMALL:
        fields |= GRID_SIZES[grid_size]
    fields |= {"seed": seed, "precision": precision} | cell
    pixel = pixel or BASES[fields.get("model", "vdsr")]
    return [
        Run(loss=pixel, **fields),
        *(
            Run(loss=f"{pixel}+{rival}", gv_weight=weight, tv_weight=weight, **fields)
            for rival, weight in weights
        ),
    ]


def _colour_runs(grid_size: str, seed: int, /, **options: Any) -> list[Run]:
    """Make one seed of experiments 13 to 17: L1, and the trials' choice beside it."""
    pixel, weight = COLOUR_CHOSEN
    added = [("maps-charbonnier-rgb", weight)]
    return _rival_runs(grid_size, seed, added, pixel=pixel, **options)


def _full_colour_runs(
    grid_size: str, seed: int, model: str, times: int, /, *, learning_rate: float
) -> list[Run]:
    """Make L1 and that loss in full size, at x2, with so many times the steps."""
    fields: dict[str, Any] = {"model": model, "precision": "float32"}
    if grid_size not in SMALL:
        fields |= {"size": "paper", "steps": times * RIVAL_STEPS}
    return _colour_runs(grid_size, seed, learning_rate=learning_rate, **fields)


def _colour_and_bases(grid_size: str, seeds: Iterable[int], /, **options: Any) -> list[Run]:
    """Make L2, L1, and the trials' choice beside it, of each seed."""
    return [
        run
        for seed in seeds
        for run in (
            *_rival_runs(grid_size, seed, [], pixel="l2", **options),
            *_colour_runs(grid_size, seed, **options),
        )
    ]


def _first_rivals(grid_size: str, seed: int, /, **cell: Any) -> list[Run]:
    """Make the runs of one seed with the first three rivals, at the weights of their trials."""
    weights = RIVALS_CHOSEN_EDSR if cell.get("model") == "edsr" else RIVALS_CHOSEN
    chosen = [(rival, weights[rival]) for rival in RIVALS_FIRST]
    return _rival_runs(grid_size, seed, chosen, precision="float32", **cell)


def _around_centres(size: str, rivals: Iterable[str]) -> list[tuple[str, float]]:
    """Return each of these rivals with the weights of its trials."""
    return [
        (rival, round(RIVALS[rival] * factor, 9))
        for rival in rivals
        for factor in _tried(size, RIVAL_FACTORS)
    ]


def _rival_trials(grid_size: str, tried: Sequence[tuple[str, float]], /, **cell: Any) -> list[Run]:
    """Make the trials of these rivals' weights, in bfloat16, all rivals of a seed before the next.

    The older trials of this recipe were trained in bfloat16, too.
    """
    return [
        run
        for trial in _seeds(grid_size, 4)
        for run in _rival_runs(grid_size, TRIAL_SEED + trial, tried, precision="bfloat16", **cell)
    ]


def _constant_trials(grid_size: str, losses: Sequence[str], /, **cell: Any) -> list[Run]:
    """Make the trials that choose a constant for each of these losses."""
    return [
        _planned_run(grid_size, loss=loss, seed=TRIAL_SEED + trial, pixel_weight=constant, **cell)
        for trial in _seeds(grid_size, 2)
        for constant in _tried(grid_size, CONSTANTS)
        for loss in losses
    ]


def _with_and_without_gv(model: str) -> tuple[str, str]:
    """Return the model's own pixel loss, and the same with GV."""
    return BASES[model], f"{BASES[model]}+gv"


def _scaled(model: str, scale: int) -> list[dict[str, Any]]:
    """Return the model's pixel loss and the same with GV, each times its best constant."""
    return [
        {"loss": loss, "pixel_weight": BEST_CONSTANT[model, scale, loss]}
        for loss in _with_and_without_gv(model)
    ]


def _new(size: str, count: int, seeds: Sequence[int] = SEEDS_NEW) -> Sequence[int]:
    """Return the first of the seeds that decide; one of them in a small size."""
    return seeds[: 1 if size in SMALL else count]


def _new_and_seen(size: str) -> Sequence[int]:
    """Return the seeds that decide, then those of older results; one of them in a small size."""
    return _new(size, 1) if size in SMALL else [*SEEDS_NEW, *SEEDS_SEEN]


def _at_best(size: str, recipe: str, seeds: int) -> list[Run]:
    """Make the runs of one recipe, every loss at its best learning rate."""
    return [
        _official_run(size, loss=loss, seed=seed, recipe=recipe, learning_rate=rate)
        for seed in _seeds(size, seeds)
        for (of, loss), rate in BEST.items()
        if of == recipe
    ]


def _tried(size: str, values: Sequence[float]) -> Sequence[float]:
    """Return the values that trials try: all of them, or every second in a small size."""
    return values[::2] if size in SMALL else values


def _seeds(size: str, count: int, *, small: int = 1) -> range:
    """Return `count` seeds, as many as a verdict needs, or `small` of them in a small size."""
    return range(small if size in SMALL else count)
