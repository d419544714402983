"""Archives of TorchServe's text_classifier become archives of ours, which answer the same."""

from __future__ import annotations

import collections
import io
import json
import pickle
import random
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from marsmith.errors import BuildError
from marsmith.foreign import vocabulary
from marsmith.foreign.adopt import adopt
from marsmith.foreign.carried.adopted_texts import cleaned
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from tests.support import foreign_archives as foreign

WORDS = ["<unk>", "the", "cat", "is", "not", "here", "cat is", "is not", ",", "cafe", "would", "i"]
NET = """
from torch import nn


class Sentiment(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(90, 8, sparse=True)
        self.fc = nn.Linear(8, 3)

    def forward(self, text, offsets):
        return self.fc(self.embedding(text, offsets))
"""
TEXTS = [
    "The cat isn't here", "I'd've gone, wouldn't I?", "<b>The</b> CAT &amp; the cat", "café",
    "the\ncat is (not) here!" * 9, "I'm HERE'S where it's at; y'all", "it", "ﬁne ½ naïve",
]  # fmt: skip


class _Inner:
    """As torchtext's vocabulary in C++ is pickled; see `register_pybindings.cpp` there."""

    __module__, __qualname__ = "torchtext._torchtext", "Vocab"

    def __init__(self, state: Any) -> None:
        self.state = state

    def __getstate__(self) -> Any:
        return self.state


class _Module(torch.nn.Module):
    """As torchtext's own module around it."""

    __module__, __qualname__ = "torchtext.vocab.vocab", "Vocab"

    def __init__(self, vocab: _Inner) -> None:
        super().__init__()
        self.vocab = vocab


class _Old:
    """As torchtext before 0.9 had it."""

    def __init__(self) -> None:
        self.itos = WORDS
        self.stoi: dict[str, int] = collections.defaultdict(_default)
        self.stoi |= {word: number for number, word in enumerate(WORDS)}


def _default() -> int:
    return 0


