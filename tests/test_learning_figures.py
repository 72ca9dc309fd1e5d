"""The figures that compute in the page, as Python draws them; the photograph and the rounded model they come with."""

import base64
import gzip
import re
import zlib
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from convlib import conv2d, conv2d_weight_grad, datasets, figures, models
from convlib.datasets import house, load_digits, photograph
from convlib.losses import CrossEntropyLoss, softmax
from convlib.models import digit_reader, trained_digit_reader
from convlib.training import predict

DATA = Path(datasets.__file__).parent / "data"
RED, LEFT_ROOF = house().image[0], house().kernels[0]
START = np.random.default_rng(5).uniform(-1, 1, (3, 3)).round(2)
DIGITS = load_digits()
KERNELS = {"blur": np.ones((3, 3), dtype=int), "edge": np.array([[-1, 0, 1]] * 3)}


def drawn(**changes):
    """A drawing board with two drawings."""
    settings = {"model": trained_digit_reader(), "drawings": DIGITS.images[1415:1417], "labels": ["one", "<two>"],
                "answer": 7, "alt": "A board."}
    return figures.draw_a_digit(**{**settings, **changes})


PANEL = r"<svg viewBox.*?</svg>(?=</div>|<svg viewBox)"
FIGURES = {
    "learns": lambda alt="A kernel.": figures.learns(RED, LEFT_ROOF, START, [0.2, 0.4, 0.72], picked=1, alt=alt),
    "hero": lambda alt="A kernel.": figures.hero(RED, LEFT_ROOF, START, rate=0.6, passes=40, alt=alt),
    "draw_a_digit": lambda alt="A board.": drawn(alt=alt),
    "through_kernels": lambda alt="A face.": figures.through_kernels(photograph(), KERNELS, alt=alt),
}
EVERY_FIGURE = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


@EVERY_FIGURE
def test_a_figure_is_small_stable_well_formed_and_asks_for_nothing(draw):
    html = draw()._repr_html_()
    assert html == draw()._repr_html_()
    assert len(html.encode()) < 40_000
    for svg in re.findall(PANEL, html, re.DOTALL):
        ElementTree.fromstring(svg)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert not re.search(r'(?:fill|stroke)="(?:black|white|#000|#fff)', html)


@pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)
def test_a_figure_says_in_words_what_it_shows_or_is_refused(draw):
    assert 'aria-label="A house &amp; &quot;more&quot;.' in draw(alt='A house & "more".')._repr_html_()
    for nothing in ("", "  ", None):
        with pytest.raises(ValueError, match="alt"):
            draw(alt=nothing)


def texts(html, name):
    """The numbers of a named grid."""
    panels = [ElementTree.fromstring(svg) for svg in re.findall(PANEL, html, re.DOTALL)]
    [grid] = [grid for panel in panels for grid in panel.iterfind(f".//g[@data-grid='{name}']")]
    return [float(text.text.replace("\N{MINUS SIGN}", "-")) for text in grid.iter("text")]


def trained(rate, steps):
    """Weights and errors of a training with the functions of the library."""
    image, weight = RED[np.newaxis] / 255, START[np.newaxis, np.newaxis]
    target, found = conv2d(image, LEFT_ROOF[np.newaxis, np.newaxis] * 1.0, padding=1), []
    for _ in range(steps):
        gap = conv2d(image, weight, padding=1) - target
        found.append((weight[0, 0], np.mean(gap**2)))
        weight = weight - rate * conv2d_weight_grad(image, weight.shape, 2 * gap / gap.size, padding=1)
    return found


@pytest.mark.parametrize(("name", "rate", "steps"), [("learns", 0.4, 101), ("hero", 0.6, 40)])
def test_the_still_picture_of_a_training_shows_its_end(name, rate, steps):
    figure, run = FIGURES[name](), trained(rate, steps)
    html = figure._repr_html_()
    assert np.allclose(texts(html, "weights"), run[-1][0].ravel(), atol=0.0051)
    assert f"from {run[0][1]:.3g} to {run[-1][1]:.2g}" in figure.alt
    # No machine may round otherwise: nothing lies just between two numbers that are written.
    between = 100 * np.array([weights for weights, _ in run]) - 0.5
    assert abs(between - np.rint(between))[[-1]].min() > 1e-6


def test_the_front_page_shows_products_sum_and_what_is_wanted():
    html, (weights, _) = FIGURES["hero"]()._repr_html_(), trained(0.6, 40)[-1]
    products = RED[2:5, 2:5] * weights
    assert texts(html, "products") == np.rint(products).ravel().tolist()
    said = re.search(r'class="sum"[^>]*>([^<]+)<', html).group(1)
    assert said == f"sum {products.sum():.0f}, wanted {(RED[2:5, 2:5] * LEFT_ROOF).sum()}"


