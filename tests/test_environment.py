"""constraints.txt, environment.yml and pyproject.toml agree; commands and citation are right."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
]
NAMED = {"torch", "jupyterlab", "matplotlib", "seaborn", "pandas", "papermill", "nbval"}

A3 = (ROOT / "notebooks" / "A3_running_headless.md").read_text(encoding="utf-8")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="there is no make")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_environment_yml_has_the_pins():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (by_pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert "--constraint constraints.txt" in by_pip
    pinned = dict(line.split("==") for line in by_pip if "==" in line)
    assert pinned.items() <= PINS.items()
    assert pinned.keys() >= NAMED | {"scikit-image"}


def test_environment_yml_and_make_say_how_much_each_build_downloads():
    for name in ("environment.yml", "install_torch.py"):
        text = re.sub(r"\n *#", "", (ROOT / name).read_text())
        assert "some 200 MB" in text
        assert "brings several gigabytes of CUDA" in text


def test_binder_builds_from_environment_yml():
    """Binder prefers the folders and the file that must be missing.

    It copies the whole project before it installs only where a line of pip's names a local file.
    """
    assert not [name for name in ("binder", ".binder", "Dockerfile") if (ROOT / name).exists()]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert "python=3.11" in environment["dependencies"]
    by_pip = environment["dependencies"][-1]["pip"]
    assert {"--constraint constraints.txt", "--editable .[notebooks,test]"} <= set(by_pip)


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda requirement: requirement.name)
def test_what_is_declared_is_pinned_within_its_bounds(requirement):
    pins = {normal(name): version for name, version in PINS.items()}
    assert pins[normal(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_what_they_need_is_pinned_too(python):
    """As far as it is installed here, for each Python of the workflow."""
    pins, waiting, seen = {normal(name) for name in PINS}, list(DECLARED), set()
    while waiting:
        requirement = waiting.pop()
        extras = requirement.extras or {""}
        settings = [
            {"extra": e, "python_version": python, "python_full_version": f"{python}.0"}
            for e in extras
        ]
        entry = (normal(requirement.name), *sorted(extras))
        if entry not in seen:
            seen.add(entry)
            with suppress(PackageNotFoundError):  # what only another Python or system needs
                for other in map(Requirement, requires(requirement.name) or []):
                    if not other.marker or any(map(other.marker.evaluate, settings)):
                        waiting.append(other)
    assert {name for name, *_ in seen} <= pins


def test_the_version_is_the_same_everywhere():
    import gvstudy

    assert gvstudy.__version__ == PROJECT["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == PROJECT["version"]


def test_the_citation_names_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert "Gradient Variance Loss" in citation["references"][0]["title"]


def test_ci_runs_the_readme_s_test_command():
    assert "make test" in (ROOT / "README.md").read_text()
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_the_workflow_runs_what_ci_runs_on_four_pythons():
    text = (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["test"]
    (command,) = [step["run"] for step in job["steps"] if "run" in step]
    assert command.startswith((ROOT / ".ci" / "run").read_text().splitlines()[-1])
    assert len(job["strategy"]["matrix"]["python"]) == 4


def test_the_development_container_installs_by_make():
    path = ROOT / ".devcontainer" / "devcontainer.json"
    target = json.loads(path.read_text(encoding="utf-8"))["postCreateCommand"].split()[1]
    assert "INSTALLED := " + target in (ROOT / "Makefile").read_text(encoding="utf-8")


def make(folder, *arguments, **options):
    """What make prints in a folder, without the choices of the make that runs this test."""
    chosen = {"TORCH", "PROFILE", "WORKERS", "PYTHON", "MAKEFLAGS", "MAKELEVEL", "GVSTUDY_DATA"}
    ours = {name: os.environ[name] for name in os.environ.keys() - chosen}
    options["env"] = ours | options.pop("env", {})
    return subprocess.check_output(["make", *arguments], cwd=folder, text=True, **options)


@pytest.fixture
def project(tmp_path):
    """A folder, with spaces in its name, that has what make looks at."""
    folder = tmp_path / "my study of GV"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    return folder


def recipe(project, *arguments):
    """The commands that make would run, as in an active environment."""
    printed = make(project, "--dry-run", *arguments).replace("\\\n", "")
    commands = re.findall(r"^(?:OMP_NUM_THREADS=1 )?\.venv/bin/(.*)", printed, re.MULTILINE)
    return [" ".join(command.split()) for command in commands]


@needs_make
def test_the_plain_forms_are_what_make_runs(project):
    installation = recipe(project, "lab", "TORCH=cpu")[:-1]
    block = A3.partition("python -m venv .venv\n")[2].partition("```")[0].splitlines()
    assert block[1:] == installation
    (project / ".venv").mkdir()
    (project / ".venv" / "installed").write_text("cpu\n")
    plain = {
        target: re.findall("`([^`]+)`(?:<br>| [|])", row)
        for target, row in re.findall(r"^\| `make (\w+)` \| (.*)", A3, re.MULTILINE)
    }
    assert plain.keys() == {"study", "lab", "site", "check", "test"}
    plain["test"] = plain["check"][:-1] + plain["test"]
    for target, commands in plain.items():
        assert commands == recipe(project, target)


@needs_make
def test_make_installs_again_only_for_another_build(project):
    """The file `installed` holds the build that was asked for last."""
    assert "install_torch.py cpu" in make(project, "--dry-run", "lab", "TORCH=cpu")
    (project / ".venv").mkdir()
    (project / ".venv" / "installed").write_text("cuda\n")
    for arguments in ([], ["TORCH=cuda"]):
        assert recipe(project, "lab", *arguments) == ["jupyter lab notebooks"]
    assert "install_torch.py cpu" in make(project, "--dry-run", "lab", "TORCH=cpu")


@needs_make
@pytest.mark.parametrize("name", ["/my data/sets", "my data/sets", "sets"])
def test_the_folder_of_data_sets_reaches_what_make_runs(name, project):
    show = 'show: ; @echo "$$GVSTUDY_DATA"'
    options = {"input": show, "env": {"GVSTUDY_DATA": name}}
    shown = make(project, "-f", "Makefile", "-f", "-", "show", **options)
    assert shown == f"{project / name}\n"


def test_the_repository_s_address_is_to_be_filled_in_once():
    placeholder = "OWN" + "ER"
    texts = [path for kind in ("md", "py", "toml", "yml", "cff", "ipynb")
             for path in ROOT.rglob(f"*.{kind}") if ".venv" not in path.parts]  # fmt: skip
    found = [path.name for path in texts if placeholder in path.read_text(encoding="utf-8")]
    assert found == ["pyproject.toml"]
    address = PROJECT["urls"]["Repository"]
    assert placeholder in address
    assert "[project.urls]" in A3