@pytest.fixture
def torchtext(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of torchtext's classes, for as long as a pickle is written."""
    kinds = {"torchtext._torchtext": _Inner, "torchtext.vocab.vocab": _Module}
    for name in ("torchtext", "torchtext.vocab", *kinds):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    for name, kind in kinds.items():
        monkeypatch.setattr(sys.modules[name], "Vocab", kind, raising=False)


def saved(held: object) -> bytes:
    file = io.BytesIO()
    torch.save(held, file)
    return file.getvalue()


HELD: dict[str, tuple[Callable[[], object], int | None]] = {
    "mapping": (lambda: {word: number for number, word in enumerate(WORDS)}, None),
    "new": (lambda: _Module(_Inner(("0.0.2", [0], WORDS, []))), 0),
    "without a default": (lambda: _Module(_Inner(("0.0.2", [], WORDS, []))), None),
    "0.9": (lambda: _Module(_Inner(("0.0.1", [], [*WORDS, "the"], []))), 1),
    "old": (_Old, 0),
}


@pytest.mark.usefixtures("torchtext")
@pytest.mark.parametrize("kind", HELD)
def test_a_vocabulary_is_read_and_nothing_of_it_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    make, unknown = HELD[kind]
    (tmp_path / "v.pt").write_bytes(saved(make()))
    for name in ("torchtext._torchtext", "torchtext.vocab.vocab"):
        monkeypatch.delitem(sys.modules, name)
    assert vocabulary.read(tmp_path / "v.pt") == vocabulary.Vocabulary(tuple(WORDS), unknown)


@pytest.mark.usefixtures("torchtext")
@pytest.mark.parametrize(
    "held",
    [{"a": 1, "b": 2}, {"a": "b"}, [1, 2], {}, _Inner(("0.0.3", [0], WORDS, []))],
    ids=range(5),
)
def test_another_file_is_refused_with_the_command_that_writes_its_words(
    tmp_path: Path, held: object
) -> None:
    (tmp_path / "source_vocab.pt").write_bytes(saved(held))
    with pytest.raises(BuildError, match="which number each word has") as caught:
        vocabulary.read(tmp_path / "source_vocab.pt")
    assert "v.get_itos()" in str(caught.value.hint)
    assert "--vocabulary vocabulary.json" in str(caught.value.hint)


def test_texts_are_cleaned_as_torchserve_cleans_them() -> None:
    from ts.torch_handler.text_classifier import TextClassifier

    theirs = TextClassifier()
    chance = random.Random(0)
    pieces = ["I'd've", "won't", "<i>", "&lt;", "É", "½", "'", "-", " ", "\n", "#", "x", "ß", "中"]
    made = ["".join(chance.choices(pieces, k=30)) for _ in range(300)]
    for text in [*TEXTS, *made]:
        plain = theirs._remove_html_tags(text).lower()
        plain = theirs._remove_accented_characters(theirs._expand_contractions(plain))
        assert cleaned(text) == theirs._remove_punctuation(plain)


def packed(work: Path, vocab: object, **files: str | bytes) -> Path:
    (work / "net.py").write_text(NET)
    namespace: dict[str, Any] = {"__name__": "net"}
    exec(NET, namespace)  # noqa: S102 - the text is above
    torch.manual_seed(1)
    weights = foreign.state(namespace["Sentiment"]())
    given: dict[str, str | bytes] = {
        "t.pt": weights, "net.py": NET, "source_vocab.pt": saved(vocab),
        "index_to_name.json": '{"0": "bad", "1": "good", "2": "odd"}', **files,
    }  # fmt: skip
    return foreign.pack(
        work / "theirs", next(iter(files), "text_classifier"), given, model="t.pt",
        model_file="net.py", extra=["index_to_name.json", "source_vocab.pt"],
    )  # fmt: skip


def test_a_recipe_has_its_words_and_its_rules(tmp_path: Path) -> None:
    own = (
        "from ts.torch_handler.text_classifier import TextClassifier\n\n\n"
        "class Single(TextClassifier):\n    ngrams = 1\n"
    )
    made = adopt(packed(tmp_path, HELD["mapping"][0](), **{"single.py": own}), tmp_path / "out")
    said = yaml.safe_load(made.recipe.read_text())
    arguments = {"model": "net:Sentiment", "weights": "t.pt"}
    assert said["source"] == {"factory": "adopted_model:bag_of_words", "arguments": arguments}
    assert said["task"] == "adopted_texts:AdoptedTexts"
    assert said["handler"]["ngrams"] == 1
    assert said["files"] == ["labels.json", "vocabulary.json"]
    words = json.loads((tmp_path / "out" / "vocabulary.json").read_text())
    assert words == {"words": WORDS, "unknown": None}
    assert not (tmp_path / "out" / "source_vocab.pt").exists()


def test_words_that_can_not_be_read_are_asked_for(tmp_path: Path) -> None:
    archive = packed(tmp_path, [1, 2])
    with pytest.raises(BuildError, match="which number each word has"):
        adopt(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    given = tmp_path / "vocabulary.json"
    given.write_text(json.dumps({"words": WORDS, "unknown": 0}))
    made = adopt(archive, tmp_path / "out", given)
    assert json.loads((tmp_path / "out" / "vocabulary.json").read_text())["unknown"] == 0
    assert made.recipe.is_file()
    given.write_text(json.dumps({"words": ["a", "a"], "unknown": 0}))
    with pytest.raises(BuildError, match="each once"):
        adopt(archive, tmp_path / "other", given)


@pytest.mark.slow
def test_it_answers_as_in_torchserves_worker(tmp_path: Path) -> None:
    # There is no torchtext for this torch: theirs has a dictionary that knows all words.
    known = dict.fromkeys(each for text in TEXTS for each in _words(text))
    theirs = packed(tmp_path, {word: number for number, word in enumerate(known)})
    with Harness(theirs) as harness:
        answers = [harness.predict([Request.raw(text.encode())])[0] for text in TEXTS]
    assert {each.status for each in answers} == {200}
    made = adopt(theirs, tmp_path / "adopted")
    foreign.forget()
    recipe = reading.load(made.recipe)
    build(recipe, tmp_path / "store")
    with Harness(tmp_path / "store" / "birds.mar", batch_size=8) as harness:
        alone = [harness.predict([Request.raw(text.encode())])[0].json() for text in TEXTS]
        requests = [Request.raw(text.encode()) for text in [*TEXTS[:7], "nothing of that"]]
        together = harness.predict(requests)
    assert [each.status for each in together] == [200] * 7 + [422]
    for answer, one in zip(answers, alone, strict=True):
        assert one["scores"] == pytest.approx(answer.json(), abs=1e-6)
    for one, other in zip(alone[:7], together[:7], strict=True):
        assert other.json()["scores"] == pytest.approx(one["scores"], abs=1e-6)


def _words(text: str) -> list[str]:
    from ts.handler_utils.text_utils import get_tokenizer, ngrams_iterator

    return [*ngrams_iterator(get_tokenizer("basic_english")(cleaned(text)), 2)]


def test_pickles_of_theirs_are_never_loaded(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "source_vocab.pt").write_bytes(pickle.dumps({"a": Harmful()}))
    with pytest.raises(BuildError):
        vocabulary.read(tmp_path / "source_vocab.pt")
    assert not (tmp_path / "ran").exists()
