"""The drawings: every number is in the picture, every picture has words, the same input gives the same bytes."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from html import unescape

import matplotlib.pyplot as plt
import numpy as np
import pytest

from convlib import datasets, figures

HOUSE = datasets.house()
RED, LEFT_ROOF = HOUSE.image[0], HOUSE.kernels[0]
WEIGHT = np.stack([[kernel] * 3 for kernel in HOUSE.kernels[:2]])
TEMPORARY, OUTPUT = np.ones((2, 3, 7, 7)), np.ones((2, 7, 7))
LINKS = [(0, 0, "a"), (1, 0, "b"), (1, 1, "c"), (2, 1, "d")]


def a_plot(label="a curve"):
    figure, axes = plt.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], label=label)
    axes.legend()
    return figure


ROW = [1, 3, 2, 1, 4], [5, 6, 7], [1, -1, 2, 3, -2]
STEP_WORDS = {"titles": ["one", "two"], "roles": ["input", "output"]}
DRAWINGS = {
    "grids": lambda **alt: figures.grids(HOUSE.image, HOUSE.channel_names, **alt),
    "picture": lambda **alt: figures.picture(HOUSE.image, **alt),
    "kernel_over": lambda **alt: figures.kernel_over(RED, LEFT_ROOF, 3, 3, **alt),
    "explore_kernel": lambda **alt: figures.explore_kernel(RED, LEFT_ROOF, 3, 3, **alt),
    "kernel_at": lambda **alt: figures.kernel_at(RED, LEFT_ROOF, [(0, 0), (6, 6)], **alt),
    "explore_impacts": lambda **alt: figures.explore_impacts(
        [[[(0, 0, "a")], [(1, 1, "b"), (1, 2, "c")]]], (2, 4), 0, 1, titles=["one", "two", "three"], **alt
    ),
    "meetings": lambda **alt: figures.meetings([4, 1, 5], [3, 1], padding=(1, 0), flow=[1, 2, -1], **alt),
    "matrix": lambda **alt: figures.matrix(np.eye(9), lines=3, **alt),
    "curves": lambda **alt: figures.curves(a_plot(), **alt),
    "arrows": lambda **alt: figures.arrows([1, -2, 3], [4, 5], LINKS, 1, **alt),
    "steps": lambda **alt: figures.steps([[1, -2], [3]], [[(0, 0, 1), (1, 0, -1)]], **STEP_WORDS, **alt),
    "story": lambda **alt: figures.story([figures.grids([[[1]], [[2]]], alt="x")] * 3, ["a", "b", "<c>"], **alt),
    "layer": lambda **alt: figures.layer(HOUSE.image, WEIGHT, TEMPORARY, OUTPUT, **alt),
    "own_kernel": lambda **alt: figures.own_kernel(RED, LEFT_ROOF, **alt),
    "touches": lambda **alt: figures.touches(RED, HOUSE.kernels[:2], 3, 3, **alt),
    "three_ways": lambda **alt: figures.three_ways(*ROW, **alt),
    "row": lambda **alt: figures.row(*ROW, **alt),
    "settings": lambda **alt: figures.settings(**alt),
}
EVERY_DRAWING = pytest.mark.parametrize("draw", DRAWINGS.values(), ids=DRAWINGS)


def texts(figure):
    """What is written in the picture, a list of strings."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", figure._repr_html_())


@EVERY_DRAWING
def test_a_drawing_has_words_or_is_refused(draw):
    figure = draw(alt='A house & "more".')
    assert 'aria-label="A house &amp; &quot;more&quot;.' in figure._repr_html_()
    assert repr(figure) == 'Figure: A house & "more".'
    for nothing in ("", "  ", None):
        with pytest.raises(ValueError, match="alt"):
            draw(alt=nothing)


@EVERY_DRAWING
def test_a_drawing_is_the_same_bytes_every_time_and_well_formed(draw):
    html = draw(alt="x")._repr_html_()
    assert html == draw(alt="x")._repr_html_()
    for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ElementTree.fromstring(svg)
    fetched = re.sub(r'xmlns(:\w+)?="[^"]*"|<!DOCTYPE[^>]*>', "", html)
    assert "http" not in fetched


