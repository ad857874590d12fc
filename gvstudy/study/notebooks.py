"""Runs the notebooks in order without a browser: parameters by profile, copies, HTML, figures."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import Any

import nbformat
import papermill
import yaml
from bs4 import BeautifulSoup, NavigableString
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from filelock import FileLock, Timeout
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError
from tqdm.auto import tqdm

from gvstudy.config import Run
from gvstudy.data.sets import FOLDER, load_set, registry
from gvstudy.losses import PIXEL_LOSSES
from gvstudy.paths import ODD_NAMES, checksum, followed, naming, project_folder, replacing
from gvstudy.study.common import GRID_SIZES
from gvstudy.study.reference import known_results
from gvstudy.validation import check_choice

LONGEST_NAME = 200  # characters of a folder's name, before a hash
FIGURES = "figures_folder"  # the parameter that holds the folder for a notebook's figures

_FORMULA = re.compile(r"\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+)\$", re.DOTALL)


# The types that a parameter's value may have; the first one reads it from text.
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (float, int), "str": (str,)}
_LIKE_FIELDS = {"crops_scale": "scale", "test_set": "valid_set"}  # and the field with its rules


class NotebookError(RuntimeError):
    """A notebook stopped with an error."""


def notebooks_folder() -> Path:
    """Return `notebooks/` of the clone. Raises ValueError outside a clone."""
    folder = project_folder() / "notebooks"
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; run this from a clone of the project")
    return folder


def profiles() -> list[str]:
    """Return the names of the profiles, which are the files in `notebooks/params/`."""
    return sorted(path.stem for path in (notebooks_folder() / "params").glob("*.yaml"))


def read_profile(name: str) -> dict[str, Any]:
    """Return a profile's parameters.

    Raises ValueError for an unknown profile, and for a file that holds no parameters.
    """
    check_choice("profile", name, profiles())
    path = notebooks_folder() / "params" / f"{name}.yaml"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a file of YAML: {reason}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path}: no parameters; expected lines such as steps: 500")
    return found


def select(only: list[str]) -> list[Path]:
    """Return the notebooks in order: all of them, or those whose names begin with one of `only`.

    Raises ValueError for a beginning that no notebook has.
    """
    found = sorted(notebooks_folder().glob("*_*.ipynb"))
    numbers = ", ".join(path.name.split("_")[0] for path in found)
    for start in only:
        if not any(path.name.startswith(start) for path in found):
            raise ValueError(f"no notebook begins with {start!r}; known: {numbers}")
    return [path for path in found if not only or path.name.startswith(tuple(only))]


def read_changes(changes: Iterable[str], notebooks: list[Path]) -> dict[str, Any]:
    """Turn texts NAME=VALUE into parameters of these notebooks.

    Raises ValueError for a text of another form, and for a name that no notebook has. A value of
    the wrong type stays text, which `check_parameters` refuses.
    """
    found: dict[str, Any] = {}
    known = _all_parameters(notebooks)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change}: expected NAME=VALUE")
        check_choice("parameter", name, sorted(known))
        try:
            found[name] = _TYPES[known[name]][0](text)
        except ValueError:
            found[name] = text
    return found


def check_parameters(
    given: Mapping[str, Any], notebooks: list[Path], chosen: list[Path] | None = None
) -> None:
    """Raise ValueError for a parameter that no notebook has, of the wrong type or not allowed.

    What is allowed depends on the notebook: values are checked for the `chosen` ones, by default
    for all.
    """
    known = _all_parameters(notebooks)
    for name, value in given.items():
        check_choice("parameter", name, sorted(known))
        if type(value) not in _TYPES[known[name]]:  # exactly: True is no int
            raise ValueError(f"parameter {name} is {value!r}; it must be of type {known[name]}")
    for notebook in notebooks if chosen is None else chosen:
        _check_values(_own(given, _parameters(notebook)))


def _check_values(given: Mapping[str, Any]) -> None:
    """Raise ValueError for values that one of a notebook's trainings or tables would refuse."""
    run = {field.name: given[field.name] for field in fields(Run) if field.name in given}
    Run(**run)
    for name, field in _LIKE_FIELDS.items():
        if name in given:
            try:
                Run(**run | {field: given[name]})
            except ValueError as error:
                raise ValueError(f"parameter {name}: {error}") from error
    allowed = {"base_loss": PIXEL_LOSSES, "results": known_results(), "rerun": ("", *GRID_SIZES)}
    for name in allowed.keys() & given.keys():
        check_choice(name, given[name], allowed[name])


