"""The figures that compute in the page: their numbers are convlib's; keys, pointer and finger move them."""

import numpy as np
import pytest
from served import said

from convlib import conv2d, conv2d_weight_grad, figures
from convlib.datasets import house, load_digits
from convlib.losses import CrossEntropyLoss, softmax
from convlib.models import trained_digit_reader

RED, LEFT_ROOF = house().image[0], house().kernels[0]
START = np.random.default_rng(5).uniform(-1, 1, (3, 3)).round(2)
RATES = [0.2, 0.4, 0.72]
DIGITS = load_digits()
FIGURES = {
    "learns": lambda: figures.learns(RED, LEFT_ROOF, START, RATES, picked=1, alt="A kernel."),
    "hero": lambda: figures.hero(RED, LEFT_ROOF, START, rate=0.6, passes=12, alt="A kernel."),
    "digit": lambda: figures.draw_a_digit(
        trained_digit_reader(), DIGITS.images[[1424, 1415]], ["a 9", "a 0"], 7, alt="A board."
    ),
}
ROOT = "document.querySelector('.convlib-moving')"


def trained(rate, steps):
    """Weights and errors of a training with the functions of the library."""
    image, weight = RED[np.newaxis] / 255, START[np.newaxis, np.newaxis]
    target, found = conv2d(image, LEFT_ROOF[np.newaxis, np.newaxis] * 1.0, padding=1), []
    for _ in range(steps):
        gap = conv2d(image, weight, padding=1) - target
        found.append((weight.ravel(), np.mean(gap**2)))
        weight = weight - rate * conv2d_weight_grad(image, weight.shape, 2 * gap / gap.size, padding=1)
    return found


# --- a kernel learns --------------------------------------------------------------------------------------------


def test_the_kernel_learns_in_the_page_as_in_the_library(opened):
    page = opened("learns")
    for rate, run in zip(RATES, page.evaluate(f"{ROOT}.computed.runs"), strict=True):
        expected = trained(rate, 101)
        assert len(run) == 101
        for step, (weights, error) in zip(run, expected, strict=True):
            assert np.allclose(step["weights"], weights, rtol=1e-5, atol=1e-9)
            assert np.isclose(step["error"], error, rtol=1e-5)


def test_sliders_move_the_steps_and_the_rate_and_the_page_says_what_that_does(opened):
    page = opened("learns")
    steps, rates = page.locator("[data-name=steps]"), page.locator("[data-name=rates]")
    steps.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    error = trained(0.4, 4)[3][1]
    assert f"step 3: the error is {error:.2f}"[:-1] in said(page)
    assert steps.get_attribute("aria-valuetext") == "3 of 100"
    rates.focus()
    page.keyboard.press("ArrowRight")
    last = trained(0.72, 101)[100][1]
    mantissa, power = f"{last:.0e}".split("e+")
    assert 1e6 < last < 1e7 and f"the error is {mantissa} · 10\N{SUPERSCRIPT SIX}" in said(page) and int(power) == 6
    assert "Learning rate 0.72" in said(page) and "too large" in said(page)
    page.keyboard.press("Home")
    assert "Learning rate 0.2" in said(page) and "too large" not in said(page)


# --- the front page ---------------------------------------------------------------------------------------------


def test_each_pass_of_the_front_page_is_a_step_of_the_library(opened):
    page = opened("hero")
    for number, (_, error) in enumerate(trained(0.6, 11)):
        state = page.evaluate(f"{ROOT}.computed.pass()")
        assert np.isclose(state["errors"][number], error, rtol=1e-5)
        assert np.allclose(state["weights"], trained(0.6, number + 2)[-1][0], atol=1e-9)


def test_the_next_place_is_shown_with_its_sum(opened):
    page = opened("hero")
    assert "row 1, column 2" in said(page)
    for _ in range(5):
        page.get_by_role("button", name="Next place").click()
    covered = np.pad(RED, 1)[2:5, 0:3]
    total = (covered * START).sum()
    assert "row 2, column 0" in said(page)
    assert f"sum {total:.0f}, wanted {(covered * LEFT_ROOF).sum()}".replace("-", "\N{MINUS SIGN}") in said(page)
    products = page.locator("[data-grid=products] text").all_text_contents()
    assert [int(text.replace("\N{MINUS SIGN}", "-")) for text in products] == np.rint(
        covered * START).ravel().tolist()


