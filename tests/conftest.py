"""An empty store for every session of tests, so that nothing passes on a warm one."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from gvstudy.losses import PIXEL_LOSSES, REGULARISERS, ComposedLoss
from gvstudy.models import MODELS


def pytest_configure(config):
    """Set before any module or kernel starts; nbval's kernels inherit it.

    The processes of pytest-xdist share one store, so that no run is trained twice.
    """
    if not hasattr(config, "workerinput"):
        config.gvstudy_runs = tempfile.mkdtemp(prefix="gvstudy-runs-")
        os.environ["GVSTUDY_RUNS"] = config.gvstudy_runs
    if os.environ.get("GVSTUDY_DATA"):
        os.environ["GVSTUDY_DATA"] = str(Path(os.environ["GVSTUDY_DATA"]).resolve())


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.gvstudy_runs, ignore_errors=True)


@pytest.fixture(autouse=True)
def same_threads():
    """No test may leave a number of threads behind for nbval's kernels: results depend on it."""
    before = {name: value for name, value in os.environ.items() if "THREADS" in name}
    yield
    assert {name: value for name, value in os.environ.items() if "THREADS" in name} == before


@pytest.fixture
def real_data():
    """The folder of research sets; tests that need it are skipped without."""
    if not os.environ.get("GVSTUDY_DATA"):
        pytest.skip("GVSTUDY_DATA names no folder of research sets")
    return Path(os.environ["GVSTUDY_DATA"])


@pytest.fixture(scope="module")
def chromium():
    """A headless browser; tests that need one are skipped without.

    Playwright keeps an event loop running, which papermill wouldn't bear: so for a module only.
    """
    api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium or Chrome is installed")
    with api.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def interrupt_at(monkeypatch):
    """Interrupt a training before its n-th step; returns a list that grows with every step."""

    def arrange(n):
        steps = []
        terms = ComposedLoss.terms

        def interrupted(self, *arguments):
            steps.append(1)
            if len(steps) == n:
                raise KeyboardInterrupt
            return terms(self, *arguments)

        monkeypatch.setattr(ComposedLoss, "terms", interrupted)
        return steps

    return arrange


@pytest.fixture
def on_disk(monkeypatch):
    """Whether all files of a folder were flushed to the disk since the test began."""
    flushed, fsync = set(), os.fsync

    def noted(file):
        flushed.add(os.fstat(file if isinstance(file, int) else file.fileno()).st_ino)
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    return lambda folder: {path.stat().st_ino for path in folder.iterdir()} <= flushed


@pytest.fixture
def registries():
    """Takes what a test registers out of the registries again."""
    tables = (PIXEL_LOSSES, REGULARISERS, MODELS)
    before = [dict(table) for table in tables]
    yield
    for table, content in zip(tables, before, strict=True):
        table.clear()
        table.update(content)


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of finished runs that is this test's own."""
    monkeypatch.setenv("GVSTUDY_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"
