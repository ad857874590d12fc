"""The store of finished runs: every run is trained once, and found again by its description."""

import hashlib
import json
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gvstudy.data import digest, load_images
from gvstudy.files import project_folder, runs_folder
from gvstudy.runs import Run, best_device
from gvstudy.training import initial_model, train

TRAINING_VERSION = 3  # raise it when a change of the code changes what a Run ends in


@dataclass(frozen=True)
class Trained:
    """A finished run: its description, its model (on the CPU, in eval mode) and its history."""

    run: Run
    model: nn.Module
    history: pd.DataFrame


def run_id(run: Run, data: str) -> str:
    """The run's name in the store: a hash of description, training data and `TRAINING_VERSION`.

    `data` is the `gvstudy.data.digest` of the training pictures. The code's revision is recorded
    with the run, but it is no part of the name.
    """
    described = {"run": run.description(), "data": data, "version": TRAINING_VERSION}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def trained(run: Run, *, progress: bool = True) -> Trained:
    """The finished run: read from the store, or trained (on from its checkpoint) and kept there.

    The store is the folder `GVSTUDY_RUNS`, else `runs/`. A run becomes visible there by a rename,
    once it is whole. Raises ValueError for a store that can't be written, before anything is
    computed.
    """
    store = runs_folder()
    pictures = load_images(run.train_set)
    name = run_id(run, digest(pictures))
    finished, unfinished = store / name, store / f"{name}.unfinished"
    if not finished.is_dir():
        try:
            unfinished.mkdir(parents=True, exist_ok=True)
            (unfinished / "run.json").write_text(json.dumps(run.description(), indent=2))
        except OSError as error:
            raise ValueError(f"can't write to the store {store}: {error.strerror}") from error
        started = time.monotonic()
        model, history = train(
            run, pictures, checkpoint=unfinished / "checkpoint.pt", progress=progress
        )
        weights = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(weights, unfinished / "model.safetensors")
        history.to_csv(unfinished / "history.csv", index=False)
        record = {"run": run.description(), "trained": provenance(time.monotonic() - started)}
        (unfinished / "run.json").write_text(json.dumps(record, indent=2))
        (unfinished / "checkpoint.pt").unlink(missing_ok=True)
        _publish(unfinished, finished)
    model = initial_model(run)
    model.load_state_dict(load_file(finished / "model.safetensors"))
    return Trained(run, model.eval(), pd.read_csv(finished / "history.csv"))


def provenance(seconds: float) -> dict[str, Any]:
    """What a result was made with: code revision, versions, hardware, and how long it took."""
    device = best_device()
    return {
        "seconds": round(seconds, 1),
        "revision": _revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "threads": torch.get_num_threads(),
    }


def about(seed: int) -> str:
    """One line for the top of a notebook: versions, device and seed."""
    versions = f"gvstudy {version('gvstudy')}, torch {torch.__version__.partition('+')[0]}"
    return f"{versions}, on {best_device()}, seed {seed}"


def _publish(unfinished: Path, finished: Path) -> None:
    try:
        unfinished.rename(finished)
    except OSError:
        if not finished.is_dir():  # another process may have finished the same run first
            raise
        shutil.rmtree(unfinished)


def _revision() -> str:
    """The checkout's git revision, "unknown" outside one."""
    try:
        told = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=project_folder(),
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()