WORDS = """a < b, c & d; <e> -- 'f' "g" &amp; ]]>"""
WITH_WORDS = {
    "grids": (1, lambda: figures.grids([RED], [WORDS], alt=WORDS)),
    "explore_impacts": (3, lambda: figures.explore_impacts(
        [[[(0, 0, WORDS)]]], (2, 4), 0, 0, titles=[WORDS, WORDS], alt=WORDS
    )),
    "arrows": (3, lambda: figures.arrows([1], [4], [(0, 0, WORDS)], 0, titles=(WORDS, WORDS), alt=WORDS)),
    "steps": (3, lambda: figures.steps(
        [[1], [2]], [WORDS], titles=[WORDS, WORDS], roles=["input", "output"], alt=WORDS
    )),
    "curves": (1, lambda: figures.curves(a_plot(WORDS), alt=WORDS)),
}


@pytest.mark.parametrize(("times", "draw"), WITH_WORDS.values(), ids=WITH_WORDS)
def test_words_may_hold_what_is_markup_elsewhere(times, draw):
    html = draw()._repr_html_()
    panels = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    written = [text for panel in panels for text in panel.itertext()]
    assert written.count(WORDS) == times
    names = [unescape(name) for name in re.findall(r'role="(?:img|group)"[^>]*? aria-label="([^"]*)"', html)]
    assert names and all(name.startswith(WORDS) for name in names)


def test_the_explorer_knows_the_notes_as_they_were_given():
    html = WITH_WORDS["explore_impacts"][1]()._repr_html_()
    start = json.loads(unescape(re.search(r'data-start="([^"]*)"', html).group(1)))
    assert start["impacts"] == [[[0, WORDS]]]


@EVERY_DRAWING
def test_lines_and_digits_take_the_colour_of_the_page(draw):
    html = draw(alt="x")._repr_html_()
    assert not re.search(r'(?:fill|stroke)="(?:black|white|#000|#fff)', html)


def test_every_number_is_in_the_grid():
    written = [int(text) for text in texts(figures.grids(RED, alt="x"))]
    places = list(range(7)) * 2
    assert sorted(written) == sorted(RED.ravel().tolist() + places)


def test_what_is_computed_from_a_flow_is_a_flow():
    html = figures.kernel_over(RED, LEFT_ROOF, 3, 3, role="flow", alt="x")._repr_html_()
    assert figures.COLOURS["flow"] in html and figures.COLOURS["output"] not in html


def test_frames_lie_around_the_cells_they_name():
    [panel, plain] = figures.grids([RED, RED], size=30, frames=[(1, 2, 3, 4), None], alt="x").panels
    assert '<rect x="78" y="64" width="120" height="90"' in panel and 'stroke-width="3"' not in plain


def test_numbers_are_written_as_a_reader_would():
    written = texts(figures.grids([[-1.0, 0.1 + 0.2, -0.0]], alt="x"))
    assert "\N{MINUS SIGN}1" in written and "0.3" in written and "\N{MINUS SIGN}0" not in written


def test_the_products_and_their_sum_are_in_the_picture():
    assert texts(figures.kernel_over(RED, LEFT_ROOF, 3, 3, alt="x"))[-1] == "53"
    assert texts(figures.kernel_over(RED, LEFT_ROOF, 6, 0, alt="x"))[-1] == "152"


def test_the_explorer_carries_its_numbers_and_has_names_for_its_buttons():
    html = DRAWINGS["explore_kernel"](alt="x")._repr_html_()
    start = json.loads(unescape(re.search(r'data-start="([^"]*)"', html).group(1)))
    assert (start.pop("role"), start.pop("label")) == ("output", "the kernel's place")
    assert start == {"channel": RED.tolist(), "kernel": LEFT_ROOF.tolist(), "row": 3, "column": 3}
    assert html.count("<button") == html.count('aria-label="move ') == 4


@EVERY_DRAWING
def test_a_drawing_is_small(draw):
    assert len(draw(alt="x")._repr_html_().encode()) < 50_000


@EVERY_DRAWING
def test_a_drawing_that_moves_is_smaller(draw):
    figure = draw(alt="x")
    assert not isinstance(figure, figures.Moving) or len(figure._repr_html_().encode()) < 40_000


@EVERY_DRAWING
def test_a_panel_shrinks_only_as_far_as_its_words_stay_legible(draw):
    for panel in re.findall(r"<svg.*?</svg>", draw(alt="x")._repr_html_(), re.DOTALL):
        sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', panel)]
        width, least = (re.search(rf'{name}([\d.]+)', panel) for name in ('<svg viewBox="0 0 ', "min-width:"))
        if sizes:
            shrunk = min(sizes) * float(least[1]) / float(width[1])
            assert min(sizes) > 10 and shrunk > 10


