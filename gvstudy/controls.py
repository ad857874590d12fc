"""The controls: grids of paired runs that ask when GV helps, and the list of all grids."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import product
from typing import Any

from gvstudy.gradients import PADDINGS
from gvstudy.grids import (
    AUTHORS_GV,
    BASES,
    FACTORS,
    OFFICIAL,
    SIZES,
    SMALL,
    TABLES,
    TRIAL_SEED,
    first_seeds,
    with_tv2,
)
from gvstudy.runs import Run, distinct

PAIR = ("l2", "l2+gv")
STEERED = {"loss": "l2+gv", "recipe": "official-pixel-only"}  # the control of GV's steps
ARMS = (*PAIR, "l1", "l1+gv", "l2+tv2")
RATES: dict[str, tuple[float, ...]] = {  # tried for every arm, by recipe
    "official": (0.016, 0.04, 0.1, 0.25, 0.6, 1.5),
    "official-adam": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2),
    "published-vdsr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 0.1),  # its own rate, 0.1, and smaller ones
}
BEST = {  # by the kept results `rates`: highest PSNR, luma
    ("official", "l2"): 0.1,
    ("official", "l2+gv"): 0.1,
    ("official", "l1"): 0.04,
    ("official-adam", "l2"): 3e-3,
    ("official-adam", "l2+gv"): 3e-3,
    ("published-vdsr", "l2"): 0.01,
    ("published-vdsr", "l2+gv"): 3e-3,
}
BUDGETS = (3, 10, 30)  # times the official number of steps
TV_FACTORS = (*FACTORS, 100)
WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of GV; the authors' is the middle one
PATCH_SIZES = (4, 8, 16, 32)
_SMALL: dict[str, Any] = {"size": "reduced", "batch_size": 16, "crop_size": 48}
_BUILT_IN = {"train_set": "builtin-train"}
BRIEF: dict[str, dict[str, Any]] = {  # the authors' training of VDSR at x2, by size of the grid
    "smoke": OFFICIAL | _SMALL | _BUILT_IN | SIZES["smoke"],
    "quick": OFFICIAL | _SMALL | _BUILT_IN | {"batch_size": 4, "crop_size": 36},
    "reduced": OFFICIAL | _SMALL,
    "full": OFFICIAL,
}


def arms(size: str) -> list[Run]:
    """The official recipe at its own learning rate: L2 and L1, alone and with GV, L2 + TV."""
    return [_brief(size, loss=loss, seed=seed) for seed in _seeds(size, 8) for loss in ARMS]


def again(size: str) -> list[Run]:
    """L2, L2 + GV, the control of its steps and L2 + TV with sixteen further seeds.

    Eight left the PSNR undecided. These are looked at by themselves, so that the first eight, which
    asked for them, have no say.
    """
    return [
        _brief(size, seed=8 + seed, **fields)
        for seed in range(2 if size in SMALL else 16)
        for fields in (*({"loss": loss} for loss in (*PAIR, "l2+tv2")), STEERED)
    ]


def scales(size: str) -> list[Run]:
    """L2, L2 + GV and the control of its steps at x3 and x4, as `again` has them at x2."""
    return [
        _brief(size, seed=seed, scale=scale, **fields)
        for seed in _seeds(size, 16)
        for scale in (3, 4)
        for fields in (*({"loss": loss} for loss in PAIR), STEERED)
    ]


def models(size: str) -> list[Run]:
    """The official recipe with EDSR and ESPCN, each with its own pixel loss, alone and with GV.

    Their crops and steps are those of VDSR; three channels come out, as they have no other way.
    """
    return [
        _brief(size, model=model, scale=scale, loss=loss, seed=seed, channels="rgb", size=width)
        for seed in _seeds(size, 8)
        for scale in (2, 3, 4)
        for model, width in (("edsr", BRIEF[size]["size"]), ("espcn", "paper"))
        for loss in (BASES[model], f"{BASES[model]}+gv")
    ]


def rates(size: str) -> list[Run]:
    """The trials that learning rates are chosen by, as many for every arm."""
    return [
        _brief(size, loss=loss, seed=TRIAL_SEED + trial, recipe=recipe, learning_rate=rate)
        for trial in _seeds(size, 2)
        for recipe, loss in BEST
        for rate in (RATES[recipe][2:4] if size in SMALL else RATES[recipe])
    ]


def best(size: str) -> list[Run]:
    """Every arm of the official recipe at its best learning rate."""
    return _at_best(size, "official", 8)


def adam(size: str) -> list[Run]:
    """The official recipe with another optimiser, at its best learning rate."""
    return _at_best(size, "official-adam", 6)


def pixel_only(size: str) -> list[Run]:
    """Steps as long as those of L2 + GV, in the direction of L2 alone."""
    return [_brief(size, seed=seed, **STEERED) for seed in _seeds(size, 8)]


def own(size: str) -> list[Run]:
    """VDSR's own loss, half the sum of squares, and its own clipping, at the best rate."""
    return _at_best(size, "published-vdsr", 6)


