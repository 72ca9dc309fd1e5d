"""The exercises of the chapters, with their hints, answers and solutions, as convlib.check reads them.

An exercise is what stands between the directives exercise-start and exercise-end. The metadata of its cell says how
an answer is checked, {"convlib": {"exercise": {"hints": [...], ...}}}; an exercise without them is left out.
tools/export.py writes all of them into convlib/data/exercises.json.
"""

import ast
import builtins
import json
import math
import operator
import re
from dataclasses import dataclass, field

FILE = "convlib/data/exercises.json"
GATE = re.compile(r"^:::+ *\{(exercise|solution)-(start|end)\} *(.*?) *\n((?::.*\n)*):::+ *$", re.MULTILINE)
LABEL = re.compile(r"^:label: *(\S+) *$", re.MULTILINE)
TITLE = re.compile(r"(Predict|Compute|Code|Break|Project) (★{1,3})")
SETTINGS = {"hints", "answers", "wrong", "function", "setup", "cases", "problem", "tests"}
HINTS = 3
OWN_ARGUMENTS = {"label", "function", "keep"}  # of check itself: no answer can have these names
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
             ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow}
COLLECTIONS = {ast.Tuple: tuple, ast.List: list, ast.Set: set}
GIVEN = {*dir(builtins), "np", "random"}  # the names that cases can use without saying where they come from


class ExerciseError(Exception):
    """What is wrong with an exercise; shown without a traceback."""


@dataclass
class Exercise:
    """An exercise as it stands in a chapter: the parts of its text, its code and the settings of its checker."""

    label: str
    title: str
    settings: dict
    text: str = ""
    between: list = field(default_factory=list)
    solution_text: str = ""
    solution: list = field(default_factory=list)


def exercises_text(chapters):
    """Return the file of all exercises: (name, title, part, address, cells) of each chapter, in reading order."""
    records, messages = {}, []
    for name, title, part, address, cells in chapters:
        place = {"chapter": name, "chapter_title": title, "part": part}
        for label, make in found(cells):
            try:
                if label in records:
                    raise ExerciseError(f"stands in the chapter {records[label]['chapter']} too")
                records[label] = place | make()
            except ExerciseError as error:
                messages.append(f"{address}, exercise {label}: {error}")
    if messages:
        raise ExerciseError("\n".join(messages))
    return json.dumps(records, indent=1, ensure_ascii=False) + "\n" if records else None


def found(cells):
    """Yield the label of each exercise that has settings, and a function that makes its record."""
    known, where = [], None
    for kind, source, metadata in cells:
        if kind == "code" and where:
            where[1].append(source.strip("\n"))  # a hidden cell begins with a blank line
        if kind != "markdown":
            continue
        settings = metadata.get("convlib", {}).get("exercise")
        position = 0
        for gate in GATE.finditer(source):
            if where:
                where[0](source[position:gate.start()])
            where, position = after(gate, known, settings), gate.end()
        if where:
            where[0](source[position:])
    for exercise in known:
        if exercise.settings is not None:
            yield exercise.label, lambda exercise=exercise: record(exercise)


def after(gate, known, settings):
    """Return where the text and the code below a directive belong: a function and a list, or None."""
    what, end, title, options = gate.groups()
    if what == "exercise" and end == "start":
        label = LABEL.search(options)
        exercise = Exercise(label[1] if label else f"with the title {title!r}", title, settings)
        known.append(exercise)
        return adder(exercise, "text"), []
    if what == "exercise" and known:
        return lambda text: None, known[-1].between
    solved = [exercise for exercise in known if end == "start" and exercise.label == title]
    return (adder(solved[-1], "solution_text"), solved[-1].solution) if solved else None


def adder(exercise, part):
    """Return a function that adds a paragraph to a part of an exercise."""
    def add(text):
        setattr(exercise, part, f"{getattr(exercise, part)}\n\n{text.strip()}".strip())

    return add


# From an exercise to its record -----------------------------------------------------------------------------------


