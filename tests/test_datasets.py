"""The house: what was handed out stays as it was published; the detector finds it."""

import numpy as np
import pytest

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


# --- pictures of houses and of what is none -------------------------------------------------------------------------


def places_of(image, part):
    """Where a small picture stands in a large one."""
    rows, columns = image.shape[1] - part.shape[1] + 1, image.shape[2] - part.shape[2] + 1
    return [(p, q) for p, q in np.ndindex(rows, columns)
            if (image[:, p : p + part.shape[1], q : q + part.shape[2]] == part).all()]  # fmt: skip


def test_every_other_picture_holds_the_published_house_somewhere():
    house = datasets.house().image
    pictures = datasets.house_pictures(600, rng=0)
    assert pictures.images.shape == (600, 3, 11, 11) and pictures.images.dtype == np.int64
    assert pictures.is_house.tolist() == [True, False] * 300
    places = [places_of(image, house) for image in pictures.images]
    assert [len(each) for each in places] == [1, 0] * 300
    assert {place for each in places for place in each} == set(np.ndindex(5, 5))  # every place occurs


def test_what_is_no_house_comes_in_six_kinds_of_the_same_colours():
    pictures = datasets.house_pictures(200, size=7, rng=0)
    others = {image.tobytes(): image for image in pictures.images[~pictures.is_house]}
    assert len(others) == 6
    house = datasets.house().image
    colours = set(map(tuple, house.reshape(3, 49).T.tolist()))
    for image in others.values():
        assert set(map(tuple, image.reshape(3, 49).T.tolist())) <= colours
    sky = house[:, :1, :1]
    roof, walls = (np.where(np.arange(7)[:, np.newaxis] // 4 == part, house, sky) for part in (0, 1))
    # Upside down, halves swapped, walls above the roof, lying; and each part alone.
    swapped, raised = np.roll(house, 3, axis=2), np.roll(house, 3, axis=1)
    for other in (house[:, ::-1], swapped, raised, house.swapaxes(1, 2), roof, walls):
        assert other.tobytes() in others


def test_settings_do_what_they_say():
    plain, dark = (datasets.house_pictures(20, light=(light, light), rng=1).images for light in (1, 0.5))
    assert (dark == np.rint(plain * 0.5)).all()
    sky = datasets.house_pictures(20, recolour=1.0, rng=1).images[:, :, 0, 0]
    assert len({tuple(colour) for colour in sky.tolist()}) == 20
    noisy = datasets.house_pictures(400, noise=20, rng=1).images
    blue = noisy[:, 2, 0]  # mostly sky, 71, far from 0 and 255
    assert 15 < blue[np.abs(blue - 71) < 60].std() < 25
    assert noisy.min() == 0 and noisy.max() <= 255


def test_a_seed_gives_the_same_pictures_and_a_generator_goes_on():
    settings = {"recolour": 0.5, "light": (0.5, 1.2), "noise": 10}
    first, again = (datasets.house_pictures(6, rng=5, **settings).images for _ in range(2))
    assert (first == again).all()
    generator = np.random.default_rng(5)
    assert (datasets.house_pictures(6, rng=generator, **settings).images == first).all()
    assert (datasets.house_pictures(6, rng=generator, **settings).images != first).any()


@pytest.mark.parametrize(("settings", "error", "words"), [
    ({"count": 0}, ValueError, "count: expected at least 1, got 0"),
    ({"count": 2.0}, TypeError, "count"),
    ({"count": True}, TypeError, "count"),
    ({"size": 6}, ValueError, "size: expected at least 7"),
    ({"recolour": 1.5}, ValueError, "recolour"),
    ({"recolour": float("nan")}, ValueError, "recolour"),
    ({"light": (1.2, 0.5)}, ValueError, "light"),
    ({"light": (-1, 1)}, ValueError, "light"),
    ({"light": (1,)}, ValueError, "light"),
    ({"noise": -1}, ValueError, "noise"),
    ({"noise": float("inf")}, ValueError, "noise"),
])  # fmt: skip
def test_settings_that_make_no_picture(settings, error, words):
    with pytest.raises(error, match=words):
        datasets.house_pictures(**{"count": 2, "rng": 0} | settings)
