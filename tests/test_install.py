"""The switch between PyTorch's builds, against stand-in indices on this machine."""

import functools
import os
import shutil
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
CONSTRAINTS = (PROJECT / "constraints.txt").read_text(encoding="utf-8")
(VERSION,) = [
    line.removeprefix("torch==") for line in CONSTRAINTS.split() if line.startswith("torch==")
]
CPU, CUDA, OLDER = f"{VERSION}+cpu", f"{VERSION}+cu130", "2.0.0+cpu"
NOWHERE = "http://127.0.0.1:9"  # where nobody answers
SHOW = "import torch.version; print(torch.version.__version__)"


def environment(folder, **options):
    """The Python of an environment of its own, without torch."""
    builder = venv.EnvBuilder(symlinks=os.name != "nt", **options)
    builder.create(folder)
    return Path(builder.ensure_directories(folder).env_exe)


def make_wheel(folder, version):
    """A wheel of torch that holds its version alone. As on PyPI, CUDA isn't in the file's name."""
    folder.mkdir(parents=True, exist_ok=True)
    named = version.partition("+cu")[0]
    info, cuda = f"torch-{named}.dist-info", "13.0" if named != version else None
    files = {
        "torch/__init__.py": "",
        "torch/version.py": f"__version__ = {version!r}\ncuda = {cuda!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: torch\nVersion: {named}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = folder / f"torch-{named}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """The folder of an environment, for all tests: making one takes seconds."""
    folder = tmp_path_factory.mktemp("own")
    return folder, environment(folder, with_pip=True)


@pytest.fixture
def python(own):
    """The Python of that environment, which has no torch yet."""
    folder, python = own
    for found in folder.glob("**/site-packages/torch*"):
        shutil.rmtree(found)
    return python


@pytest.fixture
def indices(tmp_path):
    """The addresses of two indices: PyTorch's own for the CPU, and the ordinary one."""
    folder = tmp_path / "indices"
    make_wheel(folder / "cpu" / "torch", CPU)
    make_wheel(folder / "ordinary" / "torch", CUDA)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield f"{address}/cpu", f"{address}/ordinary"
        server.shutdown()


def install(python, *arguments, ordinary=NOWHERE):
    """Run the script; pip knows no other indices than these."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [python, PROJECT / "install_torch.py", *arguments],
        env=ours | {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": ordinary},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("there", "build", "expected"),
    [
        (None, "cpu", CPU),
        (None, "cuda", CUDA),
        (OLDER, "cpu", CPU),
        (CUDA, "cpu", CPU),
        (CPU, "cuda", CUDA),
    ],
)
def test_the_build_and_version_are_fetched_once(there, build, expected, python, tmp_path, indices):
    cpu, ordinary = indices
    if there:
        wheel = make_wheel(tmp_path, there)
        subprocess.run([python, "-m", "pip", "install", "--no-index", wheel], check=True)
    done = install(python, build, cpu, ordinary=ordinary)
    assert done.returncode == 0, done.stderr
    source = f"the build for the CPU from {cpu}" if build == "cpu" else "the ordinary index's"
    assert source in done.stdout
    assert subprocess.check_output([python, "-c", SHOW], text=True).strip() == expected
    assert install(python, build, cpu).stdout == "PyTorch: the one that is installed already\n"


@pytest.mark.slow
def test_a_build_that_cannot_be_had_is_an_error(python, indices):
    assert install(python, "cuda", ordinary=f"{indices[1]}/none").returncode != 0


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
def test_an_index_without_torch_leaves_it_to_the_ordinary_one(python, tmp_path, indices):
    for wheel in (tmp_path / "indices" / "cpu" / "torch").iterdir():
        wheel.unlink()
    done = install(python, "cpu", indices[0])
    assert done.returncode == 0
    assert "that failed, so the ordinary index" in done.stdout


def test_another_build_is_refused():
    done = install(sys.executable, "tpu")
    assert done.returncode == 2
    assert done.stderr == "TORCH is 'tpu'; it must be cpu or cuda\n"
