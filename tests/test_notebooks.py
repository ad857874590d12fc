"""The notebooks as committed, and the command that runs them. nbval compares their outputs."""

import ast
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from threading import Barrier

import nbformat
import pandas as pd
import papermill
import pytest
import torch
import yaml
from bs4 import BeautifulSoup
from click.testing import CliRunner
from test_texts import without_recomputed

from gvstudy import load_images
from gvstudy.cli import main
from gvstudy.images import write
from gvstudy.study import notebooks as books

NOTEBOOKS = sorted(Path(__file__).parent.parent.glob("notebooks/*_*.ipynb"))
PATHS = re.compile(r"(/home|/root|/tmp|/work|/Users|/private|/opt|[A-Z]:\\)[\w./\\-]*")
UNCOMPARED = {"nbval-ignore-output", "nbval-skip"}
TRAINING = re.compile(r"\b(train|train_or_load)\(")
ANSWERS = sorted(NOTEBOOKS[0].parent.glob("solutions/*.ipynb"))


def relative(path):
    return str(path.relative_to(NOTEBOOKS[0].parent))


each = pytest.mark.parametrize("path", NOTEBOOKS + ANSWERS, ids=relative)


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def printed(notebook):
    """Everything that a notebook shows as text."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    streams = [output["text"] for output in outputs if output.output_type == "stream"]
    return "".join(streams + [output.get("data", {}).get("text/plain", "") for output in outputs])


def smoke(**changes):
    return books.read_profile("smoke") | changes


def test_the_notebooks_are_in_order():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers == ["01", "02", "03", "04", "05", "06", "07", "08", "09", "A1", "A2", "A4", "A5"]


def test_every_notebook_with_exercises_has_its_answers():
    asked = [path.name for path in NOTEBOOKS if "Exercises" in path.read_text()]
    assert [path.name for path in ANSWERS] == asked
    for path in NOTEBOOKS:
        linked = f"(solutions/{path.name})" in path.read_text()
        assert linked == (path.name in asked), path.name


@each
def test_every_cell_was_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each
def test_no_output_is_an_error_or_a_warning(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


@each
def test_compared_cells_hold_outputs(path):
    compared = [cell for cell in code_cells(path) if not tags(cell) & UNCOMPARED]
    shown = [o for cell in compared for o in cell.outputs]
    with_text = [o for o in shown if "text" in o or "image/png" not in o.get("data", {})]
    assert len(with_text) >= 2
    for cell in compared:
        if re.search(r"^ *print\(", cell.source, re.MULTILINE):
            assert "".join(o.get("text", "") for o in cell.outputs).strip(), cell.source


def trains(path):
    return any(TRAINING.search(cell.source) for cell in code_cells(path))


def test_notebooks_train():
    """So that the test below has something to look at."""
    assert {path.name[:2] for path in NOTEBOOKS if trains(path)} >= {"01", "03", "04", "05"}


@pytest.mark.parametrize("path", list(filter(trains, NOTEBOOKS + ANSWERS)), ids=relative)
def test_cells_with_trained_numbers_are_followed_by_a_guard(path):
    guards = [cell for cell in code_cells(path) if "assert " in cell.source]
    assert any(not tags(cell) & UNCOMPARED for cell in guards)


@each
def test_no_path_of_a_machine(path):
    text = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    found = PATHS.search(text)
    assert found is None, found


@each
def test_committed_notebooks_are_light_and_clean(path):
    assert path.stat().st_size < 1_000_000
    for cell in code_cells(path):  # a slower machine would cut a stream into more pieces
        assert sum(output.output_type == "stream" for output in cell.outputs) <= 1, cell.source
    metadata = read(path).metadata
    assert set(metadata) <= {"kernelspec", "language_info"}
    assert metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_typed_and_documented(path):
    (cell,) = [cell for cell in code_cells(path) if "parameters" in tags(cell)]
    for line in cell.source.splitlines():
        assert re.fullmatch(r"\w+: (int|float|str) = .+  # .+", line), line


@each
def test_cells_are_short(path):
    for cell in code_cells(path):
        lists = "parameters" in tags(cell) or "import " in cell.source
        assert len(cell.source.splitlines()) <= (20 if lists else 12), cell.source


MODULES = {"fronts", "grids", "panels", "plots", "protocols", "reference", "statistics"}


def source(cell):
    """The cell's code without magic commands, as a tree."""
    return ast.parse(re.sub(r"^\s*%.*$", "", cell.source, flags=re.MULTILINE))


