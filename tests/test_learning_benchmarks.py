"""What is stored about learning: how it was counted and timed, and that it says what the chapter promises."""

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import digits, epoch, measure
from convlib.datasets import load_digits

STORED = Path(__file__).parents[1] / "benchmarks" / "results" / "learning"
COUNTED = json.loads((STORED / "digits.json").read_text())
TIMED = json.loads((STORED / "epoch.json").read_text())


def test_the_splits_hold_out_what_they_say_and_nothing_twice():
    labels = load_digits().labels
    held = {name: test for name, (_, test) in digits.splits(3, labels).items()}
    for training, test in digits.splits(3, labels).values():
        assert np.array_equal(np.sort(np.concatenate([training, test])), np.arange(1797))
    assert {name: len(test) for name, test in held.items()} == {"shuffled": 360, "last": 360, "forms": 382}
    assert held["last"][0] == 1437 and held["forms"][0] == 1415
    assert not set(digits.CHECKED) & (set(held["last"]) | set(held["forms"]))


def test_training_in_the_script_is_seeded_and_learns():
    training, test = np.arange(300), np.arange(300, 400)
    counts = [digits.right_answers(training, test, seed, "both", epochs=4) for seed in (0, 0, 1)]
    assert counts[0] == counts[1] and min(counts) > 50


def test_a_short_run_is_written_as_the_stored_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(digits, "right_answers", lambda training, test, seed, *rest: len(test) - seed)
    assert digits.main(["--output", str(tmp_path / "new" / "digits.json")]) == 0
    found = json.loads((tmp_path / "new" / "digits.json").read_text())
    assert found.keys() == COUNTED.keys()
    assert [each.keys() for each in found["rows"]] == [each.keys() for each in COUNTED["rows"]]
    assert "median 99.44% of 360: [360, 359, 358, 357, 356]" in capsys.readouterr().out


def test_the_stored_counts_reach_what_was_asked():
    rows = {(row["split"], row["means"]): row for row in COUNTED["rows"]}
    assert len(rows) == len(COUNTED["rows"]) == 7 and COUNTED["epochs"] == digits.EPOCHS
    for row in rows.values():
        assert len(row["right"]) == 5 and row["median"] == np.median(row["right"]) / row["of"]
    assert rows["shuffled", "both"]["of"] == rows["last", "both"]["of"] == 360
    assert rows["shuffled", "both"]["median"] >= 0.988
    assert rows["last", "both"]["median"] >= 0.955
    checked = {means: rows["checked", means]["median"] for means in digits.MEANS}
    assert max(checked.values()) == checked["both"]


def test_one_run_gives_what_is_stored():
    labels = load_digits().labels
    (stored,) = (row["right"][0] for row in COUNTED["rows"] if row["split"] == "last")
    found = digits.right_answers(*digits.splits(0, labels)["last"], 0)
    assert abs(found - stored) <= 2  # other processors round otherwise


def test_the_stored_epochs_are_faster_than_pytorchs():
    assert [row["threads"] for row in TIMED["rows"]] == [1, 2] and TIMED["dtype"] == "float32"
    for row in TIMED["rows"]:
        assert row["difference"] < measure.MAX_ERROR and row["ratio"]["median"] >= 1


def test_an_epoch_of_ours_goes_on_where_the_last_one_ended():
    ours = epoch.Ours()
    losses = [ours.epoch() for _ in range(3)]
    assert len(ours.trainer.history.losses) == 3 and all(one > other for one, other in pairwise(losses))


def test_both_learn_the_same():
    pytest.importorskip("torch")
    assert epoch.difference() < 1e-6


def test_epochs_are_timed_in_turns_and_wrong_ones_are_not(monkeypatch):
    sides = {name: SimpleNamespace(epoch=lambda: None) for name in ("Ours", "Theirs")}
    for name, side in sides.items():
        monkeypatch.setattr(epoch, name, lambda side=side: side)
    monkeypatch.setattr(epoch.PyTorch, "use_threads", lambda count: None)
    monkeypatch.setattr(epoch, "difference", lambda: 1e-7)
    compared = []

    def compare(ours, theirs, settings):
        compared.append((ours, theirs, settings.lead_seconds))
        return measure.Comparison(2.0, 1.5, 2.5, 0.1, 0.2, 9, 0, True)

    monkeypatch.setattr(epoch.measure, "compare", compare)
    found = epoch.row(1, epoch.USUAL)
    assert compared == [(sides["Ours"].epoch, sides["Theirs"].epoch, 0.0)]
    assert found.keys() == TIMED["rows"][0].keys() and found["ratio"] == {"median": 2.0, "lower": 1.5, "upper": 2.5}
    monkeypatch.setattr(epoch, "difference", lambda: np.nan)
    with pytest.raises(measure.WrongResult, match="the loss of the first epoch differs by nan"):
        epoch.row(1, epoch.USUAL)


def test_without_pytorch_there_is_nothing_to_compare(monkeypatch, capsys):
    monkeypatch.setattr(epoch.PyTorch, "available", lambda: False)
    assert epoch.main([]) == 1
    assert "nothing to compare with" in capsys.readouterr().err