def record(exercise):
    """Return what convlib.check has to know about an exercise; an ExerciseError says what is wrong with it."""
    settings = exercise.settings
    check_settings(settings)
    title = TITLE.fullmatch(exercise.title)
    if not title:
        raise ExerciseError(f"has the title {exercise.title!r}; expected Predict, Compute, Code, Break or Project "
                            "and one to three ★")
    if not exercise.solution_text and not exercise.solution:
        raise ExerciseError(f"no solution found (expected {{solution-start}} {exercise.label})")
    tree = parsed("\n".join(exercise.solution), "the solution")
    skeleton = next(iter(exercise.between), "")
    call = check_call(skeleton, exercise.label)
    result = {"kind": title[1], "stars": len(title[2]), "text": lines(exercise.text),
              "hints": settings["hints"], "skeleton": lines(skeleton) if call else [],
              "solution_text": lines(exercise.solution_text),
              "solution": lines("\n\n\n".join(exercise.solution))}
    if "answers" in settings:
        return result | answer_settings(settings, call)
    if "function" in settings:
        return result | function_settings(settings, call, skeleton, tree)
    if call:
        raise ExerciseError("its skeleton calls check, but its metadata has neither answers nor function")
    return result


def lines(text):
    """Return the lines of a text, so that a change of one line is a change of one line in the file."""
    return text.split("\n") if text else []


def check_settings(settings):
    """Refuse settings that are not those of an exercise."""
    if not isinstance(settings, dict) or not settings.keys() <= SETTINGS:
        unknown = sorted(set(settings) - SETTINGS) if isinstance(settings, dict) else settings
        raise ExerciseError(f"its metadata has {unknown}; expected {', '.join(sorted(SETTINGS))}")
    hints = settings.get("hints")
    if not (isinstance(hints, list) and len(hints) == HINTS
            and all(isinstance(hint, str) and hint.strip() for hint in hints)):
        raise ExerciseError(f"has the hints {hints!r}; expected a list of {HINTS} sentences")
    if any("$" in hint for hint in hints):
        raise ExerciseError("has a hint with $; hints are shown as plain text and `code`")
    if "answers" in settings and "function" in settings:
        raise ExerciseError("has answers and a function; expected one of them")
    for needs, name in (("wrong", "answers"), ("cases", "function"), ("problem", "function"), ("setup", "function"),
                        ("tests", "function")):
        if needs in settings and name not in settings:
            raise ExerciseError(f"has {needs}, but no {name}")


def answer_settings(settings, call):
    """Return the answers and the known wrong answers as literals."""
    answers, wrong = settings["answers"], settings.get("wrong", {})
    if not isinstance(answers, dict) or not answers or not isinstance(wrong, dict):
        raise ExerciseError(f"answers and wrong must be mappings of names, not {answers!r} and {wrong!r}")
    if taken := OWN_ARGUMENTS & answers.keys():
        raise ExerciseError(f"has an answer called {', '.join(sorted(taken))}, which check keeps for itself")
    values = {name: evaluated(expression, f"the answer {name}") for name, expression in answers.items()}
    # A notebook keeps its metadata sorted; the order of the answers is that of the skeleton.
    names = [keyword.arg for keyword in call.keywords] if call else []
    if sorted(names) != sorted(answers):
        raise ExerciseError(f"expected a skeleton that calls check with {', '.join(f'{name}=...' for name in answers)}")
    for keyword in call.keywords:
        if not (isinstance(keyword.value, ast.Constant) and keyword.value.value is ...):
            raise ExerciseError(f"its skeleton says {ast.unparse(keyword)}; expected {keyword.arg}=...")
    known = {}
    for name, sentences in wrong.items():
        if name not in answers:
            raise ExerciseError(f"has a wrong {name}, but no answer of this name")
        known[name] = [wrong_answer(name, expression, sentence, values[name])
                       for expression, sentence in sentences.items()]
        if len({value for value, _ in known[name]}) < len(known[name]):
            raise ExerciseError(f"has the same wrong {name} twice")
    return {"answers": {name: [literal(values[name]), answers[name]] for name in names}, "wrong": known}


def wrong_answer(name, expression, sentence, right):
    """Return a wrong answer as a literal, with its sentence."""
    value = evaluated(expression, f"the wrong {name}")
    if value == right:
        raise ExerciseError(f"the wrong {name} {expression} is right")
    if not (isinstance(sentence, str) and sentence.strip()):
        raise ExerciseError(f"the wrong {name} {expression} has no sentence: {sentence!r}")
    return [literal(value), sentence]


