"""Every exercise of the chapters: its skeleton is not attempted, its solution passes its own checker."""

import ast
import contextlib
import io
import re
from collections import Counter
from pathlib import Path

import export
import numpy as np
import pytest

from convlib import check
from convlib.check import checker
from convlib.check.catalogue import _expressed, mistakes_of
from convlib.check.exercises import cases, exercises, problem_of, right_answers, right_function
from convlib.check.problems import PROBLEMS

ROOT = Path(__file__).parents[1]
RECORDS = exercises()
CHECKED = [label for label, record in RECORDS.items() if record["skeleton"]]
CODED = [label for label in CHECKED if "function" in RECORDS[label]]
ANSWERED = [label for label in CHECKED if "answers" in RECORDS[label]]


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    """Nobody's hints and nobody's file of progress."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checker, "_hints_shown", {})
    monkeypatch.delenv("CONVLIB_PROGRESS", raising=False)


def run(record):
    """The value of the expression that ends the cell of the skeleton."""
    body = ast.parse("\n".join(record["skeleton"])).body
    names = {"__name__": "__main__", "np": np, "check": check.check}
    exec("\n".join(record.get("setup", [])), names)
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(body[-1].value), "cell", "eval"), names)


@pytest.mark.parametrize("label", CHECKED)
def test_a_skeleton_is_not_attempted(label, tmp_path):
    verdict = run(RECORDS[label])
    assert verdict.state == "not attempted" and verdict.hint == RECORDS[label]["hints"][0]
    assert " ".join(str(verdict).split()) == " ".join(f"Not attempted yet. Hint: {verdict.hint}".split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("label", CODED)
def test_a_solution_passes_its_own_checker(label):
    record = RECORDS[label]
    assert check.check(label, right_function(record)).state == "right"
    assert "tests" in record or len(cases(record)) >= 3


@pytest.mark.parametrize("label", ANSWERED)
def test_right_values_pass_and_wrong_ones_do_not(label):
    record = RECORDS[label]
    right = right_answers(record)
    assert check.check(label, **right).state == "right"
    for name, known in record["wrong"].items():
        for value, sentence in known:
            verdict = check.check(label, **right | {name: ast.literal_eval(value)})
            assert verdict.state == "wrong" and f"`{name}`: {sentence}" in verdict.said


def test_every_exercise_of_a_part_is_here():
    parts = export.parts_of(ROOT)
    sources = [source for chapter in export.read_chapters(ROOT) for kind, source, _ in chapter.everything
               if kind == "markdown" and parts[chapter.path].startswith("Part ")]
    labels = [label for source in sources
              for label in re.findall(r"^:::+ *\{exercise-start\}.*\n:label: *(\S+)", source, re.MULTILINE)]
    assert sorted(labels) == sorted(label for label, record in RECORDS.items() if record["part"].startswith("Part "))


def test_every_chapter_of_a_part_has_five_exercises_and_every_part_a_project():
    parts = {path: part for path, part in export.parts_of(ROOT).items() if part.startswith("Part ")}
    counts = Counter(record["chapter"] for record in RECORDS.values())
    assert [path for path in parts if counts[Path(path).stem] < 5] == []
    with_project = {record["part"] for record in RECORDS.values() if record["kind"] == "Project"}
    assert set(parts.values()) <= with_project
    for path in parts:
        own = [record for record in RECORDS.values() if record["chapter"] == Path(path).stem]
        assert len({record["stars"] for record in own}) > 1 and sum(not record["skeleton"] for record in own) <= 2


@pytest.mark.parametrize("label", [label for label in CODED if "problem" in RECORDS[label]])
def test_a_known_mistake_is_named_where_the_cases_can_tell(label):
    record = RECORDS[label]
    problem = problem_of(record, PROBLEMS)
    named, wrong = [], 0
    for mistake in mistakes_of(problem):
        verdict = check.check(label, _expressed(mistake.function, problem, record["problem"]), keep=False)
        if verdict.state == "right" or verdict.said[0].startswith("Your code stopped"):
            continue  # what the exercise asks for does not show this mistake, or shows it by an error
        wrong += 1
        others = {other.sentence for other in mistakes_of(problem)} - {mistake.sentence}
        assert verdict.said[0] not in others
        named += [mistake.name] if verdict.said[0] == mistake.sentence else []
    assert len(named) > wrong / 2


def by_formula_alone(n, m, S, before, after, D):
    return (n + before + after - D * (m - 1) - 1) // S + 1


def in_whole_numbers(grad_output):
    return grad_output.repeat(2, axis=-2).repeat(2, axis=-1) // 4


@pytest.mark.parametrize(("label", "function"), [
    ("ex-general-places", by_formula_alone),  # below 0 where the kernel is far too long
    ("ex-layers-code", in_whole_numbers),  # right for flows that can be divided by four
])
def test_what_readers_got_past_the_cases_once_is_refused(label, function):
    assert check.check(label, function, keep=False).state == "wrong"


def test_a_way_of_its_own_for_one_tap_is_tried_with_padding():
    right = right_function(RECORDS["ex-choosing-project"])

    def engine(x, weight, bias, stride, padding, groups):
        if weight.shape[2:] == (1, 1) and groups == 1:
            cells = x[:, :, ::stride, ::stride]
            return np.einsum("kc,nchw->nkhw", weight[:, :, 0, 0], cells) + bias[:, np.newaxis, np.newaxis]
        return right(x, weight, bias, stride, padding, groups)

    verdict = check.check("ex-choosing-project", engine)
    assert verdict.state == "wrong" and "The border is missing" in verdict.said[0]


def test_the_axes_of_two_grids_of_steps_are_no_batch():
    def block_sums(left, right, bias):
        return sum(bias[:, np.newaxis] + np.outer(*each) for each in zip(left, right, strict=True))

    said = check.check("ex-block-sums", block_sums).said
    assert said[0] == "The bias is added 4 times. It should be added once."


def test_what_two_slips_could_have_done_is_laid_to_both():
    def exchanged(image, grad_output):
        return grad_output.reshape(len(grad_output), -1) @ image.T.reshape(-1, len(image))

    said = check.check("ex-back-code", exchanged).said
    assert said[0].startswith("Rows and columns of image, or those of grad_output, are swapped.")
