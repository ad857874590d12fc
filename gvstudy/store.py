"""The store of finished runs: each whole or not there at all, checked, and shared by processes."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from gvstudy.files import replacing, runs_folder
from gvstudy.runs import Run

TRAINING_VERSION = 3  # raise it when a change of the code changes what a Run ends in
CHECKSUMS = "checksums.json"  # SHA-256 of an entry's other files, written last


def run_id(run: Run, data: str) -> str:
    """The run's name in the store: a hash of description, training data and `TRAINING_VERSION`.

    `data` is the `gvstudy.data.digest` of the training pictures. The code's revision is recorded
    with the run, but it is no part of the name.
    """
    described = {"run": run.description(), "data": data, "version": TRAINING_VERSION}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def lock(entry: Path, timeout: float = -1) -> FileLock:
    """The right to write an entry, for one process at a time; it ends with the process.

    `timeout` is in seconds; -1 waits for ever, 0 raises filelock.Timeout at once where another
    process holds it. Raises ValueError for a store that can't be written.
    """
    path = entry.parent / ".locks" / entry.name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path, timeout=timeout)
    except OSError as error:
        raise ValueError(f"can't write to the store {entry.parent}: {error.strerror}") from error


def entry_of(run: Run, data: str) -> Path:
    """Where a run lies once it is finished."""
    return runs_folder() / run_id(run, data)


def is_whole(entry: Path) -> bool:
    """Whether an entry is there, and each of its files is what was written.

    A damaged one is set aside as NAME.damaged, with a warning, so that it is computed again.
    """
    if not entry.is_dir():
        return False
    damaged = _damaged(entry)
    if not damaged:
        return True
    aside = entry.with_suffix(".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    entry.rename(aside)
    warnings.warn(f"{entry}: {', '.join(damaged)} damaged; set aside as {aside.name}", stacklevel=2)
    return False


def publish(unfinished: Path, entry: Path) -> None:
    """Make a written folder an entry, at once and whole."""
    _write_checksums(unfinished)
    unfinished.rename(entry)


def receive(entry: Path, files: Mapping[str, bytes]) -> None:
    """Keep an entry that another process has sent. Raises ValueError if it isn't whole."""
    with lock(entry):
        if is_whole(entry):
            return
        arrived = entry.with_suffix(".arrived")
        shutil.rmtree(arrived, ignore_errors=True)
        arrived.mkdir(parents=True)
        for name, content in files.items():
            (arrived / name).write_bytes(content)
        if damaged := _damaged(arrived):
            raise ValueError(f"run {entry.name} arrived with damaged files: {', '.join(damaged)}")
        arrived.rename(entry)


def add(entry: Path, files: Mapping[str, str]) -> None:
    """Add text files to an entry; one that its checksums don't name yet is as good as absent."""
    for name, text in files.items():
        with replacing(entry / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    _write_checksums(entry)


def holds(entry: Path, name: str) -> bool:
    """Whether a whole entry has a file of this name."""
    return name in json.loads((entry / CHECKSUMS).read_text())


def _damaged(folder: Path) -> list[str]:
    """The files of an entry that are missing or not what was written."""
    try:
        expected = json.loads((folder / CHECKSUMS).read_text())
    except (OSError, ValueError):
        return [CHECKSUMS]
    paths = {name: folder / name for name in expected}
    return [
        name
        for name, path in paths.items()
        if not path.is_file() or _checksum(path) != expected[name]
    ]


def _write_checksums(folder: Path) -> None:
    for leftover in folder.glob(".*"):  # of a process that was killed while it wrote
        leftover.unlink()
    paths = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    sums = {path.name: _checksum(path) for path in paths}
    with replacing(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps(sums, indent=2))


def _checksum(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
