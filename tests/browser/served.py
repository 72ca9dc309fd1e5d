"""A server for the built pages, a Chromium, and the ways in which readers see them.

Needs a Chromium on the machine (on the PATH, or named by $CHROMIUM); none is downloaded.
"""

import gzip
import os
import shutil
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

from playwright.sync_api import sync_playwright

BUILD = Path(__file__).parents[2] / "_build"
HTML = BUILD / "html"
SCREENS = BUILD / "screens"
PAGES = [*sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("chapters/*.html")), "search.html",
         "genindex.html", "py-modindex.html", "404.html"]
if not (HTML / "search.html").exists():
    raise FileNotFoundError("the book is not built: run `make book`")

WIDE = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}
LOOKS = {
    "light": {"color_scheme": "light", **WIDE},
    "dark": {"color_scheme": "dark", **WIDE},
    "phone": {"color_scheme": "light", **PHONE},
}
# A page that holds one figure, and is longer than the window.
FIGURE_PAGE = (
    '<!DOCTYPE html><html><head><meta name="viewport" content="width=device-width"></head>'
    '<body style="margin:16px;font:16px sans-serif"><div style="overflow-x:auto">{}</div>'
    '<div style="height:3000px"></div></body></html>'
)

# Without these, Chromium itself asks for updates and the like.
FLAGS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
TEXTS = {".html", ".css", ".js", ".svg", ".json", ".txt"}


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves the pages as a host does: texts compressed, what is missing answered by the book's own page."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        if path.is_dir():
            path /= "index.html"
        status = 200 if path.is_file() else 404
        if status == 404:
            path = HTML / "404.html"
        content = path.read_bytes()
        self.send_response(status)
        if path.suffix in TEXTS and "gzip" in self.headers.get("Accept-Encoding", ""):
            content = gzip.compress(content, 6)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return BytesIO(content)


@contextmanager
def serving(folder=HTML):
    """Serve a folder for as long as the block runs; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextmanager
def browsing():
    """A Chromium for as long as the block runs."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        raise FileNotFoundError("no Chromium on this machine: install one, or name it in $CHROMIUM")
    # Chromium's sandbox refuses to run as root.
    flags = FLAGS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=flags)
        yield browser
        browser.close()


def said(page):
    """The line below a moving figure that says what it shows."""
    return page.locator(".said").inner_text()