def budget(size: str) -> list[Run]:
    """The official recipe, longer."""
    return [
        _brief(size, loss=loss, seed=seed, steps=times * BRIEF[size]["steps"])
        for times in BUDGETS
        if size not in SMALL or times == 3
        for seed in _seeds(size, 6)
        for loss in PAIR
    ]


def finetuned(size: str) -> list[Run]:
    """A model trained with L2, then a quarter more steps with L2 or with L2 + GV."""
    steps = SIZES[size]["steps"]
    fields = SIZES[size] | {"start_steps": steps, "steps": max(3, steps // 4)}
    return [
        Run(loss=loss, seed=seed, learning_rate=5e-4, **fields)
        for seed in _seeds(size, 6)
        for loss in PAIR
    ]


def sweep(size: str) -> list[Run]:
    """GV's weight, patch size and padding, and TV's weight; recipe `tuned`, seeds of trials."""
    whole = list(product(PATCH_SIZES, PADDINGS, WEIGHTS))
    if size in SMALL:  # one at a time, from the authors' own setting
        own = (8, "zeros", AUTHORS_GV)
        whole = [one for one in whole if sum(a != b for a, b in zip(one, own, strict=True)) < 2]
    gv: list[dict[str, Any]] = [
        {"loss": "l2+gv", "patch_size": patch, "padding": padding, "gv_weight": weight}
        for patch, padding, weight in whole
    ]
    run = Run(**({"seed": TRIAL_SEED} | SIZES[size]))
    tv = [
        with_tv2(replace(run, loss="l2+tv2"), factor)
        for factor in (TV_FACTORS[2:] if size in SMALL else TV_FACTORS)
    ]
    return [run, *(replace(run, **fields) for fields in gv), *tv]


def _brief(of: str, /, **fields: Any) -> Run:
    """The authors' training in the grid's size, with their weights; crops fit the scale."""
    fields = BRIEF[of] | fields
    scale = fields.get("scale", 2)
    fields["crop_size"] = fields["crop_size"] // scale * scale
    return with_tv2(Run(**fields), 1)


def _at_best(size: str, recipe: str, seeds: int) -> list[Run]:
    return [
        _brief(size, loss=loss, seed=seed, recipe=recipe, learning_rate=rate)
        for seed in _seeds(size, seeds)
        for (of, loss), rate in BEST.items()
        if of == recipe
    ]


def _seeds(size: str, count: int) -> range:
    return range(1 if size in SMALL else count)


CONTROLS: dict[str, Callable[[str], list[Run]]] = {
    "arms": arms,
    "again": again,
    "scales": scales,
    "models": models,
    "rates": rates,
    "best": best,
    "adam": adam,
    "pixel-only": pixel_only,
    "own": own,
    "budget": budget,
    "finetuned": finetuned,
    "sweep": sweep,
}
GRIDS = TABLES | CONTROLS


def runs_of(names: Iterable[str], size: str, seeds: int | None = None) -> dict[Run, str]:
    """The runs of the named grids, each once, and the names of those grids that it is in.

    With `seeds`, only the first so many of each grid's. Raises ValueError for an unknown grid.
    """
    found: dict[str, Run] = {}
    told: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name not in GRIDS:
            raise ValueError(f"unknown grid {name!r}; known: {', '.join(GRIDS)}")
        for run in distinct(first_seeds(GRIDS[name](size), seeds)):
            found.setdefault(run.key, run)
            told.setdefault(run.key, []).append(name)
    return {run: " ".join(told[key]) for key, run in found.items()}
