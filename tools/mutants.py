"""How many mistakes in the book are noticed: change each number and each sign of an index in turn, and ask the checks.

    python tools/mutants.py                    the score of every chapter; stored in tests/data/mutation_score.json
    python tools/mutants.py one_kernel         what escapes in one chapter, line by line

- Prose (with tables), captions and alt texts: one digit of each number becomes another, each plus between letters or
  numbers a minus and the reverse. Asked is `tests/test_numbers.py`.
- Labelled equations: the same, for each number and sign. Asked is `tests/test_printed_formulas.py`, for an equation of
  the article; for another, `tests/test_numbers.py`, or whether some sentence is no longer bound.
- Code: a random sample, since each mutant runs its chapter from there to the end. It is noticed if a cell fails, or
  shows something else.
"""

import ast
import contextlib
import io
import json
import os
import pickle
import random
import re
import signal
import sys
import time
import tokenize
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import bound_numbers  # noqa: E402
from bound_numbers import LABELLED, MATH, NAMES  # noqa: E402

STORED = ROOT / "tests" / "data" / "mutation_score.json"
SEED, SAMPLE, SECONDS = 2022, 60, 600
# Chapters whose code is sampled: those that run in seconds.
RUN = ("one_kernel", "the_layer", "learning_flow", "weights", "biases", "turn", "general")
ROLES = re.compile(r"\{[\w:]+\}`[^`]*`|\]\([^)\s]*\)")
SIGN = re.compile(r"(?<=[\w)}\]]) ?([+\-−]) ?(?=[\w(\\])")