def package_names(path):
    """What the notebook imports from the package, by the name that it uses."""
    imports = [node for cell in code_cells(path) for node in ast.walk(source(cell))]
    imports = [node for node in imports if isinstance(node, ast.ImportFrom)]
    return {
        alias.name for node in imports if node.module.startswith("gvstudy") for alias in node.names
    }


def used(cell, names):
    """The names of the package in a cell; one of its modules counts with what is taken from it."""
    nodes = list(ast.walk(source(cell)))
    found = {node.id for node in nodes if isinstance(node, ast.Name)} & names - MODULES
    return found | {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in names & MODULES
    }


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_open_cells_use_few_names_of_the_package_and_each_is_explained(path):
    """Cells that prepare, draw or check are folded; what is left is what a reader reads."""
    names, prose, seen = package_names(path), "", set()
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```", "", cell.source, flags=re.DOTALL)
            prose += " ".join(re.findall(r"`[^`]+`", text))
        elif "hide-input" not in tags(cell):
            said = prose + " ".join(re.findall(r".*#.*", cell.source))
            new = used(cell, names) - seen
            unexplained = {name for name in new if not re.search(rf"\b{name}\b", said)}
            assert not unexplained, cell.source
            seen |= new
    assert len(seen) <= 8, seen


@each
def test_folded_cells_are_folded_everywhere(path):
    """JupyterLab looks at one mark, the pages at the other."""
    for cell in code_cells(path):
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert folded == ("hide-input" in tags(cell)), cell.source


FORMULAS_LINKS_AND_CODE = re.compile(r"\$\$.*?\$\$|\]\([^)]*\)|```.*?```|`[^`]*`", re.DOTALL)
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]*\.\d)")
# Decimals in prose that no output of the notebook holds and test_texts.py doesn't recompute, and
# where they are from: other sources, a figure, an assertion, or trainings that weren't kept.
ELSEWHERE: dict[str, dict[str, str]] = {
    "05_variance_histograms": {
        "0.00001": "the figure's axis",
        **dict.fromkeys(("0.05", "0.06"), "trained again"),
    },
    "09_claims": {"0.031": "2 / 2^6"},
    "A2_gv_in_your_training": {"0.5": "neosr's option"},
    "solutions/01_gradient_maps": {"0.005": "an assertion's limit"},
    "solutions/05_variance_histograms": dict.fromkeys(("0.16", "0.10", "0.17"), "another machine"),
    "solutions/08_what_to_use_instead": {"0.02": "between two lines"},
}


@cache
def sections():
    """The numbers of all sections, such as 7.3."""
    texts = (path.read_text(encoding="utf-8") for path in NOTEBOOKS)
    return {found for text in texts for found in re.findall(r'"#+ (\d+\.\d+) ', text)}


@each
def test_sections_are_counted_without_a_gap(path):
    cells = [cell.source for cell in read(path).cells if cell.cell_type == "markdown"]
    found = re.findall(r"^## [A\d]+\.(\d+) ", "\n".join(cells), re.MULTILINE)
    assert [int(number) for number in found] == list(range(1, len(found) + 1))


