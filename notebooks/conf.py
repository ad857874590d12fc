"""The site: the executed notebooks as pages that open without a network (`make site`)."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

project = "gvstudy"
root_doc = "00_start_here"
extensions = ["myst_nb"]
html_theme = "furo"
html_title = "Does the gradient variance loss help?"
html_copy_source = False
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_copyright = False
html_theme_options = {"light_css_variables": {"code-font-size": "0.72rem"}}
exclude_patterns = ["params", "**.ipynb_checkpoints"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the committed outputs are shown
nb_merge_streams = True  # what a cell prints in pieces is one block
nb_render_markdown_format = "myst"  # with tables
html_math_renderer = "mathml"  # which browsers draw by themselves, without a script


def _inline(writer: HTML5Translator, node: nodes.Element) -> None:
    writer.body.append(tex2mathml(node.astext(), as_block=False))
    raise nodes.SkipNode


def _block(writer: HTML5Translator, node: nodes.Element) -> None:
    style = "margin: 1.2rem 0; padding: 0.3rem 0; overflow-x: auto"
    formula = tex2mathml(node.astext(), as_block=True)
    writer.body.append(f'<div style="{style}">{formula}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the formulas' renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
