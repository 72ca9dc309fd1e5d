"""The pictures that move: driven by keys, mouse and finger; their numbers are those of convlib."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image
from served import FIGURE_PAGE, PHONE, said

from convlib import conv2d, conv2d_input_grad, conv2d_weight_grad, datasets, figures, shapes
from convlib.reference import correlate2d

HOUSE = datasets.house()
RED, KERNELS = HOUSE.image[0], HOUSE.kernels
LINE, TAPS, FLOW = [1, 3, 2, 1, 4], [5, 6, 7], [1, -1, 2, 3, -2]
IMPACTS = [[[(p + u, q + v, f"{u},{v}") for u in range(2) for v in range(2)] for q in range(2)] for p in range(2)]
FIGURES = {
    "explore_kernel": lambda: figures.explore_kernel(RED, KERNELS[0], 3, 3, alt="x"),
    "explore_impacts": lambda: figures.explore_impacts(
        IMPACTS, (3, 3), 0, 1, titles=["an output", "inputs"], roles=("output", "input"), verb="is made of", alt="x"
    ),
    "story": lambda: figures.story([figures.grids([[[k]]], alt=f"a {k}") for k in range(3)], ["a", "b", "c"], alt="x"),
    "own_kernel": lambda: figures.own_kernel(RED, KERNELS[0], alt="x"),
    "touches": lambda: figures.touches(RED, KERNELS[:2], 3, 3, alt="x"),
    "three_ways": lambda: figures.three_ways(LINE, TAPS, FLOW, alt="x"),
    "row": lambda: figures.row(LINE, TAPS, FLOW, alt="x"),
    "settings": lambda: figures.settings(alt="x"),
}
EVERY_FIGURE = pytest.mark.parametrize("name", FIGURES)
WITH_A_BOARD = pytest.mark.parametrize(
    "name", ["explore_kernel", "explore_impacts", "own_kernel", "touches", "settings"]
)


def numbers(locator, count):
    """The first numbers that a drawing shows."""
    texts = locator.locator("text").all_text_contents()
    return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts[:count]]


def place(page, row, column, board=0, size=33, left=18, top=34):
    """The middle of a cell, on the screen."""
    box = page.locator(".board svg").nth(board).bounding_box()
    scale = box["width"] / float(page.locator(".board svg").nth(board).get_attribute("viewBox").split()[2])
    return box["x"] + (left + (column + 0.5) * size) * scale, box["y"] + (top + (row + 0.5) * size) * scale


# --- what every figure owes its reader --------------------------------------------------------------------------


@EVERY_FIGURE
def test_without_scripts_the_picture_stands_and_no_button_promises_more(opened, name):
    page = opened(name, java_script_enabled=False)
    assert page.locator("svg:visible").count() >= 1
    assert page.locator(".controls:visible").count() == 0
    assert page.locator("[tabindex], button:visible, input:visible, select:visible").count() == 0


@EVERY_FIGURE
def test_a_figure_looks_the_same_beside_others(opened, name):
    """Their styles are repeated on the page, their scripts too."""
    where = """() => [...document.querySelector(".convlib-moving").querySelectorAll("svg, button, input, .said")]
        .map((each) => Object.values(each.getBoundingClientRect().toJSON()))"""
    alone, page = opened(name).evaluate(where), opened(name)
    others = "".join(draw()._repr_html_() for draw in FIGURES.values())
    page.set_content(FIGURE_PAGE.format(FIGURES[name]()._repr_html_() + others))
    assert page.evaluate(where) == alone


@EVERY_FIGURE
def test_with_scripts_the_controls_are_there_and_the_line_is_read_out(opened, name):
    page = opened(name)
    assert page.locator(".controls[hidden]").count() == 0
    assert page.locator(".said").get_attribute("aria-live") == "polite"
    assert page.locator(".said").count() == 1 and said(page)


@EVERY_FIGURE
@pytest.mark.parametrize("width", [320, 390, 640])
def test_it_fits_a_narrow_screen_and_its_words_are_legible(opened, name, width):
    page = opened(name, **{**PHONE, "viewport": {"width": width, "height": 800}})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    too_far = """(width) => [...document.querySelectorAll("button, input, select")].filter((each) => {
        const box = each.getBoundingClientRect();
        return box.width && (box.right > width || box.left < 0);
    }).length"""
    assert page.evaluate(too_far, width) == 0
    smallest = page.evaluate("""() => Math.min(...[...document.querySelectorAll("svg text")]
        .filter((text) => text.textContent.trim() && text.getBoundingClientRect().width)
        .map((text) => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a))""")
    assert smallest > 10.5


@EVERY_FIGURE
def test_each_thing_that_can_have_the_focus_has_a_ring_that_nothing_cuts_off(opened, name):
    page = opened(name)
    things = "[tabindex], button:not([hidden]), select, input"
    page.keyboard.press("Tab")
    for _ in range(min(12, page.locator(things).count())):
        ring = page.evaluate("""() => {
            const thing = document.activeElement, look = getComputedStyle(thing), box = thing.getBoundingClientRect();
            const reach = parseFloat(look.outlineWidth) + parseFloat(look.outlineOffset);
            let cut = false;
            for (let node = thing.parentElement; node !== document.body; node = node.parentElement) {
                if (getComputedStyle(node).overflowX === "visible") continue;
                const clip = node.getBoundingClientRect();
                cut = cut || box.left - reach < clip.left || box.right + reach > clip.right
                    || box.top - reach < clip.top || box.bottom + reach > clip.bottom;
            }
            return [thing.tagName, look.outlineStyle, parseFloat(look.outlineWidth), cut];
        }""")
        assert ring[1] == "solid" and ring[2] >= 2 and not ring[3], ring
        page.keyboard.press("Tab")


@WITH_A_BOARD
def test_keys_of_the_browser_are_left_to_it(opened, name):
    page = opened(name)
    page.evaluate("""() => {
        window.kept = [];
        addEventListener("keydown", (event) => window.kept.push(event.defaultPrevented));
    }""")
    page.locator(".board").first.focus()
    for modifier in ("Alt", "Control", "Shift", "Meta"):
        page.evaluate("""(name) => document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {
            key: "ArrowLeft", bubbles: true, cancelable: true, altKey: name === "Alt", ctrlKey: name === "Control",
            shiftKey: name === "Shift", metaKey: name === "Meta" }))""", modifier)
    page.keyboard.press("a")
    assert page.evaluate("window.kept") == [False] * 5
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("End")
    page.wait_for_function("scrollY > 100")  # the page, not the figure, has moved


@WITH_A_BOARD
def test_arrows_home_and_end_move_within_the_board_only(opened, name):
    page = opened(name)
    board = page.locator(".board").first
    board.focus()
    rows = 5 if name == "settings" else 2 if name == "explore_impacts" else 7
    page.keyboard.press("Home")
    page.keyboard.press("PageUp")
    assert board.get_attribute("aria-valuenow") == "0"
    first = board.get_attribute("aria-valuetext")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert board.get_attribute("aria-valuenow") == "0"
    page.keyboard.press("End")
    page.keyboard.press("PageDown")
    assert board.get_attribute("aria-valuenow") == str(rows * rows - 1) == board.get_attribute("aria-valuemax")
    assert board.get_attribute("aria-valuetext") != first
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("name", ["story", "three_ways", "row"])
def test_a_story_plays_when_asked_and_not_at_all_for_those_who_want_calm(opened, name):
    assert not opened(name, reduced_motion="reduce").locator("[data-do=play]").is_visible()
    page = opened(name)
    page.locator("[data-do=play]").click()
    page.wait_for_function("() => document.querySelector('.steps input').value === '2'")
    page.locator("[data-do=play]").click()
    assert page.locator("[data-do=play]").inner_text() == "play"
    assert page.locator(".steps input").get_attribute("aria-valuetext") == said(page)


def test_a_picture_that_must_scroll_can_be_scrolled_with_keys(opened):
    page = opened("story", **PHONE)
    assert page.locator(".stage[tabindex]").count() == 0
    wide = figures.story([figures.grids(np.ones((1, 30), int), alt="a row")] * 2, ["a", "b"], alt="x")
    page.set_content(FIGURE_PAGE.format(wide._repr_html_()))
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('.stage').scrollLeft > 0")


def test_three_grids_of_the_house_stand_side_by_side(opened):
    page = opened("story", viewport={"width": 672 + 32, "height": 800})  # the text of the book is 672 wide
    table = [[[(p, q, "0,0")] for q in range(7)] for p in range(7)]
    three = figures.explore_impacts(table, (7, 7), 0, 0, titles=["one", "two", "three"], alt="x")
    page.set_content(FIGURE_PAGE.format(three._repr_html_()))
    tops = page.locator("svg").evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
    assert len(tops) == 3 and len(set(tops)) == 1


# --- explorers --------------------------------------------------------------------------------------------------


def test_the_kernel_follows_keys_mouse_finger_and_buttons(opened):
    expected, at = correlate2d(RED, KERNELS[0], padding=1), {"size": 33, "left": 49, "top": 49}

    def shows(page, row, column):
        panel = page.locator(".panel")
        total = float(panel.locator(".sum").text_content().replace("\N{MINUS SIGN}", "-"))
        assert sum(products(panel)) == total == expected[row, column]
        assert f"row {row}, column {column}" in said(page)

    def products(panel):
        texts = panel.locator("text").all_text_contents()[1:10]
        return [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]

    page = opened("explore_kernel", **PHONE)
    shows(page, 3, 3)
    page.locator(".board").focus()
    page.keyboard.press("ArrowRight")
    shows(page, 3, 4)
    page.locator("[data-do=ArrowDown]").click()
    shows(page, 4, 4)
    page.touchscreen.tap(*place(page, 0, 6, **at))
    shows(page, 0, 6)
    page = opened("explore_kernel")
    page.mouse.move(*place(page, 6, 1, **at))
    shows(page, 6, 1)
    page.mouse.move(5, 5)
    shows(page, 3, 3)  # only looked at
    page.mouse.move(*place(page, 2, 2, **at))
    page.mouse.down()
    page.mouse.move(*place(page, 5, 5, **at))
    page.mouse.up()
    page.mouse.move(5, 5)
    shows(page, 5, 5)


def test_an_explorer_says_what_it_was_made_for(opened):
    page = opened("explore_impacts")
    assert said(page) == "Row 0, column 1 is made of 4 cells."
    page.mouse.click(*place(page, 1, 0, size=27))
    notes = page.locator(".panel .note").all_text_contents()
    assert [k for k, note in enumerate(notes) if note] == [3, 4, 6, 7]


# --- your own kernel --------------------------------------------------------------------------------------------

OWN = {"left": 46, "top": 62, "size": 28}


def computes(page, image, kernel):
    """Whether the output on the page is that of the library."""
    boards = page.locator(".board")
    assert numbers(boards.nth(0), 49) == np.ravel(image).tolist()
    assert numbers(boards.nth(1), 49) == correlate2d(image, kernel, padding=1).ravel().tolist()


def test_your_own_kernel_computes_what_the_library_computes(opened):
    page, image, kernel = opened("own_kernel"), RED.copy(), KERNELS[0].copy()
    computes(page, image, kernel)
    for k, weight in enumerate([2, -3, 0, 5, 7, -1, 4, 0, 1]):
        page.locator(".weights input").nth(k).fill(str(weight))
        kernel[divmod(k, 3)] = weight
    computes(page, image, kernel)
    page.locator(".board").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    image[3, 4] = 0  # it held something: toggled off
    computes(page, image, kernel)
    page.keyboard.press("Enter")
    image[3, 4] = RED.max()
    computes(page, image, kernel)
    page.keyboard.press("ArrowUp")
    page.keyboard.type("12")
    image[2, 4] = 12
    computes(page, image, kernel)
    assert "Row 2, column 4 holds 12." in said(page)
    page.keyboard.press("Delete")
    image[2, 4] = 0
    computes(page, image, kernel)
    page.mouse.move(*place(page, 0, 0, **OWN))
    page.mouse.down()
    for column in (1, 2):
        page.mouse.move(*place(page, 0, column, **OWN), steps=4)
    page.mouse.up()
    image[0, :3] = RED.max()
    computes(page, image, kernel)


def test_the_drawing_and_the_output_agree_on_the_chosen_cell(opened):
    page = opened("own_kernel")
    page.mouse.click(*place(page, 1, 2, board=1, size=36))
    page.mouse.move(*place(page, 6, 6, **OWN))
    page.mouse.move(5, 5)
    assert "Row 1, column 2 holds" in said(page)
    page.locator(".board").first.focus()
    page.keyboard.press("ArrowDown")
    assert "Row 2, column 2 holds" in said(page)
    page.locator(".board").nth(1).focus()
    page.keyboard.press("ArrowRight")
    assert "Row 2, column 3 holds" in said(page)


def test_a_finger_draws(opened):
    page, image = opened("own_kernel", **PHONE), RED.copy()
    page.touchscreen.tap(*place(page, 6, 6, **OWN))
    image[6, 6] = RED.max()
    computes(page, image, KERNELS[0])


def test_ready_pictures_and_kernels(opened):
    page = opened("own_kernel")
    page.locator("[data-name=picture]").select_option("blank")
    page.locator("[data-name=kernel]").select_option("upright edges")
    computes(page, np.zeros_like(RED), np.array([[-1, 0, 1]] * 3))
    page.locator("[data-name=picture]").select_option("an upright edge")
    computes(page, RED.max() * (np.indices(RED.shape)[1] >= 3), np.array([[-1, 0, 1]] * 3))


def test_a_photograph_of_your_own_is_reduced_to_the_grid_and_stays_here(opened):
    page = opened("own_kernel")
    colours = np.random.default_rng(3).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    written = io.BytesIO()
    Image.fromarray(colours.repeat(16, 0).repeat(16, 1)).save(written, "png")
    page.locator("[data-name=photograph]").set_input_files(
        {"name": "mine.png", "mimeType": "image/png", "buffer": written.getvalue()}
    )
    bright = np.round(colours @ [0.299, 0.587, 0.114]).astype(int)
    page.wait_for_function("() => !document.querySelector('.said').textContent.includes('holds 70')")
    computes(page, bright, KERNELS[0])
    page.locator("[data-name=photograph]").set_input_files(
        {"name": "no.png", "mimeType": "image/png", "buffer": b"no picture"}
    )
    page.wait_for_function("() => document.querySelector('.said').textContent.includes('cannot read')")


# --- whom does this number touch? -------------------------------------------------------------------------------


def terms(page):
    """The products below the picture."""
    texts = page.locator(".terms button").all_text_contents()
    return [float(text.split("=")[1].replace("\N{MINUS SIGN}", "-")) for text in texts]


@pytest.mark.parametrize(("row", "column"), [(3, 3), (0, 0), (6, 2)])
def test_an_output_is_made_of_what_the_library_adds_and_an_input_touches_what_it_changes(opened, row, column):
    page = opened("touches")
    for o in range(2):
        page.mouse.click(*place(page, row, column, board=o + 1))
        expected = correlate2d(RED, KERNELS[o], padding=1)[row, column]
        assert sum(terms(page)) == expected and said(page).endswith(f"{expected}.".replace("-", "\N{MINUS SIGN}"))
    page.mouse.click(*place(page, row, column))
    alone = np.zeros_like(RED)
    alone[row, column] = RED[row, column]
    outputs = [correlate2d(alone, kernel, padding=1) for kernel in KERNELS[:2]]
    assert sum(terms(page)) == sum(map(np.sum, outputs))
    assert f"touches {len(terms(page))} outputs" in said(page)
    assert page.locator(".board").nth(1).locator(".marks rect").count() == len(terms(page)) / 2


def test_cells_products_formula_and_code_light_each_other(opened):
    page = opened("touches")
    lit = page.locator(".part.on")
    assert lit.count() == 0
    page.locator(".terms button").nth(3).focus()
    assert set(lit.evaluate_all("(parts) => parts.map((part) => part.dataset.part)")) == {"input", "output", "weight"}
    assert lit.count() == 6 and "output[0, 3, 4] += input[3, 3] * weight[0, 1, 0]" in said(page)
    page.keyboard.press("Tab")
    page.mouse.move(*place(page, 2, 4, board=2))  # a cell of output channel 2 that the input touches
    [pressed] = page.locator(".terms button[aria-pressed=true]").all()
    assert pressed.get_attribute("aria-label").startswith("output[1, 2, 4] += input[3, 3] * weight[1, 2, 0]")
    page.locator(".rule[data-way='made of'] .part[data-part=weight]").last.hover()
    assert "is made of" in said(page)
    assert lit.evaluate_all("(parts) => parts.map((part) => part.dataset.part)") == ["weight", "weight"]
    assert page.locator(".panel .marks rect").count() == 9


def test_a_finger_picks_on_either_side(opened):
    page = opened("touches", **PHONE)
    page.touchscreen.tap(*place(page, 0, 6))
    assert "The input in row 0, column 6 touches 8 outputs." in said(page)
    page.locator(".board").nth(2).scroll_into_view_if_needed()
    page.touchscreen.tap(*place(page, 1, 1, board=2))
    assert "Output channel 2, row 1, column 1 is made of 9 inputs" in said(page)


# --- wires ------------------------------------------------------------------------------------------------------


def shown(page, name):
    return [float(text.replace("\N{MINUS SIGN}", "-") or "nan")
            for text in page.locator(f".{name} .number").all_text_contents()]


def library():
    line, taps, flow = (np.array(each, float).reshape(1, 1, 1, -1) for each in (LINE, TAPS, FLOW))
    return {
        "output": conv2d(line, taps, padding=(0, 1)),
        "grad_input": conv2d_input_grad(line.shape, taps, flow, padding=(0, 1)),
        "grad_weight": conv2d_weight_grad(line, taps.shape, flow, padding=(0, 1)),
    }


def test_gather_and_scatter_end_with_the_sums_of_the_library(opened):
    page, expected = opened("three_ways"), library()
    for way, name in (("forwards", "output"), ("backwards", "grad_input"), ("across", "grad_weight")):
        for order in ("gather", "scatter"):
            page.locator(f"[data-do=way-{way}]").click()
            page.locator(f"[data-do=order-{order}]").click()
            assert page.locator("[aria-pressed=true]").all_inner_texts() == [way, order]
            assert np.isnan(shown(page, name)).all()
            page.locator(".steps input").focus()
            page.keyboard.press("ArrowRight")
            assert np.isfinite(shown(page, name)).sum() == 1 and f"2 of 14: {name}[" in said(page)
            page.keyboard.press("End")
            assert shown(page, name) == expected[name].ravel().tolist()
    assert shown(page, "output") == expected["output"].ravel().tolist()


def test_each_wire_adds_its_product(opened):
    page, sums = opened("three_ways", **PHONE), np.zeros(5)
    for p, u in [(0, 1), (0, 2), (1, 0), (1, 1)]:  # gather: output after output
        page.locator("[data-do=next]").tap()
        sums[p] += TAPS[u] * LINE[p + u - 1]
        assert shown(page, "output")[p] == sums[p]
        assert f"output[{p}] += weight[{u}] * input[{p + u - 1}]" in said(page)
        assert page.locator(".wire[stroke-width='3.5']").count() == 1


def test_the_row_goes_forward_and_back(opened):
    page, expected = opened("row"), library()
    page.locator(".steps input").fill("4")
    assert "output[2] = 5 · 3 + 6 · 2 + 7 · 1 = 34." in said(page)
    assert np.isnan(shown(page, "grad_input")).all()
    page.locator(".steps input").fill("9")
    assert "grad_input[2] = 7 · \N{MINUS SIGN}1 + 6 · 2 + 5 · 3 = 20." in said(page)
    page.locator("[data-do=next]").click()
    page.locator("[data-do=next]").click()
    for name in ("output", "grad_input"):
        assert shown(page, name) == expected[name].ravel().tolist()


# --- settings ---------------------------------------------------------------------------------------------------


def set_to(page, **sliders):
    page.evaluate("""(sliders) => Object.entries(sliders).forEach(([name, value]) => {
        const input = document.querySelector(`[data-name=${name}]`);
        input.value = value;
        input.dispatchEvent(new Event("input"));
    })""", sliders)


def test_all_settings_are_those_of_the_library_or_are_refused_in_its_words(opened):
    page = opened("settings")
    for stride, padding, dilation, groups in itertools.product(range(1, 5), range(4), range(1, 5), range(1, 5)):
        set_to(page, stride=stride, padding=padding, dilation=dilation, groups=groups)
        settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
        weight = (4, 4 // groups, 3, 3)
        try:
            geometry = shapes.conv2d_geometry((4, 7, 7), weight, **settings)
        except ValueError as error:
            assert said(page) == f"This does not fit. {error}."
            assert page.locator(".board .field rect").count() == 0
            continue
        _, count, _ = shapes.output_shape(geometry, batched=False)
        assert said(page).startswith(f"The output has {count} × {count} cells in 4 channels.")
        assert said(page).endswith(f"The layer has {np.prod(weight)} weights.")
        assert page.locator(".board .field rect").count() == count**2
        reads = np.zeros((7 + 2 * padding,) * 2, bool)
        reads[: 2 * dilation + 1 : dilation, : 2 * dilation + 1 : dilation] = True
        inside = reads[padding : padding + 7, padding : padding + 7].sum()
        assert f"Row 0, column 0 reads {inside} cells of the image in {4 // groups} of 4 channels." in said(page)


def test_the_settings_are_moved_by_keys_mouse_and_finger(opened):
    page = opened("settings", **PHONE)
    page.locator("[data-name=stride]").focus()
    page.keyboard.press("ArrowRight")
    assert "3 × 3 cells" in said(page)
    assert page.locator("[data-name=stride]").get_attribute("aria-valuetext") == "2"
    at = {"size": 20, "left": 2, "top": 20}
    page.locator(".board").scroll_into_view_if_needed()
    page.touchscreen.tap(*place(page, 2, 1, **at))
    assert "Row 2, column 1 reads 9 cells" in said(page)
    page = opened("settings")
    page.mouse.move(*place(page, 4, 0, **at))
    assert "Row 4, column 0 reads" in said(page)
