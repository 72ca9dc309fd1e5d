"""Every page in a real browser: light, dark and on a phone. Run by `make browser`, which builds the book too.

Needs a Chromium on the machine (on the PATH, or named by $CHROMIUM); none is downloaded. Leaves full-page
screenshots in _build/screens.
"""

import os
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from convlib import figures

BUILD = Path(__file__).parents[2] / "_build"
HTML = BUILD / "html"
SCREENS = BUILD / "screens"
PAGES = [*sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("chapters/*.html")), "search.html"]
if not (HTML / "search.html").exists():
    raise FileNotFoundError("the book is not built: run `make book`")

LOOKS = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 900}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 900}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "is_mobile": True,
              "has_touch": True, "device_scale_factor": 2},
}

# Without these, Chromium itself asks for updates and the like.
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]

# What is left of a formula that was not typeset: TeX delimiters in the text, outside code.
RAW_TEX = r"""() => {
    const article = document.querySelector("main").cloneNode(true);
    article.querySelectorAll("pre, code, script, style").forEach((node) => node.remove());
    return article.textContent.match(/\$\$|\\\(|\\\[|\\begin\{/g) || [];
}"""

# Elements that reach beyond the right edge, but for those inside a box that scrolls by itself.
TOO_WIDE = """() => {
    const width = document.documentElement.clientWidth;
    const scrolls = (node) => node && node !== document.body
        && (getComputedStyle(node).overflowX !== "visible" || scrolls(node.parentElement));
    if (document.documentElement.scrollWidth <= width) return [];
    return [...document.querySelectorAll("main *")]
        .filter((node) => node.getBoundingClientRect().right > width + 1 && !scrolls(node.parentElement))
        .map((node) => `${node.tagName}.${node.getAttribute("class")}`).concat("the page scrolls sideways");
}"""


# The theme's light panels behind drawings that are made for both themes.
PANELS = """() => [...document.querySelectorAll(".text_html:has(.convlib-figure)")]
    .map((node) => getComputedStyle(node).backgroundColor)
    .filter((colour) => colour !== "rgba(0, 0, 0, 0)")"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=HTML))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def chromium():
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        pytest.fail("no Chromium on this machine: install one, or name it in $CHROMIUM")
    # Chromium's sandbox refuses to run as root.
    flags = FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


@pytest.fixture(params=LOOKS)
def visit(request, chromium, address):
    """A function that opens a page and returns it with the list of what went wrong while it loaded."""
    context = chromium.new_context(**LOOKS[request.param])

    def open_page(name):
        page, problems = context.new_page(), []
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
        page.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:"))
                or problems.append(f"asked for {asked.url}"))
        page.on("response", lambda answer: answer.status < 400 or problems.append(f"missing: {answer.url}"))
        page.goto(f"{address}/{name}", wait_until="load")
        page.wait_for_load_state("networkidle")
        page.evaluate("() => window.MathJax?.startup?.promise")
        page.evaluate("() => document.fonts.ready")
        return page, problems

    open_page.look = request.param
    yield open_page
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page(visit, name):
    page, problems = visit(name)
    SCREENS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENS / f"{Path(name).stem}-{visit.look}.png", full_page=True)

    formulas = page.locator("article .math").count()
    typeset = page.locator("article mjx-container").count()
    if typeset < formulas:
        problems.append(f"only {typeset} of {formulas} formulas are typeset")
    if page.locator("mjx-merror, .MathJax_Error").count():
        problems.append(f"MathJax complains: {page.locator('mjx-merror').all_inner_texts()}")
    problems += [f"raw TeX: {tex}" for tex in page.evaluate(RAW_TEX)]
    problems += page.evaluate(TOO_WIDE)
    problems += [f"a panel behind a figure: {colour}" for colour in page.evaluate(PANELS)]
    theme = page.evaluate("document.documentElement.dataset.theme")
    assert theme == ("dark" if visit.look == "dark" else "light")
    assert not problems


def test_the_search_box_finds_a_page(visit):
    page, problems = visit(PAGES[0])
    page.locator(".search-button:visible, .search-button-field:visible").first.click()
    box = page.locator("input[type=search]:visible").first
    box.fill("kernel")
    box.press("Enter")
    page.wait_for_selector("#search-results ul.search li a")
    assert not problems


def test_the_address_of_the_book_leads_to_its_first_page(visit):
    # A bare redirect without the pages' favicon, which the browser then asks for in vain: no problem of ours.
    page, _ = visit("index.html")
    page.wait_for_url("**/chapters/introduction.html")


def test_a_story_is_moved_by_keys_and_buttons_and_stands_still_without_scripts(chromium):
    pictures = [figures.grids([np.full((1, 1), number)], [f"title {number}"], alt=f"a {number}") for number in (3, 5, 7)]
    html = figures.story(pictures, ["three", "five", "seven"], still=1, alt="Three numbers.")._repr_html_()

    def seen(page):
        shown = [text for text in page.locator("svg:visible text").all_inner_texts() if text.startswith("title")]
        return shown, page.locator("[role=img]").get_attribute("aria-label"), page.locator("p").inner_text()

    page = chromium.new_page()
    page.set_content(html)
    assert seen(page) == (["title 3"], "a 3", "1 of 3: three")
    page.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert seen(page) == (["title 5"], "a 5", "2 of 3: five")
    page.locator("button >> nth=1").click()
    page.locator("button >> nth=1").click()  # there is no fourth
    assert seen(page) == (["title 7"], "a 7", "3 of 3: seven")
    assert page.locator("input").get_attribute("aria-valuetext") == "3 of 3: seven"
    page.keyboard.press("Tab")
    page.locator("button >> nth=0").focus()
    page.keyboard.press("Enter")
    assert seen(page) == (["title 5"], "a 5", "2 of 3: five")
    page.close()

    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(html)
    assert seen(page) == (["title 5"], "a 5", "five")
    assert not page.locator(".controls").is_visible()
    context.close()
