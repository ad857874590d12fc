"""The switch between PyTorch's builds, against a stand-in index on this machine."""

import functools
import os
import subprocess
import sys
import threading
import time
import venv
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]


def environment(folder, **options):
    """The Python of an environment of its own, without torch."""
    venv.create(folder, symlinks=True, **options)
    return folder / "bin" / "python"


@pytest.fixture
def index(tmp_path):
    """The address of an index that has a wheel of torch and nothing else."""
    folder = tmp_path / "index" / "torch"
    folder.mkdir(parents=True)
    (version,) = [
        line.removeprefix("torch==").strip()
        for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    ]
    name, info = f"torch-{version}+cpu-py3-none-any.whl", f"torch-{version}+cpu.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("torch.py", "build = 'stand-in'\n")
        about = f"Metadata-Version: 2.1\nName: torch\nVersion: {version}+cpu\n"
        wheel.writestr(f"{info}/METADATA", about)
        kind = "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        wheel.writestr(f"{info}/WHEEL", kind)
        wheel.writestr(f"{info}/RECORD", "")
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def install(python, *arguments):
    """Run the script; pip knows no other index than the one it is told of."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [python, "install_torch.py", *arguments],
        cwd=PROJECT,
        env=ours | {"PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_the_cpu_build_comes_from_the_index_and_only_once(tmp_path, index):
    python = environment(tmp_path / "own", with_pip=True)
    assert "ordinary index" in install(python, "cuda", index).stdout
    done = install(python, "cpu", index)
    assert done.returncode == 0, done.stderr
    assert f"the build for the CPU from {index}" in done.stdout
    shown = subprocess.check_output([python, "-c", "import torch; print(torch.build)"])
    assert shown.strip() == b"stand-in"
    assert "installed already" in install(python, "cpu", index).stdout


@pytest.mark.slow
def test_an_index_that_does_not_answer_costs_five_seconds(tmp_path):
    python = environment(tmp_path / "own", with_pip=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as silent:
        started = time.monotonic()
        done = install(python, "cpu", f"http://127.0.0.1:{silent.server_port}")
    assert done.returncode == 0, done.stderr
    assert "can't be reached" in done.stdout
    assert time.monotonic() - started < 10, "five, and starting Python"


@pytest.mark.slow
def test_an_index_without_torch_leaves_it_to_the_ordinary_one(tmp_path, index):
    for wheel in (tmp_path / "index" / "torch").iterdir():
        wheel.unlink()
    done = install(environment(tmp_path / "own", with_pip=True), "cpu", index)
    assert done.returncode == 0
    assert "that failed, so the ordinary index" in done.stdout


def test_another_build_is_refused():
    done = install(sys.executable, "tpu")
    assert done.returncode == 2
    assert done.stderr == "TORCH is 'tpu'; it must be cpu or cuda\n"
