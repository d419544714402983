"""Spans in the caller's own text, whatever a tokenizer makes of it."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from handlers.errors import LoadError
from handlers.text import graphemes

FAMILY = "👩\u200d👩\u200d👧"
PIECES = [
    "a",
    "größe",
    "é",
    "e\u0301\u0323",
    "İ",
    "ﬁ",
    "½",
    "Ⅷ",
    FAMILY,
    "🇬🇷",
    "각",
    "\u1100\u1161",
]
PIECES += [
    "模型",
    "نَص",
    "नमस्ते",
    "กำ",
    "\ufeff",
    "\u200b",
    "\r\n",
    " ",
    "\t",
    "\u00a0",
    "\x00",
    "Å",
    "\U0001d49c",  # a letter beyond 16 bits
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.characters(exclude_categories=["Cs"])).map("".join)


def alphabet(*normal: normalizers.Normalizer) -> list[str]:
    pieces = [each.normalize_str(piece) for piece in PIECES for each in normal]
    return sorted(set("".join(pieces)) - {" "})


def bert() -> tuple[Tokenizer, Callable[[str], str]]:
    """Lower case, no accents, a space around each Han character."""
    normal = normalizers.BertNormalizer(lowercase=True)
    letters = alphabet(normal)
    words = ["[UNK]", *letters, *(f"##{letter}" for letter in letters)]
    model = models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")  # noqa: S106
    tokenizer = Tokenizer(model)
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, pre_tokenizers.BertPreTokenizer()
    return tokenizer, normal.normalize_str


def unigram() -> tuple[Tokenizer, Callable[[str], str]]:
    """Compatible forms, composed; a blank belongs to the word behind it."""
    normal = normalizers.NFKC()
    pieces = [("<unk>", 0.0), ("▁", -1.0), *((each, -2.0) for each in alphabet(normal))]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normal, pre_tokenizers.Metaspace()
    return tokenizer, normal.normalize_str


def byte_level() -> tuple[Tokenizer, Callable[[str], str]]:
    """A character of several bytes is several tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: i for i, each in enumerate(letters)}, []))
    written = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = written
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return tokenizer, lambda text: "".join(piece for piece, _ in written.pre_tokenize_str(text))


KINDS = {each.__name__: each() for each in (bert, unigram, byte_level)}


@pytest.mark.parametrize("kind", KINDS)
@given(TEXTS)
@settings(max_examples=150)
def test_a_token_is_in_what_its_span_says(kind: str, text: str) -> None:
    tokenizer, normalised = KINDS[kind]
    encoding = tokenizer.encode(text)
    spans = graphemes.safe(text, encoding.offsets)
    for token, (start, end) in zip(encoding.tokens, spans, strict=True):
        surface = token.removeprefix("##").strip("▁Ġ").strip()
        assert 0 <= start <= end <= len(text)
        if surface and token not in ("[UNK]", "<unk>"):
            assert surface in normalised(text[start:end])


@given(TEXTS, st.data())
@settings(max_examples=200)
@example(FAMILY, None)
def test_nothing_that_people_see_as_one_is_split(text: str, data: st.DataObject | None) -> None:
    import regex

    borders = {0, *(cluster.end() for cluster in regex.finditer(r"\X", text))}
    ends = st.tuples(*[st.integers(0, len(text))] * 2).map(sorted).map(tuple)
    spans = data.draw(st.lists(ends)) if data else [(1, 2)]
    for (start, end), (low, high) in zip(spans, graphemes.safe(text, spans), strict=True):
        assert {low, high} <= borders
        inner = text[start:end].strip()
        assert inner in text[low:high]
        assert not inner or graphemes.safe(text, [(low, high)]) == [(low, high)]


@pytest.mark.parametrize(
    ("text", "span", "wanted"),
    [
        ("the cat", (3, 7), "cat"),
        ("cafe\u0301!", (3, 4), "e\u0301"),
        (f"a{FAMILY}b", (2, 3), FAMILY),
        ("x\r\ny", (0, 2), "x"),
        ("a  b", (1, 3), "  "),
    ],
)
def test_spans_by_example(text: str, span: tuple[int, int], wanted: str) -> None:
    ((start, end),) = graphemes.safe(text, [span])
    assert text[start:end] == wanted


def test_without_regex_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regex", None)
    assert graphemes.safe("plain", [(0, 2)]) == [(0, 2)]
    with pytest.raises(LoadError, match="pip install regex"):
        graphemes.safe("é", [(0, 1)])


def test_a_row_of_flags_takes_no_longer_than_other_characters() -> None:
    flags = "\U0001f1e9\U0001f1ea" * 100_000  # quadratic, this would take minutes
    assert graphemes.safe(flags, [(1, 3), (4, 6)]) == [(0, 4), (4, 6)]
    assert graphemes.safe("\U0001f1e9" * 3 + "a", [(2, 3), (1, 2)]) == [(2, 3), (0, 2)]
