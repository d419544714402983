"""The vocabulary of TorchServe's text_classifier, read without unpickling anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from marsmith.errors import BuildError
from marsmith.sources import _pickles
from marsmith.sources._pickles import Inert

FILE = "source_vocab.pt"
UNKNOWN = "<unk>"
OLD, NEW = "0.0.1", "0.0.2"  # of what torchtext 0.9 has written, and later ones
SAY_IT = (
    'where its torchtext is, write the words: python -c "import json, torch; v ='
    f" torch.load('{FILE}', weights_only=False); json.dump({{'words': v.get_itos(), 'unknown':"
    " v.get_default_index()}, open('vocabulary.json', 'w'))\"; then give them: marsmith adopt"
    " FILE --vocabulary vocabulary.json"
)


@dataclass(frozen=True)
class Vocabulary:
    """Words by their numbers, and the number of all others; None where others are refused."""

    words: tuple[str, ...]
    unknown: int | None

    def write(self, file: Path) -> None:
        """Write it as JSON."""
        said = {"words": self.words, "unknown": self.unknown}
        file.write_text(json.dumps(said, ensure_ascii=False, indent=0) + "\n", "utf-8")


def read(file: Path) -> Vocabulary:
    """Read a pickled vocabulary: torchtext's, or a mapping of words to numbers.

    Inert objects stand for its classes: none is imported.

    Raises:
        BuildError: it isn't known what the file is.
    """
    try:
        held = _pickles.read(file, _pickles.scan(file))
    except Exception as error:  # a pickle can do anything to what stands for its objects
        raise _unknown(file) from error
    found = _of(held)
    if found is None:
        raise _unknown(file)
    return found


def read_json(file: Path) -> Vocabulary:
    """Read a vocabulary that its user has written; see `SAY_IT`.

    Raises:
        BuildError: it is no such file.
    """
    try:
        said = json.loads(file.read_text("utf-8"))
        words, unknown = said["words"], said["unknown"]
    except (OSError, ValueError, KeyError, TypeError):
        words, unknown = (), None
    made = _listed(words, unknown)
    if made is None:
        raise BuildError(f"{file} has no 'words', each once, and 'unknown', a number or null")
    return made


def _unknown(file: Path) -> BuildError:
    return BuildError(f"it can't be read from {file.name} which number each word has", SAY_IT)


def _of(held: object) -> Vocabulary | None:
    if isinstance(held, Mapping):
        return _mapped(held, None)
    state = held.state if isinstance(held, Inert) else None
    if isinstance(state, tuple) and len(state) == 4:  # torchtext's, in C++
        version, numbers, words, _ = state
        if version == OLD:  # the last is the word for all others
            return _listed(words[:-1], words.index(words[-1]))
        return _listed(words, numbers[0] if numbers else None) if version == NEW else None
    if not isinstance(state, Mapping):
        return None
    if "vocab" in state:  # the module around that
        return _of(state["vocab"])
    if isinstance(state.get("stoi"), Mapping):  # torchtext before 0.9: all others are "<unk>"
        return _mapped(state["stoi"], state["stoi"].get(state.get("unk_token") or UNKNOWN, 0))
    return None


def _mapped(numbers: Mapping[object, object], unknown: int | None) -> Vocabulary | None:
    words = sorted(numbers, key=lambda word: str(numbers[word]).zfill(20))
    if [numbers[word] for word in words] != [*range(len(words))]:
        return None
    return _listed(words, unknown)


def _listed(words: object, unknown: object) -> Vocabulary | None:
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        return None
    fits = unknown is None or (type(unknown) is int and 0 <= unknown < len(words))
    if not words or len(set(words)) < len(words) or not fits:
        return None
    return Vocabulary(tuple(words), unknown if isinstance(unknown, int) else None)
