"""Where a result comes from: code revision, versions, machine, time."""

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from typing import Any

import torch

from gvstudy.config import best_device
from gvstudy.paths import checkout


def environment_line(seed: int) -> str:
    """One line for the top of a notebook: versions, device and seed."""
    versions = f"gvstudy {version('gvstudy')}, torch {torch.__version__.partition('+')[0]}"
    return f"{versions}, on {best_device()}, seed {seed}"


def provenance(seconds: float) -> dict[str, Any]:
    """What a result that took so many seconds was made with: revision, versions, hardware."""
    return {
        "seconds": round(seconds, 1),
        "revision": revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": hardware(),
        "threads": torch.get_num_threads(),
        "process": os.getpid(),
    }


def hardware() -> str:
    """The device's name, and which kernels compute: they decide a result's last digits.

    "TF32" says that a GPU's convolutions round their inputs to 10 bits, PyTorch's default.
    """
    if best_device().type == "cuda":
        name = torch.cuda.get_device_name()
        return f"{name} TF32" if torch.backends.cudnn.allow_tf32 else name
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


@cache
def revision() -> str:
    """The checkout's git revision when this process first asked; "unknown" outside a checkout."""
    folder = checkout()
    if folder is None:  # whatever repository we may be in, it isn't the package's
        return "unknown"
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return described.stdout.strip()