@each
def test_decimals_in_prose_stand_in_an_output(path):
    """Rounded as in the text, without a sign. Numbers of sections aren't meant."""
    notebook, name = read(path), relative(path).removesuffix(".ipynb")
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    tables = [output.get("data", {}).get("text/html", "") for output in outputs]
    tables = BeautifulSoup("".join(tables), "html.parser").get_text(" ")
    shown = re.findall(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?", f"{printed(notebook)} {tables} {code}")
    values = [float(number.replace(",", "")) for number in shown]
    prose = FORMULAS_LINKS_AND_CODE.sub("", without_recomputed(name, prose))
    told = set(DECIMAL.findall(prose)) - sections()
    missing = {
        number
        for number in told
        if not any(f"{value:.{len(number.partition('.')[2])}f}" == number for value in values)
    }
    assert missing == ELSEWHERE.get(name, {}).keys()


def test_quick_is_the_notebooks_own_default():
    quick = books.read_profile("quick")
    for path in NOTEBOOKS:
        for name, parameter in papermill.inspect_notebook(str(path)).items():
            if name != books.FIGURES:
                assert quick[name] == yaml.safe_load(parameter["default"]), (path.name, name)


@pytest.mark.parametrize("profile", ["smoke", "quick", "full"])
def test_profiles_hold_known_parameters_of_the_right_type(profile):
    parameters = books.read_profile(profile)
    books.check_parameters(parameters, NOTEBOOKS)
    assert parameters.keys() == books.read_profile("quick").keys()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no parameters; expected lines such as steps: 500"),
        (b"# only a comment", "no parameters"),
        (b"just text", "no parameters"),
        (b"- a\n- list", "no parameters"),
        (b"steps: [1", "not a file of YAML"),
        (b"\xff\xfe", "not a file of YAML"),
    ],
)
def test_a_profile_without_parameters_is_named(content, message, tmp_path, monkeypatch):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "mine.yaml").write_bytes(content)
    monkeypatch.setattr(books, "notebooks_folder", lambda: tmp_path)
    with pytest.raises(ValueError, match=rf"mine\.yaml: {message}"):
        books.read_profile("mine")


@pytest.mark.slow
def test_another_parameter_changes_the_result(tmp_path):
    results = []
    for n in (8, 16):
        out = tmp_path / f"{n}.ipynb"
        source = str(NOTEBOOKS[1])
        results.append(
            papermill.execute_notebook(source, out, {"patch_size": n}, progress_bar=False)
        )
    small, large = (printed(result) for result in results)
    assert re.search(r"\b4096 patches", small)
    assert re.search(r"\b1024 patches", large)


@pytest.mark.slow
def test_another_scale_changes_a_training_notebook(tmp_path):
    texts = []
    for scale in (2, 3):
        out = tmp_path / f"{scale}.ipynb"
        executed = papermill.execute_notebook(
            str(NOTEBOOKS[0]), out, smoke(scale=scale), progress_bar=False
        )
        texts.append(re.search(r"variance ratio of bicubic on \w+: (\S+)", printed(executed))[1])
    assert float(texts[0]) > float(texts[1])


def study(*arguments):
    return CliRunner().invoke(main, ["study", *map(str, arguments)])


def refused(result, *words):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output


def test_a_misspelt_parameter_is_named_with_the_known_ones():
    refused(study("--set", "stepps=3"), "'stepps'", "steps", "gv_weight", "test_set")


def test_a_parameter_of_the_wrong_type_is_refused():
    refused(study("--set", "steps=many"), "steps", "'many'", "int")


def test_a_parameter_that_is_not_allowed_is_refused_before_anything_runs():
    refused(study("--set", "scale=5"), "unknown scale 5; known: 2, 3, 4")
    refused(study("--set", "model=%x"), "unknown model '%x'")
    refused(
        study("--profile", "smoke", "--only", "03", "--set", "test_set=folder:no/where"), "no/wh"
    )


@pytest.mark.parametrize(
    ("number", "change", "message"),
    [
        ("03", "crops_scale=5", "parameter crops_scale: unknown scale 5; known: 2, 3, 4"),
        ("03", "crop_size=50", "parameter crops_scale: scale 3 does not divide crop_size 50"),
        ("03", "base_loss=gv", "unknown base_loss 'gv'; known: l2, l1, ssim"),
        ("03", "test_set=Set6", "parameter test_set: unknown data set 'Set6'; known: "),
        ("A1", "test_set=Set6", "parameter test_set: unknown data set 'Set6'; known: "),
        ("06", "results=huge", "unknown results 'huge'; known: "),
        ("07", "rerun=huge", "unknown rerun 'huge'; known: , smoke, quick, reduced, full"),
        ("03", f"seed={'9' * 23}", f"seed {'9' * 23} is not allowed; whole numbers from 0 to 922"),
    ],
)
def test_what_a_late_cell_would_refuse_is_refused_at_once(number, change, message, tmp_path):
    arguments = ["--only", number, "--set", change, "--out", tmp_path / "out"]
    refused(study(*arguments), message)
    assert not (tmp_path / "out").exists()


