"""Where files are, and how they are written: completely or not at all."""

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

ODD_NAMES = "surrogateescape"  # how text keeps file names that aren't UTF-8
LONGEST_SUFFIX = 20  # characters of a file's suffix in the name of its temporary file


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

    Creates the folder if necessary, and follows a link to its target. The file is on the disk
    before it gets its name. If the body raises, `path` stays unchanged and the temporary file is
    removed. Raises OSError that names the file, for a full disk among others, and ValueError where
    `path` is no regular file.
    """
    path = writable(path)
    digest = zlib.crc32(os.fsencode(path.name))
    name = f".{digest:08x}.{os.getpid()}{path.suffix[-LONGEST_SUFFIX:]}"  # short enough
    temporary = path.with_name(name)
    try:
        with naming(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in an OSError that names none, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def writable(path: Path) -> Path:
    """The file to write for `path`, links followed; its folder is created if necessary.

    Raises ValueError for what exists and is no regular file, such as a folder, pipe or device, and
    for a link that leads back to itself.
    """
    path = followed(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a regular file, so it isn't replaced")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def followed(path: Path) -> Path:
    """The absolute path, links followed. Raises ValueError for a link that leads back to itself."""
    path = Path(os.path.realpath(path))
    for part in (path, *path.parents):
        if part.is_symlink():
            raise ValueError(f"{part} is a link that leads back to itself")
    return path


def checksum(path: Path) -> str:
    """SHA-256 of a file; empty where there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder to NAME.damaged, over an earlier one; return the new path."""
    aside = path.with_name(f"{path.name}.damaged")
    remove(aside)
    return path.rename(aside)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all it holds, if it exists. A link's target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