def _own(given: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Return those of the parameters that a notebook with these names has."""
    return {name: value for name, value in given.items() if name in known}


def _parameters(notebook: Path) -> dict[str, str]:
    """Return the name of each parameter of a notebook and the name of its type."""
    inspected = papermill.inspect_notebook(_literally(notebook))
    return {name: parameter["inferred_type_name"] for name, parameter in inspected.items()}


def _literally(path: Path) -> str:
    """Write a path for papermill, which would fill in what curly brackets name."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _all_parameters(notebooks: list[Path]) -> dict[str, str]:
    """Return the parameters of all these notebooks that a user may set."""
    known: dict[str, str] = {}
    for notebook in notebooks:
        known |= _parameters(notebook)
    known.pop(FIGURES, None)  # follows from the command's --figures
    return known


def folder_name(profile: str, changes: Mapping[str, Any]) -> str:
    """Return a folder's name: `quick`, or `quick,scale=3` where parameters are changed.

    What a file system may refuse becomes "_", and a hash keeps such names apart.
    """
    parts = [profile, *(f"{name}={value}" for name, value in sorted(changes.items()))]
    text = ",".join(parts)
    name = re.sub(r"[^\w=,.+-]", "_", text, flags=re.ASCII)[:LONGEST_NAME]
    if name == text:
        return name
    return f"{name}-{hashlib.sha256(text.encode(errors=ODD_NAMES)).hexdigest()[:8]}"


def run_notebooks(
    notebooks: list[Path], parameters: Mapping[str, Any], results: Path, figures: Path
) -> list[Path]:
    """Run the notebooks in order into `results`, each as .ipynb and .html; return the pages.

    Each notebook gets those of the `parameters` that it has. It is skipped if its page and figures
    exist already and were made from the same cells, parameters, package and data. Studies that
    write into one folder share the work: each leaves for later what another is making.

    Raises NotebookError with the cell's own error when a notebook stops; what it did so far stays
    in NAME.failed.ipynb. Raises ValueError for results among the notebooks, which they would
    replace, and for a folder that is a link to itself; OSError that names the file, for a full disk
    among others.
    """
    target, figures = followed(results), followed(figures)
    for folder in {notebook.parent.resolve() for notebook in notebooks}:
        if target.is_relative_to(folder):
            raise ValueError(f"{results} is in the folder of the notebooks; choose one elsewhere")
    pages = {notebook: _page(notebook, results) for notebook in notebooks}
    with tqdm(total=len(pages), desc="notebooks", unit="notebook") as bar:
        left = list(pages)
        for wait in (False, True):
            held = []
            for notebook in left:
                bar.set_postfix_str(notebook.stem)
                if _finish(notebook, parameters, pages[notebook], figures, wait):
                    bar.update()
                else:
                    held.append(notebook)
            left = held
    return list(pages.values())


def count_finished(
    notebooks: list[Path], parameters: Mapping[str, Any], results: Path, figures: Path
) -> int:
    """Return how many of the notebooks `run_notebooks` would skip."""
    return sum(
        _is_finished(_page(notebook, results), _described(notebook, parameters, figures)[1])
        for notebook in notebooks
    )


def _page(notebook: Path, results: Path) -> Path:
    return results / f"{notebook.stem}.html"


def _described(
    notebook: Path, parameters: Mapping[str, Any], figures: Path
) -> tuple[dict[str, Any], str]:
    """Return a notebook's own parameters, and the fingerprint that it has with them."""
    known = _parameters(notebook)
    own = _own(parameters, known)
    if FIGURES in known:
        own[FIGURES] = str(followed(figures))
    return own, _fingerprint(notebook, own)


def _finish(
    notebook: Path, parameters: Mapping[str, Any], page: Path, figures: Path, wait: bool
) -> bool:
    """Run a notebook that isn't finished; return whether it is then.

    If another study is making it, either wait for that, or return False at once.
    """
    own, fingerprint = _described(notebook, parameters, figures)
    if _is_finished(page, fingerprint):
        return True
    try:
        with _turn(page).acquire(blocking=wait):
            if not _is_finished(page, fingerprint):  # another study may have made it meanwhile
                _run_one(notebook, own, page, fingerprint)
    except Timeout:  # it is another's turn, and we don't wait
        return False
    return True


def _turn(page: Path) -> FileLock:
    """The right to write a page and its copies; it ends with the process."""
    folder = page.parent / ".locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / page.stem)


def _run_one(notebook: Path, parameters: dict[str, Any], page: Path, fingerprint: str) -> None:
    """Run one notebook; write its copy, then its page."""
    copy, failed = page.with_suffix(".ipynb"), page.with_suffix(".failed.ipynb")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.unlink(missing_ok=True)
    try:
        with naming(failed):
            executed = papermill.execute_notebook(
                _literally(notebook),
                _literally(failed),
                parameters,
                kernel_name="python3",
                progress_bar={"desc": notebook.stem, "leave": False},
                extra_arguments=["--log-level=CRITICAL"],  # keeps the kernel's own messages quiet
            )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{notebook.stem} stopped in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"its copy so far: {failed}"
        ) from error
    except RuntimeError as error:  # of a kernel that died, or that never started
        raise NotebookError(
            f"{notebook.stem}: its kernel stopped, perhaps for lack of memory: {error}"
        ) from error
    with replacing(page) as temporary:
        temporary.write_text(_offline_page(executed), encoding="utf-8")
    drawn: list[Path] = []
    if FIGURES in parameters:
        number = notebook.name.partition("_")[0]
        found = sorted(Path(parameters[FIGURES]).glob(f"{number}_*"))
        drawn = [path for path in found if not path.name.startswith(notebook.stem)]  # its copies
    figures = {str(path): checksum(path) for path in drawn}
    record = {"fingerprint": fingerprint, "page": checksum(page), "figures": figures}
    executed.metadata["gvstudy"] = record
    with replacing(copy) as temporary:
        nbformat.write(executed, temporary)
    failed.unlink()