def test_values_are_checked_for_the_notebooks_that_will_run():
    """Notebook 1 makes no crops at x3."""
    given = smoke(crop_size=50)
    books.check_parameters(given, NOTEBOOKS, NOTEBOOKS[:1])
    with pytest.raises(ValueError, match="scale 3 does not divide crop_size 50"):
        books.check_parameters(given, NOTEBOOKS)


def test_a_missing_test_set_is_found_before_a_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.delenv("GVSTUDY_DATA", raising=False)
    monkeypatch.setattr("gvstudy.data.sets.downloads_folder", lambda: tmp_path)
    monkeypatch.setattr(papermill, "execute_notebook", None)
    with pytest.raises(ValueError, match="Set5 is not here"):
        books.run_notebooks(NOTEBOOKS[2:3], {"test_set": "Set5"}, tmp_path / "out", tmp_path)


def test_changes_are_read_by_their_type():
    read = books.read_changes(["learning_rate=1e-3", "scale=3", "test_set=[1", "keep="], NOTEBOOKS)
    assert read == {"learning_rate": 0.001, "scale": 3, "test_set": "[1", "keep": ""}


def test_changes_are_checked_together_with_their_profile():
    read = books.read_changes(["crop_size=51"], NOTEBOOKS)  # which x2, the default, refuses
    books.check_parameters({"scale": 3} | read, NOTEBOOKS)
    with pytest.raises(ValueError, match="scale 2 does not divide crop_size 51"):
        books.check_parameters({"scale": 2} | read, NOTEBOOKS)


def test_a_parameter_that_the_chosen_notebook_lacks_is_refused():
    refused(study("--only", "02", "--set", "steps=3"), "'steps'", "patch_size")


def test_the_figures_folder_is_no_parameter_of_the_command():
    refused(study("--set", "figures_folder=here"), "'figures_folder'", "known:")


def test_an_unknown_profile_or_notebook_is_refused():
    refused(study("--profile", "huge"), "'huge'", "full, quick, smoke")
    refused(study("--only", "99"), "'99'", "01, 02")
    refused(study("--set", "steps"), "NAME=VALUE")


@pytest.mark.slow
def test_a_study_is_written_once_and_then_left_alone(tmp_path, monkeypatch):
    arguments = ["--profile", "smoke", "--only", "02", "--out", tmp_path / "results"]
    arguments += ["--figures", tmp_path / "figures"]
    first = study(*arguments)
    assert first.exit_code == 0, first.output
    about = f"1 notebooks with smoke: {{}} finished in {tmp_path / 'results'}\n"
    assert first.stderr.startswith(about.format(0))
    names = {path.name for path in (tmp_path / "results").iterdir()} - {".locks"}
    stem = NOTEBOOKS[1].stem
    assert names == {f"{stem}.ipynb", f"{stem}.html"}
    assert len(list((tmp_path / "figures").glob("02_*.png"))) == 7
    executed = read(tmp_path / "results" / f"{stem}.ipynb")
    streams = [output.get("name") for cell in executed.cells for output in cell.get("outputs", ())]
    assert "stderr" not in streams, "nothing warns when figures are saved"

    executed = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *a, **k: executed.append(a))
    again = study(*arguments)
    assert again.exit_code == 0
    assert again.stderr.startswith(about.format(1))
    assert not executed

    (tmp_path / "results" / f"{stem}.html").unlink()  # as after an interruption
    study(*arguments)
    assert len(executed) == 1


def test_two_studies_in_one_folder_run_a_notebook_once(tmp_path, monkeypatch):
    executed, both = [], Barrier(2)

    def execute(notebook, failed, *_, **__):
        executed.append(notebook)
        time.sleep(0.3)  # the other one arrives meanwhile
        cells = [nbformat.v4.new_markdown_cell("seen")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), failed)
        return nbformat.read(failed, as_version=4)

    def start(_):
        both.wait(timeout=60)
        return books.run_notebooks(NOTEBOOKS[1:2], {}, tmp_path, tmp_path)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(start, range(2)))
    assert len(executed) == 1
    assert pages[0] == pages[1]
    assert pages[0][0].is_file()


