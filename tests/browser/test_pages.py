"""Every page: light and dark on a screen, and on a phone. Leaves screenshots in _build/screens, but not in CI."""

import importlib.resources
import os
from pathlib import Path

import pytest
from served import HTML, LOOKS, PAGES, SCREENS

AXE = importlib.resources.files("axe_playwright_python") / "axe.min.js"
GRAVE = {"serious", "critical"}
# What depends on the theme, and all the rest.
COLOURS = "color-contrast", "link-in-text-block"
OF_COLOURS = {"runOnly": COLOURS}
OF_OTHERS = {"rules": {rule: {"enabled": False} for rule in COLOURS}}

# What is left of a formula that was not typeset: TeX delimiters in the text, outside code.
RAW_TEX = r"""() => {
    const article = document.querySelector("main").cloneNode(true);
    article.querySelectorAll("pre, code, script, style").forEach((node) => node.remove());
    return article.textContent.match(/\$\$|\\\(|\\\[|\\begin\{|\\frac|\\cdot/g) || [];
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

# Boxes of code whose lines are longer than the box: part of them cannot be read without scrolling. What code prints,
# with its tables, may scroll on a phone, if it can be reached by keyboard.
CLIPPED_CODE = """() => [...document.querySelectorAll("div.highlight pre")]
    .filter((box) => box.scrollWidth > box.clientWidth + 1)
    .filter((box) => innerWidth > 767 || !box.closest(".cell_output") || box.tabIndex !== 0)
    .map((box) => box.textContent.trim().slice(0, 60))"""

# What can be reached by keyboard, but looks the same when it is.
NO_FOCUS_RING = """() => {
    const style = document.createElement("style");
    style.textContent = "*, ::before, ::after { transition: none !important; animation: none !important }";
    document.head.append(style);
    const looks = (node) => {
        const seen = getComputedStyle(node);
        const outline = seen.outlineStyle === "none" || parseFloat(seen.outlineWidth) === 0 ? "" : seen.outline;
        return [outline, seen.boxShadow, seen.backgroundColor, seen.borderColor, seen.textDecorationLine].join("|");
    };
    const reachable = "a[href], button, input, select, textarea, summary, [tabindex='0']";
    return [...document.querySelectorAll(reachable)].filter((node) => {
        if (!node.checkVisibility({ visibilityProperty: true }) || node.disabled) return false;
        const before = looks(node);
        node.focus({ preventScroll: true, focusVisible: true });
        if (document.activeElement !== node) return false;
        const same = looks(node) === before;
        node.blur();
        return same;
    }).map((node) => node.outerHTML.slice(0, 100));
}"""

# Leaves only the first words in each colour, size and weight on each background, with all that they stand in: axe takes
# ten seconds to judge a page of tables and code word by word, thousands of them alike.
LEAVE_ONE_OF_EACH = """() => {
    const backgrounds = new Map([[null, ""]]);
    const background = (node) => {
        if (!backgrounds.has(node)) {
            const { backgroundColor, backgroundImage, opacity } = getComputedStyle(node);
            const own = [backgroundColor, backgroundImage, opacity].join();
            const behind = background(node.parentElement);
            backgrounds.set(node, own === "rgba(0, 0, 0, 0),none,1" ? behind : `${behind}/${own}`);
        }
        return backgrounds.get(node);
    };
    const seen = new Set(), left = new Set();
    for (const node of document.body.querySelectorAll(":not(math, math *, script, style)")) {
        const words = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
        if (!words || !node.checkVisibility({ visibilityProperty: true })) continue;
        const { color, fill, fontSize, fontWeight, textDecorationLine } = getComputedStyle(node);
        const looks = [node.closest("a") !== null, color, fill, fontSize, fontWeight, textDecorationLine,
                       background(node)].join();
        if (seen.has(looks)) continue;
        seen.add(looks);
        for (let each = node; each; each = each.parentElement) left.add(each);
    }
    for (const node of document.body.querySelectorAll("*")) if (!left.has(node)) node.remove();
}"""

FORMULAS = """() => [...document.querySelectorAll("article .math")].map((box) => {
    const math = box.querySelector("math");
    return { source: box.textContent.slice(0, 80), width: math ? math.getBoundingClientRect().width : 0,
             hidden: !box.checkVisibility() };
}).filter((each) => !each.hidden && !(each.width > 2)).map((each) => `not typeset: ${each.source}`)"""


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", PAGES)
def test_page(visit, name, look):
    page, problems = visit(name, look)
    if "CI" not in os.environ:  # nobody looks at them there
        SCREENS.mkdir(exist_ok=True)
        page.screenshot(path=SCREENS / f"{Path(name).stem}-{look}.jpg", full_page=True, quality=60, scale="css")

    problems += page.evaluate(FORMULAS)
    problems += [f"raw TeX: {tex}" for tex in page.evaluate(RAW_TEX)]
    problems += page.evaluate(TOO_WIDE)
    problems += [f"a panel behind a figure: {colour}" for colour in page.evaluate(PANELS)]
    problems += [f"clipped code: {code}" for code in page.evaluate(CLIPPED_CODE)]
    problems += [f"no focus ring: {html}" for html in page.evaluate(NO_FOCUS_RING)]
    theme = page.evaluate("document.documentElement.dataset.theme")
    assert theme == ("dark" if look == "dark" else "light")
    if look != "dark":
        problems += grave_findings(page, OF_OTHERS)
    problems = problems.copy()  # from here on, scripts miss what they made
    page.evaluate(LEAVE_ONE_OF_EACH)
    problems += grave_findings(page, OF_COLOURS)
    assert not problems, "\n".join(problems)


def grave_findings(page, rules=None):
    """What axe-core finds that shuts readers out: the rule, and the first places."""
    # Formulas are left out: thousands of elements, all in the colour of the text around them.
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("""(rules) => axe.run({include: document, exclude: ["math"]},
        {resultTypes: ["violations"], preload: false, ...rules})""", rules or {})["violations"]
    return [f"axe, {rule['id']}: {rule['help']}: {[node['target'] for node in rule['nodes'][:3]]}, "
            f"{len(rule['nodes'])} in all" for rule in found if rule["impact"] in GRAVE]


def test_the_address_of_the_book_leads_to_its_first_page(visit):
    page, problems = visit("index.html")
    page.wait_for_url("**/chapters/introduction.html")
    assert not problems


def test_formulas_are_readable_without_scripts(visit):
    page, _ = visit("chapters/learning_flow.html", java_script_enabled=False)
    boxed = page.locator("math .boxed").first.bounding_box()
    assert boxed["width"] > 200 and boxed["height"] > 50
    assert page.locator("math").count() >= 20


def test_a_wide_formula_on_a_phone_can_be_scrolled_by_keyboard_and_looks_like_it(visit):
    page, _ = visit("chapters/learning_flow.html", "phone")
    wide = page.locator(".math .display.scrolls").first
    assert wide.get_attribute("tabindex") == "0" and wide.get_attribute("role") == "region"
    assert wide.get_attribute("aria-label").startswith("formula (")
    assert "gradient" in wide.evaluate("(box) => getComputedStyle(box).backgroundImage")
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("(box) => box.scrollLeft > 0", arg=wide.element_handle())


def test_a_wide_formula_is_no_stop_where_it_fits(visit):
    page, _ = visit("chapters/learning_flow.html")
    assert page.locator(".math .display").count() and not page.locator(".math [tabindex]").count()


@pytest.mark.parametrize("chapter, figure", [("the_layer", "fig-tmp-left"), ("biases", "fig-real-flow"),
                                             ("weights", "fig-weight-by-hand")])
def test_three_grids_stand_side_by_side(visit, chapter, figure):
    page, _ = visit(f"chapters/{chapter}.html")
    tops = page.locator(f"#{figure} svg").evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
    assert len(tops) == 3 and len(set(tops)) == 1


def test_print_is_black_on_white_from_the_dark_theme(visit):
    page, _ = visit("chapters/one_kernel.html", "dark")
    colours = "(node) => [getComputedStyle(node).backgroundColor, getComputedStyle(node).color]"

    def brightness(colour):
        return sum(map(float, colour.strip("rgba()").split(",")[:3])) / 3

    dark_page, dark_text = page.locator("body").evaluate(colours)
    assert brightness(dark_page) < 60 < 190 < brightness(dark_text)
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'light'")
    for selector in ("body", "div.highlight pre"):
        assert brightness(page.locator(selector).first.evaluate(colours)[1]) < 100
    assert brightness(page.locator("body").evaluate(colours)[0]) > 240
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")


def test_a_badge_is_printed_on_the_page_of_its_code(visit):
    page, _ = visit("chapters/one_kernel.html")
    badge = page.locator("p.export-badge").first
    page.emulate_media(media="print")
    assert badge.evaluate("(node) => getComputedStyle(node).breakAfter") == "avoid"


@pytest.mark.parametrize("look", ("light", "phone"))
def test_the_front_page_shows_where_to_start_before_anything_is_scrolled(visit, look):
    page, _ = visit("chapters/introduction.html", look)
    start = page.locator("article a", has_text="Start with one kernel, one neuron")
    box = start.bounding_box()
    assert box["y"] + box["height"] < page.viewport_size["height"] and box["height"] >= 24
    start.click()
    assert page.url.endswith("/one_kernel.html")


def test_a_fold_is_opened_by_keyboard_and_by_a_link_to_what_it_holds(visit):
    page, _ = visit("chapters/one_kernel.html")
    fold = page.locator("details.hide").first
    assert not fold.locator("pre").first.is_visible()
    fold.locator("summary").first.focus()
    page.keyboard.press("Enter")
    assert fold.locator("pre").first.is_visible()

    page, _ = visit("chapters/api.html#convlib.conv2d")
    assert page.locator("[id='convlib.conv2d']").is_visible()


def test_copied_code_is_the_whole_cell_with_its_docstring(visit):
    page, _ = visit("chapters/one_kernel.html", permissions=["clipboard-read", "clipboard-write"])
    label = page.locator("details.docstring summary", has_text="Returns")
    listing = page.locator("div.highlight", has=label).first
    page.evaluate("() => document.querySelectorAll('details.hide').forEach((fold) => (fold.open = true))")
    listing.hover()
    listing.locator("button.copybtn").click()
    copied = page.evaluate("() => navigator.clipboard.readText()")
    compile(copied, "copied", "exec")
    assert '"""' in copied and "docstring:" not in copied and "    -------" in copied


