"""The figures of convlib in a real browser, on a page of their own."""

import numpy as np

from convlib import figures


def test_a_story_is_moved_by_keys_and_buttons_and_stands_still_without_scripts(chromium):
    pictures = [figures.grids([np.full((1, 1), number)], [f"title {number}"], alt=f"a {number}")
                for number in (3, 5, 7)]
    html = figures.story(pictures, ["three", "five", "seven"], still=1, alt="Three numbers.")._repr_html_()

    def seen(page):
        shown = [text for text in page.locator("svg:visible text").all_text_contents() if text.startswith("title")]
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