def test_three_grids_of_the_house_stand_side_by_side_in_the_text():
    html = DRAWINGS["grids"](alt="x")._repr_html_()
    widths = [float(width) for width in re.findall(r'<svg viewBox="0 0 ([\d.]+)', html)]
    assert len(widths) == 3 and sum(widths) + 2 * 0.75 * 16 <= 672


def test_a_long_number_gets_a_wider_cell_and_a_weak_one_a_fill_that_can_be_seen():
    [panel] = figures.grids([[-1234.0, 0.001]], alt="x").panels
    width = float(re.search(r'<rect [^>]*width="([\d.]+)"', panel)[1])
    assert width == 7 * (len("-1234") + 0.3) and min(map(float, re.findall(r'fill-opacity="([\d.]+)"/', panel))) >= 0.12


# What colour-blind readers see: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A physiologically-based model for
# simulation of color vision deficiency" (2009), the full deficiency, on linear RGB.
READERS = {
    "all colours": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def seen(colour, reader):
    """A colour as one reader sees it, in CIE Lab."""
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]])
    xyz = to_xyz @ np.clip(np.array(reader) @ linear, 0, 1) / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_every_reader_can_tell_the_colours_apart(reader):
    colours = [seen(colour, reader) for colour in (*figures.COLOURS.values(), figures.NEGATIVE)]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(colours, 2)) > 16


def test_what_the_library_adds_is_in_the_still_pictures():
    assert texts(DRAWINGS["own_kernel"](alt="x")).count("53") >= 2  # the sum, and the output
    line, kernel, flow = ROW
    padded = np.pad(line, 1)
    outputs = [padded[p : p + 3] @ kernel for p in range(5)]
    told = np.pad(flow, 1)
    inputs = [told[r : r + 3] @ kernel[::-1] for r in range(5)]
    weights = [padded[u : u + 5] @ flow for u in range(3)]
    for numbers in (outputs, inputs, weights):
        said = ", ".join(map(str, numbers)).replace("-", "\N{MINUS SIGN}")
        assert said in DRAWINGS["three_ways"](alt="x")._repr_html_()


def test_the_impacts_of_every_cell_are_in_the_explorer_and_those_of_the_first_in_the_picture():
    html = DRAWINGS["explore_impacts"](alt="x")._repr_html_()
    start = json.loads(unescape(re.search(r'data-start="([^"]*)"', html).group(1)))
    assert start["impacts"] == [[[0, "a"]], [[5, "b"], [6, "c"]]]
    assert (start["rows"], start["columns"], start["row"], start["column"]) == (1, 2, 0, 1)
    panels = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    notes = [re.findall(r'class="note">([^<]+)<', panel) for panel in panels]
    assert notes == [[], ["b", "c"], ["b", "c"]]


def test_the_meetings_show_the_outputs_or_what_each_cell_is_told():
    settings = {"stride": 2, "padding": (1, 0), "dilation": 2, "alt": "x"}
    line, kernel = [4, 1, 5, 2, 6], [3, 7]  # zero and 1, 1 and 2: weight 0 of place 0 hangs over the end
    written = texts(figures.meetings(line, kernel, **settings))
    assert written[-4:] == ["×3", "×7", "×3", "×7"]
    assert "output" in written and {"7", "17"} <= set(written)  # 0·3 + 1·7 and 1·3 + 2·7
    written = texts(figures.meetings(line, kernel, flow=[1, -2], **settings))
    minus = "\N{MINUS SIGN}"
    assert written[-4:] == ["3", "7", f"{minus}6", f"{minus}14"]
    assert written[8:13] == ["0", "1", "0", f"{minus}14", "0"]  # 1·7 + (−2)·3 for cell 1


def test_the_matrix_has_one_square_for_each_entry_that_is_not_zero():
    values = np.eye(7) - 2 * np.eye(7, k=2)
    html = figures.matrix(values, alt="x")._repr_html_()
    assert html.count("<rect") == 1 + np.count_nonzero(values)  # the frame, and the entries
    assert html.count(figures.NEGATIVE) == 5


@pytest.mark.parametrize(("upwards", "labels"), [(False, ["c", "d"]), (True, ["b", "c"])])
def test_the_strong_arrows_are_those_that_end_at_the_picked_cell(upwards, labels):
    figure = figures.arrows([1, -2, 3], [4, 5], LINKS, 1, upwards=upwards, alt="x")
    assert [text for text in texts(figure) if text.isalpha()] == labels
    assert figure._repr_html_().count("<path") == len(LINKS)


