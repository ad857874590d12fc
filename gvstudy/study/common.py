"""What the grids share: sizes, the authors' recipe and weights, seeds, and test pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from gvstudy.config import Run
from gvstudy.validation import check_choice

BASES = {"vdsr": "l2", "edsr": "l1", "espcn": "l2"}  # each model's own pixel loss
PIXELS, ADDED = ("l2", "l1", "ssim"), ("", "+tv2", "+gv")  # of the paper's table 2
GV_PAIR = ("l2", "l2+gv")  # the comparison that the paper's claim is about
AUTHORS_GV = 0.01
AUTHORS_TV2 = 1e-8 * 64 * 128**2  # the authors sum over 64 crops of 128 x 128 pixels; we average
BUDGETS = (3, 10, 30)  # multiples of the authors' number of steps
CELLS: tuple[dict[str, Any], ...] = (  # where the best constant is looked for besides VDSR at x2
    {"model": "vdsr", "scale": 3},
    {"model": "vdsr", "scale": 4},
    {"model": "edsr", "scale": 2, "channels": "rgb"},
    {"model": "espcn", "scale": 2, "channels": "rgb", "size": "paper"},
)
SEEDS_NEW = range(24, 40)  # first used after the plan was committed; these decide
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
        "smoke": ("builtin-valid_centre192", "builtin-test_centre192"),
        "quick": ("builtin-valid", "builtin-test"),
    }
    return small.get(size, (TRIAL_SET, "DIV2K_valid_centre256"))


def factors(rows: pd.DataFrame) -> pd.Series:
    """Return each result row's regulariser weight as a multiple of the authors'; 0 without one."""
    gv = rows["gv_weight"] / AUTHORS_GV
    tv = rows["tv_weight"] * rows["batch_size"] * rows["crop_size"] ** 2 / AUTHORS_TV2
    return gv.fillna(tv).fillna(0).round(6)


def with_tv2(run: Run, factor: float) -> Run:
    """Return the run with TV's weight at `factor` times the authors', counted per pixel."""
    return replace(run, tv_weight=AUTHORS_TV2 * factor / (run.batch_size * run.crop_size**2))


def official_run(grid_size: str, /, **fields: Any) -> Run:
    """Make a run of the authors' training in the grid's size, with crops that fit the scale."""
    fields = OFFICIAL_SIZES[grid_size] | fields
    scale = fields.get("scale", 2)
    fields["crop_size"] = fields["crop_size"] // scale * scale
    return with_tv2(Run(**fields), 1)


def with_and_without_gv(model: str) -> tuple[str, str]:
    """Return the model's own pixel loss, and the same with GV."""
    return BASES[model], f"{BASES[model]}+gv"


def deciding_seeds(size: str, count: int, seeds: Sequence[int] = SEEDS_NEW) -> Sequence[int]:
    """Return the first of the seeds that decide; one of them in a small size."""
    return seeds[: 1 if size in SMALL else count]


def to_try(size: str, values: Sequence[float], every: int = 2) -> Sequence[float]:
    """Return the values that trials try: all of them, or every second or so in a small size."""
    return values[::every] if size in SMALL else values


def seeds_from_zero(size: str, count: int, *, small: int = 1) -> range:
    """Return the seeds from 0: `count` of them, or `small` of them in a small size."""
    return range(small if size in SMALL else count)
