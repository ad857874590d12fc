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
    device = best_device()
    name = torch.cpu.get_capabilities().get("cpu_name") or platform.machine()
    cpu = f"{name} {torch.backends.cpu.get_cpu_capability()}"  # which kernels compute depends on it
    return {
        "seconds": round(seconds, 1),
        "revision": revision(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else cpu,
        "threads": torch.get_num_threads(),
        "process": os.getpid(),
    }


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