def test_two_studies_in_one_folder_share_the_notebooks(tmp_path, monkeypatch):
    executed, at_once = [], Barrier(2)

    def execute(notebook, failed, *_, **__):
        executed.append(Path(notebook))
        at_once.wait(timeout=60)  # each of the two is executing one
        nbformat.write(nbformat.v4.new_notebook(), failed)
        return nbformat.read(failed, as_version=4)

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    with ThreadPoolExecutor(2) as pool:
        studies = [
            pool.submit(books.run_notebooks, NOTEBOOKS[:2], {}, tmp_path, tmp_path)
            for _ in range(2)
        ]
    assert sorted(executed) == NOTEBOOKS[:2]
    for study in studies:
        assert study.result() == [tmp_path / f"{path.stem}.html" for path in NOTEBOOKS[:2]]
        assert all(page.is_file() for page in study.result())


def test_helpers_run_the_same_study_and_are_stopped(tmp_path, monkeypatch):
    executed, helpers = [], []

    class Helper:
        def __init__(self, command, **_):
            self.arguments, self.running = command[4:], True
            helpers.append(self)

        def terminate(self):
            self.running = False

        def wait(self):
            assert not self.running

    def execute(notebook, failed, *_, **__):
        executed.append(notebook)
        nbformat.write(nbformat.v4.new_notebook(), failed)
        return nbformat.read(failed, as_version=4)

    monkeypatch.setattr("gvstudy.cli.Popen", Helper)
    monkeypatch.setattr(papermill, "execute_notebook", execute)
    changed = ["--profile", "smoke", "--only", "02", "--only", "03", "--set", "seed=3"]
    study(*changed, "--out", tmp_path / "a b", "--figures", tmp_path / "-c", "--workers", "3")
    assert [helper.running for helper in helpers] == [False, False]
    assert len(executed) == 2
    for helper in helpers:  # everything is finished already
        assert study(*helper.arguments[1:]).exit_code == 0
    assert len(executed) == len(helpers) == 2

    def fail(*_, **__):
        raise RuntimeError("Kernel didn't respond in 60 seconds")

    monkeypatch.setattr(papermill, "execute_notebook", fail)
    result = study("--only", "02", "--out", tmp_path, "--workers", "2")
    assert result.exit_code == 1
    assert "02_gradient_variance_loss: its kernel stopped, perhaps" in result.output
    assert len(helpers) == 3
    assert not helpers[-1].running


@pytest.fixture
def unexecuted(monkeypatch):
    """Papermill fills in parameters and writes the copy, but starts no kernel."""
    monkeypatch.setattr(
        papermill, "execute_notebook", partial(papermill.execute_notebook, prepare_only=True)
    )


@pytest.mark.parametrize("inside", [".", "solutions", "new"])
def test_results_may_not_replace_the_notebooks(inside, tmp_path, monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", None)
    out = NOTEBOOKS[0].parent / inside
    refused(study("--only", "02", "--out", out, "--figures", tmp_path), "choose one elsewhere")


@pytest.mark.parametrize("option", ["--out", "--figures"])
@pytest.mark.parametrize("inside", ["", "new"])
def test_a_link_to_itself_is_no_folder(option, inside, tmp_path, monkeypatch):
    monkeypatch.setattr(papermill, "execute_notebook", None)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    folders = {"--out": tmp_path / "out", "--figures": tmp_path} | {option: loop / inside}
    arguments = [part for pair in folders.items() for part in pair]
    refused(study("--only", "02", *arguments), f"{loop} is a link that leads back to itself")


@pytest.mark.usefixtures("unexecuted")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_a_full_disk_is_reported_with_the_file(tmp_path):
    copy = tmp_path / f"{NOTEBOOKS[1].stem}.failed.ipynb"
    copy.symlink_to("/dev/full")
    result = study("--only", "02", "--out", tmp_path, "--figures", tmp_path)
    refused(result, "No space left on device", str(copy))


@pytest.mark.parametrize("option", ["--out", "--figures"])
def test_an_empty_text_is_no_folder(option):
    refused(study("--only", "02", option, ""), f"'{option}': '' names no folder")


@pytest.mark.usefixtures("unexecuted")
def test_paths_may_hold_curly_brackets(tmp_path):
    clone, results = tmp_path / "{seed}", tmp_path / "{} {0} {x"
    clone.mkdir()
    copy = Path(shutil.copy(NOTEBOOKS[0], clone))
    (page,) = books.run_notebooks([copy], {"seed": 3}, results, tmp_path)
    assert page == results / copy.with_suffix(".html").name
    assert page.is_file()
    assert {path.name for path in tmp_path.iterdir()} == {clone.name, results.name}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """The page of a notebook that ran, with its copy and a figure, in a folder."""
    page, notebook = tmp_path / "02.html", tmp_path / "02_x" / "02_short.ipynb"

    def execute(_, failed, *__, **___):
        executed = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("seen")])
        (tmp_path / "02_edge.png").write_text("a figure")
        nbformat.write(executed, failed)
        return executed

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    books._run_one(notebook, {books.FIGURES: str(tmp_path)}, page, "f")
    return page


