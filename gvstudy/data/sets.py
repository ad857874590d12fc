"""Data sets by name: built in, in the folder `GVSTUDY_DATA`, downloaded, or `folder:PATH`."""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from gvstudy import images
from gvstudy.paths import downloads_folder, package_data, project_folder
from gvstudy.validation import check_choice

FOLDER = "folder:"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
CACHED_SETS = 8  # enough for the sets of one study: training, validation and a few test sets


@dataclass(frozen=True, eq=False)
class ImageSet:
    """A data set's pictures, uint8 (C, H, W) by name, and the `digest` of their pixels.

    The pictures are shared by everyone who loads the set: don't change them.
    """

    name: str
    pictures: Mapping[str, Tensor]
    digest: str


@lru_cache
def _registry_file() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(package_data("registry.toml").read_text(encoding="utf-8"))


def registry() -> dict[str, dict[str, Any]]:
    """The known data sets and their descriptions, from the project's `data/registry.toml`."""
    return _registry_file()["sets"]


def archives() -> dict[str, dict[str, str]]:
    """The archives that sets are downloaded in: `url` and `checksum` by name."""
    return _registry_file()["archives"]


def check_set(name: str) -> None:
    """Raise ValueError unless `name` is a registered set or `folder:PATH`."""
    if not isinstance(name, str):
        raise ValueError(f"data set name {name!r} is not allowed; text is")
    if name == FOLDER or not name.startswith(FOLDER):
        check_choice("data set", name, (*registry(), "folder:PATH"))


def load_images(name: str) -> dict[str, Tensor]:
    """Read the pictures of a data set: uint8 (C, H, W), C = 1 or 3, sorted by file name.

    Each call decodes the files anew, so the result is the caller's to change. Several folders of
    one set are read in the registry's order.

    `name` is one that `gvstudy data list` shows, or `folder:PATH`. A relative PATH, and a relative
    `GVSTUDY_DATA`, are looked for in the current folder, then in the project's. A missing set of
    centre crops is cut from the full set, if that one is found.

    Raises ValueError for an unknown name, a missing or incomplete set, a folder without pictures,
    or a file that isn't a readable picture.
    """
    return _read(*_source(name))


def load_set(name: str) -> ImageSet:
    """Load a data set with the digest of its pixels, decoded and hashed only once per process.

    Takes the same names as `load_images` and raises the same errors. A changed, added or removed
    file is noticed by its path, size and modification time; the set is then decoded again. The
    last `CACHED_SETS` sets stay in memory.
    """
    paths, side = _source(name)
    stamps = tuple((key, *_stamp(path)) for key, path in paths.items())
    return _cached_set(name, stamps, side)


def is_there(name: str) -> bool:
    """Whether a registered set is built in, or its folders are found."""
    try:
        return bool(set_pictures(name))
    except ValueError:
        return False


def set_pictures(name: str) -> dict[str, Path]:
    """The files of a registered set by picture name, even of an incomplete set.

    Raises ValueError if one of its folders is missing or has no pictures.
    """
    entry = registry()[name]
    if "package" in entry:
        folder = Path(str(files(entry["package"])))
        return _by_name([folder / picture for picture in entry["pictures"]])
    found: dict[str, Path] = {}
    for subfolder in entry.get("folders", ()):  # none for crops of built-in pictures
        found |= pictures_in(set_folder(subfolder))
    excluded = registry()[entry["without"]]["pictures"] if "without" in entry else ()
    wanted = entry.get("pictures", found)
    return {key: path for key, path in found.items() if key in wanted and key not in excluded}


def set_folder(folder: str) -> Path:
    """Find a folder of a registered set: in `GVSTUDY_DATA`, else among the downloads.

    Raises ValueError if it is in neither.
    """
    given = os.environ.get("GVSTUDY_DATA")
    roots = [Path(given)] if given else []
    for root in (*roots, downloads_folder()):
        with suppress(ValueError):
            return _find_folder(root / folder)
    raise ValueError(
        f"{folder} is not here: set GVSTUDY_DATA to a folder that holds it (now {given or 'unset'})"
        "; data/README.md says how to get it"
    )