def _offline_page(notebook: nbformat.NotebookNode) -> str:
    """Return a notebook as one page of HTML that a browser shows without a network.

    Formulas become MathML. The scripts that would be fetched (MathJax, RequireJS, Mermaid and the
    widgets' manager) are left out: figures and tables need none of them. Cells that are folded in
    JupyterLab (tag "hide-input") are folded here as well, and a click opens them.
    """
    html, _ = HTMLExporter().from_notebook_node(notebook)
    page = BeautifulSoup(html, "html.parser")
    for script in page.find_all("script"):
        if script.get("type") != "application/vnd.jupyter.widget-state+json":
            script.decompose()
    for block in page.select(".jp-RenderedMarkdown"):
        for text in block.find_all(string=_FORMULA):
            if not text.find_parents(["code", "pre"]):
                text.replace_with(BeautifulSoup(_with_mathml(text), "html.parser"))
    for code in page.select(".celltag_hide-input .jp-Cell-inputWrapper"):
        style = "margin-left: var(--jp-cell-prompt-width); opacity: 0.6"
        summary = page.new_tag("summary", string="code", style=style)
        code.wrap(page.new_tag("details")).insert(0, summary)
    return str(page)


def _with_mathml(text: NavigableString) -> str:
    """Return the HTML of a text with its TeX formulas, $...$ or $$...$$, as MathML.

    A formula that can't be converted stays as it is written.
    """

    def convert(found: re.Match[str]) -> str:
        block = found["block"] is not None
        try:
            return tex2mathml((found["block"] or found["inline"]).strip(), as_block=block)
        except MathError:
            return escape(found[0], quote=False)

    parts, end = [], 0
    for found in _FORMULA.finditer(text):
        parts += [escape(text[end : found.start()], quote=False), convert(found)]
        end = found.end()
    return "".join([*parts, escape(text[end:], quote=False)])


def _is_finished(page: Path, fingerprint: str) -> bool:
    """Whether a page of this fingerprint and its figures are what was written."""
    try:  # the copy is written last, and knows the others
        copy = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
        record = copy.metadata["gvstudy"]
        files = {str(page): record["page"]} | record["figures"]
        whole = all(checksum(Path(path)) == known for path, known in files.items())
        return whole and record["fingerprint"] == fingerprint
    except Exception:  # missing or damaged: nbformat has no common type for that
        return False


def _fingerprint(notebook: Path, parameters: Mapping[str, Any]) -> str:
    """Hash what decides what a notebook shows: cells, parameters, package, data, its sets' pixels.

    Sets that a notebook names itself, as notebook 7 with `rerun`, don't count.
    """
    digest = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode())
    cells = nbformat.read(notebook, as_version=4).cells
    digest.update("\0".join(cell.source for cell in cells).encode())
    package = Path(__file__).parents[1].rglob("*.py")
    data = [path for path in (project_folder() / "data").rglob("*") if path.suffix != ".pyc"]
    for path in sorted(path for path in (*package, *data) if path.is_file()):
        digest.update(path.read_bytes())
    for value in parameters.values():
        if isinstance(value, str) and (value in registry() or value.startswith(FOLDER)):
            digest.update(load_set(value).digest.encode())  # one that is missing is found now
    return digest.hexdigest()
