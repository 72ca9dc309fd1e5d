"""What must hold of the built pages: nothing from outside, nothing missing, nothing for the eye alone."""

import gzip
import json
import re
import sys
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import chapter
import export
import nbformat
import pytest
import reading_time
import yaml
from docutils import nodes
from docutils.core import publish_doctree
from fontTools.ttLib import TTFont

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tools" / "book"))

import downloads  # noqa: E402
import extension  # noqa: E402
import finding  # noqa: E402
import formulas  # noqa: E402
import heads  # noqa: E402
import listings  # noqa: E402

HTML = ROOT / "_build" / "html"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]
NOTEBOOKS = [chapter for chapter in CHAPTERS if (ROOT / f"{chapter}.ipynb").exists()]
PAGES = [*CHAPTERS, "search", "genindex", "404"]

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
        self.ids = []
        self.unnamed = []  # pictures that say nothing to those who cannot see them
        self.classes = set()
        self.badges = []  # pairs: the badge's text, the code below it
        self.awaited = []  # scripts that the browser must have run before it shows anything
        self.meta = {}  # what the page says about itself
        self.folds = []  # the labels of what is folded
        self._open = None  # the tag whose text is being collected
        self._listing = 0  # how many <div> are open in the listing below a badge
        self._in_fold = False  # in the label of a fold
        self._text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        self.ids += [values["id"]] if "id" in values else []
        self.classes |= set(values.get("class", "").split())
        self.requests += requests_of(tag, values)
        if tag == "script" and "src" in values and not {"defer", "async"} & values.keys():
            self.awaited.append(values["src"])
        if tag == "meta" and "content" in values:
            self.meta[values.get("name") or values.get("property")] = values["content"]
        if tag == "summary":
            self._in_fold = True
            self.folds.append("")
        if tag == "div" and self._listing:
            self._listing += 1
        elif tag == "div" and "highlight" in values.get("class", "").split() and self.badges and not self.badges[-1][1]:
            self._listing = 1
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag == "img" and not values.get("alt", "").strip():
            self.unnamed.append(f"img {values.get('src')}")
        is_figure = "convlib-figure" in values.get("class", "").split()
        if is_figure or tag == "svg" and values.get("aria-hidden") != "true":
            if values.get("role") != "img" or not values.get("aria-label", "").strip():
                self.unnamed.append(f"{tag} {values.get('class')}")
        if tag in ("script", "style") or "export-badge" in values.get("class", "").split():
            self._open, self._text = tag, ""

    def handle_data(self, data):
        if self._open:
            self._text += data
        if self._in_fold:
            self.folds[-1] += data
        elif self._listing:
            self.badges[-1] = (self.badges[-1][0], self.badges[-1][1] + data)

    def handle_endtag(self, tag):
        self._in_fold = self._in_fold and tag != "summary"
        self._listing -= bool(self._listing and tag == "div")
        if tag != self._open:
            return
        self._open = None
        if tag == "script":
            self.requests += [found for found in SCRIPT_ADDRESS.findall(self._text)
                              if not found.startswith(NAMESPACE)]
        elif tag == "style":
            self.requests += css_addresses(self._text)
        elif tag == "p":
            self.badges.append((self._text, ""))


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
def text_of(name):
    return (HTML / f"{name}.html").read_text(encoding="utf-8")


@cache
def read_page(path):
    if not path.is_file():
        pytest.fail(f"{path.relative_to(ROOT)} is missing: the book is not built. Run `make book`.")
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(params=PAGES)
def page(request):
    return read_page(HTML / f"{request.param}.html")


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


def test_every_formula_is_mathml_and_needs_no_script():
    with_formulas = [name for name in CHAPTERS if "math" in read_page(HTML / f"{name}.html").classes]
    assert len(with_formulas) > 10
    for name in with_formulas:
        text = (HTML / f"{name}.html").read_text(encoding="utf-8")
        assert text.count("<math") == len(re.findall(r'class="math\b', text))
    assert (HTML / "_static" / "fonts" / "book-math.woff").stat().st_size < 100_000


