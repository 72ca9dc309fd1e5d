"""The mutation score counts what it says: on a small chapter, where the answer is known."""

import json
import random

import mutants
import pytest


def notebook(tmp_path, *cells):
    """A notebook of (type, source, metadata)."""
    listed = [
        {"cell_type": kind, "source": source, "metadata": metadata, "outputs": [], "execution_count": None}
        for kind, source, metadata in cells
    ]
    path = tmp_path / "small.ipynb"
    path.write_text(json.dumps({"cells": listed, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}), encoding="utf-8")
    return path


def test_each_number_and_sign_is_changed_once():
    text = "In row 3, at $p + 1 - u$, {eq}`eq-F12`, `conv2d` and AVX-512 say 147."
    found = list(mutants.mutants_of(text, random.Random(0)))
    assert [kind for kind, _ in found] == ["small number", "small number", "number", "sign", "sign"]
    assert all(other != text and len(other) == len(text) for _, other in found)
    assert {other for kind, other in found if kind == "sign"} == {
        text.replace("p + 1", "p - 1"),
        text.replace("1 - u", "1 + u"),
    }


def test_what_is_noticed_is_counted_and_what_escapes_is_named(tmp_path):
    path = notebook(
        tmp_path,
        ("markdown", "The sum is 53. The padding is 4. In 2022.", {"convlib": {"numbers": {"In 2022": "a year"}}}),
        ("code", "assert total == 53", {}),
    )
    counts, escaped = mutants.texts_of(path)
    assert counts == {"prose": (2, 3)}  # nothing binds the 4, so a 5 is not noticed
    [(kind, text)] = escaped
    assert kind == "small number in prose" and text.startswith("The padding is ")


def test_an_equation_that_nothing_computes_is_held_by_the_sentences_about_it(tmp_path):
    path = notebook(
        tmp_path,
        ("markdown", "$$ p + 1 - u $$ (small-one)", {}),
        ("markdown", "It is $p + 1 - u$, at $p + 1 - u$.", {}),
    )
    assert mutants.equations_of(path) == ({"equations": (3, 3)}, [])


def test_every_number_and_sign_of_code_is_changed_once():
    source = 'x = 3 - 1\ny = -x  # of 7\ndraw(y, "at 5")'
    found = list(mutants.mutants_of_code(source, random.Random(0)))
    assert len(found) == 3 and "x = 3 + 1" in found[1]
    assert {mutants.difference(source, each)[:2] for each in found} == {"x "}


def test_a_run_notices_what_fails_and_what_shows_something_else(tmp_path):
    path = notebook(tmp_path, ("code", "a, b, c = 1, 2, 3", {}), ("code", "assert a == 1", {}), ("code", "b", {}))
    others = ["a, b, c = 5, 2, 3", "a, b, c = 1, 5, 3", "a, b, c = 1, 2, 5", "while True:\n    pass"]
    assert mutants.run_mutants(path, [(0, each) for each in others[:3]]) == [True, True, False]
    assert mutants.in_child(lambda: mutants.run(others[3:], {}), 1) == "no answer"


def test_a_chapter_that_does_not_run_is_no_measure(tmp_path):
    path = notebook(tmp_path, ("code", "assert False", {}))
    with pytest.raises(RuntimeError, match="small does not run: AssertionError"):
        mutants.run_mutants(path, [(0, "1")])


def test_the_interval_is_wilsons():
    low, high = mutants.interval(9, 10)
    assert (round(low, 3), round(high, 3)) == (0.596, 0.982)
    assert mutants.interval(0, 0) == (0.0, 1.0)


def test_the_stored_score_is_about_chapters_that_exist():
    stored = json.loads(mutants.STORED.read_text(encoding="utf-8"))
    assert set(stored["chapters"]) <= {path.stem for path in (mutants.ROOT / "chapters").glob("*.ipynb")}
    assert stored["code"]["all"][1] > 0
