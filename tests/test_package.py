"""The shape of the helper package: small modules that import only downwards, all documented."""

import ast
import inspect
from pathlib import Path

import pytest

import gvstudy

ORDER = [
    "files", "images", "gradients", "gradient_variance", "losses", "models", "data", "downloads",
    "fingerprints", "crops", "evaluation", "yardstick", "recipes", "runs", "training", "store",
    "study", "cluster", "grids", "controls", "reference", "statistics", "plots", "tradeoffs",
    "panels",
    "notebooks", "cli",
]  # fmt: skip
MODULES = sorted(Path(gvstudy.__file__).parent.glob("*.py"))
each = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)


def imported(path):
    """The package's own modules that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "gvstudy":
            found |= {alias.name for alias in node.names} & set(ORDER)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gvstudy."):
            found.add(node.module.split(".")[1])
    return found


def test_every_module_has_its_place():
    assert {path.stem for path in MODULES} - {"__init__"} == set(ORDER)


@each
def test_modules_import_only_downwards(path):
    below = ORDER if path.stem == "__init__" else ORDER[: ORDER.index(path.stem)]
    assert imported(path) <= set(below)


@each
def test_modules_are_small(path):
    assert len(path.read_text().splitlines()) <= 250


def test_public_names_are_documented():
    for name in gvstudy.__all__:
        assert inspect.getdoc(getattr(gvstudy, name)), name