def function_settings(settings, call, skeleton, tree):
    """Return the right function with what it needs, the cases and the setup."""
    name, setup, cases = settings["function"], settings.get("setup", ""), settings.get("cases")
    setup = "\n".join(setup) if isinstance(setup, list) else setup
    if isinstance(cases, str) == ("tests" in settings):
        raise ExerciseError(f"has the cases {cases!r}; expected a Python expression, in a string, or tests")
    statements = needed(name, tree.body)
    given = GIVEN | names(parsed(setup, "setup"), ast.Store)
    unknown = {each for statement in statements for each in free_names(statement)} - given
    unknown -= {bound for statement in statements for bound in bound_names(statement)}
    if unknown:
        raise ExerciseError(f"the solution of {name} uses {', '.join(sorted(unknown))}; expected it in setup")
    if unknown := free_names(parsed(cases or "()", "cases", "eval")) - given:
        raise ExerciseError(f"cases use {', '.join(sorted(unknown))}; expected it in setup")
    check_skeleton(name, call, skeleton, statements)
    parsed(settings.get("problem", "()"), "problem", "eval")
    return {"function": name, "setup": lines(setup),
            **{key: settings[key] for key in ("cases", "problem", "tests") if key in settings},
            "right": lines("\n\n\n".join(map(ast.unparse, statements)))}


def needed(name, body):
    """Return the statements of a solution that define a function and all that it uses, in their order."""
    wanted, kept = [name], []
    while wanted:
        each = wanted.pop()
        for statement in body:
            if each in bound_names(statement) and statement not in kept:
                kept.append(statement)
                wanted.extend(free_names(statement))
    if not any(isinstance(statement, ast.FunctionDef) and statement.name == name for statement in kept):
        raise ExerciseError(f"the solution does not define {name} (expected 'def {name}' outside of other functions)")
    return [statement for statement in body if statement in kept]


def check_skeleton(name, call, skeleton, statements):
    """Refuse a skeleton that does not hand the function over, or defines it with other parameters."""
    if call is None or [ast.unparse(each) for each in call.args[1:]] != [name] or call.keywords:
        raise ExerciseError(f"expected a skeleton that ends with check(..., {name})")
    signatures = [ast.unparse(statement.args) for body in (parsed(skeleton, "the skeleton").body, statements)
                  for statement in body if isinstance(statement, ast.FunctionDef) and statement.name == name]
    if len(signatures) != 2 or signatures[0] != signatures[1]:
        raise ExerciseError(f"skeleton and solution must both define {name} with the same parameters, not "
                            f"{' and '.join(f'({each})' for each in signatures)}")


def check_call(skeleton, label):
    """Return the call of check in a skeleton, or None."""
    if not re.search(r"\bcheck\(", skeleton):
        return None
    calls = [node for node in ast.walk(parsed(skeleton, "the skeleton"))
             if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"]
    for call in calls:
        if call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == label:
            return call
    raise ExerciseError(f'its skeleton calls check, but not check("{label}", ...)')


# Python as data ---------------------------------------------------------------------------------------------------


def parsed(source, what, mode="exec"):
    """Return a piece of code as a tree."""
    try:
        return ast.parse(source, mode=mode)
    except (SyntaxError, TypeError, ValueError) as error:
        raise ExerciseError(f"{what} is not plain Python ({error}): {source}") from error


def names(tree, kind):
    """Return the names that a piece of code reads or binds."""
    bound = {alias.asname or alias.name.split(".")[0] for node in ast.walk(tree)
             if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    plain = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, kind)}
    return plain | (bound if kind is ast.Store else set())


def bound_names(statement):
    """Return the names that a statement of a solution binds for those below it."""
    if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)):
        return names(statement, ast.Store)
    return set()


def free_names(tree):
    """Return the names that a piece of code reads and does not bind itself."""
    inner = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    inner |= {node.name for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    return names(tree, ast.Load) - names(tree, ast.Store) - inner


def evaluated(expression, what):
    """Return the value of an expression of numbers, strings, collections and arithmetic."""
    try:
        value = value_of(parsed(expression, what, "eval").body)
        literal(value)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ExerciseError(f"{what} is {expression!r}: {error}") from error
    return value


def value_of(node):
    """Return the value of a part of an expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float, str)):
        return node.value
    if type(node) in COLLECTIONS:
        return COLLECTIONS[type(node)](value_of(each) for each in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -value_of(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](value_of(node.left), value_of(node.right))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "sum" and len(node.args) == 1 and not node.keywords:
        return sum(value_of(node.args[0]))
    raise ValueError(f"expected numbers, strings, collections of them and arithmetic, not {ast.unparse(node)}")


def literal(value):
    """Return a value as Python writes it, sets in a fixed order."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is not finite")
    if isinstance(value, set):
        return "{" + ", ".join(sorted(map(literal, value))) + "}" if value else "set()"
    if isinstance(value, tuple):
        return "(" + "".join(f"{literal(each)}, " for each in value)[:-1 if len(value) == 1 else -2] + ")"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(value)