def test_it_plays_and_pauses_by_a_button_and_not_for_readers_who_want_calm(opened):
    page = opened("hero")
    before = said(page)
    page.locator("[data-do=play]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function(f"{ROOT}.querySelector('.said').textContent.includes('row 1, column 5')", timeout=20_000)
    page.keyboard.press("Enter")
    assert page.locator("[data-do=play]").inner_text() == "Play"
    stopped = said(page)
    page.wait_for_timeout(400)
    assert said(page) == stopped != before
    page.get_by_role("button", name="Start again").click()
    assert said(page) == before
    calm = opened("hero", reduced_motion="reduce")
    assert not calm.locator("[data-do=play]").is_visible()
    calm.get_by_role("button", name="Next pass").click()
    assert "Pass 2 of 12" in said(calm)


# --- a digit is drawn -------------------------------------------------------------------------------------------


def test_the_page_reads_50_digits_as_convlib_does_and_finds_the_same_flow(opened):
    page, model, loss = opened("digit"), trained_digit_reader(), CrossEntropyLoss()
    drawings = DIGITS.images[1415:1465]
    found = page.evaluate(f"""(drawings) => drawings.map((pixels, k) => {{
        const {{ read, flowTo }} = {ROOT}.computed, result = read(pixels);
        return [result.scores, Array.from(flowTo(result, k % 10))];
    }})""", drawings.reshape(50, 64).tolist())
    for k, (scores, flow) in enumerate(found):
        expected = model(drawings[k][np.newaxis, np.newaxis] / 16)
        loss(expected, [k % 10])
        assert np.allclose(scores, expected[0], rtol=0, atol=1e-5)
        assert np.allclose(flow, model.backward(loss.backward()).ravel() / 16, rtol=0, atol=1e-5)


def pixels(page):
    return np.array(page.evaluate(f"{ROOT}.computed.pixels()")).reshape(8, 8)


def chances(drawing):
    return softmax(trained_digit_reader()(drawing[np.newaxis, np.newaxis] / 16))[0]


def test_a_step_moves_the_drawing_until_it_is_another_digit(opened):
    page = opened("digit")
    assert chances(pixels(page)).argmax() == 9
    for _ in range(12):
        page.get_by_role("button", name="Apply one step").click()
    assert chances(pixels(page)).argmax() == 7
    assert "The model reads 7" in said(page) and "pixels moved" in said(page)
    assert pixels(page).min() >= 0 and pixels(page).max() <= 16
    page.get_by_label("ask for").select_option("3")
    assert "You ask for 3" in said(page)
    page.get_by_label("begin with").select_option(label="a 0")
    assert (pixels(page) == DIGITS.images[1415]).all()


def test_keys_draw_and_leave_the_browser_its_own(opened):
    page = opened("digit")
    page.get_by_role("button", name="Clear").click()
    assert (pixels(page) == 0).all() and "No ink" in said(page)
    page.locator(".board").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Space"):
        page.keyboard.press(key)
    expected = np.zeros((8, 8))
    expected[2, 1] = 16
    assert (pixels(page) == expected).all() and "Row 2, column 1: ink 16" in said(page)
    page.keyboard.press("Control+ArrowRight")
    page.keyboard.press("Control+Space")
    assert "Row 2, column 1" in said(page) and (pixels(page) == expected).all()
    page.keyboard.press("Space")
    assert pixels(page)[2, 1] == 8
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"


@pytest.mark.parametrize("finger", [False, True])
def test_pointer_and_finger_draw(opened, finger):
    page = opened("digit", has_touch=finger, viewport={"width": 390, "height": 844})
    page.get_by_role("button", name="Clear").click()
    box = page.locator(".board svg").bounding_box()
    scale = box["width"] / 296
    x, y = (box[side] + (4 + 36 * 3.5) * scale for side in ("x", "y"))
    if finger:
        page.touchscreen.tap(x, y)
    else:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x, y + 36 * scale)
        page.mouse.up()
    drawn = pixels(page)
    assert drawn[3, 3] == 16 and drawn[4, 3] == (3 if finger else 16) and drawn[3, 4] == 3 and drawn[0].sum() == 0
    page.get_by_role("button", name="Rub out").click()
    page.mouse.click(x, y)
    assert pixels(page)[3, 3] == 0


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_stands_still_without_scripts(opened, name):
    page = opened(name, java_script_enabled=False)
    assert not page.locator(".controls:visible").count()
    assert page.locator("svg:visible").count() >= 1 and page.locator(".said").is_visible()
    assert said(page).startswith(("A kernel.", "A board."))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_fits_a_phone_and_a_page_enlarged_twice(opened, name):
    for settings in ({"viewport": {"width": 390, "height": 844}}, {"viewport": {"width": 640, "height": 450}}):
        page = opened(name, **settings)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