def test_the_font_of_formulas_has_all_that_browsers_draw_with_it():
    """A root is drawn with a sign that stands in no formula's text."""
    font = TTFont(HTML / "_static" / "fonts" / "book-math.woff")
    drawn = {character for page in CHAPTERS for formula in re.findall(r"<math.*?</math>", text_of(page), re.DOTALL)
             for character in re.sub(r"<[^>]*>|&[^;]*;|\s", "", formula)}
    missing = {character for character in drawn | {"\N{SQUARE ROOT}"} if ord(character) not in font.getBestCmap()}
    assert missing <= {"\N{FUNCTION APPLICATION}"}, "not in the font"
    assert any("<msqrt>" in text_of(page) for page in CHAPTERS)


def test_no_table_stands_as_it_was_typed():
    """A table in Markdown is a table on the page, also in an output."""
    assert [page for page in CHAPTERS if re.search(r"<p>\s*\|[^<]*\| *:?[-–—]+", text_of(page))] == []


def test_a_mark_stays_with_the_formula_before_it():
    math = r'<span class="math [^>]*><math>(?:(?!</math>).)*</math></span>'
    together = re.compile(rf'<span class="together">{math}[^<]+</span>')
    apart = [page for page in CHAPTERS if re.search(rf"{math}[.,;:!?)]", together.sub("", text_of(page)))]
    assert together.search(text_of("chapters/trust")) and apart == []


def test_a_prime_is_not_raised_twice():
    assert "<msup>" not in formulas.mathml("f'(x)", display=False)
    assert formulas.mathml("x^2", display=False).count("<msup>") == 1
    assert not list(HTML.rglob("*mathjax*"))


# --- nobody waits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_page_is_shown_before_any_script_but_a_tiny_one_has_run(name):
    awaited = read_page(HTML / f"{name}.html").awaited
    sizes = {address: (HTML / name).parent.joinpath(urlsplit(address).path).stat().st_size for address in awaited}
    assert sum(sizes.values()) < 1000, sizes


def test_what_a_page_must_have_before_it_is_shown_is_small():
    """At 1.6 Mbit/s, 120 kB take 0.6 s; hosts compress text."""
    page = read_page(HTML / "chapters" / "introduction.html")
    sheets = {HTML / "chapters" / urlsplit(address).path for address in page.requests
              if urlsplit(address).path.endswith(".css")}
    assert len(sheets) > 3
    assert sum(len(gzip.compress(sheet.read_bytes())) for sheet in sheets) < 120_000


# --- nothing is missing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_every_link_within_the_book_leads_somewhere(name):
    problems = [problem_of_link(HTML, f"{name}.html", address, lambda path: read_page(path.resolve()).anchors)
                for address in read_page(HTML / f"{name}.html").links]
    assert [problem for problem in problems if problem] == []


def test_every_picture_says_what_it_shows(page):
    assert page.unnamed == []


def test_no_id_stands_twice_on_a_page(page):
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []


