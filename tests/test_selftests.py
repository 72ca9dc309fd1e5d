"""Self-tests: each question has one right choice, says why the others are wrong, and needs no script.

They are plain HTML in a Markdown cell: a paragraph that begins "**Ask yourself.**", a blank line, and the choices, a
line each. Whether their numbers are right is asked by tests/test_numbers.py.
"""

import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
import reading_time
import yaml

ROOT = Path(__file__).parents[1]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
NUMBERED = [Path(chapter["file"]).name for part in TOC["parts"] if part.get("numbered") for chapter in part["chapters"]]

QUESTION = "**Ask yourself.**"
CHOICE = re.compile(r'<details class="choice"><summary>(.+?)</summary>(.+?)</details>')
MARKDOWN = re.compile(r"[$`*]|\]\(|\{\w+\}|(?<!\w)_\w[^<]*\w_(?!\w)")
# The least that a chapter must have before its answers may follow a pattern by chance.
ENOUGH = 6


class Question(NamedTuple):
    """A question and its choices, each with what is said about it."""

    text: str
    choices: tuple

    @property
    def right(self):
        """The places of the choices that are said to be right."""
        return [place for place, (_, said) in enumerate(self.choices) if re.match(r"Right\b", said)]

    @property
    def lengths(self):
        """How many characters of each choice a reader sees."""
        return [len(re.sub(r"<[^>]+>", "", choice)) for choice, _ in self.choices]


class Markup(HTMLParser):
    """Which tags a text has, and whether each is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.balanced = [], set(), True
        self.feed(text)
        self.close()
        self.balanced = self.balanced and not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.add(" ".join([tag, *(name for name, _ in attributes)]))
        self.open.append(tag)

    def handle_endtag(self, tag):
        self.balanced = self.balanced and bool(self.open) and self.open.pop() == tag


def text_of(name):
    """The Markdown of a chapter."""
    cells = json.loads((ROOT / "chapters" / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def sections_of(text):
    """(title, text) of each section in which something is taught: below the promise, above the common mistakes."""
    sections = [part.partition("\n")[::2] for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    titles = [title for title, _ in sections]
    promise = "**Reading time:**" in sections[0][1]  # else it stands above the first section
    return sections[promise : titles.index("Common mistakes")]


def questions_of(text):
    """The questions of a text, with the choices that follow each."""
    paragraphs = [each.strip() for each in re.split(r"\n\s*\n", text)]
    return [
        Question(each.removeprefix(QUESTION).strip(), tuple(CHOICE.findall(below)))
        for each, below in zip(paragraphs, [*paragraphs[1:], ""], strict=True)
        if each.startswith(QUESTION)
    ]


def faults_of(text):
    """What is wrong with the form of the questions of a text."""
    faults, questions = [], questions_of(text)
    if text.count("<details") != sum(len(each.choices) for each in questions):
        faults.append("a fold that is no choice below a question")
    for line in text.split("\n"):
        if "<details" in line and not CHOICE.fullmatch(line):
            faults.append(f"not a line with one choice: {line}")
    if text.count("Ask yourself.") != len(questions):
        faults.append("a question that is not a paragraph of its own")
    for each in questions:
        faults += [f"{fault}: {each.text}" for fault in faults_of_question(each)]
    return faults


def faults_of_question(question):
    """What is wrong with one question."""
    choices, said = zip(*question.choices, strict=True) if question.choices else ((), ())
    if "?" not in question.text:
        yield "nothing is asked"
    if not 3 <= len(choices) <= 4:
        yield f"{len(choices)} choices"
    if len(question.right) != 1:
        yield f"{len(question.right)} right choices"
    if len(set(choices)) < len(choices):
        yield "a choice stands twice"
    if len(set(said)) < len(said):
        yield "two explanations are the same"
    if any(len(re.findall(r"\w+", each)) < 4 for each in said):
        yield "an explanation that explains nothing"
    for each in choices + said:
        markup = Markup(each)
        if MARKDOWN.search(each):
            yield f"Markdown, which is not read there, in {each!r}"
        if not markup.balanced or markup.tags - {"code", "sub", "sup", "em"}:
            yield f"other tags than code, sub, sup and em, or one that is not closed, in {each!r}"


def patterns_of(questions):
    """By what a reader could guess the right choices of a chapter, without knowing anything."""
    if len(questions) < ENOUGH:
        return []
    found = []
    [(place, times)] = Counter(place for each in questions for place in each.right).most_common(1)
    if times > 0.6 * len(questions):
        found.append(f"{times} of {len(questions)} right choices are number {place + 1}")
    longest = 0
    for each in questions:
        others = [length for place, length in enumerate(each.lengths) if place not in each.right]
        longest += any(each.lengths[place] > 1.2 * max(others) for place in each.right)
    if longest > 0.5 * len(questions):
        found.append(f"{longest} of {len(questions)} right choices are clearly the longest")
    return found


@pytest.mark.parametrize("name", NUMBERED)
def test_every_question_has_one_right_choice_and_says_why_the_others_are_wrong(name):
    assert faults_of(text_of(name)) == []


@pytest.mark.parametrize("name", NUMBERED)
def test_the_right_choice_cannot_be_guessed(name):
    assert patterns_of(questions_of(text_of(name))) == []


@pytest.mark.parametrize("name", NUMBERED)
def test_each_section_ends_with_two_or_three_questions(name):
    counts = {title: len(questions_of(text)) for title, text in sections_of(text_of(name))}
    assert len(counts) > 2
    may_have_none = {"The question"}  # which is asked there, and nothing is taught yet
    assert {title: n for title, n in counts.items() if n not in (2, 3) and (n or title not in may_have_none)} == {}


# --- the checks find what they look for ------------------------------------------------------------------------------

FINE = """\
**Ask yourself.** How many products does one neuron of this output, $X^{k,1}_{3,3}$, add up?

