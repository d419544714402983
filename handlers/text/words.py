"""Which tokens begin a word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

UNKNOWN = "<unk>"  # of models that don't name theirs


class Words:
    """Finds words by a tokenizer's prefix of their other parts, such as "##"; else by blanks.

    Args:
        tokenizer: of the tokenizers library.

    See: `TokenClassificationPipeline.gather_pre_entities` in transformers, which does the same.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        model = tokenizer.model
        self.tokenizer = tokenizer
        self.prefix: str = getattr(model, "continuing_subword_prefix", None) or ""
        self.unknown = tokenizer.token_to_id(getattr(model, "unk_token", None) or UNKNOWN)

    def begin(
        self, ids: Sequence[int], spans: Sequence[tuple[int, int]], source: str
    ) -> list[bool]:
        """Whether a word begins with each token.

        Args:
            ids: the tokens.
            spans: where each is in the text, in code points.
            source: the text.
        """
        return [
            number == self.unknown or self._begins(number, start, source)
            for number, (start, _) in zip(ids, spans, strict=True)
        ]

    def _begins(self, number: int, start: int, source: str) -> bool:
        if self.prefix:
            token: str = self.tokenizer.id_to_token(number) or ""
            return not token.startswith(self.prefix)
        around = source[max(0, start - 1) : start + 1]
        return start == 0 or around != "".join(around.split())
