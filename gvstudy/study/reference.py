"""Saved results: each run's description and origin, its rows by image, and some runs' weights.

The reference results are those that come with the project, in `data/reference/`.
"""

import gzip
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

import pandas as pd
import safetensors.torch
from torch import nn

from gvstudy.config import Run
from gvstudy.evaluation import METRICS
from gvstudy.models import build_model
from gvstudy.paths import ODD_NAMES, package_data, replacing
from gvstudy.perceptual import PERCEPTUAL_METRICS
from gvstudy.study.common import GRID_SIZES, test_sets
from gvstudy.study.entry import write_weights
from gvstudy.study.grids import keeps_weights, runs_of
from gvstudy.study.store import Store
from gvstudy.validation import check_choice, check_names

RUNS, ROWS, PERCEPTUAL = "runs.csv", "rows.csv.gz", "perceptual.csv.gz"
SHARPENED_ROWS = "sharpened.csv.gz"  # rows of L2's runs whose images were sharpened afterwards
FRESH = "fresh:"  # begins the name of results that are computed here
_KEYS = ["run", "set", "image"]
# Columns that may look like numbers, such as 0726132.
_TEXT = {"run": str, "image": str, "revision": str, "source": str}


def save(
    folder: Path,
    store: Store,
    runs: Mapping[Run, str],
    rows: pd.DataFrame,
    perceptual: pd.DataFrame | None = None,
    *,
    add: bool = False,
) -> None:
    """Write results into a folder, with the weights of those runs that figures show.

    Args:
        folder: receives `runs.csv` (a row a run: its id, description, origin and grids),
            `rows.csv.gz` (a row an image: the metrics), `perceptual.csv.gz` likewise, and
            `ID.safetensors` in half precision, with the description of its run, for each run that
            `keeps_weights` names, unless it diverged.
        store: where the runs are finished.
        runs: the runs, each with the names of its grids, as `runs_of` gives them.
        rows: the results of these runs, as `Store.results` gives them.
        perceptual: their perceptual results, if they were measured.
        add: keep what the folder holds already, so that results can be computed in parts.
    """
    described = rows.drop(columns=["set", "image", *METRICS]).drop_duplicates("run")
    origins = _origins(store, runs)
    table = described.merge(origins, on="run", validate="one_to_one")
    if add and (folder / RUNS).is_file():
        old = _read_runs(folder / RUNS)
        known = old.set_index("run")["grids"].reindex(table["run"], fill_value="")
        names = zip(known, table["grids"], strict=True)
        table["grids"] = [" ".join(dict.fromkeys(f"{a} {b}".split())) for a, b in names]
        table = pd.concat([old[~old["run"].isin(table["run"])], table])
    with replacing(folder / RUNS) as temporary:
        table.sort_values("run").to_csv(temporary, index=False, errors=ODD_NAMES)
    _write_rows(folder / ROWS, rows[[*_KEYS, *METRICS]], add)
    if perceptual is not None:
        _write_rows(folder / PERCEPTUAL, perceptual[[*_KEYS, *PERCEPTUAL_METRICS]], add)
    diverged = set(rows.loc[rows["psnr_y"].isna(), "run"])
    for run_id, run in _with_weights(store, runs).items():
        if run_id not in diverged:
            weights = {name: value.half() for name, value in store.load_weights(run_id).items()}
            write_weights(folder / f"{run_id}.safetensors", weights, run.description())


def file_names(store: Store, runs: Iterable[Run], *, perceptual: bool) -> list[str]:
    """The names of the files that `save` writes for these runs, if none of them diverges."""
    weights = [f"{run_id}.safetensors" for run_id in _with_weights(store, runs)]
    return [RUNS, ROWS, *([PERCEPTUAL] if perceptual else []), *weights]


def load(
    name: str, grids: Sequence[str] = (), sets: Sequence[str] = (), *, perceptual: bool = False
) -> pd.DataFrame:
    """Return saved or newly computed results, a row an image, with each run's origin and grids.

    Args:
        name: of reference results, such as "reduced"; or `fresh:SIZE`, such as "fresh:reduced",
            for the named grids' runs in that size: those missing from the store are trained here.
        grids: return only the runs of these grids; by default, all reference results of the name.
        sets: return only rows of these picture sets. Newly trained runs are measured on them, by
            default on `test_sets` of their size.
        perceptual: return `PERCEPTUAL_METRICS` in place of `METRICS`.

    Raises ValueError for an unknown name, grid or set, and for results without perceptual metrics.
    """
    check_choice("results", name, known_results())
    check_names("grids", grids)
    check_names("sets", sets)
    if name.startswith(FRESH):
        if not grids:
            raise ValueError(f"results {name!r} need the names of grids, which say what to train")
        return _compute(name.removeprefix(FRESH), grids, sets, perceptual)
    file, what = (PERCEPTUAL, "perceptual metrics") if perceptual else (ROWS, "rows")
    runs, rows = _read(name, file, what)
    if sets:
        for one in sets:
            check_choice(f"set of the results {name!r}", one, sorted(rows["set"].unique()))
        rows = rows[rows["set"].isin(sets)]
    if grids:
        of_run = runs["grids"].str.split()
        known = sorted(set(of_run.explode()))
        for one in grids:
            check_choice(f"grid of the results {name!r}", one, known)
        runs = runs[~of_run.map(set(grids).isdisjoint)]
    return rows.merge(runs, on="run", validate="many_to_one")


