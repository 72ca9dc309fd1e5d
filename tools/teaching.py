"""Write the mistakes that the checker knows into the page for those who teach.

    python tools/teaching.py        writes the lists in chapters/teaching.md, a list for each chapter

A mistake is one of convlib.check.catalogue, or a wrong answer to an exercise for which the exercise has a sentence.
tests/test_guides.py compares.
"""

import re
from pathlib import Path

import export

from convlib.check.catalogue import MISTAKES
from convlib.check.exercises import exercises
from convlib.check.problems import PROBLEMS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "chapters" / "teaching.md"
LIST = re.compile(r"(<!-- checker: (\w+) -->\n)(?:.*\n)*?(<!-- end -->)")


def known_mistakes():
    """The mistakes that the checker has a sentence for: chapter's file name -> line -> where it is made."""
    names = {chapter.title: Path(chapter.path).stem for chapter in export.read_chapters(ROOT)}
    known = {}
    for mistake in MISTAKES:
        lines = known.setdefault(names[PROBLEMS[mistake.problem].chapter], {})
        lines.setdefault(f"- *{mistake.name}.* {mistake.sentence}", []).append(f"`{mistake.problem}`")
    for record in exercises().values():
        for name, answers in record.get("wrong", {}).items():
            for value, sentence in answers:
                lines = known.setdefault(Path(record["chapter"]).stem, {})
                lines.setdefault(f"- `{name} = {value}`: {sentence}", []).append("answers to exercises")
    return known


def with_lists(page):
    """The page with a folded list for each chapter of whose mistakes the checker knows some."""
    known = known_mistakes()
    return LIST.sub(lambda found: found[1] + listed(known.get(found[2], {})) + found[3], page)


def listed(lines):
    """A folded list of mistakes, those that are made at the same places together."""
    if not lines:
        return ""
    groups = {}
    for line, places in lines.items():
        groups.setdefault(" and ".join(dict.fromkeys(places)), []).append(line)
    count = f"{len(lines)} mistakes" if len(lines) > 1 else "1 mistake"
    texts = [f'\n<details class="known"><summary>What the checker knows: {count}</summary>\n']
    texts += [f"In {places}:\n\n" + "\n".join(found) + "\n" for places, found in groups.items()]
    return "\n".join([*texts, "</details>\n\n"])


if __name__ == "__main__":
    PAGE.write_text(with_lists(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
