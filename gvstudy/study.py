"""Grids of runs: trained where they aren't yet, measured, and told as one tidy frame."""

import hashlib
import io
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import Timeout
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from gvstudy import store
from gvstudy.data import digest, load_images
from gvstudy.evaluation import METRICS, evaluate
from gvstudy.files import checkout
from gvstudy.runs import Run, best_device, distinct
from gvstudy.training import DivergedError, initial_model, train

EVALUATION_VERSION = 1  # raise it when a change of the code changes what is measured
POLL = 2.0  # seconds between two looks at runs that other processes are at


@dataclass(frozen=True)
class Trained:
    """A finished run: its description, its model (on the CPU, ready to use) and its history."""

    run: Run
    model: nn.Module
    history: pd.DataFrame


@dataclass(frozen=True)
class Pictures:
    """A set of pictures and the digest of their pixels."""

    name: str
    pictures: Mapping[str, Tensor]
    digest: str

    @classmethod
    def load(cls, name: str) -> "Pictures":
        """The set of that name; ValueError where it isn't here."""
        pictures = load_images(name)
        return cls(name, pictures, digest(pictures))


def trained(run: Run, *, progress: bool = True) -> Trained:
    """The finished run: read from the store, or trained (on from its checkpoint) and kept there.

    The store is the folder `GVSTUDY_RUNS`, else `runs/`. A run becomes visible there by a rename,
    once it is whole; where another process is at the same run, this one waits for it. Raises
    ValueError for a store that can't be written, before anything is computed, and DivergedError
    for a run whose loss stopped being finite, which is kept as such.
    """
    training = Pictures.load(run.train_set)
    entry = store.entry_of(run, training.digest)
    if not store.is_whole(entry):
        with store.lock(entry):
            _finish(run, training, entry, progress)
    return _read(run, entry)


def results(grid: Iterable[Run], sets: Sequence[str], *, progress: bool = True) -> pd.DataFrame:
    """Per-image rows of every run on every set; what isn't in the store is computed and kept.

    A row has the run's id and description, `set`, `image` and the columns of `METRICS`. A run that
    diverged has rows without figures. Several processes may share a store: what one is at, the
    others leave for later. Raises ValueError for no runs or no sets.
    """
    waiting, frames = distinct(grid), {}
    if not (waiting and sets):
        raise ValueError(f"{len(waiting)} runs on {len(sets)} sets: nothing to give results of")
    tests = [Pictures.load(name) for name in sets]
    training: dict[str, Pictures] = {}
    with tqdm(total=len(waiting), unit="run", disable=not progress) as bar:
        while waiting:
            busy = []
            for run in waiting:
                bar.set_postfix_str(label(run))
                name = run.train_set
                training[name] = training.get(name) or Pictures.load(name)
                try:
                    frames[run] = _rows(run, training[name], tests)
                except Timeout:
                    busy.append(run)
                else:
                    bar.update()
            if len(busy) == len(waiting):
                time.sleep(POLL)
            waiting = busy
    return pd.concat(frames.values(), ignore_index=True)


def entries(grid: Iterable[Run]) -> dict[Run, Path]:
    """Where each run lies in the store, or will. Raises ValueError for a set that isn't here."""
    runs = list(dict.fromkeys(grid))
    digests = {name: Pictures.load(name).digest for name in {run.train_set for run in runs}}
    return {run: store.entry_of(run, digests[run.train_set]) for run in runs}


def origins(grid: Iterable[Run]) -> pd.DataFrame:
    """Where finished runs come from, a row a run: its id and `provenance`."""
    rows = []
    for entry in entries(grid).values():
        record = json.loads((entry / "run.json").read_text())
        rows.append({"run": entry.name} | record["trained"])
    return pd.DataFrame(rows).drop(columns="process")


def label(run: Run) -> str:
    """A run in a few words."""
    return f"{run.model} x{run.scale} {run.loss} seed {run.seed}"