def test_a_page_belongs_to_its_fingerprint(made):
    assert books._is_finished(made, "f")
    assert not books._is_finished(made, "g")


@pytest.mark.parametrize("name", ["02.html", "02.ipynb", "02_edge.png"])
@pytest.mark.parametrize("damage", ["gone", "truncated", "text"])
def test_a_page_is_made_anew_where_a_file_is_damaged(name, damage, made):
    path = made.with_name(name)
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"{}")
    assert not books._is_finished(made, "f")
    books._run_one(made.parent / "02_short.ipynb", {books.FIGURES: str(made.parent)}, made, "f")
    assert books._is_finished(made, "f")


def test_a_page_depends_on_the_pictures_of_a_folder(tmp_path):
    pictures = tmp_path / "pictures"
    parameters = {"test_set": f"folder:{pictures}"}
    found = []
    for name, picture in load_images("builtin-valid").items():
        write(pictures / f"{name}.png", picture)
        found.append(books._fingerprint(NOTEBOOKS[0], parameters))
    write(pictures / f"{name}.png", 255 - picture)  # the same files with other pixels
    found.append(books._fingerprint(NOTEBOOKS[0], parameters))
    assert len(set(found)) == 3


def test_a_page_depends_on_the_pictures_of_a_registered_set(tmp_path, monkeypatch):
    monkeypatch.setenv("GVSTUDY_DATA", str(tmp_path))
    found = []
    for shade in (0, 1):
        for number in range(5):
            picture = torch.full((3, 8, 8), number + shade, dtype=torch.uint8)
            write(tmp_path / "Set5" / f"{number}.png", picture)
        found.append(books._fingerprint(NOTEBOOKS[0], {"test_set": "Set5"}))
    assert len(set(found)) == 2


@pytest.mark.parametrize(
    "name",
    ["gvstudy/paths.py", "gvstudy/study/store.py", "data/registry.toml", "data/paper/table1.csv"],
)
def test_a_page_depends_on_the_package_and_its_data(name, monkeypatch):
    """Every file counts, whatever its folder: read one of them as if it had been changed."""
    before = books._fingerprint(NOTEBOOKS[0], {})
    assert books._fingerprint(NOTEBOOKS[0], {}) == before
    changed, read_bytes = NOTEBOOKS[0].parents[1] / name, Path.read_bytes

    def read_changed(path):
        return read_bytes(path) + (b"#" if path == changed else b"")

    monkeypatch.setattr(Path, "read_bytes", read_changed)
    assert books._fingerprint(NOTEBOOKS[0], {}) != before


@pytest.mark.slow
def test_a_notebook_that_stops_is_reported_in_one_line(tmp_path):
    arguments = ["--profile", "smoke", "--only", "02", "--out", tmp_path, "--figures", tmp_path]
    result = study(*arguments, "--set", "patch_size=1000")
    assert result.exit_code == 1
    assert "02_gradient_variance_loss stopped in cell" in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.glob("*.html"))
    assert len(list(tmp_path.glob("*.failed.ipynb"))) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_pages_show_formulas_and_figures_without_a_network(path):
    notebook = read(path)
    page = BeautifulSoup(books._offline_page(notebook), "html.parser")
    assert not page.find_all(["script", "link", "iframe"])
    assert not [tag for tag in page.find_all(src=True) if not tag["src"].startswith("data:")]
    assert not re.findall(r"@import|url\(\s*[\"']?(?:https?:)?//", str(page.find_all("style")))
    drawn = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if "image/png" in output.get("data", {})
    ]
    assert len(page.find_all("img", src=re.compile("^data:image/png"))) >= len(drawn)
    folded = [cell for cell in notebook.cells if "hide-input" in tags(cell)]
    assert len(page.select("details > .jp-Cell-inputWrapper")) == len(folded)
    prose = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert bool(page.find_all("math")) == ("$" in re.sub(r"(`+).+?\1", "", prose, flags=re.DOTALL))
    shown = [block.get_text() for block in page.select(".jp-RenderedMarkdown")]
    assert not re.search(r"\$[^$\n]+\$", "".join(shown))


