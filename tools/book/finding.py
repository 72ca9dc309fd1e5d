"""What the search page needs besides Sphinx's index: which words a page is about.

Sphinx's index says whether a word is on a page, not how often, and so cannot tell the chapter about a thing from
those that mention it. Here the words of the text are counted, those of the code left out; search.js, which
_config.yml names as the scorer, ranks the pages by them.
"""

import json
from collections import Counter
from math import log
from pathlib import Path

from docutils import nodes
from sphinx.search.en import SearchEnglish

WORDS_PER_PAGE = 300
# So often a word stands in a text of usual length that is half about it.
HALF = 15
# Pages that list what others explain.
LISTS = {"chapters/api", "chapters/glossary", "chapters/notation", "chapters/article", "chapters/bibliography"}


def count_words(app, doctree, docname):
    """Count the words of a page's text, stemmed."""
    if app.builder.format != "html":
        return
    language = SearchEnglish({})
    text = " ".join(node.astext() for node in doctree.findall(nodes.Text) if not is_code(node))
    # Twice, as search.js does: Porter's stem of "biases" is "bias", and that of "bias" is "bia".
    words = (language.stem(language.stem(word)) for word in language.split(text.lower()))
    counts = Counter(word for word in words if len(word) > 2 and not word.isdigit())
    if not hasattr(app, "words_of_pages"):
        app.words_of_pages = {}
    app.words_of_pages[docname] = counts


def is_code(node):
    """Whether a text is code, a formula, or what code has put out."""
    while node is not None:
        if isinstance(node, nodes.literal_block | nodes.raw | nodes.math | nodes.math_block | nodes.comment):
            return True
        if isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output":
            return True
        node = node.parent
    return False


def weights(counts):
    """For each page the words that are typical for it, with how much of the page they are, from 1 to 100."""
    pages_with = Counter(word for words in counts.values() for word in words)
    average = sum(map(Counter.total, counts.values())) / len(counts)
    result = {}
    for page, words in sorted(counts.items()):
        length = 0.3 + 0.7 * words.total() / average
        shares = {word: times / (times + HALF * length) for word, times in words.items()}
        rare = {word: log(1 + len(counts) / pages_with[word]) for word in words}
        typical = sorted(words, key=lambda word: (-shares[word] * rare[word], word))[:WORDS_PER_PAGE]
        result[page] = {word: max(1, round(100 * shares[word])) for word in typical}
    return result


def write_words(app, exception):
    """Hand the words to search.js, in the file that already holds it."""
    if exception or app.builder.format != "html":
        return
    script = Path(app.outdir) / "_static" / "language_data.js"
    words = json.dumps(weights(app.words_of_pages), ensure_ascii=False, separators=(",", ":"))
    with script.open("a", encoding="utf-8") as file:
        file.write(f"\nSearch.words = {words};\nSearch.lists = {json.dumps(sorted(LISTS))};\n")


def setup(app):
    app.connect("doctree-resolved", count_words)
    app.connect("build-finished", write_words)
