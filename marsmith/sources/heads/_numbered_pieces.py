"""Tokenizers that split by SentencePiece and number by a list of their own: Marian's, M2M100's.

transformers has them in Python alone. They travel as two files of the tokenizers library: what
splits texts, and what knows the number of each token by its name.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handlers.errors import BadRequest
from handlers.text.text import TextConfig
from handlers.text.tokens import Encoder
from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NUMBERS, MODELS = "vocab.json", ("source.spm", "sentencepiece.bpe.model")
SPLITS = "source_tokenizer.json"
UNIGRAM, BPE = 1, 2  # kinds of models
CONTROL, USERS = 3, 4  # kinds of pieces
BLANK = "▁"
ALL = 1 << 30
HINT = "save a fast tokenizer beside the model, as a tokenizer.json"


class Parts(NamedTuple):
    """A tokenizer in two: what numbers tokens, and decodes them; what splits; and transformers'."""

    names: Tokenizer
    splits: Tokenizer
    own: Any


def read(folder: Path) -> Parts | None:
    """Read a folder's tokenizer, if it is one of these.

    Raises:
        BuildError: transformers can't read it.
        UnsupportedError: it numbers what is written otherwise than what is read.
    """
    file = next((folder / name for name in MODELS if (folder / name).is_file()), None)
    fast = (folder / _tokenizer.FILE).is_file()
    if file is None or fast or not (folder / NUMBERS).is_file():
        return None
    own = _tokenizer.of_transformers(folder)
    if own.is_fast:
        return None
    if getattr(own, "separate_vocabs", False):
        raise UnsupportedError(
            f"{folder.name} numbers the tokens that it writes otherwise than those that it reads",
            "a model with one vocab.json for both can be served",
        )
    return Parts(_names(own), _splits(file, own), own)


def bring(parts: Parts, folder: Path, out: Path) -> dict[str, str]:
    """Write what splits texts, beside what `_tokenizer.bring` wrote of the numbers.

    Raises:
        UnsupportedError: some texts would be read otherwise than by transformers.
    """
    parts.splits.save(str(out / SPLITS))
    encoder = Encoder(out / SPLITS, TextConfig(max_tokens=ALL), parts.names)
    for text in _tokenizer.STRANGE:
        try:
            found = encoder.encode(text).tensors["input_ids"].tolist()
        except BadRequest:
            found = []
        if found != parts.own(text)["input_ids"]:
            raise UnsupportedError(
                f"the tokenizer of {folder.name} reads some texts otherwise in transformers than in"
                f" tokenizers: {text!r}",
                HINT,
            )
    return {"source_tokenizer": SPLITS}


def _names(own: Any) -> Tokenizer:
    """What numbers tokens, and makes text of them."""
    from tokenizers import Regex, Tokenizer, decoders, models

    numbers = {**own.get_vocab(), **getattr(own, "lang_token_to_id", {})}
    made = Tokenizer(models.WordLevel(numbers, unk_token=str(own.unk_token)))
    made.add_tokens(list(own.added_tokens_decoder.values()))
    ends = decoders.Replace(Regex("^ +| +$"), "")
    made.decoder = decoders.Sequence([decoders.Replace(BLANK, " "), decoders.Fuse(), ends])
    return made


def _splits(file: Path, own: Any) -> Tokenizer:
    """What splits texts; the numbers that it has itself count for nothing."""
    from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors

    convert: Any = importlib.import_module("transformers.convert_slow_tokenizer")
    proto = convert.import_protobuf().ModelProto.FromString(file.read_bytes())
    made = Tokenizer(_model(proto, file, convert))
    codes = [*getattr(own, "supported_language_codes", ())]
    codes += [piece.piece for piece in proto.pieces if piece.type == USERS]
    made.add_tokens([AddedToken(each, normalized=False) for each in codes])
    made.add_tokens(list(own.added_tokens_decoder.values()))
    said = proto.normalizer_spec
    steps: list[Any] = [normalizers.Replace(BLANK, " ")]
    if said.precompiled_charsmap:  # which in tokenizers drops marks of a letter that has two
        steps = [normalizers.NFC(), normalizers.Precompiled(said.precompiled_charsmap), *steps]
    if said.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex("^ +| +$"), "")]
        steps += [normalizers.Replace(Regex(" {2,}"), " ")]
    made.normalizer = normalizers.Sequence(steps)
    before: Any = "always" if said.add_dummy_prefix else "never"
    made.pre_tokenizer = pre_tokenizers.Metaspace(BLANK, before)
    around = own.build_inputs_with_special_tokens([-1])
    tokens = ["$A" if each == -1 else own.convert_ids_to_tokens(each) for each in around]
    special: list[Any] = [(each, 0) for each in tokens if each != "$A"]
    made.post_processor = processors.TemplateProcessing(single=tokens, special_tokens=special)
    return made


def _model(proto: Any, file: Path, convert: Any) -> Any:
    from tokenizers import models

    said = proto.trainer_spec
    if said.model_type not in (UNIGRAM, BPE) or said.byte_fallback:
        raise UnsupportedError(
            f"{file.name} splits texts by words or characters, or what it doesn't know into bytes",
            HINT,
        )
    # A sign of control has another name here: no text becomes it, whatever is in the text.
    pieces = [
        (f"\0{each.piece}\0" if each.type == CONTROL else each.piece, each.score)
        for each in proto.pieces
    ]
    if said.model_type == UNIGRAM:
        return models.Unigram(pieces, unk_id=said.unk_id)
    numbers = {name: number for number, (name, _) in enumerate(pieces)}
    merges = convert.generate_merges(numbers, pieces)
    return models.BPE(numbers, merges, unk_token=said.unk_piece, fuse_unk=True)
