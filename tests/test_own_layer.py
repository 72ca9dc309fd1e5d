"""The command that checks a reader's own module: what holds, what is wrong, what is not there, and what learns."""

import subprocess
import sys
from pathlib import Path

import pytest

from convlib.check import own_layer
from convlib.check.own_layer import as_text, examined, load, main, template
from convlib.check.problems import PROBLEMS

ROOT = Path(__file__).parents[1]
OWN = ROOT / "tests" / "data" / "own_layer.py"
TURNED = "conv2d_input_grad", "weight[:, :, ::-1, ::-1]", "weight"
DOUBLED = "relu", "return np.maximum(values, 0)", "return 2 * np.maximum(values, 0)"


@pytest.fixture
def written(tmp_path):
    """A function that writes a module and returns its path."""
    def write(text, name="my_layer.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.fixture
def untaught(monkeypatch):
    """Nothing is trained."""
    monkeypatch.setattr(own_layer, "trained", lambda own, say=print: (150, 200))


def states(path, chapter=None):
    """The states of the functions of a module."""
    return {name: verdict.state for name, verdict in examined(load(path), chapter).items()}


def test_in_the_template_nothing_is_there_yet(written, capsys):
    assert main(["--template"]) == 0
    text = capsys.readouterr().out
    assert text == template()
    path = written(text)
    assert set(states(path).values()) == {"not attempted"} and len(states(path)) == len(PROBLEMS) == 16
    assert main([path]) == 1
    assert capsys.readouterr().out.endswith("\n0 hold, 0 wrong, 16 not yet.\n")
    for name, problem in PROBLEMS.items():
        assert text.count(f"\ndef {name}(") == 1 and text.count(f"\n# {problem.chapter}\n") == 1


def test_an_empty_module_is_not_wrong(written, capsys):
    assert main([written("")]) == 1
    assert "WRONG" not in capsys.readouterr().out


@pytest.mark.slow
def test_a_right_module_holds_and_learns(capsys):
    assert main([str(OWN)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "16 hold, 0 wrong, 0 not yet." in lines
    assert [line.split(":")[0].strip() for line in lines if "loss" in line] == [f"pass {k} of 5" for k in range(1, 6)]
    losses = [float(line.split()[-1]) for line in lines if "loss" in line]
    assert losses == sorted(losses, reverse=True)
    read, expected = int(lines[-1].split()[2]), int(lines[-1].split()[-1].rstrip("."))
    assert read == expected > 160


def test_a_model_is_made_of_the_functions_of_the_module(monkeypatch):
    own, called = load(OWN), set()

    def noted(name, function):
        return lambda *values: called.add(name) or function(*values)

    for name in PROBLEMS:
        setattr(own, name, noted(name, getattr(own, name)))
    monkeypatch.setattr(own_layer, "_TRAINING", 20)
    monkeypatch.setattr(own_layer, "_REST", 10)
    lines = []
    assert own_layer.trained(own, lines.append) == own_layer.trained(own_layer.courses_own(), lines.append)
    assert set(PROBLEMS) - called == {"correlate2d"}  # a layer has more than one channel
    assert len(lines) == 10 and lines[:5] == lines[5:]


@pytest.mark.parametrize("change", [TURNED, DOUBLED], ids=lambda change: change[0])
def test_what_is_wrong_is_named_and_nothing_is_trained(change, written, capsys):
    name, right, wrong = change
    text = OWN.read_text()
    assert text.count(right) == 1
    path = written(text.replace(right, wrong))
    assert main([path]) == 1
    out = capsys.readouterr().out
    assert out.count("WRONG") == 1 and f"  WRONG    {name}\n           " in out and "loss" not in out
    assert "\n15 hold, 1 wrong, 0 not yet.\n" in out and "Hint: " in out
    assert all(len(line) <= 88 for line in out.splitlines())


def test_one_chapter_by_its_title_and_by_its_file(capsys):
    title = "The biases and the update"
    assert list(states(OWN, title)) == list(states(OWN, "biases")) == ["conv2d_bias_grad", "sgd_step"]
    assert main([str(OWN), "--chapter", title]) == 0
    assert capsys.readouterr().out.splitlines() == [
        title, "  holds    conv2d_bias_grad", "  holds    sgd_step", "", "2 hold, 0 wrong, 0 not yet."]


def test_a_chapter_without_functions(capsys):
    assert main([str(OWN), "--chapter", "weihgts"]) == 2
    assert capsys.readouterr().err.startswith("--chapter: no function belongs to 'weihgts'; expected one of: ")


def test_the_report_goes_chapter_by_chapter(untaught):
    lines = as_text(examined(load(OWN))).splitlines()
    titles = [line for line in lines if line and not line.startswith(" ")][:-1]
    assert len(titles) == len(set(titles)) == len({problem.chapter for problem in PROBLEMS.values()})


@pytest.mark.parametrize(("text", "message"), [
    ("def f(:\n    pass", "my_layer.py, line 1: is not Python: invalid syntax.\n    def f(:\n"),
    ("x = 1\n  y = 2", "my_layer.py, line 2: is not Python: unexpected indent.\n    y = 2\n"),
    ("x = 1\nx['a']\n", "Your code stopped in line 2 of my_layer.py with TypeError: 'int' object is not subscriptable."
     "\n    x['a']\n"),
    ("import nump\n", "Your code stopped in line 1 of my_layer.py with ModuleNotFoundError: No module named 'nump'."
     "\n    import nump\n"),
    ("import sys\nsys.exit(0)", "my_layer.py: ends the program (sys.exit) while it is read.\n"),
    ("x = '\0'", "my_layer.py: is not Python: source code string cannot contain null bytes.\n"),
])
def test_a_module_that_cannot_be_read(text, message, written, capsys):
    assert main([written(text)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message) and captured.out == ""


def test_a_path_that_leads_nowhere(tmp_path, capsys):
    assert main([str(tmp_path / "nothing.py")]) == 2
    assert capsys.readouterr().err.endswith("nothing.py: cannot be read: No such file or directory.\n")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith(": cannot be read: Is a directory.\n")
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2 and "which file?" in capsys.readouterr().err


def test_an_interruption_is_the_readers(written):
    with pytest.raises(KeyboardInterrupt):
        load(written("raise KeyboardInterrupt"))
    with pytest.raises(KeyboardInterrupt):
        examined(load(written("def relu(values):\n    raise KeyboardInterrupt")), "Layers and models")


def test_a_module_may_import_its_neighbour_and_have_dataclasses(written):
    written("SIZE = 3", "neighbour_of_my_layer.py")
    text = ("from dataclasses import dataclass\nfrom neighbour_of_my_layer import SIZE\n\n\n"
            "@dataclass\nclass A:\n    x: 'int' = SIZE")
    before = list(sys.path)
    assert load(written(text)).A().x == 3
    assert sys.path == before


def test_a_function_that_stops_is_told_where(written, capsys):
    assert main([written("def relu(values):\n    return values[9, 9]"), "--chapter", "Layers and models"]) == 1
    out = capsys.readouterr().out
    assert "Your code stopped in line 2 of my_layer.py with IndexError" in out and "return values[9, 9]" in out


def test_a_model_that_stops_while_it_learns(monkeypatch, capsys):
    def stops(own, say=print):
        raise FloatingPointError("an overflow")

    monkeypatch.setattr(own_layer, "trained", stops)
    assert main([str(OWN)]) == 1
    assert "of test_own_layer.py with FloatingPointError: an overflow.\n    raise Floating" in capsys.readouterr().out


def test_the_command():
    called = subprocess.run([sys.executable, "-m", "convlib.check", str(OWN), "--chapter", "biases"],
                            cwd=ROOT, capture_output=True, text=True)
    assert (called.returncode, called.stderr) == (0, "") and "2 hold" in called.stdout
    called = subprocess.run([sys.executable, "-m", "convlib.check", "nothing.py"],
                            cwd=ROOT, capture_output=True, text=True)
    assert (called.returncode, called.stdout) == (2, "") and "nothing.py: cannot be read" in called.stderr
