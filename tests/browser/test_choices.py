"""Self-tests in Chromium: by keyboard, by finger, on paper, and without scripts."""

import pytest
from served import LOOKS
from test_pages import NO_FOCUS_RING, TOO_WIDE, grave_findings

PAGE = "chapters/one_kernel.html"
CHOICE = "details.choice"
# How much room a choice takes, beyond the line that can be chosen.
BELOW = "(fold) => fold.getBoundingClientRect().bottom - fold.firstElementChild.getBoundingClientRect().bottom"


@pytest.mark.parametrize("scripts", [True, False])
def test_a_choice_is_opened_and_closed_by_keyboard(visit, scripts):
    page, problems = visit(PAGE, java_script_enabled=scripts)
    choice = page.locator(CHOICE).first
    choice.locator("summary").focus()
    closed = choice.bounding_box()["height"]
    for key in ("Enter", "Space"):
        page.keyboard.press(key)
        assert choice.bounding_box()["height"] > closed + 15
        page.keyboard.press(key)
        assert choice.bounding_box()["height"] == closed
    assert not problems


def test_each_choice_is_one_stop_in_its_order(visit):
    page, _ = visit(PAGE)
    choices = page.locator(f"{CHOICE} > summary")
    choices.first.focus()
    for number in range(1, 3):
        page.keyboard.press("Tab")
        assert choices.nth(number).evaluate("(node) => node === document.activeElement")
        ring = choices.nth(number).evaluate("(node) => getComputedStyle(node).outline")
        assert "solid" in ring and " 0px" not in ring


@pytest.mark.parametrize("look", LOOKS)
def test_all_choices_open_shut_nobody_out(visit, look):
    page, problems = visit(PAGE, look)
    page.evaluate("() => document.querySelectorAll('details.choice').forEach((fold) => (fold.open = true))")
    page.locator(CHOICE).first.locator("summary").hover()
    problems += grave_findings(page) + page.evaluate(TOO_WIDE) + page.evaluate(NO_FOCUS_RING)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("look", ["light", "phone"])
def test_each_choice_is_large_enough_for_a_finger(visit, look):
    page, _ = visit(PAGE, look)
    boxes = [each.bounding_box() for each in page.locator(f"{CHOICE} > summary").all()]
    assert len(boxes) >= 3 and all(box["height"] >= 24 and box["width"] >= 24 for box in boxes)
    if look == "phone":
        page.locator(f"{CHOICE} > summary").first.tap()
        assert page.locator(CHOICE).first.evaluate("(fold) => fold.open")


def test_on_paper_each_choice_says_what_is_said_about_it(visit):
    page, _ = visit(PAGE)
    choices = page.locator(CHOICE)
    assert all(choice.evaluate(BELOW) < 5 for choice in choices.all())
    page.emulate_media(media="print")
    assert all(choice.evaluate(BELOW) > 12 for choice in choices.all())