def describe_sets() -> pd.DataFrame:
    """Describe the registered sets, one per row.

    Columns: `name`, `role`, `pictures` (their number), `found`, `where`, `what` and `terms`.
    """
    rows = []
    for name, entry in registry().items():
        where = _where(name)
        absent = "not here; can be fetched" if "archive" in entry else "not here"
        rows.append(
            {
                "name": name,
                "role": entry["role"],
                "pictures": entry.get("count", len(entry.get("pictures", ()))),
                "found": where is not None,
                "where": where or absent,
                "what": entry["what"],
                "terms": entry["terms"],
            }
        )
    return pd.DataFrame(rows)


def digest(pictures: Mapping[str, Tensor]) -> str:
    """SHA-256 of the pictures' shapes and pixels, in order; names and file formats don't count."""
    checksum = hashlib.sha256()
    for picture in pictures.values():
        checksum.update(repr(tuple(picture.shape)).encode())
        checksum.update(picture.numpy().tobytes())
    return checksum.hexdigest()


def pictures_in(folder: Path) -> dict[str, Path]:
    """The picture files in a folder by name, without hidden ones. Raises ValueError if empty."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = [path for path in visible if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise ValueError(f"{folder}: no pictures; known suffixes: {', '.join(SUFFIXES)}")
    return _by_name(paths)


def _source(name: str) -> tuple[dict[str, Path], int | None]:
    """A set's files by picture name, and the side of the square to cut from each; None for all."""
    check_set(name)
    if name.startswith(FOLDER):
        return pictures_in(_find_folder(Path(name.removeprefix(FOLDER)))), None
    entry = registry()[name]
    if "centre_of" in entry and not is_there(name) and is_there(entry["centre_of"]):
        return complete_set(entry["centre_of"]), entry["centre"]
    return complete_set(name), None


def complete_set(name: str) -> dict[str, Path]:
    """The files of a registered set. Raises ValueError if there are more or fewer than expected."""
    found, entry = set_pictures(name), registry()[name]
    expected = entry.get("count", len(found))
    if len(found) != expected:
        folders = ", ".join(str(set_folder(folder)) for folder in entry["folders"])
        raise ValueError(
            f"{name} in {folders} is incomplete: {len(found)} pictures, expected {expected}"
        )
    return found


def _read(paths: Mapping[str, Path], side: int | None) -> dict[str, Tensor]:
    """Decode the files, and keep the central `side` x `side` pixels where a side is given."""
    if side is None:
        return {key: images.read(path) for key, path in paths.items()}
    # A copy of the centre, since a view would keep the whole picture in memory.
    return {key: images.centre(images.read(path), side).clone() for key, path in paths.items()}


def _stamp(path: Path) -> tuple[Path, int, int]:
    """A file's full path, its size in bytes and its modification time in nanoseconds."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    return path.absolute(), status.st_size, status.st_mtime_ns


@lru_cache(maxsize=CACHED_SETS)
def _cached_set(
    name: str, stamps: tuple[tuple[str, Path, int, int], ...], side: int | None
) -> ImageSet:
    """Read a set; sizes and times are given so that a changed file is not taken from the cache."""
    pictures = _read({key: path for key, path, _, _ in stamps}, side)
    return ImageSet(name, pictures, digest(pictures))


def _where(name: str) -> str | None:
    """Where a registered set is, in words; None for one that isn't here."""
    entry = registry()[name]
    if "package" in entry:
        return "built in"
    if is_there(name):
        return ", ".join(str(set_folder(folder)) for folder in entry["folders"])
    if "centre_of" in entry and is_there(entry["centre_of"]):
        return f"cut from {entry['centre_of']}"
    return None


def _find_folder(folder: Path) -> Path:
    """Find a folder, relative to the current folder or else to the project's; ~ is the home.

    Raises ValueError if there is no such folder.
    """
    try:
        folder = folder.expanduser()
    except RuntimeError as error:  # ~nobody
        raise ValueError(f"{folder}: no such folder ({error})") from error
    for candidate in (folder, project_folder() / folder):
        if candidate.is_dir():
            return candidate
    raise ValueError(f"{folder}: no such folder")


def _by_name(paths: list[Path]) -> dict[str, Path]:
    """Files by picture name: without the suffix, unless two names would then be the same."""
    paths = sorted(paths, key=lambda path: path.name)
    ambiguous = len({path.stem for path in paths}) < len(paths)
    return {path.name if ambiguous else path.stem: path for path in paths}
