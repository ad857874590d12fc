"""Data sets by name: built-in pictures, sets in the folder `GVSTUDY_DATA`, or `folder:PATH`."""

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
from gvstudy.files import package_data, project_folder

FOLDER = "folder:"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


@lru_cache
def registry() -> dict[str, dict[str, Any]]:
    """The known data sets and what is known of them: the project's `data/registry.toml`."""
    return tomllib.loads(package_data("registry.toml").read_text(encoding="utf-8"))


def check_name(name: str) -> None:
    """Raise ValueError unless `name` is a registered set or `folder:PATH`."""
    if name not in registry() and not name.startswith(FOLDER):
        raise ValueError(f"unknown data set {name!r}; known: {', '.join(registry())}, folder:PATH")


def load_images(name: str) -> dict[str, Tensor]:
    """The pictures of a data set by name, as uint8 (C, H, W), C = 1 or 3, in order of name.

    `name` is one of `gvstudy data list` or `folder:PATH`; a relative PATH, and a relative
    `GVSTUDY_DATA`, are looked for from the current folder, then from the project's. Raises
    ValueError for an unknown name, a set that isn't there or isn't whole, a folder without
    pictures, or a file that is no picture.
    """
    check_name(name)
    if name.startswith(FOLDER):
        paths = _pictures_in(_find_folder(Path(name.removeprefix(FOLDER))))
    elif "package" in registry()[name]:
        entry = registry()[name]
        folder = files(entry["package"])
        with as_file(folder) as where:
            paths = [where / picture for picture in entry["pictures"]]
    else:
        paths = _registered_pictures(name)
    return {key: images.read(path) for key, path in _by_name(paths).items()}


def describe_sets() -> pd.DataFrame:
    """One row a registered set: name, role, number of pictures, place, what it is, terms."""
    rows = []
    for name, entry in registry().items():
        try:
            where = "built in" if "package" in entry else str(_set_folder(entry["folders"][0]))
            found = True
        except ValueError:
            where, found = "not found; set GVSTUDY_DATA", False
        rows.append(
            {
                "name": name,
                "role": entry["role"],
                "pictures": entry.get("count", len(entry.get("pictures", ()))),
                "found": found,
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


def _registered_pictures(name: str) -> list[Path]:
    entry = registry()[name]
    found = [path for folder in entry["folders"] for path in _pictures_in(_set_folder(folder))]
    if "pictures" in entry:
        found = [path for path in found if path.stem in entry["pictures"]]
    if "without" in entry:
        left_out = registry()[entry["without"]]["pictures"]
        found = [path for path in found if path.stem not in left_out]
    if len(found) != entry["count"]:
        raise ValueError(
            f"{name} in {_set_folder(entry['folders'][0]).parent} is not whole: "
            f"{len(found)} pictures, expected {entry['count']}"
        )
    return found


def _set_folder(folder: str) -> Path:
    root = os.environ.get("GVSTUDY_DATA")
    if not root:
        raise ValueError(f"{folder} is not built in: set GVSTUDY_DATA to a folder that holds it")
    return _find_folder(Path(root) / folder)


def _find_folder(folder: Path) -> Path:
    for candidate in (folder, project_folder() / folder):
        if candidate.is_dir():
            return candidate
    raise ValueError(f"{folder}: no such folder")


def _pictures_in(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"{folder}: no pictures; known suffixes: {', '.join(SUFFIXES)}")
    return paths


def _by_name(paths: list[Path]) -> dict[str, Path]:
    """Pictures by the name of their file, without the suffix unless two would be called alike."""
    paths = sorted(paths, key=lambda path: path.name)
    alike = len({path.stem for path in paths}) < len(paths)
    return {path.name if alike else path.stem: path for path in paths}
