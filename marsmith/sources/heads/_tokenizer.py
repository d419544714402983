"""The tokenizer of a Hugging Face folder, as it travels with text tasks."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import torch

from marsmith.errors import BuildError, UnsupportedError
from marsmith.extras import need
from marsmith.sources.heads import read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FILE = "tokenizer.json"
# The files in which a folder says how many tokens its model takes, and the key in each.
LIMITS = {
    "sentence_bert_config.json": "max_seq_length",
    "tokenizer_config.json": "model_max_length",
    "config.json": "max_position_embeddings",
}
PIECES = (
    "sentencepiece.bpe.model", "spiece.model", "spm.model", "tokenizer.model", "source.spm"
)  # fmt: skip
READS_PIECES = ("sentencepiece", "google.protobuf")
STRANGE = (
    "a", "The größte CAT, 1024 of 3.5!", "  two  blanks ", "a\nb\tc", "</s>", "<s> a",
    "ﬁne ① \uff21", "e\u0301 模型の модель نموذج", "👩\u200d🔬\u200b\ufeff", "▁a", "-" * 20,
)  # fmt: skip
"""What is around a tokenizer in transformers, if anything, may change one of these."""
SAVE = "save it beside the model: tokenizer.save_pretrained(FOLDER)"
TABLES = ("position_embeddings", "wpe")
UNLIMITED = 10**6  # transformers writes 10**30 for "not known"


class TokenSettings(TypedDict, total=False):
    """What the `handler:` section of a text task says of its tokens."""

    tokenizer: str
    max_tokens: int
    token_types: bool


def bring(
    module: torch.nn.Module, folder: Path, out: Path, made: Tokenizer | None = None
) -> TokenSettings:
    """Write the folder's tokenizer into `out`.

    Args:
        module: the model, which may have fewer positions than the folder's files say.
        folder: has a tokenizer.json, or files that transformers can make one of.
        out: an existing folder.
        made: what the head has made of other files, if the folder has them.

    Returns:
        The settings `tokenizer` and, where a limit is known, `max_tokens`.

    Raises:
        BuildError: there is no tokenizer that the tokenizers library can run, or it has more
            tokens than the model.
    """
    if made is None and (folder / FILE).is_file():
        shutil.copyfile(folder / FILE, out / FILE)
    else:
        (made or _made_fast(folder)).save(str(out / FILE))
    _pad_as_the_model(out / FILE, folder)
    limits = [positions(module), *(_said(folder / file, key) for file, key in LIMITS.items())]
    known = [limit for limit in limits if limit is not None]
    return {"tokenizer": FILE, "max_tokens": min(known)} if known else {"tokenizer": FILE}


def _made_fast(folder: Path) -> Tokenizer:
    """Make a tokenizer of the tokenizers library from files in another form."""
    found = of_transformers(folder)
    # From a folder without a tokenizer, transformers makes one of special tokens alone.
    if set(found.get_vocab()) <= set(found.all_special_tokens):
        raise BuildError(f"{folder.name} has no tokenizer", SAVE)
    if not getattr(found, "is_fast", False):
        raise BuildError(
            f"the tokenizer of {folder.name} is written in Python, which does not travel",
            "save a fast one beside the model, as a tokenizer.json",
        )
    tokenizer: Tokenizer = found.backend_tokenizer
    # What is around the backend, and doesn't travel, might change texts, or their tokens.
    other = next(
        (t for t in STRANGE if list(found(t)["input_ids"]) != tokenizer.encode(t).ids), None
    )
    if other is not None:
        raise UnsupportedError(
            f"the tokenizer of {folder.name} reads some texts otherwise in transformers than in "
            f"tokenizers: {other!r}",
            "save a fast one beside the model, as a tokenizer.json",
        )
    return tokenizer


def of_transformers(folder: Path) -> Any:
    """Read a folder's tokenizer as transformers does by itself.

    Raises:
        BuildError: it can't.
        UnsupportedError: what reads a SentencePiece model is missing.
    """
    fast = (folder / FILE).is_file()
    pieces = next((name for name in PIECES if (folder / name).is_file() and not fast), None)
    missing = [name for name in READS_PIECES if pieces and not _is_installed(name)]
    if missing:
        name = missing[0].replace("google.", "")
        raise UnsupportedError(  # transformers would ask for tiktoken, which can't read it either
            f"{pieces} can't be read, and {folder.name} has no {FILE}: {name} is missing",
            f"pip install {name}; or {SAVE}, where transformers can read it",
        )
    try:
        auto = importlib.import_module("transformers").AutoTokenizer
        with warnings.catch_warnings():  # Marian's wants a package for a step that it doesn't take
            warnings.filterwarnings("ignore", message=".*sacremoses")
            return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what is wrong in the files decides which
        raise BuildError(
            f"{folder.name} has no tokenizer: {' '.join(str(error).split())[:200]}", SAVE
        ) from error


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a package that isn't there, either
        return False


def _pad_as_the_model(file: Path, folder: Path) -> None:
    """Check that the tokens are the model's, and let the tokenizer say which one it pads with."""
    need("text", "tokenizers")
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
        last = max(tokenizer.get_vocab().values(), default=0)
    except Exception as error:  # the library raises no other
        raise BuildError(f"{folder.name}: {FILE} is not a tokenizer: {error}") from error
    size = _said(folder / "config.json", "vocab_size")
    if size is not None and last >= size:
        raise BuildError(
            f"{folder.name}: the tokenizer has ids up to {last}, the model only {size} tokens",
            "save the two that belong together; resize the model where tokens were added",
        )
    pad = _said(folder / "config.json", "pad_token_id", least=0)
    token = None if pad is None else tokenizer.id_to_token(pad)
    if token is not None:
        tokenizer.enable_padding(pad_id=pad, pad_token=token)
        tokenizer.save(str(file))


