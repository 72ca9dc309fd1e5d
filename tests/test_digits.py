"""The digits that travel with convlib: unchanged, whole, licensed, and split as the chapter says."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlib import datasets
from convlib.datasets import load_digits, split_last, split_shuffled

DATA = Path(datasets.__file__).parent / "data"
# Of the 1,797 lines of the file that was published, each ended by a line feed.
PUBLISHED = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"


def test_the_arrays_hold_the_published_file_byte_for_byte():
    digits = load_digits()
    rows = np.column_stack([digits.images.reshape(-1, 64), digits.labels])
    text = "".join(",".join(map(str, row)) + "\n" for row in rows.tolist())
    assert hashlib.sha256(text.encode()).hexdigest() == PUBLISHED == datasets.DIGITS_SHA256


def test_shapes_types_and_counts():
    digits = load_digits()
    assert digits.images.shape == (1797, 8, 8) and digits.images.dtype == np.uint8
    assert digits.labels.shape == (1797,) and digits.labels.dtype == np.int64
    assert digits.images.min() == 0 and digits.images.max() == 16
    assert np.bincount(digits.labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_a_changed_copy_does_not_change_the_next():
    load_digits().images[:] = 7
    load_digits().labels[:] = 7
    assert load_digits().images[0, 0, 0] == 0 and load_digits().labels[0] == 0


def test_it_is_small_and_says_whose_it_is():
    assert sum(path.stat().st_size for path in DATA.glob("*.gz")) < 200_000
    words = (DATA / "README.md").read_text()
    for word in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0", "creativecommons.org/licenses/by/4.0"):
        assert word in words
    # The same bytes wherever it is packed: no name and no date in it.
    packed = (DATA / "digits.csv.gz").read_bytes()
    assert packed[3:8] == bytes(5)


def damaged(content, place):
    """The content with one bit turned."""
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1:]


@pytest.mark.parametrize("change", [
    lambda packed: b"",
    lambda packed: packed[:-1],
    lambda packed: packed[:30_000],
    lambda packed: damaged(packed, 0),
    lambda packed: damaged(packed, 20_000),
    lambda packed: damaged(packed, len(packed) - 6),
    lambda packed: b"<html>not found</html>",
    lambda packed: gzip.compress(gzip.decompress(packed)[:-2]),
    lambda packed: gzip.compress(damaged(gzip.decompress(packed), 1000)),
], ids=["empty", "cut", "half", "head", "middle", "sum", "page", "row", "digit"])
def test_a_damaged_file_is_refused(change, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits.csv.gz").write_bytes(change((DATA / "digits.csv.gz").read_bytes()))
    monkeypatch.setattr(datasets, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"digits\.csv\.gz is damaged"):
        load_digits()


@given(st.integers(0, 9999), st.integers(1, 1796))
def test_a_shuffled_split_is_stratified_whole_and_seeded(seed, held_out):
    labels = load_digits().labels
    training, held = split_shuffled(labels, held_out, rng=seed)
    assert len(held) == held_out
    assert np.array_equal(np.sort(np.concatenate([training, held])), np.arange(1797))
    expected = np.bincount(labels) * held_out / 1797
    assert (abs(np.bincount(labels[held], minlength=10) - expected) < 1).all()
    assert all(map(np.array_equal, (training, held), split_shuffled(labels, held_out, rng=seed)))


def test_another_seed_is_another_split():
    labels = load_digits().labels
    assert not np.array_equal(split_shuffled(labels, rng=0)[1], split_shuffled(labels, rng=1)[1])
    generator = np.random.default_rng(0)
    assert np.array_equal(split_shuffled(labels, rng=generator)[1], split_shuffled(labels, rng=0)[1])


def test_the_last_rows():
    training, held = split_last(load_digits().labels)
    assert np.array_equal(training, np.arange(1437)) and np.array_equal(held, np.arange(1437, 1797))


@pytest.mark.parametrize("split", [split_shuffled, split_last])
@pytest.mark.parametrize(("labels", "held_out", "error", "message"), [
    (np.zeros((2, 2), dtype=int), 1, ValueError, r"labels: expected shape \(N,\), got \(2, 2\)"),
    ([1, 2, 3], 0, ValueError, "held_out: expected a number between 0 and 3, got 0"),
    ([1, 2, 3], 3, ValueError, "held_out: expected a number between 0 and 3, got 3"),
    ([1, 2, 3], 0.5, TypeError, "held_out: expected a whole number, got 0.5"),
])
def test_splits_refuse(split, labels, held_out, error, message):
    with pytest.raises(error, match=message):
        split(labels, held_out)
