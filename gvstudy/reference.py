"""Results kept with the project: each run's description and origin, and its rows by image."""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from safetensors.torch import load as load_weights
from safetensors.torch import save_file
from torch import nn

from gvstudy import study
from gvstudy.controls import runs_of
from gvstudy.evaluation import METRICS
from gvstudy.files import package_data, replacing, runs_folder
from gvstudy.grids import SIZES, test_sets
from gvstudy.models import build_model
from gvstudy.runs import Run

RUNS, ROWS, FRESH = "runs.csv", "rows.csv.gz", "fresh:"
_KEYS = ["run", "set", "image"]


def save(
    folder: Path,
    rows: pd.DataFrame,
    origins: pd.DataFrame,
    models: Mapping[str, nn.Module] | None = None,
) -> None:
    """Write results as `study.results` gives them, and `origins` of the same runs.

    `runs.csv` has a row a run: its id, description and origin; `rows.csv.gz` one an image. The
    `models`, by run id, are those that figures show; half precision is enough for that.
    """
    described = rows.drop(columns=["set", "image", *METRICS]).drop_duplicates("run")
    runs = described.merge(origins, on="run", validate="one_to_one").sort_values("run")
    figures = rows[[*_KEYS, *METRICS]].sort_values(_KEYS)
    with replacing(folder / RUNS) as temporary:
        runs.to_csv(temporary, index=False)
    with replacing(folder / ROWS) as temporary:
        told = figures.to_csv(index=False).encode()
        temporary.write_bytes(gzip.compress(told, mtime=0))  # the same file for the same rows
    for run, model in (models or {}).items():
        weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
        with replacing(folder / f"{run}.safetensors") as temporary:
            save_file(weights, temporary)


def origins(runs: Mapping[Run, str]) -> pd.DataFrame:
    """Where finished runs come from, a row a run, and which `grids` they are in."""
    return study.origins(runs).assign(grids=list(runs.values()))


def load(name: str, grids: Sequence[str] = (), sets: Sequence[str] = ()) -> pd.DataFrame:
    """The kept results of that name, with their origins; or fresh ones.

    Where `grids` are named, only the runs of those. `fresh:SIZE`, such as "fresh:reduced", stands
    for the runs of the named grids in that size, measured on `sets` (`grids.test_sets` where none
    are named): what isn't in the store of runs is computed here. Raises ValueError for an unknown
    name.
    """
    if name.startswith(FRESH):
        size = name.removeprefix(FRESH)
        if size not in SIZES:
            raise ValueError(f"unknown size in {name!r}; known: {', '.join(SIZES)}")
        runs = runs_of(grids, size)
        return study.results(runs, sets or test_sets(size)).merge(origins(runs), on="run")
    kept = package_data("reference")
    known = sorted(entry.name for entry in kept.iterdir() if (entry / RUNS).is_file())
    if name not in known:
        raise ValueError(
            f"unknown results {name!r}; known: {', '.join(known)}, and {FRESH}SIZE with a size of "
            f"{', '.join(SIZES)}"
        )
    with (kept / name / RUNS).open("rb") as file:
        about_runs = pd.read_csv(file)
    with (kept / name / ROWS).open("rb") as file:
        rows = pd.read_csv(file, compression="gzip", dtype={"image": str})
    if grids:
        of_run = about_runs["grids"].str.split()
        if unknown := set(grids) - set(of_run.explode()):
            raise ValueError(
                f"no runs of {', '.join(sorted(unknown))} among the results {name!r}; known: "
                f"{', '.join(sorted(set(of_run.explode())))}"
            )
        about_runs = about_runs[~of_run.map(set(grids).isdisjoint)]
    return rows.merge(about_runs, on="run", validate="many_to_one")


def load_model(name: str, run: pd.Series) -> nn.Module:
    """A run's model, ready to use; `run` is a row of what `load(name)` gave.

    Raises ValueError for a run whose weights aren't kept.
    """
    kept = package_data(f"reference/{name}/{run['run']}.safetensors")
    fresh = runs_folder() / run["run"] / "model.safetensors"
    weights = fresh if name.startswith(FRESH) else kept
    if not weights.is_file():
        raise ValueError(f"the weights of run {run['run']} are not among the results {name!r}")
    options = {option: run[option] for option in ("size", "channels", "upsample")}
    model = build_model(run["model"], int(run["scale"]), **options)
    state = load_weights(weights.read_bytes())
    model.load_state_dict({name: value.float() for name, value in state.items()})
    return model.eval()


def about(results: pd.DataFrame) -> str:
    """One line that says where results come from, for the top of a table."""
    runs = results.drop_duplicates("run")
    told = {column: ", ".join(map(str, runs[column].unique())) for column in ("device", "torch")}
    hours = runs["seconds"].sum() / 3600
    return (
        f"{len(runs)} runs, {runs['steps'].min()} steps or more on "
        f"{', '.join(runs['train_set'].unique())}; {told['device']}, torch {told['torch']}, "
        f"{hours:.1f} hours of training"
    )