def test_plots_keep_the_ids_that_they_need_and_share_none():
    plot = ('<svg><g id="figure_1"><g id="patch_1"/><path id="m1"/><clipPath id="p2"/>'
            '<use xlink:href="#m1" clip-path="url(#p2)" fill="#0072b2"/></g></svg>')
    assert extension.with_own_ids(plot, 3) == (
        '<svg><g><g/><path id="m1-3"/><clipPath id="p2-3"/>'
        '<use xlink:href="#m1-3" clip-path="url(#p2-3)" fill="#0072b2"/></g></svg>')


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_can_be_downloaded(name):
    assert f"../_sources/{name}.ipynb" in read_page(HTML / f"{name}.html").links
    cells = json.loads((HTML / "_sources" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    assert "convlib" in texts[0] and "PyPI belongs to another" in texts[0]
    assert not [text for text in texts if re.search(r":::|```\{|\{(eq|numref|ref)\}`|\$\$ *\(", text)]


def test_a_downloaded_notebook_is_plain_markdown():
    start = "% Solution (click to open)\n:::{solution-start} ex-a\n:class: dropdown\n:::"
    end = ":::{solution-end}\n:::"
    code = nbformat.v4.new_code_cell("\nx = 1")
    hidden = {"jupyter": {"source_hidden": True}}
    exercise = {"convlib": {"exercise": {"hints": ["one", "two", "three"]}}}

    def markdown(text, **metadata):
        return nbformat.v4.new_markdown_cell(text, metadata=metadata)

    notebook = nbformat.v4.new_notebook(cells=[
        markdown(":::{exercise-start} Predict ★\n:label: ex-a\n:::\n\nSee {eq}`eq-F01` and {numref}`fig-a`.\n\n"
                 ":::{exercise-end}\n:::", **exercise),
        markdown(f"{start}\n\nYes.\n\n{end}", **hidden), markdown(start, **hidden), markdown("\nWords.", **hidden),
        code, markdown(f"\n{end}", **hidden), markdown(start, **hidden), markdown(f"Three.\n\n{end}", **hidden),
        markdown("$$\na\n$$  (eq-F01)"), markdown(":::{admonition} A slip\n:class: note\n\nHere\nit is.\n:::")])
    downloads.plain(notebook, {"eq-F01": "1", "fig-a": "2.3"}, "where")

    def fold(text):
        return f"<details><summary>Solution</summary>\n\n{text}\n\n</details>"

    label = "**Solution**, folded below:"
    shown = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert [cell.source for cell in shown] == [
        "where", "**Exercise: Predict ★**\n\nSee (1) and Fig. 2.3.", fold("Yes."), label, fold("Words."), label,
        fold("Three."), "$$\na \\tag{1}\n$$", "> **A slip**\n> \n> Here\n> it is."]
    assert [cell.metadata for cell in shown] == [{}, exercise, *[{}] * 7]
    assert code.metadata["jupyter"] == {"source_hidden": True, "outputs_hidden": True}


@pytest.fixture(scope="module")
def modules():
    return {cell.module for chapter in export.read_chapters(ROOT) for cell in chapter.cells}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exported_cell_is_badged_with_its_module(name, modules):
    """The exporter says which cells and where to; the page must say the same, above the same code."""
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
    extension.show_repository_buttons(None, SimpleNamespace(html_theme_options=options))
    assert options["use_edit_page_button"] == options["use_issues_button"] == bool(address)
    assert ("launch_buttons" in options) == bool(address)


# --- what a page says about itself --------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_page_describes_itself(name):
    meta = read_page(HTML / f"{name}.html").meta
    assert 40 <= len(meta["description"]) <= heads.LONGEST_DESCRIPTION + 2
    assert meta["og:description"] == meta["description"] and meta["og:title"]
    assert ("og:url" in meta) == ("og:image" in meta) == bool(heads.site_address(CONFIG["repository"]["url"]))


def test_no_two_pages_describe_themselves_alike():
    said = [read_page(HTML / f"{name}.html").meta["description"] for name in CHAPTERS]
    assert len(set(said)) == len(said)


def test_the_picture_of_a_card_has_the_size_that_is_promised():
    header = (HTML / heads.CARD).read_bytes()[:24]
    assert header[1:4] == b"PNG" and [int.from_bytes(header[at:at + 4]) for at in (16, 20)] == [1200, 630]


@pytest.mark.parametrize("repository, address", [
    ("", ""),
    ("https://github.com/Someone/course", "https://someone.github.io/course/"),
    ("https://github.com/someone/course.git", "https://someone.github.io/course/"),
    ("https://github.com/someone/someone.github.io", "https://someone.github.io/"),
    ("https://gitlab.com/someone/course", ""),
    ("https://github.com/someone", ""),
])
def test_the_address_of_the_pages_follows_from_the_one_of_the_repository(repository, address):
    config = SimpleNamespace(html_baseurl="", html_theme_options={"repository_url": repository})
    heads.set_address(None, config)
    assert config.html_baseurl == address
    config = SimpleNamespace(html_baseurl="https://example.org/", html_theme_options={"repository_url": repository})
    heads.set_address(None, config)
    assert config.html_baseurl == "https://example.org/"


def site_of(address, folder):
    """An application that has built two pages and the one for what is missing."""
    (folder / "404.html").write_text('<link href="_static/a.css"><a href="#top"><a href="chapters/a.html">')
    builder = SimpleNamespace(format="html", get_target_uri=lambda name: f"{name}.html")
    config = SimpleNamespace(html_baseurl=address, html_title="Book", root_doc="chapters/a")
    titles = {"chapters/a": nodes.title("", "A & B")}
    return SimpleNamespace(builder=builder, config=config, outdir=str(folder),
                           env=SimpleNamespace(found_docs={"chapters/a", "chapters/b", "search"}, titles=titles))


def test_with_an_address_there_is_a_map_and_the_404_page_works_in_every_folder(tmp_path):
    heads.write_site_files(site_of("https://example.org/book/", tmp_path), None)
    site_map = (tmp_path / "sitemap.xml").read_text()
    assert re.findall("<loc>(.*?)</loc>", site_map) == [
        f"https://example.org/book/chapters/{name}.html" for name in "ab"]
    assert (tmp_path / "404.html").read_text() == (
        '<link href="/book/_static/a.css"><a href="#top"><a href="/book/chapters/a.html">')


def test_without_an_address_no_page_claims_one(tmp_path):
    heads.write_site_files(site_of("", tmp_path), None)
    assert not (tmp_path / "sitemap.xml").exists()
    assert 'href="chapters/a.html"' in (tmp_path / "404.html").read_text()


@pytest.mark.parametrize("address, expected", [
    ("", {"og:title": "A", "og:url": None, "twitter:card": "summary"}),
    ("https://example.org/", {"og:url": "https://example.org/chapters/a.html", "twitter:card": "summary_large_image",
                              "og:image": "https://example.org/_static/card.png"}),
])
def test_the_card_of_a_page(address, expected, tmp_path):
    document = publish_doctree("Title\n=====\n\nA\n-\n\n*How it looks.*\n\n**What you will be able to do:** see "
                               "more. **Before you start:** nothing.\n\nB\n-\n\nMore.")
    context = {"title": "<em>A</em>"}
    heads.add_metatags(site_of(address, tmp_path), "chapters/a", "", context, document)
    meta = Page(context["metatags"]).meta
    assert meta["description"] == "How it looks. See more."
    assert {name: meta.get(name) for name in expected} == expected


def test_the_theme_still_has_the_script_that_is_taken_out():
    import pydata_sphinx_theme

    macros = (Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static/webpack-macros.html")
    text = macros.read_text(encoding="utf-8")
    assert len(heads.ICON_SCRIPT.findall(text)) == 1
    assert "fontawesome.js" not in heads.without_icon_script(text) and "bootstrap.js" in text


# --- code ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_fold_says_what_it_holds(name):
    folds = read_page(HTML / f"{name}.html").folds
    vague = [label for label in folds if label in ("Code", "Code:") or "Toggle" in label or "Show code" in label]
    assert not vague and (folds or name == "chapters/introduction")  # its only cell is not shown
    cells = nbformat.read(ROOT / f"{name}.ipynb", as_version=4).cells
    hidden = [cell for cell in cells if {"hide-input", "hide-cell"} & set(cell.metadata.get("tags", []))]
    assert len(folds) >= len(hidden)


@pytest.mark.parametrize("source, subject", [
    ("import numpy as np\nfrom convlib import figures", "imports of numpy, convlib"),
    ("HOUSE_IMAGE = [1]\nHOUSE_KERNELS = {}", "HOUSE_IMAGE, HOUSE_KERNELS"),
    ("import numpy\nclass House:\n    pass\n\ndef house():\n    pass", "House, house"),
    ("a, b = 1, 2\nprint(a)", "a, b"),
    ("figures.grids(np.zeros(3))", "figures.grids, np.zeros"),
    ("a = b = c = d = e = f = 1", "a, b, c, d and 2 more"),
    ("%%timeit\nx(", "%%timeit"),
    ("assert 1 == 1", "assert 1 == 1"),
])
def test_the_subject_of_a_cell(source, subject):
    assert listings.subject(source) == subject


DOCSTRING = '''def f(x):
    """Say what it does,
    in two lines.

    Parameters
    ----------
    x : int
        A number.

    Raises
    ------
    ValueError
    """
    return x'''


def test_a_docstring_is_folded_below_its_summary():
    assert listings.docstring_folds(DOCSTRING) == [(4, 13, "docstring: Parameters, Raises")]
    assert listings.docstring_folds('def f():\n    """Short."""') == []
    more = 'def f():\n    """Short.\n\n    More.\n    """'
    assert listings.docstring_folds(more) == [(3, 5, "docstring: 2 more lines")]


def test_a_listing_in_lines_and_folds_is_the_same_text():
    html = f'<div class="highlight"><pre><span></span>{DOCSTRING}\n</pre></div>\n'
    for folds in ([], listings.docstring_folds(DOCSTRING)):
        boxed = listings.in_lines(html, folds)
        shown = re.sub("<summary>.*?</summary>", "", boxed)
        assert re.sub("<[^>]*>", "", shown).strip() == DOCSTRING
        assert boxed.count('class="line"') == len(DOCSTRING.split("\n"))
        assert boxed.count("<summary>") == len(folds)
    assert 'style="--in:4"' in boxed


# --- reading times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_chapter_states_the_reading_time_that_follows_from_it(name):
    """If this fails: python tools/reading_time.py writes the minutes."""
    notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    assert reading_time.stated(notebook) in (None, reading_time.minutes(notebook))


def test_most_chapters_state_one():
    assert sum(reading_time.stated(nbformat.read(ROOT / f"{name}.ipynb", as_version=4)) is not None
               for name in NOTEBOOKS) >= len(NOTEBOOKS) - 2


def test_the_reading_time():
    text = nbformat.v4.new_markdown_cell("word " * 2000 + "\n**Reading time:** 99 minutes.")
    code = nbformat.v4.new_code_cell(DOCSTRING + "\n\n" + "\n".join(f"x = {n}" for n in range(58)))
    folded = nbformat.v4.new_code_cell("x = 1\n" * 600, metadata={"tags": ["hide-input"]})
    notebook = nbformat.v4.new_notebook(cells=[text, code, folded])
    assert reading_time.lines_of(code.source) == 3 + 58
    assert reading_time.minutes(notebook) == 15
    assert reading_time.state(notebook) and reading_time.stated(notebook) == 15
    assert not reading_time.state(notebook)


def test_storing_a_chapter_writes_its_reading_time(tmp_path, monkeypatch):
    monkeypatch.setattr(chapter, "execute", lambda *arguments: None)
    path = tmp_path / "chapters" / "one.ipynb"
    path.parent.mkdir()
    text = nbformat.v4.new_markdown_cell("word " * 1500 + "\n\n**Reading time:** 99 minutes.", id="kept")
    nbformat.write(nbformat.v4.new_notebook(cells=[text]), path)
    assert chapter.main(["run", str(path), "--root", str(tmp_path)]) == 0
    stored = path.read_text(encoding="utf-8")
    assert reading_time.stated(nbformat.reads(stored, as_version=4)) == 10
    assert chapter.main(["run", str(path), "--root", str(tmp_path)]) == 0
    assert path.read_text(encoding="utf-8") == stored


# --- the page of all names ----------------------------------------------------------------------------------

API = HTML / "chapters" / "api.html"


def test_every_name_of_the_library_is_one_line_with_a_summary():
    import convlib

    lines = [label for label in read_page(API).folds if not label.startswith(("docstring:", "Code"))]
    names = [line.split()[0] for line in lines]
    assert {name for name in convlib.__all__ if not hasattr(getattr(convlib, name), "__path__")
            and callable(getattr(convlib, name))} <= {name.rpartition(".")[2] for name in names}
    assert [line for line in lines if len(line.split()) < 4] == []


def test_sources_on_the_page_of_names_are_links():
    # In the lines themselves a link could not be told from the fold.
    text = re.sub("<summary>.*?</summary>", "", API.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(re.findall(r"[Cc]hapter\s+“<a [^>]*href=", text)) > 50
    assert not re.findall(r"[Cc]hapter\s+“[^<]", text)
    assert re.search(r'href="learning_flow.html#equation-eq-f12">F12</a>', text)
    assert not re.search(r"of shape<", text)


# --- the search ---------------------------------------------------------------------------------------------


def test_the_words_of_a_page_are_those_that_it_is_about():
    from collections import Counter

    counts = {"one": Counter(kernel=20, turn=10, the=100), "two": Counter(kernel=2, bias=15, the=100)}
    words = finding.weights(counts)
    assert words["one"]["kernel"] > words["two"]["kernel"] and "turn" not in words["two"]


def test_words_of_code_and_formulas_are_not_counted():
    document = publish_doctree("A word.\n\n::\n\n  kernel = 1\n\n:math:`kernel`")
    app = SimpleNamespace(builder=SimpleNamespace(format="html"))
    finding.count_words(app, document, "a")
    assert app.words_of_pages["a"] == {"word": 1}


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
            '<div class="highlight"><div><pre>a <span>= 1</span>\n</pre><details><summary>x</summary><pre>b</pre>'
            "</details></div></div><pre>after</pre>")
    assert Page(text).badges == [("goes into y.py", "a = 1\nb")]
