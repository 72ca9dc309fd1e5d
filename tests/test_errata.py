"""The page of mistakes: it is what the table says, each mistake names a test that exists, and none has come back."""

import datetime
import json
from pathlib import Path

import errata
import pytest
from bound_numbers import cells_of
from test_concordance import functions_of

ROOT = Path(__file__).parents[1]
ENTRIES = json.loads(errata.TABLE.read_text(encoding="utf-8"))
IDS = [f"{entry['chapter']}-{number}" for number, entry in enumerate(ENTRIES)]


def said_in_all_chapters():
    """What prose and captions of all pages say, each page in one line."""
    for path in sorted((ROOT / "chapters").iterdir()):
        if path == errata.PAGE or path.suffix not in (".md", ".ipynb"):
            continue
        texts = [path.read_text(encoding="utf-8")]
        if path.suffix == ".ipynb":
            cells = cells_of(path)
            texts = [
                "".join(cell["source"]) + " " + cell["metadata"].get("mystnb", {}).get("figure", {}).get("caption", "")
                for cell in cells
            ]
        yield path.stem, " ".join(" ".join(texts).split())


def where_it_is_said(phrase, pages):
    return [name for name, text in pages if phrase in text]


def test_the_page_is_what_the_table_says():
    assert errata.main(["--check"]) == 0, "run: python tools/errata.py"


@pytest.mark.parametrize("entry", ENTRIES, ids=IDS)
def test_a_mistake_has_all_that_belongs_to_it(entry):
    assert set(entry) == {"chapter", "was", "right", "since", "mended", "gone", "test"}
    assert entry["was"] and entry["right"]
    since, mended = (datetime.date.fromisoformat(entry[each]) for each in ("since", "mended"))
    assert datetime.date(2026, 11, 23) <= since <= mended
    file, name = entry["test"].split("::")
    assert name in functions_of(file)
    assert entry["gone"] or file != "tests/test_errata.py", "nothing would be looked for"


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry["gone"]], ids=lambda entry: entry["gone"][:40])
def test_what_was_wrong_is_not_said_again(entry):
    assert where_it_is_said(entry["gone"], list(said_in_all_chapters())) == []


def test_a_mistake_that_came_back_would_be_found():
    pages = [("biases", "And so the step goes down along it. All"), ("weights", "Nothing.")]
    assert where_it_is_said("goes down along it", pages) == ["biases"]
    assert dict(said_in_all_chapters())["one_kernel"].startswith("# One kernel, one neuron")
