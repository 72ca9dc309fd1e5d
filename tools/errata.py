"""Write the page of what was wrong, chapters/errata.md, from tests/data/errata.json.

python tools/errata.py            write the page
python tools/errata.py --check    only say whether it is what would be written
"""

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLE, PAGE = ROOT / "tests" / "data" / "errata.json", ROOT / "chapters" / "errata.md"
HEAD = """# Errata

*What was wrong in this course, since when, and what holds it now.*

A printed book collects its mistakes on a sheet of paper. This one can do more: each mistake below names a test that
fails if it comes back. "In the text" means that a test reads the chapter and looks for the wrong sentence; the others
compute. Mistakes of the *article* that the course follows stand on [a page of their own](article.md). How the rest is
checked is told on [another](checked.ipynb).

This page is made by a program from one table. Have you found a mistake? It belongs into that table,
`tests/data/errata.json`, together with a test.
"""


def title_of(chapter):
    """The title of a chapter, and its file."""
    for name in (f"{chapter}.ipynb", f"{chapter}.md"):
        path = ROOT / "chapters" / name
        if path.exists():
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                text = "".join(json.loads(text)["cells"][0]["source"])
            return re.search("^# (.+)", text, re.MULTILINE)[1], name
    raise SystemExit(f"{TABLE.name}: there is no chapter {chapter!r}")


def page(entries):
    """The page as Markdown."""
    parts = [HEAD]
    for chapter in dict.fromkeys(each["chapter"] for each in entries):
        title, name = title_of(chapter)
        parts.append(f"## [{title}]({name})\n")
        parts += [paragraph(each) for each in entries if each["chapter"] == chapter]
    return "\n".join(parts)


def paragraph(entry):
    """One mistake: what was wrong, what is right, since when and until when, and the test."""
    test = "in the text" if entry["gone"] and "test_errata" in entry["test"] else f"`{entry['test']}`"
    return (
        f"**Was:** {entry['was']}\\\n**Is:** {entry['right']}\\\n"
        f"*From {entry['since']} to {entry['mended']}; held by:* {test}\n"
    )


def main(arguments):
    """Write the page, or say whether it is as it should be."""
    text = page(json.loads(TABLE.read_text(encoding="utf-8")))
    if "--check" in arguments:
        return PAGE.read_text(encoding="utf-8") != text
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