def provenance(seconds: float) -> dict[str, Any]:
    """What a result was made with: code revision, versions, hardware, and how long it took."""
    device = best_device()
    cpu = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return {
        "seconds": round(seconds, 1),
        "revision": _revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else str(cpu),
        "threads": torch.get_num_threads(),
        "process": os.getpid(),
    }


def about(seed: int) -> str:
    """One line for the top of a notebook: versions, device and seed."""
    versions = f"gvstudy {version('gvstudy')}, torch {torch.__version__.partition('+')[0]}"
    return f"{versions}, on {best_device()}, seed {seed}"


def _finish(run: Run, training: Pictures, entry: Path, progress: bool) -> None:
    """Train into the store, unless the run is there; the caller holds the entry's lock."""
    if store.is_whole(entry):
        return
    unfinished = entry.with_suffix(".unfinished")
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        (unfinished / "run.json").write_text(json.dumps(run.description(), indent=2))
    except OSError as error:
        raise ValueError(f"can't write to the store {entry.parent}: {error.strerror}") from error
    _revision()  # of the code that is imported, not of what the folder holds when it ends
    started = time.monotonic()
    checkpoint = unfinished / "checkpoint.pt"
    record: dict[str, Any] = {"run": run.description()}
    try:
        start = trained(run.start, progress=progress).model if run.start else None
        model, history = train(
            run, training.pictures, start=start, checkpoint=checkpoint, progress=progress
        )
    except DivergedError as error:
        record["diverged"] = str(error)
    else:
        weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(weights, unfinished / "model.safetensors")
        history.to_csv(unfinished / "history.csv", index=False)
    record["trained"] = provenance(time.monotonic() - started)
    (unfinished / "run.json").write_text(json.dumps(record, indent=2))
    checkpoint.unlink(missing_ok=True)
    store.publish(unfinished, entry)


def _read(run: Run, entry: Path) -> Trained:
    record = json.loads((entry / "run.json").read_text())
    if "diverged" in record:
        raise DivergedError(record["diverged"])
    model = initial_model(run)
    model.load_state_dict(load_file(entry / "model.safetensors"))
    model = model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Trained(run, model, pd.read_csv(entry / "history.csv"))


def _rows(run: Run, training: Pictures, tests: Sequence[Pictures]) -> pd.DataFrame:
    """The run's rows, from the store where they are; Timeout where another process is at it."""
    entry = store.entry_of(run, training.digest)
    names = {test.name: _measured_name(test) for test in tests}
    if not (store.is_whole(entry) and all(store.holds(entry, name) for name in names.values())):
        with store.lock(entry, timeout=0):
            _finish(run, training, entry, progress=False)
            for test in tests:
                if not store.holds(entry, names[test.name]):
                    store.add(entry, {names[test.name]: _measure(run, entry, test)})
    frames = [
        pd.read_csv(entry / name, dtype={"image": str}).assign(set=test)
        for test, name in names.items()
    ]
    described = {"run": entry.name} | run.description()
    rows = pd.concat(frames, ignore_index=True).drop(columns="scale")
    columns = pd.DataFrame([described]).loc[[0] * len(rows)].reset_index(drop=True)
    return pd.concat([columns, rows[["set", "image", *METRICS]]], axis=1)


def _measure(run: Run, entry: Path, test: Pictures) -> str:
    try:
        model = _read(run, entry).model
        rows = evaluate(model, test.pictures, run.scale, downsample=run.downsample)
    except DivergedError:
        nothing = dict.fromkeys(METRICS, float("nan"))
        rows = pd.DataFrame([{"image": n, "scale": run.scale} | nothing for n in test.pictures])
    told = io.StringIO()
    rows.to_csv(told, index=False, float_format="%.7g")
    return told.getvalue()


def _measured_name(test: Pictures) -> str:
    pixels = hashlib.sha256(f"{EVALUATION_VERSION} {test.digest}".encode()).hexdigest()
    return f"{test.name.replace('/', '_')}-{pixels[:8]}.csv"


@cache
def _revision() -> str:
    """The checkout's git revision when this process first asked, "unknown" outside one."""
    folder = checkout()
    if folder is None:  # whatever repository we may be in, it isn't the package's
        return "unknown"
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