def lower_case(out: Path) -> None:
    """Let the tokenizer that `bring` wrote read texts in lower case, if it doesn't."""
    from tokenizers import Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(out / FILE))
    own = tokenizer.normalizer
    several = isinstance(own, normalizers.Sequence)
    steps = list(own) if several else [] if own is None else [own]
    if not any(isinstance(step, normalizers.Lowercase) for step in steps):
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
        tokenizer.save(str(out / FILE))


def see_that_it_pads(module: torch.nn.Module, out: Path, settings: TokenSettings) -> None:
    """Run a short text beside a long one: padding must not change its answer.

    Args:
        module: takes tokens, their mask and, if the settings say so, their types.
        out: the folder that `bring` wrote into.
        settings: what `bring` returned.

    Raises:
        UnsupportedError: padding changes the answer.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(out / FILE))
    pad = int((tokenizer.padding or {}).get("pad_id", 0))
    known = sorted(set(tokenizer.get_vocab().values()) - {pad})
    short = min(8, settings.get("max_tokens", 8) // 2)
    ids = torch.tensor([known[place * 7 % len(known)] for place in range(2 * short)]).expand(2, -1)
    mask = torch.ones_like(ids)
    mask[0, short:] = 0
    ids = torch.where(mask > 0, ids, pad)
    types = [torch.zeros_like(ids)] if settings.get("token_types") else []
    with torch.inference_mode():
        together = module(ids, mask, *types)
        alone = module(*(each[:1, :short] for each in (ids, mask, *types)))
    pairs = zip(*(x if isinstance(x, tuple) else (x,) for x in (together, alone)), strict=True)
    for found, wanted in pairs:
        row = found[:1, :short] if wanted.shape[1:] != found.shape[1:] else found[:1]
        if not torch.allclose(row, wanted, rtol=1e-3, atol=1e-3):
            raise UnsupportedError(
                "what this model answers to a text depends on how it is padded in a batch",
                "use a model of another kind: this one can't be served in batches",
            )


def _said(file: Path, key: str, least: int = 1) -> int | None:
    said = read_json(file) if file.is_file() else {}
    limit = said.get(key) if isinstance(said, dict) else None
    return limit if isinstance(limit, int) and least <= limit < UNLIMITED else None


def positions(module: torch.nn.Module) -> int | None:
    """How many positions the model has vectors for; RoBERTa's begin behind its padding."""
    sizes = [
        table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
        for name, table in module.named_modules()
        if isinstance(table, torch.nn.Embedding) and name.endswith(TABLES)
    ]
    return min(sizes, default=None)
