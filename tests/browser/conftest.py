"""Pages opened in Chromium."""

import pytest
from served import LOOKS, browsing, serving


@pytest.fixture(scope="session")
def address():
    with serving() as served:
        yield served


@pytest.fixture(scope="session")
def chromium():
    with browsing() as browser:
        yield browser


@pytest.fixture
def visit(chromium, address):
    """A function that opens a page in one of the looks, and returns it with the list of what went wrong meanwhile."""
    contexts = []

    def open_page(name, look="light", **settings):
        context = chromium.new_context(**LOOKS[look], **settings)
        contexts.append(context)
        page, problems = context.new_page(), []
        page.on("console", lambda message: message.type == "error" and problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
        page.on("request", lambda asked: asked.url.startswith((address, "data:", "blob:"))
                or problems.append(f"asked for {asked.url}"))
        page.on("response", lambda answer: answer.status < 400 or problems.append(f"missing: {answer.url}"))
        page.goto(f"{address}/{name}", wait_until="load")
        page.wait_for_load_state("networkidle")
        if settings.get("java_script_enabled", True):
            page.evaluate("() => document.fonts.ready")
        return page, problems

    yield open_page
    for context in contexts:
        context.close()
