"""A tokenizer of word pieces, learnt from texts and the same in every process.

The trainer that the tokenizers library has for them numbers pieces as its hash tables happen to
lie, so that weights trained beside one tokenizer would not fit the next; that for byte pairs
doesn't.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def learn(
    texts: Iterable[str], size: int, special: Sequence[str], words: Any, normalizer: Any = None
) -> Any:
    """A tokenizer with at most `size` tokens.

    Args:
        texts: what it learns from.
        size: each piece counts twice, as the beginning of a word and, with "##", within one.
        special: tokens that have the first numbers; the second is what is unknown.
        words: a pre-tokenizer, which tells words.
        normalizer: what becomes of a text before.
    """
    from tokenizers import Tokenizer, models, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = words
    if normalizer is not None:
        learner.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=(size - len(special)) // 2, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    pieces = sorted(learner.get_vocab())
    tokens = [*special, *pieces, *(f"##{piece}" for piece in pieces)]
    numbers = {token: number for number, token in enumerate(tokens)}
    learner.model = models.WordPiece(numbers, unk_token=special[1])
    return Tokenizer.from_str(learner.to_str())
