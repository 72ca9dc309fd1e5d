"""What must hold of the built pages: nothing from outside, nothing missing, nothing for the eye alone."""

import importlib.util
import json
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import export
import pytest
import yaml

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [chapter for chapter in CHAPTERS if (ROOT / f"{chapter}.ipynb").exists()]
PAGES = [*CHAPTERS, "search", "genindex"]

# Links that name a page but ask for nothing; every other <link> makes the browser fetch its address.
SILENT_LINKS = {"author", "canonical", "index", "license", "next", "prev", "search"}
# How a style sheet, and a script, name an address.
CSS_ADDRESS = re.compile(r"""@import\s+["']([^"']+)|url\(\s*["']?([^"')]+)""")
SCRIPT_ADDRESS = re.compile(r"""(?:https?:)?//[\w-]+(?:\.[\w-]+)+[^\s"'`]*""")
NAMESPACE = "http://www.w3.org/"  # names an XML vocabulary; nobody asks for it


class Page(HTMLParser):
    """What the tests want to know of one html page."""

    def __init__(self, text):
        super().__init__()
        self.requests = []  # addresses the browser fetches by itself
        self.links = []  # addresses of <a>
        self.anchors = {""}  # where a #fragment can lead; the empty one is the top
        self.unnamed = []  # pictures that say nothing to those who cannot see them
        self.classes = set()
        self.badges = []  # pairs: the badge's text, the code below it
        self._open = None  # the tag whose text is being collected
        self._text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.classes |= set(values.get("class", "").split())
        self.requests += requests_of(tag, values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and not values.get("alt", "").strip():
            self.unnamed.append(f"img {values.get('src')}")
        is_figure = "convlib-figure" in values.get("class", "").split()
        if is_figure or tag == "svg" and values.get("aria-hidden") != "true":
            if values.get("role") != "img" or not values.get("aria-label", "").strip():
                self.unnamed.append(f"{tag} {values.get('class')}")
        if tag in ("script", "style", "pre") or "export-badge" in values.get("class", "").split():
            self._open, self._text = tag, ""

    def handle_data(self, data):
        if self._open:
            self._text += data

    def handle_endtag(self, tag):
        if tag != self._open:
            return
        self._open = None
        if tag == "script":
            self.requests += [found for found in SCRIPT_ADDRESS.findall(self._text)
                              if not found.startswith(NAMESPACE)]
        elif tag == "style":
            self.requests += css_addresses(self._text)
        elif tag == "p":
            self.badges.append((self._text, None))
        elif tag == "pre" and self.badges and self.badges[-1][1] is None:
            self.badges[-1] = (self.badges[-1][0], self._text)


def requests_of(tag, values):
    """The addresses that a browser fetches because of one tag."""
    found = css_addresses(values.get("style", ""))
    if tag == "link" and not set(values.get("rel", "").split()) <= SILENT_LINKS:
        found.append(values.get("href", ""))
    if tag in ("image", "use"):  # inside an svg
        found.append(values.get("href", "") or values.get("xlink:href", ""))
    found += [values[name] for name in ("src", "data", "poster") if name in values]
    found += [candidate.split()[0] for candidate in values.get("srcset", "").split(",") if candidate.strip()]
    return found


def css_addresses(text):
    """The addresses in a piece of CSS."""
    return [imported or url for imported, url in CSS_ADDRESS.findall(text)]


def is_external(address):
    """Whether an address leads off the site: https://..., //..., but not data: or a relative path."""
    parts = urlsplit(address)
    return bool(parts.netloc) or parts.scheme not in ("", "data")


def problem_of_link(html, page, address, anchors_of):
    """Why the address of a link on a page leads nowhere, or None. Only links within the site are followed."""
    parts = urlsplit(address)
    if parts.scheme or parts.netloc:
        return None
    target = (html / page).parent / unquote(parts.path) if parts.path else html / page
    if not target.is_file():
        return f"{page}: {address} leads to no file"
    if parts.fragment and target.suffix == ".html" and unquote(parts.fragment) not in anchors_of(target):
        return f"{page}: {address} leads to no place in that page"
    return None


@cache
def read_page(path):
    if not path.is_file():
        pytest.fail(f"{path.relative_to(ROOT)} is missing: the book is not built. Run `make book`.")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(params=PAGES)
def page(request):
    return read_page(HTML / f"{request.param}.html")


@cache
def book_extension():
    spec = importlib.util.spec_from_file_location("book_extension", ROOT / "tools" / "book" / "extension.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- nothing comes from outside -----------------------------------------------------------------------------


def test_a_page_asks_for_nothing_outside(page):
    assert [address for address in page.requests if is_external(address)] == []


@pytest.mark.parametrize("name", PAGES)
def test_everything_a_page_asks_for_is_there(name):
    asked = [address for address in read_page(HTML / f"{name}.html").requests if not is_external(address)]
    assert asked
    problems = [problem_of_link(HTML, f"{name}.html", address, lambda _: set())
                for address in asked if not address.startswith("data:") and not urlsplit(address).fragment]
    assert [problem for problem in problems if problem] == []


def test_the_style_sheets_ask_for_nothing_outside():
    sheets = list(HTML.rglob("*.css"))
    assert HTML / "_static" / "style.css" in sheets
    found = [(sheet.name, address) for sheet in sheets
             for address in css_addresses(sheet.read_text(encoding="utf-8")) if is_external(address)]
    assert found == []


def test_the_maths_is_local():
    mathjax = HTML / "_static" / "mathjax"
    assert (mathjax / "tex-chtml.js").stat().st_size > 500_000
    assert (mathjax / "output/chtml/fonts/woff-v2/MathJax_Math-Italic.woff").is_file()
    with_formulas = [name for name in CHAPTERS if "math" in read_page(HTML / f"{name}.html").classes]
    assert with_formulas
    for name in with_formulas:
        scripts = [urlsplit(address).path for address in read_page(HTML / f"{name}.html").requests]
        assert "../_static/mathjax/tex-chtml.js" in scripts


# --- nothing is missing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_link_within_the_book_leads_somewhere(name):
    problems = [problem_of_link(HTML, f"{name}.html", address, lambda path: read_page(path.resolve()).anchors)
                for address in read_page(HTML / f"{name}.html").links]
    assert [problem for problem in problems if problem] == []


def test_every_picture_says_what_it_shows(page):
    assert page.unnamed == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_can_be_downloaded(name):
    assert f"../_sources/{name}.ipynb" in read_page(HTML / f"{name}.html").links
    assert json.loads((HTML / "_sources" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exported_cell_is_badged_with_its_module(name):
    """The exporter says which cells and where to; the page must say the same, above the same code."""
    modules = {cell.module for chapter in export.read_chapters(ROOT) for cell in chapter.cells}
    cells = export.read_chapter(ROOT, f"{name}.ipynb").cells
    expected = [(f"goes into {export.file_of(cell.module, modules)}", "\n".join(cell.lines).strip())
                for cell in cells]
    badges = read_page(HTML / f"{name}.html").badges
    assert [(text, (code or "").strip()) for text, code in badges] == expected


def test_each_page_leads_to_the_one_before_and_the_one_after():
    for before, after in zip(CHAPTERS, CHAPTERS[1:], strict=False):
        folder = Path(before).parent
        assert folder == Path(after).parent, "this test expects all pages in one folder"
        assert "right-next" in read_page(HTML / f"{before}.html").classes
        assert f"{Path(after).name}.html" in read_page(HTML / f"{before}.html").links
        assert "left-prev" in read_page(HTML / f"{after}.html").classes
        assert f"{Path(before).name}.html" in read_page(HTML / f"{after}.html").links


def test_every_page_can_be_searched(page):
    assert {"search-button", "search-button-field"} & page.classes
    index = (HTML / "searchindex.js").read_text(encoding="utf-8")
    assert all(f'"{chapter}"' in index for chapter in CHAPTERS)


# --- buttons that need a repository -------------------------------------------------------------------------

BUTTONS = {"dropdown-launch-buttons", "dropdown-source-buttons", "btn-source-edit-button",
           "btn-source-issues-button", "btn-source-repository-button"}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_repository_buttons_are_there_if_and_only_if_its_address_is_known(name):
    present = BUTTONS & read_page(HTML / f"{name}.html").classes
    assert present == (BUTTONS if CONFIG["repository"]["url"] else set())


@pytest.mark.parametrize("address", ["", "https://example.org/someone/something"])
def test_the_address_alone_decides_over_the_buttons(address):
    options = {"repository_url": address, "launch_buttons": {"colab_url": "https://example.org"}}
    book_extension().show_repository_buttons(None, SimpleNamespace(html_theme_options=options))
    assert options["use_edit_page_button"] == options["use_issues_button"] == bool(address)
    assert ("launch_buttons" in options) == bool(address)


# --- the checks above do find what they look for ------------------------------------------------------------


@pytest.mark.parametrize("bad", [
    '<script src="https://cdn.example.org/x.js"></script>',
    '<script src="//cdn.example.org/x.js"></script>',
    '<script>const url = "https://cdn.example.org/x.js";</script>',
    "<script>import('//cdn.example.org/x.js')</script>",
    '<link rel="stylesheet" href="https://cdn.example.org/x.css">',
    '<link rel="preload" as="font" href="https://cdn.example.org/x.woff2">',
    '<link rel="shortcut icon" href="https://cdn.example.org/x.ico">',
    '<img alt="x" src="https://cdn.example.org/x.png">',
    '<img alt="x" src="x.png" srcset="x.png 1x, https://cdn.example.org/x2.png 2x">',
    '<picture><source srcset="https://cdn.example.org/x.webp"></picture>',
    '<iframe src="https://cdn.example.org/"></iframe>',
    '<object data="https://cdn.example.org/x.svg"></object>',
    '<svg role="img" aria-label="x"><image href="https://cdn.example.org/x.png"/></svg>',
    '<div style="background: url(https://cdn.example.org/x.png)"></div>',
    "<style>@import 'https://cdn.example.org/x.css';</style>",
    "<style>@font-face { src: url(https://cdn.example.org/x.woff2) }</style>",
])
def test_a_request_to_the_outside_is_found(bad):
    assert [address for address in Page(bad).requests if is_external(address)]


def test_what_asks_for_nothing_is_left_alone():
    fine = Page('<a href="https://example.org">x</a> <link rel="canonical" href="https://example.org">'
                '<script>document.createElementNS("http://www.w3.org/2000/svg", "g")  // a comment</script>'
                '<img alt="x" src="data:image/png;base64,AAAA"> <link rel="icon" href="x.svg">')
    assert not [address for address in fine.requests if is_external(address)]
    assert fine.links == ["https://example.org"]


@pytest.mark.parametrize("bad", ['<img src="x.png">', '<img src="x.png" alt=" ">', "<svg></svg>",
                                 '<svg role="img"></svg>', '<svg aria-label="a grid"></svg>',
                                 '<svg class="convlib-figure" aria-hidden="true"></svg>',
                                 '<div class="convlib-figure"><svg aria-hidden="true"></svg></div>'])
def test_a_picture_without_words_is_found(bad):
    assert Page(bad).unnamed


@pytest.mark.parametrize("fine", ['<img src="x.png" alt="a grid">', '<svg aria-hidden="true"></svg>',
                                  '<svg role="img" aria-label="a grid"></svg>'])
def test_a_picture_with_words_is_left_alone(fine):
    assert not Page(fine).unnamed


def test_a_link_to_nowhere_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<p id="here">')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.html").touch()

    def problem(page, address):
        return problem_of_link(tmp_path, page, address, lambda path: Page(path.read_text()).anchors)

    assert problem("a.html", "missing.html")
    assert problem("a.html", "#there")
    assert problem("sub/b.html", "../a.html#there")
    assert not problem("sub/b.html", "../a.html#here")
    assert not problem("a.html", "#here")
    assert not problem("a.html", "#")
    assert not problem("a.html", "mailto:someone@example.org")


def test_a_badge_belongs_to_the_code_below_it():
    text = ('<pre>before</pre><p class="export-badge">goes into <a href="x"><code>y.py</code></a></p>'
            "<pre>a <span>= 1</span></pre><pre>after</pre>")
    assert Page(text).badges == [("goes into y.py", "a = 1")]
