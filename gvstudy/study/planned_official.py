"""Planned experiments by the authors' recipe: 1 to 6, 9, 11 and 20 of `data/reference/PLAN.md`.

They are computed in float32 on every machine, and the variants of a seed are adjacent, so that
pairs are complete early.
"""

from collections.abc import Sequence
from typing import Any

from gvstudy.config import Run
from gvstudy.study.common import (
    ADDED,
    BUDGETS,
    CELLS,
    GV_PAIR,
    OFFICIAL_SIZES,
    PIXELS,
    PLAIN,
    RESCALED,
    SEEDS_NEW,
    SMALL,
    TRIAL_SEED,
    deciding_seeds,
    official_run,
    seeds_from_zero,
    to_try,
    with_and_without_gv,
)

CONSTANTS = (1, 3, 10, 30, 100, 300)  # factors on the loss that are tried, by loss
LARGER_CONSTANTS = (1000, 3000)  # tried later, as the largest of these was the best
LONGER_CONSTANTS = (1, 10, 30, 100)  # likewise at ten times the steps
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
BEST_CONSTANT_LARGER = 1000  # for L2 and L2+GV, of all up to 3000, in `larger_constant_trials`
BEST_CONSTANT_LONGER = {"l2": 100, "l2+gv": 100}  # at ten times the steps, in `longer_trials`
SEEDS_SEEN = range(24)  # of the authors' recipe in older results
SEEDS_FAN_OUT = range(40, 56)  # decide experiment 11
SEEDS_EXACT = range(1, 9)  # decide experiment 9
SEEDS_LARGER = range(86, 94)  # decide experiment 20
# L2's direction with the step lengths of L2 + GV, and the other way round.
YOKED: dict[str, Any] = {"loss": "l2", "lengths_from": "l2+gv"}
MIRROR: dict[str, Any] = {"loss": "l2+gv", "lengths_from": "l2"}


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
        for seed in deciding_seeds(size, 16)
        for constant in (3, 10, 30)
    ]


def other_constant_trials(size: str) -> list[Run]:
    """Experiment 1: the same trials at x3 and x4, and at x2 with EDSR and ESPCN.

    Each model has its own pixel loss. Measure them on `TRIAL_SET`.
    """
    return [
        run
        for cell in CELLS
        for run in _constant_trials(size, with_and_without_gv(cell["model"]), **cell)
    ]


def other_constants(size: str) -> list[Run]:
    """Experiment 1: base and base + GV, each times its best constant, in the same four cells."""
    return [
        _planned_run(size, seed=seed, **cell, **variant)
        for seed in deciding_seeds(size, 8)
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
        for seed in deciding_seeds(size, 8)
        for variant in (YOKED | {"lengths_of": "clipped"}, *undecayed)
    ]


def large_crops(size: str) -> list[Run]:
    """Experiment 3: two crops a batch, as large as the authors', at x2, x3 and x4.

    The constants are those that small crops chose at the same scale.
    """
    crops = {"batch_size": 2} | ({} if size in SMALL else {"crop_size": 128})
    return [
        _planned_run(size, scale=scale, seed=seed, **crops, **variant)
        for seed in deciding_seeds(size, 16)
        for scale in (2, 3, 4)
        for variant in (*PLAIN, *_scaled("vdsr", scale))
    ]


def valid_padding(size: str) -> list[Run]:
    """Experiment 3: small crops at x3 and x4, with GV that leaves out the frame."""
    return [
        _planned_run(size, scale=scale, seed=seed, padding="valid", **variant)
        for seed in deciding_seeds(size, 8)
        for scale in (3, 4)
        for variant in PLAIN
    ]


def fan_out_trials(size: str) -> list[Run]:
    """Experiment 11: the trials of a constant, with initial weights as in the authors' script.

    Measure them on `TRIAL_SET`.
    """
    return _constant_trials(size, GV_PAIR, fan="fan_out")


def larger_constant_trials(size: str) -> list[Run]:
    """Experiment 20: the same trials with larger constants.

    Measure them on `TRIAL_SET`.
    """
    return _constant_trials(size, GV_PAIR, LARGER_CONSTANTS, fan="fan_out")


