"""Results kept with the project: each run's description and origin, and its rows by image."""

from pathlib import Path

import pandas as pd

from gvstudy.evaluation import METRICS
from gvstudy.files import package_data, replacing

RUNS, ROWS = "runs.csv", "rows.csv.gz"
_KEYS = ["run", "set", "image"]


def save(folder: Path, rows: pd.DataFrame, origins: pd.DataFrame) -> None:
    """Write results as `study.results` gives them, and `study.origins` of the same runs.

    `runs.csv` has a row a run: its id, description and origin; `rows.csv.gz` one an image.
    """
    described = rows.drop(columns=["set", "image", *METRICS]).drop_duplicates("run")
    runs = described.merge(origins, on="run", validate="one_to_one").sort_values("run")
    figures = rows[[*_KEYS, *METRICS]].sort_values(_KEYS)
    with replacing(folder / RUNS) as temporary:
        runs.to_csv(temporary, index=False)
    with replacing(folder / ROWS) as temporary:
        figures.to_csv(temporary, index=False, compression={"method": "gzip", "mtime": 0})


def load(name: str) -> pd.DataFrame:
    """The kept results of that name, as `study.results` gives fresh ones, with their origins.

    Raises ValueError for an unknown name.
    """
    kept = package_data("reference")
    known = sorted(entry.name for entry in kept.iterdir() if (entry / RUNS).is_file())
    if name not in known:
        raise ValueError(f"unknown reference results {name!r}; known: {', '.join(known)}")
    with (kept / name / RUNS).open("rb") as file:
        runs = pd.read_csv(file)
    with (kept / name / ROWS).open("rb") as file:
        rows = pd.read_csv(file, compression="gzip", dtype={"image": str})
    return rows.merge(runs, on="run", validate="many_to_one")


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
