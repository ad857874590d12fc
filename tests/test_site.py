"""The site builds without a warning, is light and complete, and can be read offline."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest

pytestmark = pytest.mark.slow  # builds all pages
ROOT = Path(__file__).parent.parent
LARGEST = 3_000_000  # bytes of a page with its pictures


class Addresses(HTMLParser):
    """The addresses in a page: what it links to, what it loads, and its own anchors."""

    def __init__(self, page):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Collect the addresses of one element."""
        given = dict(attrs)
        self.anchors.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("img", "script") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and "stylesheet" in given.get("rel", ""):
            self.loaded.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("myst_nb", reason="gvstudy[site] isn't installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-qnW", "--keep-going"]
    built = subprocess.run(
        [*command, str(ROOT / "notebooks"), str(folder / "html")], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {page: Addresses(page) for page in site.rglob("*.html")}


def test_every_notebook_is_a_page(pages):
    found = (ROOT / "notebooks").rglob("*.ipynb")
    notebooks = {path.stem for path in found if ".ipynb_checkpoints" not in path.parts}
    assert notebooks <= {page.stem for page in pages}


def test_tables_are_drawn(site):
    """Tables of the text and of outputs."""
    for page in site.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\|\s*[-\u2014]+\s*\|", text), page.name


def test_no_link_is_broken(pages):
    for page, addresses in pages.items():
        for address in addresses.links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            assert target.is_file(), (page.name, address)
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, (page.name, address)


def test_pages_are_light_and_load_nothing_from_elsewhere(pages):
    for page, addresses in pages.items():
        size = page.stat().st_size
        for address in addresses.loaded:
            parts = urlsplit(address)
            assert not parts.scheme or parts.scheme == "data", (page.name, address)
            if not parts.scheme:
                file = page.parent / unquote(parts.path)
                assert file.is_file(), (page.name, address)
                size += file.stat().st_size
        assert size < LARGEST, (page.name, size)


def test_formulas_are_drawn_without_a_script(site):
    name = "02_gradient_variance_loss"
    cells = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", prose, flags=re.DOTALL)
    page = (site / f"{name}.html").read_text(encoding="utf-8")
    assert page.count("<math") == len(formulas) > 0
    assert not re.search(r"\$\$|\\frac|class=\"merror", page)


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_a_phone_and_a_desk(pages, chromium, width):
    view = chromium.new_page(viewport={"width": width, "height": 900})
    view.context.set_offline(True)
    errors = []
    view.on("pageerror", lambda error: errors.append(str(error)))
    for page in pages:
        view.goto(page.as_uri())
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert view.evaluate(wide) <= 0, page.name
    view.close()
    assert not errors
