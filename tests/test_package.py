"""The package: what its surface documents, what an import loads, what wheel and sdist hold."""

import inspect
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch

import gvstudy

ROOT = Path(__file__).parent.parent
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
SURFACE = sorted(set(gvstudy.__all__) - {"__version__"})
SMALL, OTHER = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9)
TWO_SHAPES = r"\(1, 3, 8, 8\) and \(1, 3, 8, 9\)"
WRONG = {  # bad input for each public name, and what the error must say about it
    "GradientDeviationLoss": (lambda f: f(padding="ones"), "'ones'; known: zeros, valid"),
    "GradientVarianceLoss": (lambda f: f(padding="ones"), "'ones'; known: zeros, valid"),
    "Run": (lambda f: f(steps=0), "steps 0 "),
    "build_loss": (lambda f: f("l3"), "'l3'; known: "),
    "build_model": (lambda f: f("rcan", 2), "'rcan'; known: .*vdsr"),
    "evaluate": (lambda f: f(torch.nn.Identity(), {"image": SMALL}, 2), "float32"),
    "gradient_deviation_loss": (lambda f: f(SMALL, OTHER), TWO_SHAPES),
    "gradient_maps": (lambda f: f(SMALL[:, :2]), r"\(1, 2, 8, 8\)"),
    "gradient_variance_loss": (lambda f: f(SMALL, OTHER), TWO_SHAPES),
    "load_images": (lambda f: f("Set6"), "'Set6'; known: .*Set5, "),
    "register_loss": (lambda f: f("l2+l3", torch.nn.L1Loss()), r"'l2\+l3'"),
    "register_model": (lambda f: f("vdsr", torch.nn.Identity), "'vdsr'"),
    "train": (lambda f: f(gvstudy.Run(train_set="folder:no/where")), "no/where"),
    "variance_map": (lambda f: f(SMALL, 9), "patch_size 9 .* 8x8"),
    "variance_ratio": (lambda f: f(SMALL, OTHER), TWO_SHAPES),
}
LOSS_ALONE = {  # all that the loss needs of the package
    "gvstudy",
    "gvstudy._fused",
    "gvstudy.gradient_variance",
    "gvstudy.gradients",
    "gvstudy.images",
    "gvstudy.paths",
    "gvstudy.validation",
}
IN_TICKS = re.compile(r"`(\w+)`")
HEAVY = {"PIL", "kornia", "matplotlib", "pandas", "scipy", "seaborn", "skimage"}


def parameters(name):
    """What a public name takes; for a module, also what it takes when it is called."""
    found = getattr(gvstudy, name)
    taken = dict(inspect.signature(found).parameters)
    if inspect.isclass(found) and issubclass(found, torch.nn.Module):
        taken |= inspect.signature(found.forward).parameters
    return {key: parameter.annotation for key, parameter in taken.items() if key != "self"}


def documentation(found):
    """The docstring of a function or class, and those that it refers to in its module."""
    texts, waiting = {}, [found]
    while waiting:
        found = waiting.pop()
        texts[found] = found.__doc__
        named = [
            vars(inspect.getmodule(found)).get(name) for name in IN_TICKS.findall(found.__doc__)
        ]
        waiting += [other for other in named if inspect.isroutine(other) or inspect.isclass(other)]
        waiting = [other for other in waiting if other not in texts]
    return "\n".join(texts.values())


@pytest.mark.parametrize("name", SURFACE)
def test_public_names_are_documented(name):
    """Shapes of tensors, ranges of images, every parameter, and that bad input is an error."""
    own = getattr(gvstudy, name).__doc__
    with_others = documentation(getattr(gvstudy, name))
    taken = parameters(name)
    if any("Tensor" in str(annotation) for annotation in taken.values()):
        assert re.search(r"\(N, [C1], H, W\)|\(C, H, W\)", own), "shapes"
    if taken.keys() & {"sr", "hr", "images", "pictures"}:
        assert re.search(r"\[0, 1\]|uint8|value range", with_others), "ranges"
    if name != "Run":  # its fields are described where they are defined
        words = re.findall(r"\w+", with_others.lower())
        assert taken.keys() - set(words) == set(), "parameters"
    assert "ValueError" in own, "errors"


@pytest.mark.parametrize("name", SURFACE)
def test_public_names_refuse_bad_input(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call(getattr(gvstudy, name))


def test_the_loss_loads_little():
    code = "import sys; from gvstudy import GradientVarianceLoss; print(*sys.modules)"
    loaded = set(run_python("-c", code).split())
    assert {name for name in loaded if name.split(".")[0] == "gvstudy"} == LOSS_ALONE
    assert not {name.split(".")[0] for name in loaded} & HEAVY


def test_every_package_is_installed():
    folders = SETUPTOOLS["package-dir"].items()
    found = {
        ".".join([package, *init.parent.relative_to(ROOT / folder).parts])
        for package, folder in folders
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert sorted(found) == sorted(SETUPTOOLS["packages"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the wheel and the sdist, made by setuptools as pip has it do."""
    folder = tmp_path_factory.mktemp("built")
    project = folder / "project"
    project.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, project)
    for name in SETUPTOOLS["package-dir"].values():
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for kind in ("wheel", "sdist"):
        run_python(
            "-c",
            f"from setuptools import build_meta; build_meta.build_{kind}({str(folder)!r})",
            cwd=project,
        )
    return folder


def sources():
    """The files that belong into wheel and sdist: the name of their package, and their path."""
    for package, name in SETUPTOOLS["package-dir"].items():
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield package, path.relative_to(ROOT / name)


@pytest.mark.slow
def test_the_wheel_holds_every_module_the_stub_and_the_data(built):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == {f"{package}/{path.as_posix()}" for package, path in sources()}
    assert held > {"gvstudy/__init__.pyi", "gvstudy/py.typed", "gvstudy_data/registry.toml"}


@pytest.mark.slow
def test_the_sdist_holds_the_same(built):
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    folders = SETUPTOOLS["package-dir"]
    expected = {f"{folders[package]}/{path.as_posix()}" for package, path in sources()}
    assert held >= expected | {"pyproject.toml", "README.md", "LICENSE"}


@pytest.mark.parametrize(("asked", "used"), [({}, 1), ({"OMP_NUM_THREADS": "2"}, 2)])
def test_the_experiments_use_one_thread_unless_the_environment_says_otherwise(asked, used):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    shown = "import gvstudy.study, torch; print(torch.get_num_threads())"
    assert int(run_python("-c", shown, env=environment | asked)) == used


@pytest.mark.slow
def test_the_wheel_works_away_from_the_project(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    lines = run_python("-c", USE_WHEEL, cwd=tmp_path, env=environment).splitlines()
    assert len(lines) == 2
    assert all(Path(line).is_relative_to(tmp_path) for line in lines)


USE_WHEEL = """
import gvstudy
from gvstudy.paths import package_data
from gvstudy.study import cluster, notebooks, protocols, reference, statistics

for name in gvstudy.__all__:
    getattr(gvstudy, name)
reference.load("official")
print(gvstudy.__file__)
print(package_data("registry.toml"))
"""


def run_python(*arguments, **options):
    """What a new Python process prints."""
    command = [sys.executable, *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, **options)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
