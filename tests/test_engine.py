"""The engine stays small: lines, parameters, copies and numbers of convlib/kernels, counted.

`python tests/test_engine.py` prints the counts.
"""

import ast
import io
import keyword
import sys
import tokenize
from collections import defaultdict
from pathlib import Path

KERNELS = Path(__file__).parents[1] / "convlib" / "kernels"
LINES, PARAMETERS, LENGTH, RUN = 3_000, 8, 45, 6
SKIPPED = tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER
NOT_TUNED = {  # the table itself, and numbers that are no matter of speed
    "tuning.py": "the table",
    "board.py": "where things lie on the board",
}


def sources():
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(KERNELS.glob("*.py"))}


def functions(text):
    """Every function with its number of parameters and of lines, decorators apart."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = node.args
            each = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            each = [argument for argument in each if argument.arg != "self"]
            yield node.name, len(each), node.end_lineno - node.lineno + 1


def prose(tree):
    """The lines of docstrings, imports and fields of records: nothing happens there."""
    lines = set()
    for node in ast.walk(tree):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        names = isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        if text or names or isinstance(node, (ast.Import, ast.ImportFrom, ast.AnnAssign)):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def shapes(text):
    """The shape of each line of code: what it says, without its names, numbers and texts."""
    left_out, lines = prose(ast.parse(text)), defaultdict(list)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in SKIPPED or token.start[0] in left_out:
            continue
        word = token.string
        if token.type == tokenize.NAME and not keyword.iskeyword(word):
            word = "name"
        elif token.type in (tokenize.NUMBER, tokenize.STRING):
            word = "value"
        lines[token.start[0]].append(word)
    return [(number, " ".join(words)) for number, words in sorted(lines.items())]


def copies(texts):
    """Runs of six lines of the same shape, as pairs of places."""
    seen, found = {}, []
    for name, text in texts.items():
        lines = shapes(text)
        for begin in range(len(lines) - RUN + 1):
            run = tuple(shape for _, shape in lines[begin : begin + RUN])
            place = f"{name}:{lines[begin][0]}"
            if run in seen:
                found.append((seen[run], place))
            seen.setdefault(run, place)
    return found


def numbers(text):
    """Names in capitals that are given numbers at the top of a module."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.BinOp, ast.Tuple)):
            value = [getattr(each, "value", "a name") for each in ast.walk(node.value)
                     if isinstance(each, (ast.Constant, ast.Name))]
            if value and all(type(each) in (int, float) for each in value):  # and no other names
                names = (target.id for target in node.targets if isinstance(target, ast.Name))
                yield from (name for name in names if name.isupper())


def count():
    texts = sources()
    return {
        "lines": sum(len(text.splitlines()) for text in texts.values()),
        "too many parameters": [f"{file} {name} {many}" for file, text in texts.items()
                                for name, many, _ in functions(text) if many > PARAMETERS],
        "too long": [f"{file} {name} {long}" for file, text in texts.items()
                     for name, _, long in functions(text) if long > LENGTH],
        "copies": copies({file: text for file, text in texts.items() if file != "tuning.py"}),  # a list of numbers
        "numbers outside the table": [f"{file} {name}" for file, text in texts.items() if file not in NOT_TUNED
                                      for name in numbers(text)],
    }  # fmt: skip


def test_the_engine_is_small_and_says_everything_once():
    counted = count()
    assert counted.pop("lines") <= LINES
    assert counted == dict.fromkeys(counted, []), counted


def test_what_is_counted():
    """The counting itself: it can fail."""
    body = "\n".join(f"    x{k} = f(y{k}, {k})" for k in range(6))
    texts = {"a.py": f"def f(a, b):\n{body}\n", "b.py": f"N = 3\ndef g(c):\n{body.replace('x', 'z')}\n"}
    assert copies(texts) == [("a.py:2", "b.py:3")]
    assert list(functions("def f(a, *, b, c=1):\n    pass")) == [("f", 3, 2)]
    assert list(numbers(texts["b.py"])) == ["N"] and not list(numbers("A = x\nb = 3\nC = 'text'\n"))


if __name__ == "__main__":
    for what, value in count().items():
        print(what, *([value] if isinstance(value, int) else value or ["none"]), sep="\n    ")
    for file, text in sources().items():
        print(f"{len(text.splitlines()):5} {file}", file=sys.stdout)
