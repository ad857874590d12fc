"""Downloads from the sets' own servers: checked before use, unpacked whole or not at all."""

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO

import pooch
import requests

from gvstudy.data import SUFFIXES, archives, check_name, is_there, registry, set_folder
from gvstudy.files import downloads_folder


def fetch(name: str, *, progress: bool = True) -> Path:
    """Download a registered set and give its folder; a set that is there is left as it is.

    Of a set that is made of another one, the other is downloaded.

    The archive is kept in `downloads/archives`, since others may be in it too. Raises ValueError,
    saying what to do by hand, for a set without a server, a failed download, a wrong checksum or
    an archive that doesn't hold the set.
    """
    check_name(name)
    entry = registry().get(name, {})
    if source := entry.get("part_of") or entry.get("centre_of"):
        return set_folder(entry["folders"][0]) if is_there(name) else fetch(source)
    if "folders" not in entry:
        raise ValueError(f"{name} needs no download")
    if is_there(name):
        return set_folder(entry["folders"][0])
    targets = [downloads_folder() / folder for folder in entry["folders"]]
    target = targets[0]
    count = f"{entry['count']} " if len(targets) == 1 else ""  # of several some stay out
    by_hand = f"by hand: put its {count}pictures into {' and '.join(map(str, targets))}"
    if "archive" not in entry:
        raise ValueError(f"{name} has no server that can be relied on; {by_hand}")
    archive = archives()[entry["archive"]]
    try:
        path = _download(archive["url"], archive["checksum"], progress)
        _unpack(path, entry["inside"], entry["count"], target)
    except (requests.RequestException, OSError, ValueError, tarfile.TarError) as error:
        raise ValueError(f"{name} from {archive['url']}: {error}; {by_hand}") from error
    return target


def _download(url: str, checksum: str, progress: bool) -> Path:
    """The archive's file, under its own name only once its checksum is right."""
    pooch.get_logger().setLevel("WARNING")
    file = PurePosixPath(url).name
    folder = downloads_folder() / "archives"
    return Path(pooch.retrieve(url, checksum, file, folder, progressbar=progress))


def _unpack(archive: Path, inside: str, count: int, target: Path) -> None:
    """Copy the pictures right under `inside`, by their bare names, into a new folder `target`."""
    with TemporaryDirectory(dir=downloads_folder(), prefix=".unpacking-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        for name, content in _members(archive):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{archive.name} holds {name}, which climbs out of it")
            if path.parent == PurePosixPath(inside) and path.suffix.lower() in SUFFIXES:
                with (folder / path.name).open("wb") as file:
                    shutil.copyfileobj(content, file)
        found = len(list(folder.iterdir()))
        if found != count:
            raise ValueError(f"{archive.name} holds {found} pictures in {inside}, expected {count}")
        folder.rename(target)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every regular file in a zip or tar."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, content
    else:
        with tarfile.open(archive) as unpacked:
            for member in unpacked:
                content_of_file = unpacked.extractfile(member) if member.isfile() else None
                if content_of_file is not None:
                    yield member.name, content_of_file