def main(names):
    """Print the scores and store them; of chapters that are named, print what escapes."""
    folder = ROOT / "chapters"
    if names:
        for name in names:
            for kind, text in texts_of(folder / f"{name}.ipynb")[1] + equations_of(folder / f"{name}.ipynb")[1]:
                print(f"{name}, {kind}: {text}")
        return 0
    result = {"chapters": {}, "escapes": {}, "stated": {}}
    with ProcessPoolExecutor() as pool:
        for name, counts, escapes, said in pool.map(scores_of, sorted(folder.glob("*.ipynb"))):
            result["chapters"][name] = counts
            result["escapes"] = dict(Counter(result["escapes"]) + escapes)
            result["stated"] = dict(Counter(result["stated"]) + said)
            print(line(name, counts), flush=True)
    result["code"] = code_of(folder, random.Random(SEED), SAMPLE)
    total = sums(result["chapters"].values())
    print(line("all", total))
    low, high = interval(*result["code"]["all"])
    noticed, tried = result["code"]["all"]
    print(f"code: {noticed} of {tried} sampled mutants noticed; with 95 % confidence between {low:.0%} and {high:.0%}")
    STORED.write_text(json.dumps(result, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


def scores_of(path):
    """All that is counted in the text of one chapter: (name, scores, what escapes, what is stated)."""
    counts, escaped = texts_of(path)
    more, others = equations_of(path)
    escapes = Counter({"equation": len(others)})
    escapes += Counter(kind.split(" in ")[0] for kind, _ in escaped)
    return path.stem, counts | more, escapes, stated(path)


def stated(path):
    """How many statements a chapter makes with digits, how many are marked; and its assertions."""
    chapter = bound_numbers.Chapter(path)
    code = [ast.parse(cell) for cell in code_cells(path)]
    return Counter(
        {
            "numbers": sum(len(bound_numbers.statements(piece.text)) for piece in chapter.pieces),
            "marked": sum(len(chapter.marks(cell)) for cell in range(len(chapter.cells))),
            "assertions": sum(isinstance(node, ast.Assert) for tree in code for node in ast.walk(tree)),
        }
    )


def line(name, counts):
    """One chapter's scores in one line."""
    shown = [f"{kind} {noticed}/{tried} ({noticed / tried:.0%})" for kind, (noticed, tried) in counts.items() if tried]
    return f"{name:18}" + ", ".join(shown)


def sums(counts):
    """The sum of the counts of several chapters, kind by kind."""
    total = {}
    for each in counts:
        for kind, (noticed, tried) in each.items():
            one, other = total.get(kind, (0, 0))
            total[kind] = (one + noticed, other + tried)
    return total


def interval(noticed, tried):
    """Wilson's interval, 95 %."""
    if not tried:
        return 0.0, 1.0
    share, z = noticed / tried, 1.96
    middle = (share + z * z / (2 * tried)) / (1 + z * z / tried)
    half = z / (1 + z * z / tried) * (share * (1 - share) / tried + z * z / (4 * tried * tried)) ** 0.5
    return middle - half, middle + half


# --- mutants of a text ------------------------------------------------------------------------------------------


def changed_digit(text, start, end, chance):
    """The text with one digit of the number between two places changed."""
    place = chance.choice([each for each in range(start, end) if text[each].isdigit()])
    leading = place == start and end - start > 1
    return (
        text[:place]
        + chance.choice([c for c in "0123456789" if c != text[place] and not (leading and c == "0")])
        + text[place + 1 :]
    )


def mutants_of(text, chance):
    """Every number and every sign of an index changed in turn: (kind, the whole text)."""
    hidden = [match.span() for pattern in (ROLES, NAMES) for match in pattern.finditer(text)]
    for match in re.finditer(r"(?<!\w)\d+(?:\.\d+)?(?![A-Za-z])", text):
        if not any(start <= match.start() < end for start, end in hidden):
            yield "small number" if len(match[0]) == 1 else "number", changed_digit(text, *match.span(), chance)
    for span in MATH.finditer(text):
        if text[span.start() - 1] != "}":
            yield from signs_of(text, span.start(), span.end())


def signs_of(text, start, end):
    """Every plus and minus between two places changed in turn."""
    for match in SIGN.finditer(text, start, end):
        other = "+" if match[1] in "-−" else "-"
        yield "sign", text[: match.start(1)] + other + text[match.end(1) :]


def texts_of(path):
    """Scores of prose, captions and alt texts of a chapter, and what escapes."""
    chapter, counts, escaped = bound_numbers.Chapter(path), {}, []
    for piece in chapter.pieces:
        before = Counter(each.text for each in chapter.unbound_in(piece))
        chance = random.Random(piece.text)
        for kind, text in mutants_of(piece.text, chance):
            mutant = piece._replace(text=text)
            lost = [
                mark
                for mark in chapter.marks(piece.cell)
                if " ".join(mark.split()) in piece.text and " ".join(mark.split()) not in text
            ]
            after = Counter(each.text for each in chapter.unbound_in(mutant))
            noticed = bool(lost) or after.total() > before.total()
            name = (
                "index signs"
                if kind == "sign"
                else {"prose": "prose", "caption": "captions", "alt text": "alt texts"}[piece.kind]
            )
            one, tried = counts.get(name, (0, 0))
            counts[name] = (one + noticed, tried + 1)
            if not noticed:
                escaped.append((f"{kind} in {piece.kind}", text))
    return counts, escaped


def equations_of(path):
    """Scores of the labelled equations of a chapter, and what escapes."""
    import printed_formulas
    import test_numbers
    import test_printed_formulas

    equations, counts, escaped = printed_formulas.printed_equations(), (0, 0), []
    cells = bound_numbers.cells_of(path)
    before = len(bound_numbers.Chapter(path).unbound())
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        for latex, label in LABELLED.findall(source) if cell["cell_type"] == "markdown" else ():
            start, chance = source.index(latex), random.Random(label)
            mutants = [text for _, text in mutants_in_formula(latex, chance)]
            for text in mutants:
                if label in equations:
                    test = test_printed_formulas.TESTS[label.removeprefix("eq-")]
                    random_layer = test_printed_formulas.random_layer
                    noticed = fails(test, *(equations | {label: text}, random_layer)[: test.__code__.co_argcount])
                elif label in test_numbers.OTHER_EQUATIONS:
                    noticed = fails(test_numbers.OTHER_EQUATIONS[label], text)
                elif test_numbers.unlike_the_article(text):
                    noticed = True
                else:
                    other = [*cells]
                    other[number] = {**cell, "source": source[:start] + text + source[start + len(latex) :]}
                    noticed = len(bound_numbers.Chapter(path, other).unbound()) > before
                counts = (counts[0] + noticed, counts[1] + 1)
                if not noticed:
                    escaped.append((f"equation {label}", " ".join(text.split())))
    return {"equations": counts}, escaped


def mutants_in_formula(latex, chance):
    """Every number and sign of a formula changed in turn."""
    for match in re.finditer(r"(?:(?<![\w\\])|(?<=[_^]))\d+(?!ex)", latex):
        yield "number", changed_digit(latex, *match.span(), chance)
    yield from signs_of(latex, 0, len(latex))


def fails(test, *arguments):
    """Whether a test fails."""
    try:
        test(*arguments)
    except Exception:
        return True
    return False


# --- mutants of code --------------------------------------------------------------------------------------------


def code_of(folder, chance, size):
    """Scores of a sample of mutants of code, chapter by chapter."""
    chosen = []
    for name in RUN:
        path = folder / f"{name}.ipynb"
        if path.exists():
            cells = code_cells(path)
            chosen += [
                (name, place, text) for place, cell in enumerate(cells) for text in mutants_of_code(cell, chance)
            ]
    chosen = sorted(chance.sample(chosen, min(size, len(chosen))))
    counts, escaped = {"all": (0, 0)}, []
    for name in sorted({name for name, _, _ in chosen}):
        mutants = [(place, text) for other, place, text in chosen if other == name]
        for (place, text), noticed in zip(mutants, run_mutants(folder / f"{name}.ipynb", mutants), strict=True):
            for key in (name, "all"):
                one, tried = counts.get(key, (0, 0))
                counts[key] = (one + noticed, tried + 1)
            if not noticed:
                escaped.append((name, difference(code_cells(folder / f"{name}.ipynb")[place], text)))
        print(f"{name:18}code {counts[name][0]}/{counts[name][1]}", flush=True)
    return counts | {"escapes": escaped}


def code_cells(path):
    """The code of a notebook, cell by cell."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def difference(one, other):
    """The changed line."""
    return next(b.strip() for a, b in zip(one.splitlines(), other.splitlines(), strict=True) if a != b)


def mutants_of_code(source, chance):
    """Every number, and every sign between two operands, changed in turn; texts are not touched."""
    lines = source.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    for before, token in zip(tokens, tokens[1:], strict=False):
        row, column = token.start[0] - 1, token.start[1]
        binary = (
            token.string in "+-"
            and token.type == tokenize.OP
            and (before.type in (tokenize.NAME, tokenize.NUMBER) or before.string in ")]")
        )
        if token.type == tokenize.NUMBER and token.string.isdigit():
            new = changed_digit(token.string, 0, len(token.string), chance)
        elif binary:
            new = "-" if token.string == "+" else "+"
        else:
            continue
        changed = lines[row][:column] + new + lines[row][token.end[1] :]
        yield "".join([*lines[:row], changed, *lines[row + 1 :]])


def run_mutants(path, mutants):
    """For each (cell, its other source): whether a run from there on fails, or shows something else."""
    cells, results = code_cells(path), []
    os.chdir(path.parent)
    begin = time.monotonic()
    expected = in_child(lambda: run(cells, {"__name__": "__main__"}), SECONDS)
    limit = 60 + 5 * int(time.monotonic() - begin)  # beyond that, it hangs
    if not isinstance(expected, list):
        raise RuntimeError(f"{path.stem} does not run: {expected}")
    names, done = {"__name__": "__main__"}, 0
    for place, text in mutants:
        run(cells[done:place], names)
        done = place
        results.append(
            in_child(lambda text=text, place=place: same([text, *cells[place + 1 :]], names, expected[place:]), limit)
            is not True
        )
    return results


def same(cells, names, expected):
    """Whether cells show what is expected; the first that does not ends it."""
    return all(shown == other for shown, other in zip(showing(cells, names), expected, strict=True))


def run(cells, names):
    """Execute cells one after the other; return what each shows."""
    return list(showing(cells, names))


def showing(cells, names):
    """Execute cells one after the other, and say what each shows."""
    for source in cells:
        tree = ast.parse(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(tree, "<cell>", "exec"), names)
            value = None if last is None else eval(compile(ast.Expression(last.value), "<cell>", "eval"), names)
        html = getattr(value, "_repr_html_", None)
        text = html() if html else repr(value)
        yield printed.getvalue(), re.sub(r" at 0x[0-9a-f]+", "", text or "")


def in_child(work, seconds):
    """What a function returns when it runs in a copy of this process; else why it did not end in time."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(seconds)
            os.close(read)
            try:
                answer = work()
            except BaseException as error:
                answer = repr(error)
            with os.fdopen(write, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return pickle.loads(content) if content else "no answer"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
