"""Real English sentences for the MiniLM recipe: from Python's own reference, by topic.

They come with the interpreter, so that nothing is downloaded; another version of Python has
slightly other sentences. See: the module `pydoc_data.topics`, which `help()` reads.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import islice, zip_longest

SEED = 0
TOPICS = (
    "assignment",
    "attribute-access",
    "comparisons",
    "compound",
    "debugger",
    "execmodel",
    "formatstrings",
    "import",
    "string-methods",
    "typesmapping",
    "typesseq",
)
OF_EACH = 52  # at most, for the evaluation; what is left is for calibration
CALIBRATION = 160
WORDS = range(5, 61)

NO_PROSE = re.compile(r"::=|>>>|\||([=*~-])\1{3}|\w {2,}\S|^(?:New|Changed|Deprecated) in")
SENTENCE_END = re.compile(r"(?<=[a-z\d)][.?!])\s+(?=[A-Z])")
PLAIN = re.compile(r"[A-Z][\w ,;:.?!()\u2019'/+–-]*[.?!]")


def sentences() -> list[tuple[bytes, str]]:
    """The evaluation's: more than 500 sentences, and the topic of each."""
    return [
        (sentence.encode(), topic)
        for topic, prose in _by_topic().items()
        for sentence in prose[:OF_EACH]
    ]


def calibration() -> list[bytes]:
    """160 other sentences, which the evaluation hasn't; some of each topic among the first."""
    rows = zip_longest(*(prose[OF_EACH:] for prose in _by_topic().values()))
    others = (sentence.encode() for row in rows for sentence in row if sentence is not None)
    return list(islice(others, CALIBRATION))


@cache
def _by_topic() -> dict[str, list[str]]:
    """Sentences by topic, none of them twice, in an order of chance that is always the same."""
    from pydoc_data.topics import topics

    found = {topic: list(dict.fromkeys(_prose(topics[topic]))) for topic in TOPICS}
    seen = [sentence for prose in found.values() for sentence in prose]
    shared = {sentence for sentence in seen if seen.count(sentence) > 1}
    for topic, prose in found.items():
        prose[:] = [sentence for sentence in prose if sentence not in shared]
        random.Random(f"{SEED} {topic}").shuffle(prose)  # noqa: S311 - no secret
    return found


def _prose(text: str) -> Iterator[str]:
    """The whole sentences of a text in reStructuredText's plain form."""
    for paragraph in re.split(r"\n\s*\n", text):
        if any(NO_PROSE.search(line.strip()) for line in paragraph.splitlines()):
            continue
        line = re.sub(r"(?<=\w)-\s+(?=\w)", "-", " ".join(paragraph.split()))
        line = re.sub(r"^(?:\*|\d+\.|\[\d+\]) |\s*\[\d+\]", "", line)
        line = re.sub(r'["“”*]', "", line)
        for sentence in SENTENCE_END.split(line):
            if len(sentence.split()) in WORDS and PLAIN.fullmatch(sentence):
                yield sentence
