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
    """The mistakes that the checker has a sentence for: a dict of the chapter's file name to lines, each line once."""
    names = {chapter.title: Path(chapter.path).stem for chapter in export.read_chapters(ROOT)}
    lines = {}
    for mistake in MISTAKES:
        chapter = lines.setdefault(names[PROBLEMS[mistake.problem].chapter], {})
        chapter[f"- *{mistake.name}.* {mistake.sentence}"] = True
    for record in exercises().values():
        chapter = lines.setdefault(Path(record["chapter"]).stem, {})
        for name, answers in record.get("wrong", {}).items():
            for value, sentence in answers:
                chapter[f"- `{name} = {value}` ({record['kind']}). {sentence}"] = True
    return {name: list(found) for name, found in lines.items()}


def with_lists(page):
    """The page with a list for each chapter of whose mistakes the checker knows some."""
    known, seen = known_mistakes(), set()

    def listed(found):
        lines = [line for line in known.get(found[2], ()) if line not in seen]
        seen.update(lines)
        words = ["", "**The checker knows** these mistakes:", "", *lines, ""] if lines else []
        return found[1] + "".join(f"{line}\n" for line in words) + found[3]

    return LIST.sub(listed, page)


if __name__ == "__main__":
    PAGE.write_text(with_lists(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
