"""What the documentation needs beside Sphinx's own extensions.

- ``{air-help} train`` shows what ``air train --help`` prints.
- ``Returns:``, ``Raises:`` and ``Source:`` at the start of a docstring's line become fields.
- What is indented after a blank line, such as a formula, keeps its lines.
- Arrays in signatures have the name that the code gives them.
- Fields with a comment in place of a docstring are documented by it.
- Links to the package's files lead to the pages that show their code.
- Pictures that a notebook makes have an alternative text.
- Each notebook lies beside its page as ``.ipynb``, with its outputs.
"""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from attend_infer_repeat.config import PATHS

PACKAGE = "attend_infer_repeat"
COLUMNS = 88


class AirHelp(SphinxDirective):
    """``{air-help} COMMAND``: the command's ``--help``, as it is printed."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the text as a literal block."""
        printed = subprocess.run(
            [sys.executable, "-m", PACKAGE, *self.arguments, "--help"],
            env=os.environ | {"COLUMNS": str(COLUMNS)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        text = printed.strip()
        block = nodes.literal_block(text, text, classes=["air-help"])
        block["language"] = "none"
        return [block]


FIELD = re.compile(r"(Returns|Raises|Source): (?=\S)")


def make_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Turn ``Returns: text`` into ``:Returns: text``, a list of fields by reStructuredText."""
    made, inside = [], False
    for line in lines:
        begins = FIELD.match(line) is not None
        if begins and not inside:
            made.append("")
        inside = begins or (inside and line.strip() != "")
        made.append(f":{line}" if begins else f"    {line}" if inside else line)
    lines[:] = made


def keep_blocks(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make a literal block of lines that are indented between paragraphs: a formula, a program."""
    made: list[str] = []
    before = ""  # the last line that is not blank
    for line in lines:
        blank_above = bool(made) and not made[-1].strip()
        flush = before[:1].strip() and not before.endswith("::") and not before.startswith(">>>")
        if line.startswith("    ") and line.strip() and blank_above and flush:
            made += [".. code-block:: none", ""]
        before = line if line.strip() else before
        made.append(line)
    lines[:] = made


ARRAY = re.compile(
    r"~?numpy\.ndarray\[~?tuple\[~?typing\.Any, \.\.\.\], ~?numpy\.dtype\[(~?[\w.]+)\]\]"
)


def name_arrays(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str | None
) -> tuple[str, str | None]:
    """Write arrays in signatures as ``NDArray[dtype]``, as the code does."""
    return tuple(
        text and ARRAY.sub(r"~numpy.typing.NDArray[\1]", text) for text in (signature, returns)
    )


COMMENTED = re.compile(r"^    (\w+): [^#]+#\s+(.+)$", re.MULTILINE)
OPTION = re.compile(r"(?<![\w`-])--[a-z][a-z-]*")  # which would become a dash
written: dict[str, list[str]] = {}  # what stands below each field


def keep_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Keep a field's docstring from napoleon, which takes what precedes a colon for a type."""
    if what in ("attribute", "property"):
        written[name] = [OPTION.sub(r"``\g<0>``", line) for line in lines]


def document_fields(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Document a field by the docstring below it, or else by the comment on its line."""
    if name in written and what in ("attribute", "property"):
        lines[:] = written.pop(name)
    if what != "attribute":
        return
    path, _, field = name.rpartition(".")
    module, _, owner = path.rpartition(".")
    kind = getattr(sys.modules.get(module), owner, None)
    undocumented = not any(lines) or lines[0].startswith("Alias for field number")
    if isinstance(kind, type) and undocumented:
        comments = dict(COMMENTED.findall(inspect.getsource(kind)))
        lines[:] = [comments.get(field, ""), ""]


def show_plain_types(app: Sphinx) -> None:
    """Show the settings' types without what they tell the command line of aliases and the like."""
    for kind in PATHS:
        kind.__annotations__ = get_type_hints(kind)


def link_to_code(app: Sphinx, doctree: nodes.document) -> None:
    """Let links to the package's files lead to the pages on which viewcode shows them."""
    root = Path(app.srcdir).parent
    here = Path(app.env.docname).parent
    for link in list(doctree.findall(download_reference)):
        target = Path(os.path.normpath(Path(app.srcdir) / here / link["reftarget"].lstrip("/")))
        if PACKAGE in target.parts and target.suffix == ".py":
            module = target.relative_to(root).with_suffix("").as_posix()
            up = "../" * len(here.parts)
            reference = nodes.reference("", "", refuri=f"{up}_modules/{module}.html")
            reference += link.children
            link.replace_self(reference)


def describe_outputs(app: Sphinx, doctree: nodes.document) -> None:
    """Say of a notebook's pictures what they are, where a browser would read a file's name out."""
    for image in doctree.findall(nodes.image):
        image.setdefault("alt", "Picture made by the code above")


def forget_builtins(app: Sphinx, env: Any) -> list[str]:
    """Leave Python's own module, of which aliases such as ``tuple[...]`` are, out of the code."""
    getattr(env, "_viewcode_modules", {}).pop("builtins", None)
    return []


def copy_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Put each executed notebook beside its page."""
    executed = Path(app.outdir).parent / "jupyter_execute"
    if error is None and app.builder.name == "html":
        for notebook in executed.rglob("*.ipynb"):
            shutil.copy(notebook, Path(app.outdir) / notebook.relative_to(executed))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register all of it."""
    # It copies files and no more, but does not say that pages may be read side by side.
    app.extensions["sphinx-mathjax-offline"].parallel_read_safe = True
    app.extensions["sphinx-mathjax-offline"].parallel_write_safe = True
    app.add_directive("air-help", AirHelp)
    app.connect("builder-inited", show_plain_types)
    app.connect("autodoc-process-signature", name_arrays)
    app.connect("autodoc-process-docstring", keep_blocks, priority=300)
    app.connect("autodoc-process-docstring", make_fields, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", keep_fields, priority=400)
    app.connect("autodoc-process-docstring", document_fields, priority=600)  # after
    app.connect("doctree-read", link_to_code)
    app.connect("doctree-read", describe_outputs)
    app.connect("env-updated", forget_builtins)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
