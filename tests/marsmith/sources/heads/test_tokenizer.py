"""The tokenizer that travels, and how many tokens the model takes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer

from handlers.text.text import TextConfig
from handlers.text.tokens import Encoder
from marsmith.errors import BuildError, UnsupportedError
from marsmith.sources.heads import _tokenizer
from tests.support.sentencepiece_models import KINDS, Kind, plain_texts, save, strange_texts
from tests.support.tokenizer_files import write_tokenizer


class Model(torch.nn.Module):
    """A table of positions, as transformers' models have one."""

    def __init__(self, positions: int, padding: int | None = None) -> None:
        super().__init__()
        self.position_embeddings = torch.nn.Embedding(positions, 2, padding_idx=padding)


def bring(
    folder: Path, model: torch.nn.Module, **files: object
) -> tuple[_tokenizer.TokenSettings, Path]:
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    out = folder / "out"
    out.mkdir()
    return _tokenizer.bring(model, folder, out), out / "tokenizer.json"


@pytest.mark.parametrize(
    ("model", "files", "limit"),
    [
        (torch.nn.Identity(), {}, None),
        (torch.nn.Identity(), {"config": {"max_position_embeddings": 99}}, 99),
        (torch.nn.Identity(), {"tokenizer_config": {"model_max_length": 10**30}}, None),
        (Model(64), {"tokenizer_config": {"model_max_length": 512}}, 64),
        (Model(64), {"tokenizer_config": {"model_max_length": 48}}, 48),
        (Model(64), {"sentence_bert_config": {"max_seq_length": 32}}, 32),
        (Model(66, padding=1), {"config": {"max_position_embeddings": 66}}, 64),
    ],
)
def test_no_more_tokens_than_the_model_takes(
    tmp_path: Path, model: torch.nn.Module, files: dict[str, Any], limit: int | None
) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    settings, _ = bring(tmp_path, model, **files)
    assert settings.get("max_tokens") == limit


def test_a_vocabulary_alone_becomes_a_tokenizer(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    _, file = bring(
        tmp_path,
        torch.nn.Identity(),
        config={"model_type": "bert"},
        tokenizer_config={"tokenizer_class": "BertTokenizer"},
    )
    assert Tokenizer.from_file(str(file)).encode("Green red").ids == [2, 6, 5, 3]


def test_no_tokenizer_is_said(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(BuildError, match="has no tokenizer") as caught:
        _tokenizer.bring(torch.nn.Identity(), tmp_path, tmp_path)
    assert "save_pretrained" in caught.value.hint


def test_what_reads_a_sentencepiece_model_is_named_where_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "xlm-roberta"}))
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"pieces")
    with pytest.raises(
        UnsupportedError, match=r"sentencepiece\.bpe\.model can't be read"
    ) as caught:
        _tokenizer.bring(torch.nn.Identity(), tmp_path, tmp_path)
    assert caught.value.hint.startswith("pip install sentencepiece")


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.json")
    with pytest.raises(BuildError, match="ids up to 9, the model only 8 tokens"):
        bring(tmp_path, torch.nn.Identity(), config={"vocab_size": 8})


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_sentencepiece_model_becomes_a_tokenizer_that_reads_as_transformers_does(
    tmp_path: Path, kind: Kind
) -> None:
    import sentencepiece
    from transformers import AutoTokenizer

    pieces = sentencepiece.SentencePieceProcessor(model_proto=save(kind, tmp_path / "model"))
    (out := tmp_path / "out").mkdir()
    settings = _tokenizer.bring(torch.nn.Identity(), tmp_path / "model", out)
    encoder = Encoder(out / settings["tokenizer"], TextConfig(max_tokens=999))
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    texts = strange_texts(200)
    assert len({*texts}) > 150
    for text in [*texts, *plain_texts(50)]:
        wanted = theirs(text)["input_ids"]
        if wanted:
            assert encoder.encode(text).tensors["input_ids"].tolist() == wanted
            assert encoder.tokenizer.decode(wanted) == theirs.decode(wanted, True)
    shift = {0: 3, 1: 0, 2: 2} if kind.model == "xlm-roberta" else {}
    for text in plain_texts(200):  # of strange ones, transformers reads some otherwise, too
        own = [shift.get(each, each + bool(shift)) for each in pieces.encode(text)]
        assert encoder.tokenizer.encode(text, add_special_tokens=False).ids == own


def test_a_folder_whose_pieces_read_otherwise_once_saved_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import T5Tokenizer

    save(KINDS["t5"], tmp_path / "model")
    own = T5Tokenizer.__call__

    def lower(self: Any, text: str, *others: Any, **named: Any) -> Any:
        return own(self, text.lower(), *others, **named)

    monkeypatch.setattr(T5Tokenizer, "__call__", lower)
    with pytest.raises(UnsupportedError, match="reads some texts otherwise in transformers"):
        _tokenizer.bring(torch.nn.Identity(), tmp_path / "model", tmp_path)
