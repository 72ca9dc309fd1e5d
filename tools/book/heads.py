"""What a page says about itself: description, card, address; which scripts it waits for; 404 and site map.

All addresses follow from the one in _config.yml. While that is empty, no page claims to have one.
"""

import re
from html import escape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from docutils import nodes
from sphinx.builders.html._assets import _JavaScript

TEMPLATES = Path(__file__).parent / "templates"
CARD = "_static/card.png"
CARD_TEXT = "Three grids of numbers, six kernels laid over them, and the two grids that come out"
LONGEST_DESCRIPTION = 160
# Pages that are no part of the text.
NOT_LISTED = {"404", "search", "genindex", "py-modindex"}
ICON_SCRIPT = re.compile(r"\s*<script[^>]*scripts/fontawesome\.js[^>]*></script>")
RELATIVE = re.compile(r'\b(href|src|action)="(?![a-z]+:|[/#"])')


def site_address(repository):
    """Where GitHub publishes the pages of a repository; "" for none, and for one somewhere else."""
    parts = urlsplit(repository)
    owner, _, name = parts.path.strip("/").removesuffix(".git").partition("/")
    if parts.netloc != "github.com" or not owner or not name:
        return ""
    host = f"https://{owner.lower()}.github.io/"
    return host if name.lower() == f"{owner.lower()}.github.io" else f"{host}{name}/"


def set_address(app, config):
    """Give Sphinx the address of the pages, from which it makes the canonical links."""
    if not config.html_baseurl:
        config.html_baseurl = site_address(config.html_theme_options.get("repository_url", ""))


def add_pages(app, config):
    config.templates_path.append(str(TEMPLATES))
    config.html_additional_pages["404"] = "404.html"


def description_of(doctree):
    """The subtitle of a page and what follows it, cut at a word."""
    paragraphs = [node.astext() for section in doctree.findall(nodes.section)
                  for node in section.children if isinstance(node, nodes.paragraph)]
    text = " ".join(" ".join(paragraphs[:2]).split())
    text = re.sub(r"What you will be able to do: (.)", lambda found: found[1].upper(), text)
    text = text.split(" Before you start:")[0]
    if len(text) <= LONGEST_DESCRIPTION:
        return text
    return text[:LONGEST_DESCRIPTION].rsplit(" ", 1)[0].rstrip(",;:") + " …"


def add_metatags(app, pagename, templatename, context, doctree):
    """Describe the page to search engines, and to those whom a link to it is sent."""
    if doctree is None:
        return
    address = app.config.html_baseurl
    values = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": re.sub("<[^>]*>", "", context["title"]),
        "og:description": description_of(doctree),
    }
    if address:  # the readers of a card fetch the picture themselves, so they need all of its address
        values |= {"og:url": urljoin(address, app.builder.get_target_uri(pagename)),
                   "og:image": urljoin(address, CARD), "og:image:alt": CARD_TEXT,
                   "og:image:width": "1200", "og:image:height": "630"}
    tags = [f'<meta name="description" content="{escape(values["og:description"])}" />',
            f'<meta name="twitter:card" content="{"summary_large_image" if address else "summary"}" />']
    tags += [f'<meta property="{name}" content="{escape(value)}" />' for name, value in values.items() if value]
    context["metatags"] = context.get("metatags", "") + "\n    " + "\n    ".join(tags)


def let_scripts_wait(app, pagename, templatename, context, doctree):
    """Paint first: the scripts of a page run when it stands. On the search page later scripts rely on them."""
    if pagename == "search":
        return
    context["script_files"] = [
        _JavaScript(script.filename, priority=script.priority, **{"defer": "defer", **script.attributes})
        if script.filename else script
        for script in context["script_files"]
        # Names the page for a menu of versions, which the book does not have.
        if "DOCUMENTATION_OPTIONS.pagename" not in (script.attributes.get("body") or "")
    ]


def without_icon_script(html):
    """The theme loads its icons twice: as a font, and as a script of 1.5 MB that everything waits for."""
    return ICON_SCRIPT.sub("", str(html))


def add_filter(app):
    if app.builder.format == "html":
        app.builder.templates.environment.filters["without_icon_script"] = without_icon_script


def write_front(app, exception):
    """The address of the book itself leads to its first page, and says what that one says."""
    if exception or app.builder.format != "html":
        return
    first = app.builder.get_target_uri(app.config.root_doc)
    page = (Path(app.outdir) / first).read_text(encoding="utf-8")
    said = "\n".join(re.findall(r'<title>.*?</title>|<meta (?:name="description|property="og:|name="twitter:)[^>]*>'
                                r'|<link rel="canonical"[^>]*>', page))
    (Path(app.outdir) / "index.html").write_text(
        f'<!DOCTYPE html>\n<html lang="en">\n<meta charset="utf-8">\n{said}\n'
        f'<link rel="icon" href="_static/favicon.svg">\n<meta http-equiv="refresh" content="0; url={first}">\n'
        f'<p><a href="{first}">{escape(app.config.html_title)}</a></p>\n</html>\n', encoding="utf-8")


def write_site_files(app, exception):
    """A map of the site, and links in the 404 page that hold wherever it is shown; both need an address."""
    address = app.config.html_baseurl
    if exception or app.builder.format != "html" or not address:
        return
    folder = Path(app.outdir)
    pages = sorted(name for name in app.env.found_docs if name not in NOT_LISTED)
    entries = "".join(f"  <url><loc>{escape(urljoin(address, app.builder.get_target_uri(name)))}</loc></url>\n"
                      for name in pages)
    (folder / "sitemap.xml").write_text(
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{entries}</urlset>\n', encoding="utf-8")
    missing = folder / "404.html"
    missing.write_text(rooted(missing.read_text(encoding="utf-8"), urlsplit(address).path), encoding="utf-8")


def rooted(html, path):
    """Let the relative addresses of a page begin at a path."""
    return RELATIVE.sub(rf'\1="{path}', html)


def setup(app):
    app.connect("config-inited", add_pages)
    app.connect("config-inited", set_address)
    app.connect("builder-inited", add_filter)
    app.connect("html-page-context", add_metatags)
    app.connect("html-page-context", let_scripts_wait, priority=900)
    app.connect("build-finished", write_front, priority=100)
    app.connect("build-finished", write_site_files)
