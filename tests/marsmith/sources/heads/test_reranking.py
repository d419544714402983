"""Folders of cross-encoders: built with a short recipe, they rank as `CrossEncoder.rank` does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.reranking import Reranking
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.huggingface import HuggingFace
from tests.support import cross_encoders
from tests.support.cross_encoders import IDENTITY
from tests.support.in_batches import answers_in_batches

ASKED: list[dict[str, Any]] = [
    {"query": "the cat", "documents": ["a dog", "the größte cat", "", "dog " * 90, "cat a the"]},
    {"query": "dogs " * 60, "documents": ["a", "the cat " * 9, "a cat"]},
    {"query": "", "documents": ["the dogs"]},
]
MAKERS = [cross_encoders.bert, cross_encoders.roberta, cross_encoders.xlm_roberta,
          cross_encoders.modernbert]  # fmt: skip


def ranked_by_the_library(folder: Path, asked: dict[str, Any]) -> list[tuple[int, float]]:
    from sentence_transformers import CrossEncoder

    read: dict[str, Any] = {"device": "cpu", "local_files_only": True}
    model = CrossEncoder(str(folder), max_length=cross_encoders.LONGEST, **read)
    return [(each["corpus_id"], each["score"]) for each in model.rank(**asked)]


def check(answers: list[Any], folder: Path) -> None:
    for answer, asked in zip(answers, ASKED, strict=True):
        found = [(each["index"], each["score"]) for each in answer["results"]]
        wanted = ranked_by_the_library(folder, asked)
        assert [place for place, _ in found] == [place for place, _ in wanted]
        assert [score for _, score in found] == pytest.approx([s for _, s in wanted], abs=1e-4)
    assert [each["truncated"] for each in answers] == [True, True, False]


def served(folder: Path, tmp_path: Path, **section: Any) -> tuple[Reranking, HuggingFace]:
    source = HuggingFace(huggingface=folder, head="reranking")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "brought").mkdir()
    handler: Reranking = tasks.find("reranking")()
    settings = source.bring(module, out, {})
    handler.configure({"task": "reranking", **settings, **section}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=2)
    return handler, source


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("said", [{}, {"sentence_transformers": {"activation_fn": IDENTITY}}])
def test_a_folder_ranks_as_its_own_library_does(
    tmp_path: Path, make: Callable[..., None], said: dict[str, Any]
) -> None:
    folder = cross_encoders.say(cross_encoders.saved(tmp_path / "model", make), **said)
    handler, source = served(folder, tmp_path)
    assert handler.config.activation == ("none" if said else "sigmoid")
    handler.screen(ASKED)
    samples = [handler.decode(each, handler.default_options) for each in ASKED]
    check(answers_in_batches(handler, samples, limit=2), folder)
    section = {"task": "reranking", "max_tokens": handler.config.max_tokens, "prompt": "",
               "activation": handler.config.activation}  # fmt: skip
    own = source.untouched(ASKED, section, lambda line: None)
    assert own is not None
    assert any(own.answers)
    assert isinstance(outputs := own.outputs[2], tuple)
    assert outputs[0].shape == (1, 1)


def test_a_folder_that_the_library_saved_keeps_its_prompt_length_and_case(tmp_path: Path) -> None:
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert)
    prompts = {"prompts": {"ask": "dogs the "}, "default_prompt_name": "ask"}
    saved = cross_encoders.as_the_library_saves(
        folder, tmp_path / "saved", torch.nn.Identity(), **prompts
    )
    cross_encoders.say_of_encoder(saved, max_seq_length=24, do_lower_case=True)
    handler, _ = served(saved, tmp_path)
    assert (handler.config.prompt, handler.config.max_tokens) == ("dogs the ", 24)
    from sentence_transformers import CrossEncoder

    library = CrossEncoder(str(saved), device="cpu", local_files_only=True)
    samples = [handler.decode(each, handler.default_options) for each in ASKED]
    for answer, asked in zip(answers_in_batches(handler, samples), ASKED, strict=True):
        for found, wanted in zip(answer["results"], library.rank(**asked), strict=True):
            assert found["index"] == wanted["corpus_id"]
            assert found["score"] == pytest.approx(wanted["score"], abs=1e-4)


@pytest.mark.parametrize(
    ("files", "settings", "words"),
    [
        ({}, {"num_labels": 2}, "has 2 classes; a reranker has one"),
        ({"chat_template.jinja": "{{ messages }}"}, {}, "has a chat template"),
        ({}, {"sentence_transformers": {"activation_fn": "torch.nn.Softmax"}}, "always 1"),
        ({}, {"sentence_transformers": {"activation_fn": "torch.nn.Tanh"}}, "activation_fn"),
    ],
)
def test_what_would_rank_otherwise_is_refused(
    tmp_path: Path, files: dict[str, str], settings: dict[str, Any], words: str
) -> None:
    said = {"num_labels": settings.pop("num_labels", 1)}
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert, **said)
    cross_encoders.say(folder, **settings)
    for name, content in files.items():
        (folder / name).write_text(content)
    with pytest.raises(BuildError, match=words):
        served(folder, tmp_path)


def test_layers_that_are_not_the_models_are_refused(tmp_path: Path) -> None:
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert)
    saved = cross_encoders.as_the_library_saves(folder, tmp_path / "saved", None)
    cross_encoders.say_of_encoder(saved, modality_config={"message": {}})
    with pytest.raises(BuildError, match="modality_config"):
        served(saved, tmp_path)


@pytest.mark.slow
def test_its_archive_does_too_where_transformers_can_not_be_imported(tmp_path: Path) -> None:
    folder = cross_encoders.saved(tmp_path / "model", cross_encoders.bert)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"name: x\ntask: reranking\nsource: {{huggingface: {folder}}}\n")
    build(reading.load(recipe), tmp_path / "store")
    for name in ("transformers", "sentence_transformers"):
        (tmp_path / "none" / name).mkdir(parents=True)
        (tmp_path / "none" / name / "__init__.py").write_text("raise ImportError('not here')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "none"))
        proof = [sys.executable, "-c", "import transformers"]
        assert subprocess.run(proof, capture_output=True, check=False).returncode
        with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
            found = harness.predict([Request.json(each) for each in ASKED])
    assert all(response.status == 200 for response in found)
    check([response.json() for response in found], folder)
