"""Data sets by name: built in, in the folder `GVSTUDY_DATA`, downloaded, or `folder:PATH`."""

import hashlib
import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from gvstudy import images
from gvstudy.files import downloads_folder, package_data, project_folder

FOLDER = "folder:"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@lru_cache
def _registry_file() -> dict[str, dict[str, dict[str, Any]]]:
    return tomllib.loads(package_data("registry.toml").read_text(encoding="utf-8"))


def registry() -> dict[str, dict[str, Any]]:
    """The known data sets and what is known of them, from the project's `data/registry.toml`."""
    return _registry_file()["sets"]


def archives() -> dict[str, dict[str, str]]:
    """The archives that sets are downloaded in: `url` and `checksum` by name."""
    return _registry_file()["archives"]


def check_name(name: str) -> None:
    """Raise ValueError unless `name` is a registered set or `folder:PATH`."""
    if name == FOLDER or (name not in registry() and not name.startswith(FOLDER)):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(registry())}, folder:PATH")


def load_images(name: str) -> dict[str, Tensor]:
    """The pictures of a data set by name, as uint8 (C, H, W), C = 1 or 3, in order of name.

    `name` is one of `gvstudy data list` or `folder:PATH`; a relative PATH, and a relative
    `GVSTUDY_DATA`, are looked for from the current folder, then from the project's. A set of
    centre crops that isn't there is cut from the full set, if that is. Raises ValueError for an
    unknown name, a set that isn't there or isn't whole, a folder without pictures, or a file that
    is no picture.
    """
    check_name(name)
    entry = registry().get(name, {})
    if "centre_of" in entry and not is_there(name) and is_there(entry["centre_of"]):
        full, side = _whole_set(entry["centre_of"]), entry["centre"]
        return {key: images.centre(images.read(path), side) for key, path in full.items()}
    if name.startswith(FOLDER):
        paths = pictures_in(_find_folder(Path(name.removeprefix(FOLDER))))
    else:
        paths = _whole_set(name)
    return {key: images.read(path) for key, path in paths.items()}


def is_there(name: str) -> bool:
    """Whether a registered set is built in, or its folders are found."""
    try:
        return bool(set_pictures(name))
    except ValueError:
        return False


def set_pictures(name: str) -> dict[str, Path]:
    """The files of a registered set by name, whole or not. Raises ValueError if it isn't there."""
    entry = registry()[name]
    if "package" in entry:
        with as_file(files(entry["package"])) as folder:
            return _by_name([folder / picture for picture in entry["pictures"]])
    found: dict[str, Path] = {}
    for folder in entry["folders"]:
        found |= pictures_in(set_folder(folder))
    left_out = registry()[entry["without"]]["pictures"] if "without" in entry else ()
    wanted = entry.get("pictures", found)
    return {key: path for key, path in found.items() if key in wanted and key not in left_out}


def set_folder(folder: str) -> Path:
    """A folder of a registered set: under `GVSTUDY_DATA`, else among the downloads."""
    given = os.environ.get("GVSTUDY_DATA")
    roots = [Path(given)] if given else []
    for root in (*roots, downloads_folder()):
        try:
            return _find_folder(root / folder)
        except ValueError:
            continue
    raise ValueError(
        f"{folder} is not here: set GVSTUDY_DATA to a folder that holds it (now {given or 'unset'})"
        ", or see `gvstudy data fetch --help`"
    )


def describe_sets() -> pd.DataFrame:
    """One row a registered set: name, role, number of pictures, place, what it is, terms."""
    rows = []
    for name, entry in registry().items():
        if "package" in entry:
            where = "built in"
        elif is_there(name):
            where = ", ".join(str(set_folder(folder)) for folder in entry["folders"])
        else:
            where = "not here"
            if is_there(entry.get("centre_of", name)):
                where = f"cut from {entry['centre_of']}"
            elif "archive" in entry:
                where += "; can be fetched"
        rows.append(
            {
                "name": name,
                "role": entry["role"],
                "pictures": entry.get("count", len(entry.get("pictures", ()))),
                "found": not where.startswith("not here"),
                "where": where,
                "what": entry["what"],
                "terms": entry["terms"],
            }
        )
    return pd.DataFrame(rows)


def digest(pictures: Mapping[str, Tensor]) -> str:
    """SHA-256 of the decoded pixels in order; names and file formats don't count."""
    checksum = hashlib.sha256()
    for picture in pictures.values():
        checksum.update(repr(tuple(picture.shape)).encode())
        checksum.update(picture.numpy().tobytes())
    return checksum.hexdigest()


def pictures_in(folder: Path) -> dict[str, Path]:
    """The picture files in a folder by name. Raises ValueError where there is none."""
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    paths = [path for path in visible if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise ValueError(f"{folder}: no pictures; known suffixes: {', '.join(SUFFIXES)}")
    return _by_name(paths)


def _whole_set(name: str) -> dict[str, Path]:
    found, entry = set_pictures(name), registry()[name]
    expected = entry.get("count", len(found))
    if len(found) != expected:
        folders = ", ".join(str(set_folder(folder)) for folder in entry["folders"])
        raise ValueError(
            f"{name} in {folders} is not whole: {len(found)} pictures, expected {expected}"
        )
    return found


def _find_folder(folder: Path) -> Path:
    folder = folder.expanduser()
    for candidate in (folder, project_folder() / folder):
        if candidate.is_dir():
            return candidate
    raise ValueError(f"{folder}: no such folder")


def _by_name(paths: list[Path]) -> dict[str, Path]:
    """Pictures by the name of their file, without the suffix unless two would be called alike."""
    paths = sorted(paths, key=lambda path: path.name)
    alike = len({path.stem for path in paths}) < len(paths)
    return {path.name if alike else path.stem: path for path in paths}
