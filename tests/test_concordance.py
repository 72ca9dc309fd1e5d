"""The pages that point at others keep their word: the article's formulas, the notation, the glossary."""

import ast
import json
import re
from functools import cache
from pathlib import Path

import printed_formulas
import pytest

from convlib import reference

ROOT = Path(__file__).parents[1]
CHAPTERS = ROOT / "chapters"
NUMBERS = [f"F{number:02}" for number in range(1, 22)]
EVERY_FORMULA = pytest.mark.parametrize("number", NUMBERS)


def read(page):
    return (CHAPTERS / page).read_text(encoding="utf-8")


@cache
def cells_of(chapter):
    """The cells of a notebook: (type, source, metadata)."""
    cells = json.loads(read(chapter))["cells"]
    return [(cell["cell_type"], "".join(cell["source"]), cell["metadata"]) for cell in cells]


@cache
def text_of(chapter):
    """What a reader reads in a chapter, code aside."""
    return "\n\n".join(source for kind, source, _ in cells_of(chapter) if kind == "markdown")


def title_of(chapter):
    """The title of a chapter."""
    return re.match("# (.+)", text_of(chapter))[1]


def entries(text):
    """The entries of a definition list: (numbers of the formulas, meaning, everything below)."""
    found = re.findall(r"^(\*\*F\d\d\*\*.*?) · (.+)\n((?:: .+\n(?:  .+\n)*)+)", text, re.MULTILINE)
    return [(re.findall(r"F\d\d", term), meaning, below) for term, meaning, below in found]


FORMULAS, CORRECTIONS = (entries(part) for part in read("article.md").split("## Corrections"))
ENTRY = {number: below for [number, *_], _, below in FORMULAS}


def chapter_linked_in(text):
    [chapter] = set(re.findall(r"\]\((\w+\.ipynb)\)", text))
    return chapter


def place_of(number):
    """The chapter of a formula, and the number of the cell that prints it."""
    chapter = chapter_linked_in(ENTRY[number])
    [cell] = [place for place, (_, source, _) in enumerate(cells_of(chapter)) if f"(eq-{number})" in source]
    return chapter, cell


def named_tests(text):
    return re.findall(r"`(tests/\w+\.py)::(\w+)`", text)


@cache
def functions_of(file):
    """The test functions of a file: name -> source."""
    text = (ROOT / file).read_text(encoding="utf-8")
    functions = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: ast.get_source_segment(text, node) for node in functions if node.name.startswith("test_")}


# --- the article, formula by formula ----------------------------------------------------------------------------


def test_each_formula_has_one_entry_in_the_order_of_the_article():
    assert [numbers for numbers, _, _ in FORMULAS] == [[number] for number in NUMBERS]


@EVERY_FORMULA
def test_a_formula_has_its_equation_in_the_chapter_that_the_entry_names(number):
    chapter, cell = place_of(number)
    assert re.findall(r"\{eq\}`([\w-]+)`", ENTRY[number]) == [f"eq-{number}"]
    assert f"eq-{number}" in printed_formulas.printed_equations()  # which refuses a label printed twice
    _, source, _ = cells_of(chapter)[cell]
    assert f"**{number}**" in source.split(f"(eq-{number})")[0], "the sentence before it says its number, in bold"


@EVERY_FORMULA
def test_a_formula_is_followed_by_an_assertion(number):
    """The first cell after it that computes (not a figure, an export or only a function) asserts something."""
    chapter, cell = place_of(number)
    for kind, source, metadata in cells_of(chapter)[cell + 1 :]:
        exported = any(tag.startswith("export") for tag in metadata.get("tags", []))
        if kind == "code" and not exported and "figure" not in metadata.get("mystnb", {}):
            code = ast.parse(source)
            if not all(isinstance(statement, ast.FunctionDef) for statement in code.body):
                assert any(isinstance(node, ast.Assert) for node in ast.walk(code)), source
                return
    pytest.fail("no code after it")


@EVERY_FORMULA
def test_a_formula_has_a_function_that_names_it_or_its_chapter(number):
    names = re.findall(r"\{func\}`~convlib\.reference\.(\w+)`", ENTRY[number])
    assert names and set(names) <= set(reference.__all__)
    chapter = title_of(chapter_linked_in(ENTRY[number]))
    said = [" ".join(getattr(reference, name).__doc__.split()) for name in names]
    assert any(number in text or f'chapter "{chapter}"' in text for text in said)
    listed = text_of("api.ipynb")
    assert all(f".. autofunction:: convlib.reference.{name}\n" in listed for name in names)


