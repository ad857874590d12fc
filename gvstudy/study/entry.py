"""A run's folder in the store: what is in it, and whether that is what was written.

It is there as a whole or not at all: it is written under another name and then renamed. Each of its
files has a checksum.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from gvstudy.paths import checksum, remove, replacing, set_aside

CHECKSUMS = "checksums.json"  # SHA-256 of a run's other files, written last
RECORD, WEIGHTS, HISTORY = "run.json", "model.safetensors", "history.csv"
STEP_LENGTHS, CHECKPOINT = "lengths.csv", "checkpoint.pt"
RUN = "run"  # the key of a run's description, in its record and in the weights' metadata


def is_whole(entry: Path) -> bool:
    """Whether a run's folder is there, and each of its files is what was written."""
    return not damaged_files(entry)


def is_settled(entry: Path) -> bool:
    """The same for the holder of the run's lock, who may move folders.

    A damaged one is set aside as NAME.damaged, with a warning, so that it is computed again.
    """
    damaged = damaged_files(entry)
    if damaged and entry.exists():
        aside = set_aside(entry)
        reason = f"{', '.join(damaged)} damaged"
        warnings.warn(f"{entry}: {reason}; set aside as {aside.name}", stacklevel=2)
    return not damaged


def damaged_files(folder: Path) -> list[str]:
    """The files of a run that are missing or not what was written."""
    try:
        expected = read_checksums(folder)
        damaged = [name for name, known in expected.items() if checksum(folder / name) != known]
    except (OSError, ValueError, AttributeError):  # no folder, no JSON, no table
        return [CHECKSUMS]
    if damaged:
        return damaged
    if RECORD not in expected:
        return [RECORD]
    if "diverged" in read_record(folder):
        return []
    try:
        with safe_open(folder / WEIGHTS, "pt"):
            return []
    except (OSError, SafetensorError):
        return [WEIGHTS]


def read_record(entry: Path) -> dict[str, Any]:
    """The run's description, and what is known of its training."""
    return json.loads((entry / RECORD).read_text())


def describe_steps(entry: Path) -> dict[str, float]:
    """The statistics of a run's steps for `Store.origins`; NaN where no lengths were recorded."""
    if not (entry / STEP_LENGTHS).is_file():
        return {"gradient_norm": float("nan"), "clipped_share": float("nan")}
    norm, clipped = pd.read_csv(entry / STEP_LENGTHS)[["gradient", "clipped"]].to_numpy().T
    share = float((clipped < 0.999 * norm).mean())  # the clip divides by a norm plus 1e-6
    return {"gradient_norm": float(f"{np.median(norm):.4g}"), "clipped_share": round(share, 4)}


def seconds_so_far(checkpoint: Path) -> float:
    """What the interrupted trainings of a run took, from each one's start to its last checkpoint.

    `RECORD` is written when a training starts, and holds the seconds of those before it. At the end
    it is written again, with the seconds of all.
    """
    record = checkpoint.with_name(RECORD)
    try:
        told = json.loads(record.read_text())
        if "trained" in told:
            return float(told["trained"]["seconds"])
        latest = checkpoint.stat().st_mtime - record.stat().st_mtime
        return float(told["seconds"]) + max(0.0, latest)
    except (OSError, ValueError, TypeError, KeyError):
        return 0.0


def keep_only(folder: Path, names: Sequence[str]) -> None:
    """Remove all other files and folders."""
    for path in folder.iterdir():
        if path.name not in names:
            remove(path)


def publish(unfinished: Path, entry: Path) -> None:
    """Give a run its name once its checksums are there; its checkpoint isn't needed any more."""
    keep_only(unfinished, [CHECKSUMS, *read_checksums(unfinished)])
    unfinished.rename(entry)


def read_checksums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file, as it was written."""
    return json.loads((folder / CHECKSUMS).read_text())


def write_checksums(folder: Path) -> None:
    """Write the checksums of a run's files, without its checkpoint."""
    for leftover in folder.glob(".*"):  # of a process that was killed while it wrote
        remove(leftover)
    paths = sorted(p for p in folder.iterdir() if p.name not in (CHECKSUMS, CHECKPOINT))
    with replacing(folder / CHECKSUMS) as temporary:
        temporary.write_text(json.dumps({p.name: checksum(p) for p in paths}, indent=2))


def write_weights(path: Path, weights: dict[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write weights, with the description of their run in the file's metadata."""
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights, {RUN: json.dumps(description)}))


def description_of(weights: Path) -> dict[str, Any]:
    """The description of the run that a file of weights is from; empty if it isn't recorded.

    It is in the file's metadata. What other programs keep there doesn't count.
    """
    with safe_open(weights, "pt") as file:
        metadata = file.metadata() or {}
    described = None
    with suppress(ValueError, KeyError):  # no JSON, no such key
        described = json.loads(metadata[RUN])
    return described if isinstance(described, dict) else {}