def larger_constants(size: str) -> list[Run]:
    """Experiment 20: L2 and L2 + GV, each times the constant that these trials chose."""
    return [
        _script_run(size, seed=seed, loss=loss, pixel_weight=BEST_CONSTANT_LARGER)
        for seed in deciding_seeds(size, 8, SEEDS_LARGER)
        for loss in GV_PAIR
    ]


def fan_out_lengths(size: str) -> list[Run]:
    """Experiment 11: L2 and L2 + GV, and each with the other's step lengths, likewise."""
    return [
        _script_run(size, seed=seed, **variant)
        for seed in deciding_seeds(size, 16, SEEDS_FAN_OUT)
        for variant in (*PLAIN, YOKED, MIRROR)
    ]


def fan_out_constants(size: str) -> list[Run]:
    """Experiment 11: L2 and L2 + GV, each times its best constant, likewise."""
    return [
        _script_run(size, seed=seed, loss=loss, pixel_weight=BEST_CONSTANT_FAN_OUT[loss])
        for seed in deciding_seeds(size, 16, SEEDS_FAN_OUT)
        for loss in GV_PAIR
    ]


def fan_out_small_constants(size: str) -> list[Run]:
    """Experiment 11, described only: 3, 10 and 30 times L2, likewise."""
    return [
        _script_run(size, seed=seed, loss="l2", pixel_weight=constant)
        for seed in deciding_seeds(size, 16, SEEDS_FAN_OUT)
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
        for seed in deciding_seeds(size, 8)
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
        for seed in deciding_seeds(size, 8)
        for times in budgets
        for variant in (*PLAIN, *scaled, *([YOKED] if times == budgets[0] else []))
    ]


def full_size(size: str) -> list[Run]:
    """Experiment 6: VDSR with 20 layers of 64 channels, likewise; as it is and times constants."""
    return [
        _script_run(size, size="paper", seed=seed, **variant)
        for seed in deciding_seeds(size, 8)
        for variant in IN_FULL
    ]


def exact(size: str) -> list[Run]:
    """Experiment 9: the same in full, on 64 crops of 128, as the authors train it; for a GPU."""
    return [
        _script_run(size if size in SMALL else "full", seed=seed, **variant)
        for seed in deciding_seeds(size, 8, SEEDS_EXACT)
        for variant in IN_FULL
    ]


GRIDS = (
    constant_trials,
    constants,
    small_constants,
    other_constant_trials,
    other_constants,
    lengths,
    lengths_checks,
    large_crops,
    valid_padding,
    fan_out_trials,
    larger_constant_trials,
    larger_constants,
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


def _planned_run(grid_size: str, /, **fields: Any) -> Run:
    """Make a run of a planned experiment: the authors' training, in float32 on every machine."""
    return official_run(grid_size, precision="float32", **fields)


def _script_run(grid_size: str, /, **fields: Any) -> Run:
    """Make such a run that starts from the initial weights of the authors' script."""
    return _planned_run(grid_size, fan="fan_out", **fields)


def _constant_trials(
    grid_size: str,
    losses: Sequence[str],
    tried: Sequence[float] = CONSTANTS,
    /,
    **cell: Any,
) -> list[Run]:
    """Make the trials that choose one of the constants for each of these losses."""
    return [
        _planned_run(grid_size, loss=loss, seed=TRIAL_SEED + trial, pixel_weight=constant, **cell)
        for trial in seeds_from_zero(grid_size, 2)
        for constant in to_try(grid_size, tried)
        for loss in losses
    ]


def _scaled(model: str, scale: int) -> list[dict[str, Any]]:
    """Return the model's pixel loss and the same with GV, each times its best constant."""
    return [
        {"loss": loss, "pixel_weight": BEST_CONSTANT[model, scale, loss]}
        for loss in with_and_without_gv(model)
    ]


def _new_and_seen(size: str) -> Sequence[int]:
    """Return the seeds that decide, then those of older results; one of them in a small size."""
    return deciding_seeds(size, 1) if size in SMALL else [*SEEDS_NEW, *SEEDS_SEEN]
