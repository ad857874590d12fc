"""The study's grids by name, and the runs of some of them.

Each is a function of `size`, a key of `GRID_SIZES`, and returns the runs in the order of training.
"""

from collections.abc import Callable, Iterable, Sequence

from gvstudy.config import Run, distinct
from gvstudy.study import planned_adam, planned_official, tables
from gvstudy.study.common import AUTHORS_GV, GRID_SIZES, GV_PAIR
from gvstudy.validation import check_choice

GRIDS: dict[str, Callable[[str], list[Run]]] = {
    grid.__name__.replace("_", "-"): grid
    for grid in (*tables.GRIDS, *planned_official.GRIDS, *planned_adam.GRIDS)
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