def save_sharpened(folder: Path, rows: pd.DataFrame) -> None:
    """Write rows of `gvstudy.study.fronts.sharpened` beside the results of the same runs."""
    keys = [*_KEYS, "amount"]
    metrics = [name for name in (*METRICS, *PERCEPTUAL_METRICS) if name in rows]
    short = rows[metrics].map("{:.7g}".format)  # as a store writes them
    _write_compressed(folder / SHARPENED_ROWS, rows[keys].join(short).sort_values(keys))


def load_sharpened(name: str) -> pd.DataFrame:
    """Return the reference results of that name whose images were sharpened, a row an image.

    A row has the run's description as well, and the `amount`. Raises ValueError for results
    without them.
    """
    runs, rows = _read(name, SHARPENED_ROWS, "sharpened images")
    return rows.merge(runs, on="run", validate="many_to_one")


def known_results() -> list[str]:
    """The names that `load` knows."""
    folders = package_data("reference").iterdir()
    saved = sorted(folder.name for folder in folders if (folder / RUNS).is_file())
    return [*saved, *(f"{FRESH}{size}" for size in GRID_SIZES)]


def load_model(name: str, run: pd.Series) -> nn.Module:
    """Return the model of a run, in float32 on the CPU, ready to use.

    `run` is a row of what `load(name)` returned. Raises ValueError if the run's weights aren't
    among those results.
    """
    if name.startswith(FRESH):
        weights = Store().load_weights(run["run"])
    else:
        saved = package_data(f"reference/{name}/{run['run']}.safetensors")
        if not saved.is_file():
            raise ValueError(f"the weights of run {run['run']} are not in the results {name!r}")
        weights = safetensors.torch.load(saved.read_bytes())
    options = {option: run[option] for option in ("size", "channels", "upsample")}
    model = build_model(run["model"], int(run["scale"]), **options)
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.eval()


def describe_results(results: pd.DataFrame) -> str:
    """Return one line on where results come from, to print above a table.

    It gives the number of runs, their steps, training sets, hardware and torch versions, and the
    hours of training.
    """
    runs = results.drop_duplicates("run")
    train_sets, devices, versions = (
        ", ".join(map(str, runs[column].unique())) for column in ("train_set", "device", "torch")
    )
    return (
        f"{len(runs)} runs, {runs['steps'].min()} steps or more on {train_sets}; {devices}, "
        f"torch {versions}, {runs['seconds'].sum() / 3600:.1f} hours of training"
    )


def _with_weights(store: Store, runs: Iterable[Run]) -> dict[str, Run]:
    """Return the runs, by id, that are saved with their weights."""
    return {store.id(run): run for run in runs if keeps_weights(run)}


def _read(name: str, file: str, what: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The runs of reference results, and rows from that file. Raises ValueError without it."""
    folder = package_data("reference") / name
    if not (folder / file).is_file():
        raise ValueError(f"the results {name!r} have no {what}")
    return _read_runs(folder / RUNS), _read_rows(folder / file)


def _read_runs(file: Traversable) -> pd.DataFrame:
    with file.open("rb") as opened:
        return pd.read_csv(opened, dtype=_TEXT, encoding_errors=ODD_NAMES)


def _read_rows(file: Traversable) -> pd.DataFrame:
    with file.open("rb") as opened:
        return pd.read_csv(opened, compression="gzip", dtype=_TEXT, encoding_errors=ODD_NAMES)


def _write_rows(path: Path, rows: pd.DataFrame, add: bool) -> None:
    """Write rows; with `add`, those of other runs and other sets stay."""
    if add and path.is_file():
        rows = pd.concat([_read_rows(path), rows]).drop_duplicates(_KEYS, keep="last")
    _write_compressed(path, rows.sort_values(_KEYS))


def _write_compressed(path: Path, rows: pd.DataFrame) -> None:
    measured = rows.to_csv(index=False).encode(errors=ODD_NAMES)
    with replacing(path) as temporary:
        temporary.write_bytes(gzip.compress(measured, mtime=0))  # equal rows make equal files


def _compute(
    size: str, grids: Sequence[str], sets: Sequence[str], perceptual: bool
) -> pd.DataFrame:
    """Train and measure what is missing from the store; return results as `load` does."""
    store, runs = Store(), runs_of(grids, size)
    rows = store.results(list(runs), sets or test_sets(size), perceptual=perceptual)
    return rows.merge(_origins(store, runs), on="run", validate="many_to_one")


def _origins(store: Store, runs: Mapping[Run, str]) -> pd.DataFrame:
    """Return a row a run: where it comes from, and its `grids`."""
    return store.origins(runs).assign(grids=list(runs.values())).drop_duplicates("run")
