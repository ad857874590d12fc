"""Getting data sets: downloads, verified and unpacked completely, and comparison of copies."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, Any

import pandas as pd
import pooch
import requests
import torch
import torch.nn.functional as F
from torch import Tensor

from gvstudy import images
from gvstudy.data.sets import (
    SUFFIXES,
    archives,
    check_set,
    complete_set,
    digest,
    is_there,
    load_images,
    registry,
    set_folder,
    set_pictures,
)
from gvstudy.paths import downloads_folder, package_data, replacing

# The status of a picture, compared with the fingerprints.
SAME, RENAMED, OTHER, MISSING, EXTRA = "same", "renamed", "other pixels", "missing", "extra"
LARGEST = 64 * 2**20  # bytes that one picture of an archive may unpack to


def fetch(name: str) -> Path:
    """Download a registered set and return its folder. A set that is found isn't downloaded again.

    For a part or centre crops of another set, the other set is downloaded. The archive is kept in
    `downloads/archives`, since it may hold further sets. Raises ValueError for a set without a
    server, a failed download, a wrong checksum, or an archive that doesn't hold the set, or holds
    more than it should; the message says how to get the pictures by hand.
    """
    check_set(name)
    entry = registry().get(name, {})
    if "folders" not in entry:
        raise ValueError(f"{name} needs no download")
    if is_there(name):
        complete_set(name)
        return set_folder(entry["folders"][0])
    if source := entry.get("part_of") or entry.get("centre_of"):
        return fetch(source)
    targets = [downloads_folder() / folder for folder in entry["folders"]]
    # No count for several folders: they also hold pictures that aren't in the set.
    count = f"{entry['count']} " if len(targets) == 1 else ""
    by_hand = f"by hand: put its {count}pictures into {' and '.join(map(str, targets))}"
    if "archive" not in entry:
        raise ValueError(f"{name} has no server that can be relied on; {by_hand}")
    archive = archives()[entry["archive"]]
    try:
        path = _download(archive["url"], archive["checksum"])
        _unpack(path, entry, targets[0])
    except (requests.RequestException, OSError, ValueError, tarfile.TarError) as error:
        offline = isinstance(error, requests.ConnectionError)
        reason = "the server can't be reached" if offline else error
        raise ValueError(f"{name} from {archive['url']}: {reason}; {by_hand}") from error
    return targets[0]


def fingerprint(pictures: Mapping[str, Tensor]) -> pd.DataFrame:
    """Fingerprint pictures, uint8 (C, H, W) by name, one per row.

    Columns: `image`, `channels`, `height`, `width`, and `sha256` of shape and decoded pixels.
    """
    rows = [(name, *picture.shape, digest({name: picture})) for name, picture in pictures.items()]
    return pd.DataFrame(rows, columns=["image", "channels", "height", "width", "sha256"])


def known_fingerprints(name: str) -> pd.DataFrame:
    """The committed fingerprints of a set, as `fingerprint` returns them.

    Raises ValueError for an unknown set or one without fingerprints.
    """
    check_set(name)
    table = package_data(f"fingerprints/{name}.csv")
    if not table.is_file():
        raise ValueError(f"{name} has no fingerprints to compare with")
    with table.open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"image": str})


def compare_with_fingerprints(name: str) -> pd.DataFrame:
    """Compare the local copy of a set with its fingerprints: `image`, `status`, `note` per row.

    Pixels are compared before names, so the same pixels under another name are "renamed". The
    right name with other pixels is "other pixels"; the note gives both sizes where they differ.
    Raises ValueError for a set that isn't found or has no fingerprints.
    """
    known = known_fingerprints(name)
    if "centre_of" in registry()[name] and not is_there(name):
        pictures = load_images(name)
    else:  # not by load_images, which refuses an incomplete set
        pictures = {key: images.read(path) for key, path in set_pictures(name).items()}
    local = fingerprint(pictures).set_index("image")
    by_pixels = {sha256: image for image, sha256 in local["sha256"].items()}
    rows, matched = [], set()
    for expected in known.itertuples():
        found, status, note = expected.image, MISSING, ""
        if local["sha256"].get(expected.image) == expected.sha256:
            status = SAME
        elif expected.sha256 in by_pixels:
            found, status = by_pixels[expected.sha256], RENAMED
            note = f"here it is {found}"
        elif expected.image in local.index:
            status = OTHER
            size, expected_size = _size(local.loc[expected.image]), _size(expected)
            if size != expected_size:
                note = f"{size}, expected {expected_size}"
        matched.add(found)
        rows.append((expected.image, status, note))
    rows += [(image, EXTRA, "") for image in local.index if image not in matched]
    return pd.DataFrame(rows, columns=["image", "status", "note"])


def _download(url: str, checksum: str) -> Path:
    """Download an archive, or take the one that is there; it gets its name once it is verified."""
    pooch.get_logger().setLevel("WARNING")
    file = PurePosixPath(url).name
    folder = downloads_folder() / "archives"
    return Path(pooch.retrieve(url, checksum, file, folder, progressbar=True))


def _unpack(archive: Path, entry: Mapping[str, Any], target: Path) -> None:
    """Copy the pictures of a set, by its `entry` in the registry, into a new folder `target`.

    Where the entry says so, they are shrunk by a whole number and become PNG. Raises ValueError for
    another number of pictures, one beyond `LARGEST`, or a path that leads out of the archive.
    """
    inside, count = entry["inside"], entry["count"]
    with TemporaryDirectory(dir=downloads_folder(), prefix=".unpacking-") as temporary:
        folder = Path(temporary) / target.name
        folder.mkdir()
        found: set[str] = set()
        for name, size, content in _members(archive):
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{archive.name} holds the unsafe path {name}")
            if path.parent == PurePosixPath(inside) and path.suffix.lower() in SUFFIXES:
                if size > LARGEST:
                    raise ValueError(f"{name} in {archive.name} unpacks to {size:,} bytes")
                found.add(path.name)
                if len(found) > count:
                    raise ValueError(f"{archive.name} holds more than {count} pictures in {inside}")
                with replacing(folder / path.name) as part, part.open("wb") as file:
                    shutil.copyfileobj(content, file)
        if len(found) != count:
            raise ValueError(
                f"{archive.name} holds {len(found)} pictures in {inside}, expected {count}"
            )
        if "shrink" in entry:
            for large in [folder / name for name in found]:
                small = _shrink(images.read(large), entry["shrink"])
                large.unlink()
                images.write(large.with_suffix(".png"), small)
        folder.rename(target)


def _shrink(picture: Tensor, times: int) -> Tensor:
    """Average blocks of `times` x `times` pixels, which also removes the traces of JPEG's blocks.

    For an odd number no average lies halfway between two levels, so every machine rounds alike.
    """
    return F.avg_pool2d(picture.float(), times).round().to(torch.uint8)


def _members(archive: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, unpacked size and content of each regular file: zip, tar or Debian package."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for entry in packed.infolist():
                if not entry.is_dir():
                    with packed.open(entry) as content:
                        yield entry.filename, entry.file_size, content
    else:
        with _open_tar(archive) as unpacked:
            for member in unpacked:
                content_of_file = unpacked.extractfile(member) if member.isfile() else None
                if content_of_file is not None:
                    yield member.name, member.size, content_of_file


def _open_tar(archive: Path) -> tarfile.TarFile:
    """Open a tar, or the tar of files in a Debian package, which is an archive of type ar."""
    with archive.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            return tarfile.open(archive)
        while header := file.read(60):  # name, times, owner and mode, then the size in digits
            size = int(header[48:58])
            content = file.read(size + size % 2)
            if header.startswith(b"data.tar"):
                return tarfile.open(fileobj=io.BytesIO(content))
    raise ValueError(f"{archive.name} is a package without files")


def _size(row: Any) -> str:
    """A row of fingerprints as its picture's size, such as "512x384 RGB"."""
    return f"{row.width}x{row.height} {'grey' if row.channels == 1 else 'RGB'}"
