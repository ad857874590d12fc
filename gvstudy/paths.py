"""Where files are, and how they are written: completely or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def checkout() -> Path | None:
    """The git checkout that the package is imported from; None for an installed package."""
    folder = Path(__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None


def project_folder() -> Path:
    """The checkout that the package is imported from, else the current folder."""
    return checkout() or Path.cwd()


def runs_folder() -> Path:
    """The folder of finished runs: `GVSTUDY_RUNS`, else `runs/` in the project's folder."""
    return Path(os.environ.get("GVSTUDY_RUNS") or project_folder() / "runs")


def downloads_folder() -> Path:
    """The folder of downloaded sets: `downloads/` in the project's folder."""
    return project_folder() / "downloads"


def package_data(name: str) -> Traversable:
    """A file or folder of the project's `data/`, which is part of an installed package too."""
    return files("gvstudy_data") / name


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; the file written there replaces `path` at the end.

    Creates the folder if necessary. If the body raises, `path` stays unchanged and the temporary
    file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
