"""The documentation: it builds, runs, needs nothing from elsewhere, and leads nowhere in vain."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "attend_infer_repeat"
PAGES = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
NOTEBOOKS = [path for path in PAGES if "file_format: mystnb" in path.read_text()]

pytest.importorskip("sphinx", reason="the docs extra is not installed")
pytestmark = [pytest.mark.docs, pytest.mark.timeout(600)]


def modules() -> set[str]:
    """Return the names of the package's modules, but for those that only start a command."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return {name for name in names if not name.endswith(".__main__")}


def sources() -> set[Path]:
    return {
        path for path in DOCS.rglob("*") if "_build" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation as `make docs QUICK=1` does: a warning or a failed cell fails."""
    out = tmp_path_factory.mktemp("docs") / "html"
    before = sources()
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-j", "2", "-b", "html"]
    built = subprocess.run(
        [*command, str(DOCS), str(out)],
        env=os.environ | {"AIR_DOCS_QUICK": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr[-6000:]
    assert sources() - before - {DOCS / "__pycache__"} == set()
    return out


class Page(HTMLParser):
    """A page's links, what it loads, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.pictures: list[str] = []  # their alternative texts
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "author"):
            self.loaded.add(given.get("href", ""))
        elif "src" in given:
            self.loaded.add(given["src"])
        if tag == "img":
            self.pictures.append(given.get("alt", ""))


def is_elsewhere(link: str) -> bool:
    return link.startswith(("http:", "https:", "mailto:", "data:", "//"))


def pages(site: Path) -> Iterator[tuple[Path, Page]]:
    for path in sorted(site.rglob("*.html")):
        if "_static" not in path.parts:
            yield path, Page(path)


def test_every_notebook_has_run(site: Path) -> None:
    assert len(NOTEBOOKS) >= 2
    for source in NOTEBOOKS:
        notebook = json.loads((site / source.relative_to(DOCS)).with_suffix(".ipynb").read_text())
        cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
        assert cells
        assert all(cell["execution_count"] for cell in cells)


def test_the_reference_has_a_page_for_each_folder() -> None:
    pages = [path.read_text() for path in (DOCS / "reference" / "api").glob("*.md")]
    named = [folder for page in pages for folder in re.findall(r"^```{modules} (.+)$", page, re.M)]
    assert sorted(named) == sorted([".", *{path.parent.name for path in PACKAGE.glob("*/*.py")}])


def test_every_module_is_in_the_reference(site: Path) -> None:
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]  # after four lines of text
    documented = re.findall(r"^(\S+) py:module ", zlib.decompress(inventory).decode(), re.M)
    assert set(documented) == modules()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = {url for _, page in pages(site) for url in page.loaded}
    assert any(url.endswith("style.css") or "style.css?" in url for url in loaded)
    assert [url for url in loaded if is_elsewhere(url) and not url.startswith("data:")] == []


def test_every_link_within_the_site_leads_to_something(site: Path) -> None:
    known = dict(pages(site))
    assert len(known) > 10
    broken = []
    for path, page in known.items():
        for link in page.links | page.loaded:
            if is_elsewhere(link):
                continue
            address, anchor = urldefrag(link)
            target = (path.parent / unquote(address.split("?")[0])).resolve() if address else path
            if not target.exists() or (
                anchor and target in known and unquote(anchor) not in known[target].anchors
            ):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert broken == []


def test_the_search_knows_every_page(site: Path) -> None:
    index = (site / "searchindex.js").read_text()
    pages = [path for path in sources() if path.suffix == ".md"]
    names = [path.relative_to(DOCS).with_suffix("").as_posix() for path in pages]
    assert [name for name in names if f'"{name}"' not in index] == []


def test_every_picture_has_a_text(site: Path) -> None:
    texts = [text for _, page in pages(site) for text in page.pictures]
    assert len(texts) > 20
    assert [text for text in texts if not text or text.endswith((".png", ".svg", ".gif"))] == []
