"""Installs PyTorch's build for the CPU, or the ordinary index's build (`make TORCH=`).

`python install_torch.py cpu` or `cuda`, with the Python of the environment that is to hold it.
"""

import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.request import urlopen

CPU_INDEX = "https://download.pytorch.org/whl/cpu"  # PyTorch's own, of builds without CUDA
CONSTRAINTS = Path(__file__).with_name("constraints.txt")
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


def pinned() -> str:
    """The version of torch in constraints.txt."""
    lines = CONSTRAINTS.read_text(encoding="utf-8").split()
    return dict(line.split("==") for line in lines)["torch"]


def installed() -> tuple[str, str]:
    """The version and the build ("cpu" or "cuda") of the torch that is here, read from its files.

    Both are empty where there is none.
    """
    found = find_spec("torch")
    if found is None or found.origin is None:
        return "", ""
    about = runpy.run_path(str(Path(found.origin).with_name("version.py")))
    return about["__version__"].partition("+")[0], "cuda" if about["cuda"] else "cpu"


def install(*options: str) -> int:
    """Have pip put the pinned torch in the place of any other; return its exit code.

    What torch needs comes with the package's own installation.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--force-reinstall"]
    return subprocess.call([*command, *options, "--constraint", str(CONSTRAINTS), "torch"])


def main(build: str, index: str = CPU_INDEX) -> int:
    """Install torch in this build and the pinned version unless it is there; return the exit code.

    Without PyTorch's own index, the package's installation fetches the ordinary one's build.
    """
    if build not in ("cpu", "cuda"):
        print(f"TORCH is {build!r}; it must be cpu or cuda", file=sys.stderr)
        return 2
    ordinary = "the ordinary index's build, which on Linux brings several gigabytes of CUDA"
    if installed() == (pinned(), build):
        print("PyTorch: the one that is installed already", flush=True)
    elif build == "cuda":
        print(f"PyTorch: {ordinary}", flush=True)
        return install()
    elif not answers(index):
        print(f"PyTorch: {index} can't be reached, so {ordinary}", flush=True)
    else:
        print(f"PyTorch: the build for the CPU from {index}, some 200 MB", flush=True)
        if install("--index-url", index):
            print(f"PyTorch: that failed, so {ordinary}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
