"""The house is as it is drawn: docs/architecture.md says on which floor each part stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

grimp = pytest.importorskip("grimp", reason="the dev extra is not installed")

PACKAGE = "attend_infer_repeat"
ROOT = Path(__file__).parents[2] / PACKAGE
MOST_LINES = {"module": 300, "function": 50}

Imports = dict[str, set[str]]


@pytest.fixture(scope="module")
def imports() -> Imports:
    """Return what each module imports of the package: in functions and for types only, too."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=False, cache_dir=None)
    return {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}


@pytest.fixture(scope="module")
def floors(diagrams: ModuleType) -> dict[str, int]:
    """Return the floor of each part, by the folder's or module's name."""
    return {part.name: part.floor for part in diagrams.read_parts()}


def part_of(module: str) -> str:
    """Return the folder of a module, or its own name beside the folders."""
    return module.split(".")[1] if "." in module else "__init__"


def between_parts(imports: Imports) -> Iterator[tuple[str, str]]:
    """Yield (importer, imported) of each import from one part of the house to another."""
    for importer, imported in sorted(imports.items()):
        yield from ((importer, m) for m in sorted(imported) if part_of(m) != part_of(importer))


def circle(graph: Imports) -> list[tuple[str, str]]:
    """Return the imports that make up a circle, if there is one."""
    try:
        TopologicalSorter({node: sorted(graph[node]) for node in sorted(graph)}).prepare()
    except CycleError as error:
        return list(pairwise(reversed(error.args[1])))
    return []


def shown(pairs: list[tuple[str, str]]) -> str:
    return "\n".join(f"{importer} imports {imported}" for importer, imported in pairs)


def test_imports_are_found(imports: Imports) -> None:
    found = imports[f"{PACKAGE}.guide.base"]
    assert f"{PACKAGE}.guide.state" in found
    assert f"{PACKAGE}.guide.baseline" in found  # for types only


def test_no_circle_among_modules(imports: Imports) -> None:
    found = circle(imports)
    assert not found, shown(found)


def test_no_circle_among_folders(imports: Imports) -> None:
    graph: Imports = {}
    example = {}
    for importer, imported in between_parts(imports):
        graph.setdefault(part_of(importer), set()).add(part_of(imported))
        example[part_of(importer), part_of(imported)] = importer, imported
    found = [example[hop] for hop in circle(graph)]
    assert not found, shown(found)


def test_imports_go_down(imports: Imports, floors: dict[str, int]) -> None:
    wrong = [
        (importer, imported)
        for importer, imported in between_parts(imports)
        if floors.get(part_of(importer), 0) <= floors.get(part_of(imported), 0)
    ]
    assert not wrong, shown(wrong)


def test_the_drawing_has_every_folder_and_module_and_no_other(
    imports: Imports, floors: dict[str, int]
) -> None:
    assert set(map(part_of, imports)) == set(floors)


@pytest.mark.parametrize("edges", [{}, {"a": {"b"}, "b": {"c"}, "d": {"b"}}])
def test_a_graph_without_a_circle_has_none(edges: Imports) -> None:
    assert circle(edges) == []


def test_a_circle_is_named_in_the_direction_of_its_imports() -> None:
    edges = {"a": {"b", "d"}, "b": {"c"}, "c": {"a"}}
    assert set(circle(edges)) == {("a", "b"), ("b", "c"), ("c", "a")}


def test_modules_and_functions_are_short() -> None:
    long = []
    for path in sorted(ROOT.rglob("*.py")):
        source, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()
        lines = {("module", name): len(source.splitlines())}
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                span = node.end_lineno - node.lineno + 1
                lines["function", f"{name}:{node.lineno} {node.name}"] = span
        long += [f"{what}: {n} lines" for (kind, what), n in lines.items() if n > MOST_LINES[kind]]
    assert not long, "\n".join(long)
