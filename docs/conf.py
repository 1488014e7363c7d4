"""Sphinx's configuration of the documentation; `make docs` builds it, offline."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # extension.py

from nbclient import NotebookClient  # noqa: E402

import attend_infer_repeat as air  # noqa: E402
from attend_infer_repeat.data.sets.mnist import mnist_folders  # noqa: E402

project = "attend-infer-repeat"
author = "The attend-infer-repeat contributors"
copyright = author
release = version = air.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
    "extension",
]
exclude_patterns = ["_build"]

# Notebooks are text, and run at every build; one that fails, fails the build.
nb_execution_mode = os.environ.get("AIR_DOCS_EXECUTION", "force")
nb_execution_raise_on_error = True
nb_execution_timeout = 1_800
nb_merge_streams = True
NotebookClient.coalesce_streams = True  # first, without the line breaks that MyST-NB puts between
nb_render_markdown_format = "myst"

# The tutorial's data, where this machine has it; else scenes of the bundled digits: offline.
has_mnist = any(folder.is_dir() and any(folder.iterdir()) for folder in mnist_folders())
os.environ.setdefault("AIR_DOCS_DATA", "multi-mnist" if has_mnist else "digits")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # air
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm's, with this machine's paths
if os.environ.get("AIR_DATA_DIR"):  # notebooks run in their own folders
    os.environ["AIR_DATA_DIR"] = str(Path(os.environ["AIR_DATA_DIR"]).resolve())

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

add_module_names = False  # headings say which module
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # numpy.str_ would be read as a link

copybutton_exclude = ".linenos, .gp, .go"

html_theme = "furo"
html_title = "attend-infer-repeat"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#a3262a", "color-brand-content": "#a3262a"},
    "dark_css_variables": {"color-brand-primary": "#ff8a80", "color-brand-content": "#ff8a80"},
}
