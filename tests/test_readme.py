"""The README keeps its word: its example runs, its picture is the one that the code draws, its links lead somewhere."""

import re
from pathlib import Path

import numpy as np

from convlib import conv2d, datasets, figures, reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PICTURE = ROOT / "tools" / "book" / "static" / "layer.svg"


def layer_picture():
    """The layer of chapter "From grids to a layer" as a file: a white card, since a file cannot
    take the colour of the page.
    """
    house = datasets.house()
    weight = np.stack([[kernel] * 3 for kernel in house.kernels[:2]])
    temporary = [[reference.correlate2d(house.image[i], weight[o, i], 1) for i in range(3)] for o in range(2)]
    output = conv2d(house.image, weight, house.biases[:2], padding=1)
    [svg] = figures.layer(house.image, weight, temporary, output, alt="the layer").panels
    svg = svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" color="#222" ', 1)
    return re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="white" rx="8"/>', svg, count=1) + "\n"


def test_the_picture_is_the_one_that_the_code_draws():
    assert PICTURE.read_text(encoding="utf-8") == layer_picture(), (
        "write it again: PYTHONPATH=tests python -c 'import test_readme as t; t.PICTURE.write_text(t.layer_picture())'"
    )


def test_the_example_prints_what_its_comment_says(capsys):
    [example] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(re.sub(r"^  ", "", example, flags=re.MULTILINE), {})
    expected = re.search(r"print\(.*#\s*(-?\d+)", example).group(1)
    assert capsys.readouterr().out.strip() == expected


def test_every_file_that_the_readme_names_is_there():
    names = re.findall(r"\]\(([^)#]+)\)", README) + re.findall(r"`(\w+/)`", README)
    assert len(names) >= 7
    for name in names:
        assert (ROOT / name).exists(), name


def test_every_make_target_that_the_readme_names_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
