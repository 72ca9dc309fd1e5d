"""Pages opened in Chromium."""

import pytest
from served import FIGURE_PAGE, LOOKS, browsing, serving


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


@pytest.fixture
def opened(request, chromium):
    """A function that opens one of the module's FIGURES in a page of its own.

    Nothing may be asked for, and no script may fail.
    """
    contexts, problems = [], []

    def open_figure(name, **settings):
        contexts.append(chromium.new_context(**settings))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda asked: problems.append(asked.url))
        page.set_content(FIGURE_PAGE.format(request.module.FIGURES[name]()._repr_html_()))
        return page

    yield open_figure
    for context in contexts:
        context.close()
    assert not problems
