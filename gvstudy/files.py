"""Where things lie, and how files are written: whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def checkout() -> Path | None:
    """The checkout that the package is imported from, if it is."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None


def project_folder() -> Path:
    """The checkout that the package is imported from, or the current folder where there is none."""
    return checkout() or Path.cwd()


def runs_folder() -> Path:
    """Where finished runs are kept: `GVSTUDY_RUNS`, else `runs/` in the project's folder."""
    return Path(os.environ.get("GVSTUDY_RUNS") or project_folder() / "runs")


def downloads_folder() -> Path:
    """Where downloaded sets are kept: `downloads/` in the project's folder."""
    return project_folder() / "downloads"


def package_data(name: str) -> Traversable:
    """A file of the project's `data/` folder, which an installed package carries with it."""
    return files("gvstudy_data") / name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; what is written there takes `path`'s place at the end.

    If the body raises, `path` stays as it was and the temporary file goes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
