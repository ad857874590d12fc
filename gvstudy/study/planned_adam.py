"""Planned experiments with Adam: 8, 10 and 12 to 19 of `data/reference/PLAN.md`.

The variants of a seed are adjacent, so that pairs are complete early.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from gvstudy.config import FEWEST_STEPS, Run
from gvstudy.study.common import (
    AUTHORS_GV,
    BASES,
    CELLS,
    GRID_SIZES,
    SMALL,
    TRIAL_SEED,
    deciding_seeds,
    seeds_from_zero,
    to_try,
    with_and_without_gv,
)

CELLS_AT_X2 = CELLS[2:]  # other models than VDSR
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
SEEDS_EDGE = range(30, 40)  # decide experiment 12
SEEDS_COLOUR = range(40, 50)  # decide experiment 13
SEEDS_ELSEWHERE = range(50, 56)  # decide experiment 14
SEEDS_FULL = range(60, 66)  # decide experiment 16
SEEDS_MODELS = range(66, 72)  # decide experiment 17
SEEDS_LONG = range(72, 78)  # decide experiment 18
SEEDS_EQUAL = range(78, 86)  # decide experiment 19


def to_the_end_rates(size: str) -> list[Run]:
    """Experiment 8: the trials of a learning rate for the pixel loss and both weights of GV.

    They take a quarter of the steps. Measure them on `TRIAL_SET`.
    """
    return [
        _end_run(size, TRIAL_SEED, model, weight, rate, quarter=True)
        for model in BASES
        for rate in to_try(size, END_RATES[model])
        for weight in END_WEIGHTS
    ]


def to_the_end(size: str) -> list[Run]:
    """Experiment 8: the pixel loss and both weights of GV, each at the best rate of its trials."""
    return [
        _end_run(size, seed, model, weight, BEST_END_RATE[model, weight])
        for seed in deciding_seeds(size, 6)
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
        for seed in deciding_seeds(size, 6)
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
        run
        for seed in deciding_seeds(size, 6)
        for cell in CELLS
        for run in _first_rivals(size, seed, **cell)
    ]


def longer_rivals(size: str) -> list[Run]:
    """Experiment 10: the first three rivals at x2, with ten times the steps."""
    steps = 3 * GRID_SIZES[size]["steps"] if size in SMALL else 10 * RIVAL_STEPS
    return [
        run for seed in deciding_seeds(size, 6) for run in _first_rivals(size, seed, steps=steps)
    ]


def rivals_best_rate(size: str) -> list[Run]:
    """Experiment 10: L2 and the first rival at x2, both at the best rate of their trials."""
    first = [next(iter(RIVALS_CHOSEN.items()))]
    rate = BEST_RIVAL_RATE
    return [
        run
        for seed in deciding_seeds(size, 6)
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
        for seed in deciding_seeds(size, 10, SEEDS_EDGE)
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
    return _colour_and_bases(size, deciding_seeds(size, 10, SEEDS_COLOUR), precision="float32")


def colour_elsewhere(size: str) -> list[Run]:
    """Experiment 14: the same loss beside L1 at x3 and x4, and at x2 with EDSR and ESPCN."""
    return [
        run
        for seed in deciding_seeds(size, 6, SEEDS_ELSEWHERE)
        for cell in CELLS
        for run in _colour_runs(size, seed, precision="float32", **cell)
    ]


def colour_longer(size: str) -> list[Run]:
    """Experiment 14: the same with VDSR at x2 and ten times the steps."""
    steps = 3 * GRID_SIZES[size]["steps"] if size in SMALL else 10 * RIVAL_STEPS
    return [
        run
        for seed in deciding_seeds(size, 6, SEEDS_ELSEWHERE)
        for run in _colour_runs(size, seed, precision="float32", steps=steps)
    ]


def colour_rates(size: str) -> list[Run]:
    """Experiment 15: the trials of a learning rate for L2, L1 and that loss, in bfloat16.

    Measure them on `TRIAL_SET`.
    """
    return [
        run
        for trial in seeds_from_zero(size, 2)
        for rate in to_try(size, COLOUR_RATES)
        for run in _colour_and_bases(
            size, [TRIAL_SEED + trial], precision="bfloat16", learning_rate=rate
        )
    ]


def colour_best_rate(size: str) -> list[Run]:
    """Experiment 15: L2, L1 and that loss, at the rate that is best for each of them."""
    seeds = deciding_seeds(size, 6, SEEDS_ELSEWHERE)
    return _colour_and_bases(size, seeds, precision="float32", learning_rate=BEST_COLOUR_RATE)


def colour_model_rates(size: str) -> list[Run]:
    """Experiment 17: the trials of a learning rate for L1 and that loss, with EDSR and ESPCN.

    Measure them on `TRIAL_SET`.
    """
    return [
        run
        for trial in seeds_from_zero(size, 2)
        for rate in to_try(size, MODEL_RATES, every=3)
        for cell in CELLS_AT_X2
        for run in _colour_runs(
            size, TRIAL_SEED + trial, precision="float32", learning_rate=rate, **cell
        )
    ]


def colour_models(size: str) -> list[Run]:
    """Experiment 17: L1 and that loss with EDSR and ESPCN, at the best rate of their trials."""
    return [
        run
        for seed in deciding_seeds(size, 6, SEEDS_MODELS)
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
        for rate in to_try(size, FULL_RATES)
        for run in _full_colour_runs(size, TRIAL_SEED, model, 2, learning_rate=rate)
    ]


def colour_full(size: str) -> list[Run]:
    """Experiment 16: L1 and that loss with VDSR in full size and ten times the steps; for a GPU."""
    return [
        run
        for seed in deciding_seeds(size, 6, SEEDS_FULL)
        for run in _full_colour_runs(size, seed, "vdsr", 10, learning_rate=BEST_FULL_RATE)
    ]


def long_rates(size: str) -> list[Run]:
    """Experiment 18: the trials of experiment 8's rates again, longer and smaller, two models.

    They take all steps. Measure them on `TRIAL_SET`.
    """
    return [
        _end_run(size, TRIAL_SEED + trial, model, weight, rate)
        for trial in seeds_from_zero(size, 2)
        for model, rates in LONG_RATES.items()
        for rate in to_try(size, rates)
        for weight in END_WEIGHTS
    ]


def long_best_rate(size: str) -> list[Run]:
    """Experiment 18: the pixel loss and both weights of GV, each at the best rate of these trials.

    With EDSR they haven't chosen yet.
    """
    return [
        _end_run(size, seed, model, weight, rate)
        for seed in deciding_seeds(size, 6, SEEDS_LONG)
        for (model, weight), rate in BEST_LONG_RATE.items()
    ]


def equal_variance(size: str) -> list[Run]:
    """Experiment 19: the rivals that reach GV's variance ratio, at the weights where they do."""
    return [
        run
        for seed in deciding_seeds(size, 8, SEEDS_EQUAL)
        for run in _rival_runs(size, seed, RIVALS_MATCHED.items(), precision="float32")
    ]


GRIDS = (
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
)


def _end_run(
    grid_size: str, seed: int, model: str, weight: float, rate: float, *, quarter: bool = False
) -> Run:
    """Make a run of experiments 8 and 18, or a trial with a quarter of the steps."""
    fields = {"model": model, "train_set": "BSDS500", "precision": "float32"} | TO_THE_END[model]
    if grid_size in SMALL:
        fields |= GRID_SIZES[grid_size]
    if quarter:
        fields["steps"] = max(FEWEST_STEPS, fields["steps"] // 4)
    base, with_gv = with_and_without_gv(model)
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
        for factor in to_try(size, RIVAL_FACTORS)
    ]


def _rival_trials(grid_size: str, tried: Sequence[tuple[str, float]], /, **cell: Any) -> list[Run]:
    """Make the trials of these rivals' weights, in bfloat16, all rivals of a seed before the next.

    The older trials of this recipe were trained in bfloat16, too.
    """
    return [
        run
        for trial in seeds_from_zero(grid_size, 4)
        for run in _rival_runs(grid_size, TRIAL_SEED + trial, tried, precision="bfloat16", **cell)
    ]