@EVERY_FORMULA
def test_a_formula_has_tests_that_name_it(number):
    named = named_tests(ENTRY[number])
    assert named and f"test_{number.lower()}_" in named[0][1]
    for file, name in named:
        source = functions_of(file)[name]
        assert number in source or number.lower() in name


def test_every_formula_that_a_docstring_names_is_computed_in_that_chapter():
    for name in reference.__all__:
        said = " ".join(getattr(reference, name).__doc__.split())
        chapter, below = re.search(r'Source: chapter "([^"]+)"(.*)', said).groups()
        for number in re.findall(r"F\d\d", below):
            assert title_of(place_of(number)[0]) == chapter, name
            assert f"convlib.reference.{name}`" in ENTRY[number], (name, number)


@pytest.mark.parametrize("chapter", sorted({chapter_linked_in(below) for below in ENTRY.values()}))
def test_a_chapter_with_formulas_says_which_and_links_back(chapter):
    said = text_of(chapter).split("**In the article:**")[1]
    first, last = re.search(r"\[(F\d\d)(?: to (F\d\d))?\]\(article\.md\)", said).groups()
    listed = [number for number in NUMBERS if first <= number <= (last or first)]
    assert listed == [number for number in NUMBERS if chapter_linked_in(ENTRY[number]) == chapter]


def test_a_correction_says_what_is_printed_what_is_right_and_which_check_shows_it():
    assert {number for numbers, _, _ in CORRECTIONS for number in numbers} >= {"F01", "F03", "F04", "F05", "F10", "F12"}
    for numbers, meaning, below in CORRECTIONS:
        assert re.findall(r"^: \*(\w+)\*", below, re.MULTILINE) == ["Printed", "Right", "Check"], meaning
        [(file, name)] = named_tests(below)
        assert any(number.lower() in name for number in numbers) and name in functions_of(file)
        assert set(numbers) <= set(NUMBERS)


# --- notation ---------------------------------------------------------------------------------------------------


def letters(latex):
    """The letters and named signs of a piece of LaTeX that need an explanation."""
    plain = re.sub(r"\\\\\[\w+\]|\\(begin|end)\{\w+\}|\\text\{[^}]*\}", " ", latex)
    found = re.findall(r"\\delta\s+(?:ker|b)(?![a-z])|\\[a-zA-Z]+|[a-zA-Z]+", plain)
    layout = r"\\(boxed|frac|cdot|q?quad|left|right|[bB]igg?|ge|le|dots)$"
    return {" ".join(name.split()) for name in found if not re.match(layout, name)}


def explained():
    return set().union(*(letters(math) for math in re.findall(r"\$([^$]+)\$", read("notation.md"))))


def test_the_notation_explains_every_symbol_of_every_labelled_equation():
    for label, latex in printed_formulas.printed_equations().items():
        assert printed_formulas.names_in(latex) <= explained(), label
    for chapter in CHAPTERS.glob("*.ipynb"):
        for latex, label in re.findall(r"\$\$((?:(?!\$\$).)+)\$\$ \(([\w-]+)\)", text_of(chapter.name), re.DOTALL):
            assert letters(latex) <= explained(), (label, letters(latex) - explained())


def test_the_notation_explains_nothing_that_no_chapter_uses():
    used = "\n".join(text_of(chapter.name) for chapter in CHAPTERS.glob("*.ipynb"))
    in_use = set().union(*(letters(math) for math in re.findall(r"\$([^$]+)\$", used.replace("$$", "$"))))
    assert explained() <= in_use, explained() - in_use


# --- glossary ---------------------------------------------------------------------------------------------------

WORDS = read("glossary.md").split("```{glossary}\n")[1]
GLOSSARY = dict(re.findall(r"^(\w[\w -]*)\n((?:  .+\n)+)", WORDS, re.MULTILINE))


def test_the_glossary_is_sorted_and_its_table_leads_into_it():
    assert list(GLOSSARY) == sorted(GLOSSARY, key=str.lower) and len(GLOSSARY) > 30
    terms = re.findall(r"\{term\}`([^`]+)`", read("glossary.md"))
    assert terms and set(terms) <= set(GLOSSARY)


@pytest.mark.parametrize("term", GLOSSARY)
def test_a_word_of_the_glossary_stands_in_the_chapter_that_it_names(term):
    chapter = chapter_linked_in(GLOSSARY[term])
    assert f"[{title_of(chapter)}]" in GLOSSARY[term]
    assert re.search(rf"\b{re.escape(term)}", text_of(chapter).replace("\n", " "), re.IGNORECASE)
