"""Each number in prose, tables, captions and alt texts is bound to code, or marked: `bound_numbers.py` says how."""

import itertools
import math
import re
from functools import cache
from pathlib import Path

import bound_numbers
import numpy as np
import pytest

from convlib.reference import general_conv2d
from convlib.shapes import output_size

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))


def markdown(text, **metadata):
    return {"cell_type": "markdown", "source": text, "metadata": metadata}


def code(text, outputs=(), **metadata):
    return {"cell_type": "code", "source": text, "outputs": list(outputs), "metadata": metadata}


def chapter_of(*cells):
    return bound_numbers.Chapter(ROOT / "chapters" / "made_up.ipynb", list(cells))


def unbound(*cells):
    """The numbers and expressions that nothing binds, as written."""
    return [statement.text.strip() for _, statement in chapter_of(*cells).unbound()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_is_bound_or_marked_and_every_mark_says_why(path):
    assert bound_numbers.report(path) == []


# --- what binds -------------------------------------------------------------------------------------------------

FLOW = r"$$ \delta^{k,i}_{p,q} = \sum_{o=1}^{2} \delta^{k+1,o}_{p+1-u,\,q+1-v} \cdot ker^{k,o,i}_{u,v} $$ (eq-one)"
LOOK = r"$$ tmp_{p,q} = \sum_{u=0}^{2} ch_{p+u-1,\,q+v-1} \cdot ker_{u,v} $$ (eq-two)"
SUM = "assert total == 53\nassert image.shape == (3, 7, 7)"


@pytest.mark.parametrize(
    "cells",
    [
        [markdown("The sum is 53."), code("assert total == 53")],
        [markdown("A picture of 7 x 7."), code(SUM)],
        [markdown("It is $-147 + 200 = 53$."), code("assert total == 53")],
        [markdown("With 1 404 and 2,500 numbers."), code("assert (a, b) == (1404, 2500)")],
        [markdown("About 31 %, or 0.31."), code("f()", [{"text": "share 0.3127"}])],
        [markdown("It takes 60 steps."), code("f()", [{"data": {"text/html": "<table><td>60</td></table>"}}])],
        [markdown("In row 3, column 4 it is 70."), code("assert red[3, 4] == 70")],
        [markdown("With padding 1 it fits."), code("conv2d(image, weight, padding=1)")],
        [markdown(FLOW), markdown("It reads $(p + 1 - u, q + 1 - v)$: {eq}`eq-one`.")],
        [
            markdown(FLOW),
            markdown(LOOK),
            markdown(r"It reads $\delta^{k+1,o}_{p+1-u,\,q+1-v}$ and $ch_{p+u-1,\,q+v-1}$."),
        ],
        [markdown("The cube is $(1 + h)^3 = 1 + 3h + 3h^2 + h^3$.")],
        [
            markdown(FLOW),
            markdown(LOOK),
            markdown("$p + u - 1$ | $p + 1 - u$", convlib={"numbers": {"$p + u - 1$ | $p + 1 - u$": "eq-two, eq-one"}}),
        ],
        [markdown("In 2022 he wrote it.", convlib={"numbers": {"In 2022": "a year"}})],
        [markdown("`conv2d`, float32, F12, [a page](one.ipynb#3), {eq}`eq-F12`, AVX-512, 180 degrees.")],
        [code("draw(total, alt=f'The sum is {total}.')"), code("assert total == 53")],
    ],
)
def test_what_is_bound(cells):
    assert unbound(*cells) == []


@pytest.mark.parametrize(
    ("cells", "missed"),
    [
        ([markdown("The sum is 58."), code("assert total == 53")], ["58"]),
        ([markdown("The sum is 53."), markdown("## Another"), code("total = 53")], ["53"]),  # not of this section
        ([markdown("The sum is 3."), code("f(x[3], 3)")], ["3"]),  # a small number, and nothing says what it is
        ([markdown("A picture of 7 x 8."), code(SUM)], ["7 x 8"]),
        ([markdown("In row 4, column 3 it is 70."), code("assert red[3, 4] == 70")], ["row 4, column 3"]),
        ([markdown("It is $-147 + 201 = 53$."), code("assert total == 53")], ["-147 + 201 = 53"]),
        ([markdown("It is $-147 + 201 = 54$."), code("assert total == 53")], ["54"]),
        ([markdown("With padding 2 it fits."), code("assert a == 2\nconv2d(image, weight, padding=1)")], ["2"]),
        ([markdown("The cube is $(1 + h)^3 = 1 + 3h + 2h^2 + h^3$.")], ["(1 + h)^3", "1 + 3h + 2h^2 + h^3"]),
        ([markdown("In 2023 he wrote it.", convlib={"numbers": {"In 2022": "a year"}})], ["2023"]),
        (
            [
                markdown(FLOW),
                markdown(LOOK),
                markdown("$p + u - 1$ back", convlib={"numbers": {"$p + u - 1$ back": "eq-one"}}),
            ],
            ["p + u - 1"],
        ),
        ([code("draw(alt='The sum is 58.')"), code("assert total == 53")], ["58"]),
        ([code("draw()", mystnb={"figure": {"caption": "The sum is 58."}}), code("assert total == 53")], ["58"]),
        ([markdown("| sum | 58 |"), code("assert total == 53")], ["58"]),
        ([markdown("% Sum of 57\n\nIt is 58.\n\n% 59"), code("assert total == 53")], ["58"]),  # beside comments
    ],
)
def test_what_is_not_bound(cells, missed):
    assert unbound(*cells) == missed


def test_a_mark_that_names_nothing_or_gives_no_reason_is_found():
    cells = [markdown("In 2023.", convlib={"numbers": {"In 2022": "a year", "2023": " "}})]
    assert chapter_of(*cells).stale_marks() == [(0, "In 2022"), (0, "2023")]


# --- self-tests ----------------------------------------------------------------------------------------------------

QUESTION = """**Ask yourself.** How many products does one of the 49 neurons add up?

<details class="choice"><summary>19</summary>Not yet: 19 are those of two channels.</details>
<details class="choice"><summary>27</summary>Right: 3 · 9 = 27.</details>
<details class="choice"><summary><code>w[p + u - 1]</code></summary>No: <code>w[p + u - 1]</code> is one.</details>
"""
PRODUCTS = code("assert products == 27 and neurons == 49 and (channels, size) == (3, 9)")


def test_what_a_wrong_choice_says_need_not_be_bound():
    assert unbound(markdown(QUESTION), PRODUCTS) == []


@pytest.mark.parametrize(
    ("old", "slip", "missed"),
    [
        ("the 49 neurons", "the 48 neurons", ["48"]),  # the question
        ("<summary>27", "<summary>28", ["28"]),  # the right choice
        ("3 · 9 = 27", "3 · 9 = 26", ["3 * 9 = 26."]),  # why it is right
        ("19 are those", "18 are those", ["18"]),  # why another is wrong
        ("<code>w[p + u - 1]</code> is", "<code>w[p + 1 - u]</code> is", ["p + 1 - u"]),
    ],
)
def test_a_slip_in_a_self_test_is_noticed(old, slip, missed):
    assert old in QUESTION
    assert unbound(markdown(QUESTION.replace(old, slip)), PRODUCTS) == missed


def test_small_letters_below_the_line_are_indices():
    for place, missed in (("p+1-u, q+1-v", []), ("p+u-1, q+1-v", ["p+u-1"])):
        symbol = f"<em>δ</em><sup>k+1,o</sup><sub>{place}</sub>"
        text = f'<details class="choice"><summary>{symbol}</summary>Right: it is.</details>'
        assert unbound(markdown(FLOW), markdown(LOOK), markdown(text)) == missed


# --- p + 1 - u and p + u - 1 -------------------------------------------------------------------------------------

PLACES = {
    "prose": lambda text: [markdown(f"The learning flow reads {text}.")],
    "prose with an array": lambda text: [markdown(f"It reads `delta[o, {text.strip('$')}, 0]`.")],
    "table": lambda text: [markdown(f"| reads, {{eq}}`eq-one` | {text} |")],
    "caption": lambda text: [
        code("draw()", mystnb={"figure": {"caption": f"Read at {text}, as {{eq}}`eq-one` says."}})
    ],
    "alt text": lambda text: [
        code(f"draw(alt='The flow {text.replace('p', '$delta_{p', 1).replace('$$', '$')[:-1]}}}$')")
    ],
}


@pytest.mark.parametrize("place", PLACES)
def test_signs_that_change_places_are_noticed(place):
    formulas = [markdown(FLOW)] if place == "prose" else [markdown(FLOW), markdown(LOOK)]
    assert unbound(*formulas, markdown("## Next"), *PLACES[place]("$p + 1 - u$")) == []
    for slip in ("$p + u - 1$", "$p - 1 - u$", "$p + 1 + u$", "$p + 2 - u$"):
        chapter = chapter_of(*formulas, markdown("## Next"), *PLACES[place](slip))
        [[piece, statement]] = chapter.unbound()
        assert statement.expression is not None and "1" in piece.text or "2" in piece.text


def is_noticed(chapter, piece, text):
    """Whether a changed piece of a real chapter has something that nothing binds, or has lost the piece of a mark."""
    lost = [mark for mark in chapter.marks(piece.cell) if mark in piece.text and mark not in text]
    return bool(lost) or len(chapter.unbound_in(piece._replace(text=text))) > len(chapter.unbound_in(piece))


@pytest.mark.parametrize(
    ("name", "pattern", "slip", "least"),
    [
        ("learning_flow", r"([prqs]) ?\+ ?1 ?- ?([uv])", r"\1 + \2 - 1", 4),
        ("weights", r"([prqs]) ?\+ ?1 ?- ?([uv])", r"\1 + \2 - 1", 1),
        ("learning_flow", r"([prqs]) ?\+ ?([uv]) ?- ?1", r"\1 + 1 - \2", 2),
        ("one_kernel", r"\b53\b", "58", 3),
        ("weights", r"\b620\b", "621", 3),
        ("the_layer", r"\b1031\b", "1037", 1),
    ],
)
def test_a_slip_in_a_chapter_itself_is_noticed(name, pattern, slip, least):
    chapter, tried = bound_numbers.Chapter(ROOT / "chapters" / f"{name}.ipynb"), 0
    for piece in chapter.pieces:
        for match in re.finditer(pattern, piece.text):
            text = piece.text[: match.start()] + match.expand(slip) + piece.text[match.end() :]
            assert is_noticed(chapter, piece, text), text
            tried += 1
    assert tried >= least


def test_an_expression_beside_its_twin_must_say_whose_index_it_is():
    assert unbound(markdown(FLOW), markdown(LOOK), markdown("## Next"), markdown("Read at $p + 1 - u$.")) == [
        "p + 1 - u"
    ]


# --- labelled equations that are not the article's ---------------------------------------------------------------


def right_side(latex, line=0):
    """The right side of an equation, or of one line of it, as something that can be computed."""
    latex = re.sub(
        r"\\boxed|\\Big|\\(?:begin|end)\{aligned\}|&|[{}]|\\text", " ", latex.split(r"\\")[line].replace(r"\frac", " ")
    )
    return bound_numbers.plain(latex).split("=")[-1].replace("'", "_prime")


def check_meeting(latex):
    """Which cell a place and a weight meet: as the loops of the library have it."""
    rows, kernel, stride, dilation, padding = 9, 3, 2, 3, 2
    letters = {"s": stride, "S": stride, "d": dilation, "D": dilation, "P": padding}
    for row in range(rows):
        x, w = np.zeros((1, rows, 1), int), np.ones((1, 1, kernel, 1), int)
        x[0, row] = 1
        heard = general_conv2d(x, w, stride=(stride, 1), dilation=(dilation, 1), padding=(padding, 0))[0, :, 0]
        for p, said in enumerate(heard):
            met = [u for u in range(kernel) if eval(right_side(latex), letters | {"p": p, "u": u}) == row]
            assert len(met) == said


def check_steps_of_one(latex, line=0):
    """p, u and r belong together as in the chapter on the settings, with steps of one."""
    left = "p" if "p" in latex.split("=")[0] else "r"
    for r, u, P, kh in np.ndindex(6, 5, 4, 5):
        values = {"r": r, "u": u, "P": P, "kh": kh, "p": r + P - u, "u_prime": kh - 1 - u}
        assert eval(right_side(latex, line), values) == values[left]


def check_both_lines(latex):
    check_steps_of_one(latex)
    check_steps_of_one(latex, 1)


def check_size(latex):
    """How many outputs: as the library counts."""
    text = re.sub(r"\\Big|\\boxed", "", latex).strip().removeprefix("{").removesuffix("}")
    text = bound_numbers.plain(text.replace(r"\rfloor", r" \rfloor")).replace("P'", "Q")
    text = re.sub(r"\\frac\{(.*?)\}\{(.*?)\}", r"((\1)/(\2))", text)
    for n, m, s, d, P, Q in itertools.product((7, 8, 9), (1, 2, 3), (1, 2, 3), (1, 2), (0, 1), (0, 2)):
        size = output_size(n, m, s, (P, Q), d)
        assert eval(text, {"floor": math.floor, "n": n, "m": m, "s": s, "S": s, "d": d, "D": d, "P": P, "Q": Q}) == size


OTHER_EQUATIONS = {
    "meeting": check_meeting,
    "output-size": check_size,
    "turn-forward": check_steps_of_one,
    "turn-gather": check_steps_of_one,
    "turn-correlation": check_both_lines,
}


LAYER = re.compile(r"(\\delta\s+(?:ker|b)|\\delta|ch|ker|b|X|Ker|B) ?\^ ?\{(k(?: ?[+-] ?\d+)?)(?=[,}])")
FIRST = re.compile(r"\\sum ?_\{ ?(\w) ?= ?(\d+)")
COUNTED_FROM = {"p": "0", "q": "0", "u": "0", "v": "0", "i": "1", "o": "1", "n": "1", "t": "1"}


def layers_in(latex):
    """Whose layers an equation speaks of: (symbol, layer)."""
    return {(" ".join(name.split()), layer.replace(" ", "")) for name, layer in LAYER.findall(latex)}


def unlike_the_article(latex):
    """Layers and first numbers of sums that are not as in the formulas of the article."""
    known = set().union(*(layers_in(each) for label, each in labelled().items() if label.startswith("eq-F")))
    odd = [pair for pair in layers_in(latex) if pair not in known]
    return odd + [pair for pair in FIRST.findall(latex) if pair[1] != COUNTED_FROM.get(pair[0], pair[1])]


def test_every_equation_counts_layers_channels_and_places_as_the_article_does():
    others = {label: latex for label, latex in labelled().items() if not label.startswith("eq-F")}
    assert len(others) > 10
    assert {label: found for label, latex in others.items() if (found := unlike_the_article(latex))} == {}


@pytest.mark.parametrize(
    "latex", [r"ch^{k+1,i}_{p,q}", r"\delta^{k-1,o}", r"X^{k+2,o}", r"\sum_{i=0}^{C}", r"\sum_{u=1}^{2}"]
)
def test_an_equation_that_counts_otherwise_is_found(latex):
    assert len(unlike_the_article(latex)) == 1


@pytest.mark.parametrize("label", OTHER_EQUATIONS)
def test_an_equation_of_the_course_says_what_the_code_does(label):
    OTHER_EQUATIONS[label](labelled()[label])


@pytest.mark.parametrize(
    ("label", "printed", "slip"),
    [
        ("meeting", "- P", "+ P"),
        ("meeting", "+ u", "- u"),
        ("output-size", "- 1}", "+ 1}"),
        ("output-size", "+ P'", "- P'"),
        ("turn-forward", "+ u", "- u"),
        ("turn-gather", "+ P", "- P"),
        ("turn-correlation", "- 1 - P", "- 1 + P"),
    ],
)
def test_a_slip_in_an_equation_of_the_course_is_noticed(label, printed, slip):
    latex = labelled()[label]
    assert printed in latex
    with pytest.raises(AssertionError):
        OTHER_EQUATIONS[label](latex.replace(printed, slip))


@cache
def labelled():
    """All labelled equations: label -> LaTeX."""
    cells = [cell for path in NOTEBOOKS for cell in bound_numbers.cells_of(path) if cell["cell_type"] == "markdown"]
    return {label: latex for cell in cells for latex, label in bound_numbers.LABELLED.findall("".join(cell["source"]))}
