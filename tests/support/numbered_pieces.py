"""Folders whose tokenizers split by SentencePiece and number by a vocab.json, as Marian's do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tests.support import encoder_decoders, sentencepiece_models
from tests.support.sentencepiece_models import UNIGRAM, Kind


class Numbered(NamedTuple):
    """The files of SentencePiece, how they are trained, and what the folder says."""

    files: tuple[str, ...]
    training: Mapping[str, Any]
    first: tuple[str, ...]
    last: tuple[str, ...]
    model: str
    said: Mapping[str, Any]


M2M100 = ("<s>", "<pad>", "</s>", "<unk>")
LANGUAGES = {"tokenizer_class": "M2M100Tokenizer", "src_lang": "de", "tgt_lang": "fr"}
# Marian's list has pieces that only texts in the other language have, and lacks some.
KINDS = {
    "marian": Numbered(
        ("source.spm", "target.spm"), {**UNIGRAM, "bos_id": -1}, ("</s>", "<unk>"),
        (">>fra<<", "▁voilà", "ß", "<pad>"), "marian",
        {"tokenizer_class": "MarianTokenizer", "source_lang": "en", "target_lang": "fr"},
    ),
    "m2m100": Numbered(
        ("sentencepiece.bpe.model",), UNIGRAM, M2M100, (), "m2m_100", LANGUAGES
    ),
    "m2m100 bpe": Numbered(
        ("sentencepiece.bpe.model",), {**UNIGRAM, "model_type": "bpe"}, M2M100, (), "m2m_100",
        LANGUAGES,
    ),
}  # fmt: skip


def write_tokenizer(folder: Path, kind: str) -> dict[str, int]:
    """Save a tokenizer alone; return the number of each token."""
    import sentencepiece

    files, training, first, last, model, said = KINDS[kind]
    folder.mkdir()
    made = sentencepiece_models.train(Kind(files[0], training, model, ""))
    for name in files:
        (folder / name).write_bytes(made)
    known = sentencepiece.SentencePieceProcessor(model_proto=made)
    pieces = [known.id_to_piece(number) for number in range(known.get_piece_size())]
    lacking = {"ß", *pieces[-2:]} if last else set()
    names = dict.fromkeys([*first, *(each for each in pieces if each not in lacking), *last])
    numbers = {name: number for number, name in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(numbers), "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(said), "utf-8")
    (folder / "config.json").write_text(json.dumps({"model_type": model}), "utf-8")
    return numbers


def write_marian(folder: Path, **generation: Any) -> None:
    """Save a tiny Marian as the hub has them, with settings in its generation_config.json."""
    from transformers import MarianConfig, MarianMTModel

    numbers = write_tokenizer(folder, "marian")
    pad, end = numbers["<pad>"], numbers["</s>"]
    own = {"pad_token_id": pad, "eos_token_id": end, "bos_token_id": end}
    torch.manual_seed(5)
    config = MarianConfig(
        vocab_size=len(numbers), decoder_start_token_id=pad, forced_eos_token_id=end,
        **{**encoder_decoders.SIZES, **own},
    )  # fmt: skip
    model = MarianMTModel(config).eval()
    model.generation_config.update(bad_words_ids=[[pad]], **generation)
    model.save_pretrained(folder)