def test_the_board_shows_ink_probabilities_and_flow():
    html, model = drawn()._repr_html_(), trained_digit_reader()
    drawing = DIGITS.images[1415]
    amounts = re.search(r'<g class="amounts"[^>]*>(.*?)</g>', html).group(1)
    written = [int(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", amounts)]
    assert written == drawing[drawing > 0].tolist()
    scores = model(drawing[np.newaxis, np.newaxis] / 16)
    shares = [f"{100 * chance:.0f} %" for chance in softmax(scores)[0]]
    assert re.findall(r"([\d.]+ %)</text>", html) == shares
    loss = CrossEntropyLoss()
    loss(scores, [7])
    flow = model.backward(loss.backward())[0, 0]
    strong = abs(flow) >= 0.08 * abs(flow).max()
    for name, side in (("less", flow > 0), ("more", flow < 0)):
        circles = re.search(rf'<g class="{name}"[^>]*>(.*?)</g>', html).group(1)
        places = [(int(y) // 36, int(x) // 36) for x, y in re.findall(r'cx="(\d+)" cy="(\d+)"', circles)]
        assert places == list(map(tuple, np.argwhere(strong & side)))


def test_the_weights_travel_as_bytes():
    start = unescape(re.search(r'data-start="([^"]*)"', drawn()._repr_html_()).group(1))
    packed = base64.b64decode(re.search(r'"weights":\s*"([^"]+)"', start).group(1))
    state = trained_digit_reader().state_dict()
    weights = np.concatenate([state[name].ravel() for name in ("0.weight", "3.weight", "7.weight")])
    units = re.findall(r"\[(\d+),([\d.e-]+),\[", start)
    scale = np.concatenate([np.full(int(count), float(unit)) for count, unit in units])
    assert (np.frombuffer(packed, dtype=np.int8) * scale == weights).all()


@pytest.mark.parametrize(("call", "words"), [
    (lambda: figures.learns(RED[0], LEFT_ROOF, START, [1], alt="x"), r"channel: .*\(7,\)"),
    (lambda: figures.learns(RED, LEFT_ROOF[0], START, [1], alt="x"), r"kernel: .*\(3,\)"),
    (lambda: figures.hero(RED, LEFT_ROOF, START[:2], rate=1, passes=1, alt="x"), r"start: .*\(2, 3\)"),
    (lambda: figures.learns(RED, LEFT_ROOF, START, [1], picked=1, alt="x"), "picked: .* 1 rates, got 1"),
    (lambda: drawn(model=digit_reader(dtype=np.float64, rng=0)), "model: expected 0.weight .* power of two"),
    (lambda: drawn(model=digit_reader(rng=0)[0]), "model: expected a digit_reader"),
    (lambda: drawn(drawings=DIGITS.images[0]), r"drawings: .*\(8, 8\)"),
    (lambda: drawn(drawings=DIGITS.images[:2] + 1), "drawings: .* 0 to 16"),
    (lambda: drawn(labels=["one"]), "labels: expected 2"),
    (lambda: drawn(answer=10), "answer: .* got 10"),
    (lambda: figures.through_kernels(photograph() / 255, KERNELS, alt="x"), "photograph: .*float64"),
    (lambda: figures.through_kernels(photograph(), {"a": -KERNELS["blur"]}, alt="x"), "kernels: .*0 or more"),
    (lambda: figures.through_kernels(photograph(), {"a": np.ones((5, 5), int)}, alt="x"), "kernels: expected 3 x 3"),
])
def test_a_figure_refuses_and_says_why(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- the photograph ---------------------------------------------------------------------------------------------


def pixels_of(png):
    """The numbers of a grey PNG file with 8 bits a pixel and no filter."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    columns, rows = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))
    length = int.from_bytes(png[33:37], "big")
    lines = np.frombuffer(zlib.decompress(png[41 : 41 + length]), dtype=np.uint8).reshape(rows, columns + 1)
    assert (lines[:, 0] == 0).all()
    return lines[:, 1:].astype(int)


def test_the_pictures_are_what_the_kernels_answer():
    html = FIGURES["through_kernels"]()._repr_html_()
    shown = [pixels_of(base64.b64decode(png)) for png in re.findall(r"data:image/png;base64,([^\"]+)", html)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(photograph(), 1), (3, 3))
    assert (shown[0] == photograph()).all()
    assert abs(shown[1] - windows.mean(axis=(2, 3))).max() <= 0.5 + 1e-9
    slopes = windows[:, :, :, 2].sum(axis=2) - windows[:, :, :, 0].sum(axis=2)
    assert abs(shown[2] - np.clip(128 + slopes / 3, 0, 255)).max() <= 0.5 + 1e-9
    assert len(shown) == 3


def test_the_photograph_is_new_on_every_call_and_a_damaged_file_is_refused(monkeypatch, tmp_path):
    assert photograph().dtype == np.int64 and photograph().shape == (90, 90)
    photograph()[:] = 0
    assert len(np.unique(photograph())) > 200
    (tmp_path / "data").mkdir()
    for name, read in (("photograph.csv.gz", photograph), ("digit_reader.csv.gz", trained_digit_reader)):
        content = gzip.decompress((DATA / name).read_bytes())
        (tmp_path / "data" / name).write_bytes(gzip.compress(content.replace(b"1", b"2", 1)))
        for module in (datasets, models):
            monkeypatch.setattr(module, "files", lambda package: tmp_path)
        with pytest.raises(ValueError, match=f"{name} is damaged: expected the hash"):
            read()


def test_what_is_shipped_is_small_packed_without_a_date_and_its_source_is_said():
    words = " ".join((DATA / "README.md").read_text(encoding="utf-8").split())
    for name, said in (("photograph.csv.gz", "public domain"), ("digit_reader.csv.gz", "A first deep model")):
        packed = (DATA / name).read_bytes()
        assert len(packed) < 20_000 and packed[3:8] == bytes(5)
        assert f"`{name}`" in words and said in words
    assert "Grace Hopper" in words and "United States Navy" in words


# --- the rounded model ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_rounded_model_reads_as_well_as_the_chapter_says():
    model = trained_digit_reader()
    scores = predict(model, DIGITS.images[1415:, np.newaxis] / 16)
    assert np.count_nonzero(scores.argmax(axis=1) == DIGITS.labels[1415:]) == 368
    assert not model.training
