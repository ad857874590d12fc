"""Installs PyTorch's build for the CPU, or leaves the choice to the ordinary index (`make TORCH=`).

`python install_torch.py cpu` or `cuda`, with the Python of the environment that is to hold it.
"""

import subprocess
import sys
from importlib.util import find_spec
from threading import Thread
from urllib.request import urlopen

CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own, of builds without CUDA
WAIT = 5  # seconds


def answers(index: str) -> bool:
    """Whether an index of packages answers within `WAIT` seconds."""
    found = []

    def ask() -> None:
        try:
            with urlopen(f"{index}/torch/", timeout=WAIT) as reply:
                found.append(reply.status == 200)
        except OSError:
            pass

    thread = Thread(target=ask, daemon=True)  # looking up a host's name knows no limit of its own
    thread.start()
    thread.join(WAIT)
    return found == [True]


def main(build: str, index: str = CPU_INDEX) -> int:
    """Install torch in the version of constraints.txt unless it is there; return the exit code."""
    if build not in ("cpu", "cuda"):
        print(f"TORCH is {build!r}; it must be cpu or cuda", file=sys.stderr)
        return 2
    ordinary = "the ordinary index's build, which on Linux may bring some gigabytes of CUDA"
    if find_spec("torch"):
        print("PyTorch: the one that is installed already", flush=True)
    elif build == "cuda":
        print(f"PyTorch: {ordinary}", flush=True)
    elif not answers(index):
        print(f"PyTorch: {index} can't be reached, so {ordinary}", flush=True)
    else:
        print(f"PyTorch: the build for the CPU from {index}, some 200 MB", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--index-url", index]
        if subprocess.call([*command, "--constraint", "constraints.txt", "torch"]):
            print(f"PyTorch: that failed, so {ordinary}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
