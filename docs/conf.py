"""Sphinx: the pages of this folder and the API reference; `make docs`."""

project = "pisam"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = "pisam"
myst_heading_anchors = 3
# Fences such as "bash not-run" say that no test runs them; their language is the first word.
suppress_warnings = ["misc.highlighting_failure"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autoclass_content = "class"
exclude_patterns = ["_build"]


def setup(app):
    """Files beside this folder, which a forge shows in place, become downloads of the built pages."""

    def outside(app, name, source):
        source[0] = source[0].replace("](../", "](path:../")

    app.connect("source-read", outside)
