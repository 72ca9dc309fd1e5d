"""The house: what was handed out stays as it was published; the detector finds it."""

import numpy as np

from convlib import conv2d, datasets

# Row sums and sums of squares of the published image: they notice a single digit that has slipped.
ROW_SUMS = [
    [147, 441, 658, 875, 925, 870, 870],
    [488, 666, 772, 878, 796, 722, 722],
    [562, 692, 737, 782, 619, 555, 555],
]


def test_the_image_is_the_published_one():
    image = datasets.house().image
    assert image.shape == (3, 7, 7) and image.dtype == np.int64
    assert image.sum(axis=2).tolist() == ROW_SUMS
    assert (image**2).sum(axis=(1, 2)).tolist() == [780392, 612622, 467468]


def test_a_changed_copy_does_not_change_the_next():
    datasets.house().image[:] = 0
    datasets.house().kernels[:] = 0
    assert datasets.house().image.sum() > 0 and datasets.house().kernels.sum() > 0


def detect(image):
    """The five layers of chapter "From grids to a layer"."""
    (questions, thresholds), *others = datasets.house_detector()
    grids = np.maximum(conv2d(image, questions, thresholds, padding=1), 0)
    for weight, bias in others:
        grids = conv2d(grids, weight, bias, padding=1)
    return grids[0]


def test_the_detector_finds_the_house_at_the_centre_and_only_there():
    found = detect(datasets.house().image)
    assert found.max() == 6
    assert np.argwhere(found == 6).tolist() == [[3, 3]]


def test_the_detector_finds_no_house_where_there_is_none():
    image = datasets.house().image
    assert detect(image[:, ::-1]).max() < 6
    assert detect(np.zeros_like(image)).max() < 6
