"""Turn tokens into text, piece by piece: whole characters, and nothing of a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNFINISHED = "\ufffd"  # what a character that lacks bytes is decoded to
CONTEXT = 8  # tokens of the prompt that the first piece is decoded with: some begin with a space
LONGEST = 4  # bytes of a character, so tokens, too; what is longer never becomes a character


class Detokenizer:
    """Decodes one sequence's tokens; its pieces together are the text, however they are taken.

    Args:
        tokenizer: the tokenizers library's.
        prompt: the tokens before the first.
        stops: strings that end the text, and are not part of it.

    Attributes:
        stopped: whether one of `stops` has come.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: Sequence[int], stops: Sequence[str]) -> None:
        self._tokenizer, self._stops = tokenizer, stops
        size = CONTEXT
        while size < len(prompt) and not self._decode(prompt[-size:]).strip():
            size *= 2
        self._ids = self._context(prompt[-size:])
        self._begin, self._written = 0, len(self._ids)
        self._before = self._decode(self._ids)
        self._held = ""
        self.stopped = False

    def add(self, token: int) -> str:
        """Add a token and return the text that is certain after it, which is often none."""
        self._ids.append(token)
        text = self._decode(self._ids[self._begin :])
        if not text.endswith(UNFINISHED):
            return self._cut(self._advance(len(self._ids), text))
        if len(self._ids) - self._written <= LONGEST:
            return ""
        until = len(self._ids) - (LONGEST - 1)
        return self._cut(self._advance(until, self._decode(self._ids[self._begin : until])))

    def finish(self) -> str:
        """Return the rest of the text when no token follows."""
        if self.stopped:
            return ""
        text = self._decode(self._ids[self._begin :])
        piece = self._cut(self._advance(len(self._ids), text))
        rest, self._held = self._held, ""
        return piece + rest

    def _context(self, ids: Sequence[int]) -> list[int]:
        """Begin ids with a whole character: after half of one, some decoders spoil what follows."""
        cuts = [list(ids[begin:]) for begin in range(min(LONGEST, max(1, len(ids))))]
        return min(cuts, key=lambda cut: self._decode(cut).count(UNFINISHED))

    def _advance(self, until: int, text: str) -> str:
        """The new part of a text; its tokens are the context of the next part.

        Unless they are blank: some decoders drop what is blank at a text's beginning.
        """
        piece = text[len(self._before) :]
        part = self._decode(self._ids[self._written : until])
        if part.strip():
            self._begin, self._before = self._written, part
        else:
            self._before = text
        self._written = until
        return piece

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def _cut(self, piece: str) -> str:
        text = self._held + piece
        found = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        if found:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of a text may begin a stop string."""
    sizes = range(min(len(text), len(stop) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(stop[:size])), 0)