<details class="choice"><summary>9</summary>Not yet: these are the products in one channel.</details>
<details class="choice"><summary>27</summary>Right: three channels with <code>3 * 3</code> products each.</details>
<details class="choice"><summary>49</summary>No: this is how many neurons the output has.</details>
"""
LAST = '<details class="choice"><summary>49'
CHAPTER = f"""\
# A chapter

## The question

**Reading time:** 5 minutes.

## One

{FINE}

{FINE}

## Two

Text.

{FINE}

## Common mistakes

## Exercises
"""


def test_a_question_that_is_as_it_should_be():
    assert faults_of(FINE.replace("<code>3 * 3</code>", "<code>a_b</code>")) == []
    [question] = questions_of(FINE)
    assert question.right == [1] and question.lengths == [1, 2, 2]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("add up?", "add up.", "nothing is asked"),
        (FINE.split("\n")[4] + "\n", "", "2 choices"),
        ("Right: three", "No: three", "0 right choices"),
        ("Not yet: these", "Right, these", "2 right choices"),
        ("<summary>49", "<summary>27", "a choice stands twice"),
        ("Not yet: these are the products in one channel", "No: this is how many neurons the output has", "the same"),
        ("Not yet: these are the products in one channel.", "No.", "explains nothing"),
        ("one channel", "$C$ channels", "Markdown"),
        ("one channel", "`C` channels", "Markdown"),
        ("one channel", "_one_ channel", "Markdown"),
        ("one channel", "[one](one_kernel.ipynb) channel", "Markdown"),
        ("one channel", "<b>one</b> channel", "other tags"),
        ("one channel", '<em style="color: red">one</em> channel', "other tags"),
        ("one channel", "<em>one channel", "not closed"),
        (LAST, LAST.replace("choice", "choice open"), "not a line with one choice"),
        (LAST, LAST.replace('"choice"', "choice"), "a fold that is no choice"),
        ("add up?\n", "add up?\n\nThink.\n", "a fold that is no choice"),
        ("**Ask yourself.**", "Well. **Ask yourself.**", "not a paragraph of its own"),
        (LAST, "\n" + LAST, "a fold that is no choice"),
    ],
)
def test_a_fault_in_a_question_is_found(old, new, fault):
    text = FINE.replace("<code>3 * 3</code>", "nine")
    assert old in text and faults_of(text) == []
    assert any(fault in each for each in faults_of(text.replace(old, new)))


def test_a_pattern_is_found():
    lines = FINE.split("\n")
    other = "\n".join([*lines[:2], lines[3], lines[2], lines[4], ""])

    def patterns(*questions):
        return patterns_of(questions_of("\n".join(questions)))

    assert patterns(*[FINE] * 5) == [] == patterns(*[FINE, other] * 4)
    assert patterns(*[FINE] * 6) == ["6 of 6 right choices are number 2"]
    long = [each.replace("<summary>27", "<summary>27 products") for each in (FINE, other)]
    assert patterns(*long * 4) == ["8 of 8 right choices are clearly the longest"]


def test_questions_are_counted_section_by_section():
    sections = sections_of(CHAPTER)
    assert [(title, len(questions_of(text))) for title, text in sections] == [("One", 2), ("Two", 1)]


def test_words_of_tags_take_no_time_to_read():
    choice = '<details class="choice"><summary>One <em>channel</em></summary>Right: it is one.</details>'
    assert reading_time.words_of(f"{QUESTION} What is it?\n\n{choice}") == len("A y W i i O c R i i o".split())