@pytest.mark.parametrize("upwards", [False, True])
def test_an_arrow_that_subtracts_is_dashed_and_the_head_is_at_the_end(upwards):
    gaps = [[(0, 0, 1), (1, 0, -1)], "="]
    words = {"titles": ["a", "b", "c"], "roles": ["input", "kernel", "output"]}
    figure = figures.steps([[1, -2], [3], [3]], gaps, **words, upwards=upwards, alt="x")
    assert texts(figure).count("=") == 1
    assert figure._repr_html_().count("stroke-dasharray") == 1
    starts = re.findall(r"translate\(([\d.]+) ([\d.]+)\)", figure._repr_html_())
    assert {float(y) for _, y in starts} == ({123.0} if upwards else {45.0})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: figures.arrows([1, 2], [3], [(0, 1, "a")], 0, alt="x"), "links, picked: .* row of 1 cells, got 1"),
        (lambda: figures.arrows([1, 2], [3], [(0, 0, "a")], 1, alt="x"), "links, picked: .* row of 1 cells, got 1"),
        (lambda: figures.grids(np.zeros((2, 2, 2, 2)), alt="x"), "arrays: expected grids of shape"),
        (lambda: figures.grids(HOUSE.image, ["one", "two"], alt="x"), "titles: expected 3"),
        (lambda: figures.grids(RED, role="outptu", alt="x"), "role: expected one of input, kernel"),
        (lambda: figures.picture(RED, alt="x"), r"image: expected shape \(3, H, W\), got \(7, 7\)"),
        (lambda: figures.kernel_over(RED, LEFT_ROOF, 7, 0, alt="x"), "row, column: expected a cell"),
        (lambda: figures.kernel_over(RED, np.ones((5, 5)), 3, 3, alt="x"), r"kernel: .*\(5, 5\)"),
        (lambda: figures.kernel_over(HOUSE.image, LEFT_ROOF, 3, 3, alt="x"), r"channel: .*\(3, 7, 7\)"),
        (lambda: figures.kernel_at(RED, LEFT_ROOF, [(3, 3), (0, 7)], alt="x"), r"places: .*at \(0, 7\)"),
        (lambda: figures.story([], [], alt="x"), "still: expected one of 0 pictures"),
        (lambda: figures.story([figures.grids([[[1]]], alt="x")], ["a", "b"], alt="x"), "said: expected 1"),
        (lambda: figures.story([figures.grids([[[1]]], alt="x")], ["a"], still=1, alt="x"), "still: expected one of 1"),
        (lambda: figures.explore_impacts([[[]]], (2, 2), 1, 0, titles="ab", alt="x"), r"row, column: .*\(1, 0\)"),
        (lambda: figures.meetings([1, 2], [1, 2, 3], alt="x"), "kernel, flow: expected"),
        (lambda: figures.meetings([1, 2, 3], [1, 2], flow=[1], alt="x"), "kernel, flow: .* 2 places"),
        (lambda: figures.steps([[1], [2]], [], **STEP_WORDS, alt="x"), "gaps: expected 1, .* got 0"),
        (lambda: figures.steps([[1]], [], **STEP_WORDS, alt="x"), "titles, roles: expected 1"),
        (lambda: figures.matrix(RED, role="house", alt="x"), "role: expected one of"),
        (lambda: figures.own_kernel(HOUSE.image, LEFT_ROOF, alt="x"), r"channel: .*\(3, 7, 7\)"),
        (lambda: figures.touches(RED, LEFT_ROOF, 3, 3, alt="x"), r"channel, weight: .*\(3, 3\)"),
        (lambda: figures.touches(RED, HOUSE.kernels, 7, 3, alt="x"), r"row, column: .*\(7, 3\)"),
        (lambda: figures.touches(RED, HOUSE.kernels, 3, 3, way="is", alt="x"), "way: expected one of made of, touches"),
        (lambda: figures.row([1, 2], [1], [1], alt="x"), "line, flow: expected two rows"),
        (lambda: figures.three_ways([1, 2], [1, 2], [1, 2], alt="x"), "kernel: expected an odd number"),
        (lambda: figures.settings(3, 5, alt="x"), "kernel_size: expected to cover at most 3"),
        (lambda: figures.layer(HOUSE.image, WEIGHT[:1], TEMPORARY, OUTPUT, alt="x"), "weight: expected shape"),
    ],
)
def test_a_drawing_refuses_and_says_why(call, words):
    with pytest.raises(ValueError, match=words):
        call()
