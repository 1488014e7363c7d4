"""What the documentation needs beside Sphinx's own extensions.

- ``{air-help} train`` shows what ``air train --help`` prints.
- ``{modules} guide`` documents all modules of the folder ``guide``, each under a heading, and
  ``{names}`` lists what the package itself offers.
- ``Returns:``, ``Raises:`` and ``Source:`` at the start of a docstring's line become fields.
- What is indented after a blank line, such as a formula, keeps its lines.
- A command's docstring, the text of its help, is shown as it stands.
- Arrays in signatures have the name that the code gives them.
- Fields with a comment in place of a docstring are documented by it.
- Links to the package's files lead to the pages that show their code.
- Pictures that a notebook makes have an alternative text.
- Each notebook lies beside its page as ``.ipynb``, with its outputs.
"""

from __future__ import annotations

import importlib
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, get_type_hints

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import attend_infer_repeat
from attend_infer_repeat.config import PATHS

PACKAGE = "attend_infer_repeat"
ROOT = Path(attend_infer_repeat.__file__).parent
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


MODULES = re.compile(r"^```\{modules\} (\S+)\n```$", re.MULTILINE)
NAMES = re.compile(r"^```\{names\}\n```$", re.MULTILINE)


def write_out(app: Sphinx, docname: str, source: list[str]) -> None:
    """Write out ``{modules} FOLDER`` and ``{names}`` in a page's source.

    There, and not when the page is read, so that its table of contents has the headings.
    """
    source[0] = MODULES.sub(lambda found: "\n".join(map(section, modules(found[1]))), source[0])
    source[0] = NAMES.sub(lambda found: names(), source[0])


def modules(folder: str) -> list[str]:
    """Return the names of a folder's modules, those of its folders too, but for ``__main__``.

    The folder ``.`` is the package; of that, the modules beside the folders.
    """
    if folder == ".":
        found = pkgutil.iter_modules([str(ROOT)], f"{PACKAGE}.")
        named = [PACKAGE, *(module.name for module in found if not module.ispkg)]
    else:
        found = pkgutil.walk_packages([str(ROOT / folder)], f"{PACKAGE}.{folder}.")
        named = [f"{PACKAGE}.{folder}", *(module.name for module in found)]
    return [name for name in named if not name.endswith("__main__")]


def section(module: str) -> str:
    """Return a module's heading and documentation; of a folder, its docstring alone."""
    path = ROOT.joinpath(*module.split(".")[1:])
    members = ":no-members:" if path.is_dir() else ":members:"
    text = f"\n```{{eval-rst}}\n.. automodule:: {module}\n   {members}\n```\n"
    title = module.removeprefix(f"{PACKAGE}.")
    is_page = path.is_dir() and "." not in title  # which has its own heading
    return text if is_page else f"\n## {title}\n{text}"


def names() -> str:
    """Return a table of the names that the package itself offers, with links."""
    rows = ["| name | what |", "| --- | --- |"]
    for name in attend_infer_repeat.__all__:
        thing = getattr(attend_infer_repeat, name)
        if isinstance(thing, type) or inspect.isfunction(thing):
            link = f"{{py:obj}}`~{thing.__module__}.{name}`"
            rows.append(f"| {link} | {inspect.getdoc(thing).splitlines()[0]} |")
    return "\n".join(rows)


def skip_inherited(
    app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out methods that another library has put into a class: scikit-learn does."""
    foreign = inspect.isroutine(obj) and not str(obj.__module__).startswith(PACKAGE)
    return True if foreign else None


def keep_help(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Show the docstring of a command, which is the text of its help, as it stands."""
    if what == "class" and name.startswith(f"{PACKAGE}.cli."):
        lines[:] = [".. code-block:: none", "", *(f"    {line}" for line in lines), ""]


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


def find_field_types(app: Sphinx) -> None:
    """Find the types of named tuples' fields by the module, where several have a type's name."""
    folders = (folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists())
    for name in (name for folder in folders for name in modules(folder)):
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and hasattr(kind, "_fields"):
                with suppress(NameError):  # of a type that only type checkers import
                    kind.__new__.__annotations__ = get_type_hints(kind)


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
    app.connect("builder-inited", find_field_types)
    app.connect("source-read", write_out)
    app.connect("autodoc-skip-member", skip_inherited)
    app.connect("autodoc-process-signature", name_arrays)
    app.connect("autodoc-process-docstring", keep_help, priority=200)
    app.connect("autodoc-process-docstring", keep_blocks, priority=300)
    app.connect("autodoc-process-docstring", make_fields, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", keep_fields, priority=400)
    app.connect("autodoc-process-docstring", document_fields, priority=600)  # after
    app.connect("doctree-read", link_to_code)
    app.connect("doctree-read", describe_outputs)
    app.connect("env-updated", forget_builtins)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
