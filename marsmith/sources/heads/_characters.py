"""The tokenizer of a VITS folder, a token for each letter, as one that travels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marsmith.errors import UnsupportedError
from marsmith.extras import need
from marsmith.sources.heads._tokenizer import FILE, STRANGE

TEXTS = (*STRANGE, "Hello, World; it's 5 o'clock.", "Ünder ÉCOLE ț şi ţ", "")
ELSEWHERE = {
    "phonemize": (
        "makes phonemes of texts with phonemizer, which does not travel",
        "let clients send phonemes, and save the tokenizer beside the model with"
        " phonemize=False, normalize=False",
    ),
    "is_uroman": (
        "writes texts in Latin letters with uroman, which does not travel",
        "let clients send what uroman writes, and save the tokenizer beside the model with"
        " is_uroman=False",
    ),
}


def bring(theirs: Any, folder: Path, out: Path) -> dict[str, object]:
    """Write a tokenizer.json into `out` that says what transformers' does, but for blank tokens.

    Args:
        theirs: a `VitsTokenizer`.
        folder: of the model, for messages.
        out: an existing folder.

    Returns:
        The settings `tokenizer` and `blank_token`.

    Raises:
        UnsupportedError: it needs another program, or reads some texts otherwise.
    """
    need("text", "tokenizers")
    for name, (what, hint) in ELSEWHERE.items():
        if getattr(theirs, name):
            raise UnsupportedError(f"the tokenizer of {folder.name} {what}", hint)
    blank = theirs.decoder.get(0) if theirs.add_blank else None
    made = _made(theirs)
    for text in TEXTS:
        wanted = list(theirs(text)["input_ids"])[1 if blank else 0 :: 2 if blank else 1]
        known = all(each < len(theirs.encoder) for each in wanted)  # not those beyond the model's
        if known and made.encode(text).ids != wanted:
            raise UnsupportedError(
                f"the tokenizer of {folder.name} reads some texts otherwise in transformers than in"
                f" tokenizers: {text!r}",
                f"put a {FILE} beside the model that reads texts as it was trained to",
            )
    made.save(str(out / FILE))
    return {"tokenizer": FILE, "blank_token": blank or ""}


def _made(theirs: Any) -> Any:
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    known, unknown = theirs.encoder, str(theirs.unk_token)
    letters = "".join(f"\\x{{{ord(each):x}}}" for each in known if len(each) == 1)
    others = normalizers.Replace(Regex(f"[^{letters}]"), "")
    steps: list[Any] = []
    if theirs.normalize:
        steps = [normalizers.Lowercase()]
    if theirs.language == "ron":
        steps.append(normalizers.Replace("ț", "ţ"))
    if theirs.normalize:
        steps += [others, normalizers.Strip()]
    elif unknown not in known:
        steps.append(others)
    made = Tokenizer(models.WordLevel(known, unk_token=unknown))
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return made