def test_code_that_is_selected_has_its_lines(visit):
    page, _ = visit("chapters/one_kernel.html")
    selected = page.evaluate("""() => {
        const box = [...document.querySelectorAll("div.highlight pre")].find((each) => each.checkVisibility());
        getSelection().selectAllChildren(box);
        return [getSelection().toString().trimEnd(), box.textContent.trimEnd()];
    }""")
    assert selected[0] == selected[1] and "\n" in selected[0]


def test_a_page_that_is_missing_leads_back(visit, address):
    page, _ = visit("404.html")
    page.get_by_role("link", name="the first page").click()
    page.wait_for_url("**/chapters/introduction.html")


def test_the_checks_find_what_they_look_for(visit):
    page, _ = visit(PAGES[0])
    page.evaluate("""() => {
        const article = document.querySelector("article");
        article.insertAdjacentHTML("afterbegin", `<p>$$x$$ and \\frac</p><div style="width: 3000px">wide</div>
            <div class="highlight"><pre style="white-space: pre; overflow: auto; width: 50px">a long line</pre></div>
            <button style="outline: none !important; box-shadow: none !important" class="bare"></button>
            <span class="math">x^2</span>`);
        const style = document.createElement("style");
        style.textContent = ".bare:focus { outline: none !important; box-shadow: none !important }";
        document.head.append(style);
    }""")
    assert page.evaluate(RAW_TEX) and page.evaluate(TOO_WIDE) and page.evaluate(CLIPPED_CODE)
    assert page.evaluate(NO_FOCUS_RING) and page.evaluate(FORMULAS)
    assert any("button-name" in finding for finding in grave_findings(page))


def test_all_pages_are_here():
    assert len(PAGES) == len(list(HTML.glob("chapters/*.html"))) + 4
