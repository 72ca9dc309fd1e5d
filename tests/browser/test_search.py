"""What the search finds first, and what it shows of it."""

import pytest

FIRST = {
    "why does the kernel turn": "turn",
    "why turned": "turn",
    "bias gradient": "biases",
    "gradient of the bias": "biases",
    "Winograd": "winograd",
    "padding": "general",
    "learning flow": "learning_flow",
    "gradient check": "trust",
    "vectors": "block",
    "handwritten digits": "digits",
}


def search(visit, words, look="light"):
    page, problems = visit("search.html?q=" + words.replace(" ", "+"), look)
    page.wait_for_function("() => /found|did not match/.test(document.querySelector('.search-summary')?.innerText)")
    return page, problems


@pytest.mark.parametrize("words", FIRST)
def test_the_chapter_about_it_comes_first(visit, words):
    page, problems = search(visit, words)
    found = page.locator("#search-results ul.search > li > a").evaluate_all(
        "(links) => links.map((link) => new URL(link.href).pathname.split('/').pop().split('.')[0])")
    assert found[0] == FIRST[words], found
    assert not problems


def test_an_excerpt_is_a_sentence_with_the_words_not_the_list_of_contents(visit):
    page, _ = search(visit, "bias gradient")
    page.wait_for_selector("p.context")
    for text in page.locator("p.context").all_inner_texts()[:3]:
        assert "bias" in text.lower() or "gradient" in text.lower()
        assert "Contents" not in text and "\n" not in text


def test_a_result_is_named_once(visit):
    page, _ = search(visit, "why does the kernel turn")
    title = page.locator("#search-results ul.search > li > a").first.inner_text()
    assert title.endswith("Why the kernel turns") and ">" not in title


def test_nonsense_finds_nothing(visit):
    page, _ = search(visit, "xyzzyplugh")
    assert page.locator("#search-results ul.search > li").count() == 0


@pytest.mark.parametrize("look", ["light", "phone"])
def test_the_search_box_finds_a_page(visit, look):
    page, problems = visit("chapters/one_kernel.html", look)
    page.locator(".search-button:visible, .search-button-field:visible").first.click()
    box = page.locator("input[type=search]:visible").first
    box.fill("kernel")
    box.press("Enter")
    page.wait_for_selector("#search-results ul.search li a")
    assert not problems
