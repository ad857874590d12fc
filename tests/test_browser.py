"""The notebooks in a real browser: JupyterLab opens and runs them, and their sliders move."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

expect = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed").expect
pytestmark = pytest.mark.slow  # runs whole notebooks
FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 1000  # milliseconds
PANEL = "jupyterapp.shell.currentWidget"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Start JupyterLab on a copy of the notebooks; give its address and its store, still empty."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(FOLDER, folder / "notebooks")
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0",
        "--IdentityProvider.token=", "--expose-app-in-browser", str(folder / "notebooks"),
    ]  # fmt: skip
    own = {"GVSTUDY_RUNS": folder / "runs", "JUPYTER_RUNTIME_DIR": folder / "runtime"}
    own |= {"JUPYTERLAB_WORKSPACES_DIR": folder / "spaces", "JUPYTER_CONFIG_DIR": folder / "config"}
    environment = os.environ | {name: str(value) for name, value in own.items()}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield SimpleNamespace(address=_address(server, folder), runs=folder / "runs")
        finally:
            server.terminate()
            server.wait(timeout=30)


def _address(server, folder):
    """Wait until the server listens; return its address."""
    for _ in range(600):
        for record in (folder / "runtime").glob("jpserver-*.json"):
            return json.loads(record.read_text())["url"]
        assert server.poll() is None, (folder / "log").read_text()
        time.sleep(0.1)
    raise AssertionError((folder / "log").read_text())


@pytest.fixture
def opened(chromium, lab):
    """A function that opens a notebook and returns its page once the kernel is idle."""
    pages = []

    def opening(name):
        page = chromium.new_page(viewport={"width": 1300, "height": 900})
        pages.append(page)
        page.goto(f"{lab.address}lab/tree/{name}?reset", timeout=120 * SECONDS)
        page.wait_for_function("window.jupyterapp", timeout=120 * SECONDS)
        page.evaluate("jupyterapp.restored")
        page.wait_for_function(f"{PANEL}?.context?.path === '{name}'", timeout=120 * SECONDS)
        page.evaluate(f"{PANEL}.context.ready")
        page.wait_for_function(
            f"{PANEL}.sessionContext.session?.kernel?.status === 'idle'", timeout=120 * SECONDS
        )
        return page

    yield opening
    for page in pages:
        page.close()


def start(page):
    """Start Run All; `finish(page)` waits for its end."""
    page.evaluate(
        "() => { window.ran = false;"
        " jupyterapp.commands.execute('notebook:run-all-cells').finally(() => window.ran = true) }"
    )


def finish(page):
    page.wait_for_function("window.ran", timeout=400 * SECONDS)


def outputs(page):
    """All outputs of the notebook as they would be saved."""
    cells = page.evaluate(f"{PANEL}.content.model.toJSON()")["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def assert_clean(page):
    for output in outputs(page):
        assert output["output_type"] != "error", output
        assert output.get("name") != "stderr", output
    cells = page.evaluate(f"{PANEL}.content.model.toJSON()")["cells"]
    counts = [cell["execution_count"] for cell in cells if cell["cell_type"] == "code"]
    assert all(counts), "every cell was run"


def wait_for_a_checkpoint(runs):
    for _ in range(1200):
        if list(runs.glob("*.unfinished/checkpoint.pt")):
            return
        time.sleep(0.1)
    raise AssertionError("no checkpoint in two minutes")


def test_a_training_shows_its_progress_and_resumes_after_an_interruption(opened, lab):
    page = opened("01_gradient_maps.ipynb")
    start(page)
    page.wait_for_selector(".jp-OutputArea .progress-bar", timeout=120 * SECONDS)
    wait_for_a_checkpoint(lab.runs)
    page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
    finish(page)
    assert any(output.get("ename") == "KeyboardInterrupt" for output in outputs(page))
    start(page)
    finish(page)
    assert_clean(page)
    assert page.locator(".jp-OutputArea .progress-bar").count() == 0
    assert len(json.dumps(outputs(page))) < 1_000_000


def test_the_sliders_move_the_picture(opened):
    page = opened("02_gradient_variance_loss.ipynb")
    start(page)
    finish(page)
    assert_clean(page)
    cells = page.evaluate(f"{PANEL}.content.model.toJSON()")["cells"]
    place = next(i for i, cell in enumerate(cells) if "SelectionSlider(" in cell["source"])
    page.evaluate(f"{PANEL}.content.scrollToItem({place}, 'start')")
    knobs = page.locator(".jp-CodeCell:has(.noUi-handle)").first
    handles, picture = knobs.locator(".noUi-handle"), knobs.locator("img").first
    handles.first.wait_for(timeout=60 * SECONDS)
    assert handles.count() == 2
    for handle in (handles.nth(0), handles.nth(1)):
        before = picture.get_attribute("src")
        handle.focus()
        page.keyboard.press("ArrowRight")
        expect(picture).not_to_have_attribute("src", before, timeout=60 * SECONDS)
    assert knobs.locator(".jp-RenderedText pre").count() == 0
    if folder := os.environ.get("GVSTUDY_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/sliders.png")
    assert_clean(page)