def test_formulas_in_code_and_outside_of_notation_stay_as_they_are():
    text = r"$a < b$, $\nosuch$ & `$code$`" + "\n\n$$\nx^2\n$$"
    cells = [nbformat.v4.new_markdown_cell(text)]
    page = BeautifulSoup(
        books._offline_page(nbformat.v4.new_notebook(cells=cells)), "html.parser"
    ).select_one(".jp-RenderedMarkdown")
    inline, block = page.find_all("math")
    assert inline.get("display") != "block"
    assert block["display"] == "block"
    assert inline.mo.string == "<"
    assert r"$\nosuch$ &" in page.get_text()
    assert page.code.string == "$code$"


def test_changed_parameters_have_a_folder_of_their_own():
    assert books.folder_name("quick", {}) == "quick"
    assert books.folder_name("quick", {"scale": 3}) == "quick,scale=3"
    odd = ["folder:a/b", "folder:a_b", "folder:a\nb", 'folder:a"b', "folder:a\\b", "ä", "x" * 300]
    names = {books.folder_name("quick", {"test_set": value}) for value in odd}
    assert len(names) == len(odd)
    assert all(re.fullmatch(r"[\w=,.+-]{1,209}", name, re.ASCII) for name in names)


@pytest.mark.usefixtures("unexecuted")
@pytest.mark.parametrize("text", ["a\nb", "a\"b'c", "a\\nb\\", '"""', "{x}", "$HOME %x"])
def test_every_text_reaches_a_notebook_as_it_is(text, tmp_path):
    (notebook,) = [path for path in NOTEBOOKS if path.name.startswith("A5")]
    given = books.read_changes([f"keep={text}"], [notebook])
    (page,) = books.run_notebooks([notebook], given, tmp_path / "out", tmp_path)
    cells = read(page.with_suffix(".ipynb")).cells
    (injected,) = [cell.source for cell in cells if "injected-parameters" in tags(cell)]
    found: dict[str, str] = {}
    exec(injected, found)
    assert found["keep"] == text


@pytest.mark.usefixtures("unexecuted")
def test_the_folder_of_a_value_that_climbs_is_among_the_others(tmp_path, monkeypatch):
    project = tmp_path / "project"
    monkeypatch.setattr("gvstudy.cli.project_folder", lambda: project)
    monkeypatch.chdir(tmp_path)
    result = study("--profile", "smoke", "--only", "A5", "--set", "keep=../../x")
    assert result.exit_code == 0, result.output
    assert list(tmp_path.iterdir()) == [project]
    (folder,) = project.iterdir()
    (own,) = folder.iterdir()
    assert re.fullmatch(r"smoke,keep=\.\._\.\._x-[0-9a-f]{8}", own.name)
    assert f"in {own}, figures in {project / 'figures' / own.name}" in result.output


@pytest.mark.slow
def test_notebooks_make_their_results_anew(tmp_path, monkeypatch):
    """Every control once, four steps each: the runs behind the reference results still work."""
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "runs"))
    for number, given in (("07", {}), ("08", {}), ("A5", {"keep": str(tmp_path / "kept")})):
        (path,) = [path for path in NOTEBOOKS if path.name.startswith(number)]
        given = given | {"rerun": "smoke"}
        papermill.execute_notebook(path, tmp_path / "out.ipynb", given, progress_bar=False)
    rows = pd.read_csv(tmp_path / "kept" / "rows.csv.gz")
    assert set(rows["set"]) == {"builtin-valid_centre192", "builtin-test_centre192"}
    runs = pd.read_csv(tmp_path / "kept" / "runs.csv")
    assert set(rows["run"]) == set(runs["run"])
    seeds = runs.groupby("loss")["seed"].agg(sorted)
    assert seeds.to_dict() == {f"l2+{name}": [0, 1, 100] for name in ("deviation", "maps", "norm")}
