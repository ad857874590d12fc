"""The notebooks, run in order without a browser: parameters by profile, copies, HTML, figures."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from gvstudy.data import FOLDER, digest, load_images
from gvstudy.files import project_folder, replacing
from gvstudy.runs import Run

FIGURES = "figures_folder"  # the parameter that tells a notebook where its figures go
_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": (int, float),
    "str": str,
    "bool": bool,
}
_READERS: dict[str, Callable[[str], Any]] = {  # of a parameter's text
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda text: {"true": True, "false": False}.get(text.lower(), text),
}


class NotebookError(RuntimeError):
    """A notebook stopped with an error."""


def notebooks_folder() -> Path:
    """The checkout's `notebooks/`. Raises ValueError where there is none."""
    folder = project_folder() / "notebooks"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; run this from a clone of the project")
    return folder


def profiles() -> list[str]:
    """The names of the parameter files in `notebooks/params/`."""
    return sorted(path.stem for path in (notebooks_folder() / "params").glob("*.yaml"))


def read_profile(name: str) -> dict[str, Any]:
    """A profile's parameters. Raises ValueError for an unknown one."""
    if name not in profiles():
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(profiles())}")
    path = notebooks_folder() / "params" / f"{name}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def select(only: list[str]) -> list[Path]:
    """The notebooks in order, or those whose names begin with one of `only`."""
    found = sorted(notebooks_folder().glob("*_*.ipynb"))
    numbers = ", ".join(path.name.split("_")[0] for path in found)
    for start in only:
        if not any(path.name.startswith(start) for path in found):
            raise ValueError(f"no notebook begins with {start!r}; known: {numbers}")
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def known_parameters(notebook: Path) -> dict[str, str]:
    """The parameters of a notebook and their types' names."""
    told = papermill.inspect_notebook(str(notebook))
    return {name: parameter["inferred_type_name"] for name, parameter in told.items()}


def read_changes(changes: Iterable[str], notebooks: list[Path]) -> dict[str, Any]:
    """Parameters given as NAME=VALUE. Raises ValueError for what isn't, or isn't of its type."""
    found: dict[str, Any] = {}
    known = _all_parameters(notebooks)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change}: expected NAME=VALUE")
        try:
            found[name] = _READERS[_type_of(name, known)](text)
        except ValueError:
            found[name] = text  # which `check_parameters` refuses
    check_parameters(found, notebooks)
    return found


def check_parameters(given: Mapping[str, Any], notebooks: list[Path]) -> None:
    """Raise ValueError for parameters that no notebook knows, of the wrong type or not allowed."""
    known = _all_parameters(notebooks)
    for name, value in given.items():
        expected = _TYPES[_type_of(name, known)]
        if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
            raise ValueError(f"parameter {name} is {value!r}; it must be of type {known[name]}")
    Run(**{field.name: given[field.name] for field in fields(Run) if field.name in given})


def _all_parameters(notebooks: list[Path]) -> dict[str, str]:
    """What the notebooks' parameters are, but for the one that follows from the command."""
    known: dict[str, str] = {}
    for notebook in notebooks:
        known |= known_parameters(notebook)
    known.pop(FIGURES, None)
    return known


def _type_of(name: str, known: Mapping[str, str]) -> str:
    if name not in known:
        raise ValueError(f"unknown parameter {name!r}; known: {', '.join(sorted(known))}")
    return known[name]


def folder_name(profile: str, changes: Mapping[str, Any]) -> str:
    """`quick`, or `quick,scale=3` where parameters are changed, fit to name a folder."""
    parts = [profile, *(f"{name}={value}" for name, value in sorted(changes.items()))]
    return re.sub(r"[^\w=,.+-]", "_", ",".join(parts))


def run_notebooks(
    notebooks: list[Path], parameters: Mapping[str, Any], results: Path, figures: Path
) -> list[Path]:
    """Execute the notebooks in order into `results`, each as .ipynb and .html; give the pages.

    Each gets those of the `parameters` that it knows. One that is there already, with its figures,
    from the same source, parameters, package and data, is not run again. Raises NotebookError, with
    the cell's own error, when one stops; its copy so far stays as NAME.failed.ipynb.
    """
    pages = []
    with tqdm(notebooks, desc="notebooks", unit="notebook") as bar:
        for notebook in bar:
            bar.set_postfix_str(notebook.stem)
            known = known_parameters(notebook)
            mine = {name: value for name, value in parameters.items() if name in known}
            if FIGURES in known:
                mine[FIGURES] = str(figures.resolve())
            page = results / f"{notebook.stem}.html"
            fingerprint = _fingerprint(notebook, mine)
            if not _is_finished(page, fingerprint):
                _run_one(notebook, mine, page, fingerprint)
            pages.append(page)
    return pages


def _run_one(notebook: Path, parameters: dict[str, Any], page: Path, fingerprint: str) -> None:
    copy, failed = page.with_suffix(".ipynb"), page.with_suffix(".failed.ipynb")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.unlink(missing_ok=True)
    cells = {"desc": notebook.stem, "leave": False}
    try:
        executed = papermill.execute_notebook(
            str(notebook),
            str(failed),
            parameters,
            kernel_name="python3",
            progress_bar=cells,
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own remarks
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{notebook.stem} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"its copy so far: {failed}"
        ) from error
    except DeadKernelError as error:
        raise NotebookError(
            f"{notebook.stem}: its kernel was killed, by lack of memory?"
        ) from error
    failed.unlink()
    drawn: list[str] = []
    if FIGURES in parameters:
        number = notebook.name.partition("_")[0]
        drawn = sorted(map(str, Path(parameters[FIGURES]).glob(f"{number}_*")))
    executed.metadata["gvstudy"] = {"fingerprint": fingerprint, "figures": drawn}
    with replacing(copy) as temporary:
        nbformat.write(executed, temporary)
    html, _ = HTMLExporter().from_notebook_node(executed)
    with replacing(page) as temporary:
        temporary.write_text(html, encoding="utf-8")


def _is_finished(page: Path, fingerprint: str) -> bool:
    """The page is written last, so its copy is whole where it is there."""
    copy = page.with_suffix(".ipynb")
    if not (page.is_file() and copy.is_file()):
        return False
    told = nbformat.read(copy, as_version=4).metadata.get("gvstudy", {})
    whole = all(Path(figure).is_file() for figure in told.get("figures", ()))
    return told.get("fingerprint") == fingerprint and whole


def _fingerprint(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """A hash of all that decides what the notebook shows: source, parameters, package, data."""
    checksum = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    cells = nbformat.read(notebook, as_version=4).cells
    checksum.update("\0".join(cell.source for cell in cells).encode())
    kept = (path for path in (project_folder() / "data").rglob("*") if path.suffix != ".pyc")
    for path in sorted([*Path(__file__).parent.glob("*.py"), *filter(Path.is_file, kept)]):
        checksum.update(path.read_bytes())
    for value in parameters.values():
        if str(value).startswith(FOLDER):
            checksum.update(digest(load_images(value)).encode())
    return checksum.hexdigest()
