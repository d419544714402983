"""Folders of sentence-transformers: with a short recipe, each answers what that library answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.errors import BadRequest
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_embedding import TextEmbedding
from handlers.tasks.text_embedding import TextEmbeddingOptions as Options
from marsmith.cache import Cache
from marsmith.errors import BuildError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.report.report import Report
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches, ask
from tests.support.transformers_tokenizers import SIZES, write_bert_tokenizer

TEXTS = ["", "the größte CAT", "dog " * 100, "a cat", "the dogs the cat a dog grote", "the"]
PROMPTS = {"query": "the cat ", "passage": "a dogs "}


@cache
def library() -> Any:
    return pytest.importorskip("sentence_transformers")


def saved(
    folder: Path, *, pooling: Any = "mean", behind: Any = (), limit: int = 30, **said: Any
) -> Path:
    """A folder with random weights that are far from each other, as the library saves it."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder / "bert")
    write_bert_tokenizer(folder / "bert")
    layers = library().sentence_transformer.modules
    encoder = layers.Transformer(str(folder / "bert"), max_seq_length=limit)
    include = said.pop("include_prompt", True)
    pool = layers.Pooling(16, pooling, include_prompt=include)
    modules = [encoder, pool, *(make(layers) for make in behind)]
    library().SentenceTransformer(modules=modules, **said).save(str(folder / "model"))
    return folder / "model"


def configured(folder: Path, tmp_path: Path) -> TextEmbedding:
    source = HuggingFace(huggingface=folder, head="text_embedding")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: TextEmbedding = tasks.find("text_embedding")()
    handler.configure({"task": "text_embedding", **source.bring(module, out, {})}, out)
    inputs = ["input_ids", "attention_mask"]
    inputs += ["pooled"] if handler.config.exclude_prompt else []
    handler.use(ModuleRuntime(module, torch.device("cpu"), inputs=inputs), batch_size=8)
    return handler


def answered(folder: Path, tmp_path: Path, options: Options, texts: list[Any]) -> list[Any]:
    handler = configured(folder, tmp_path)
    return answers_in_batches(handler, [handler.decode(each, options) for each in texts])


def dense(layers: Any) -> Any:
    return layers.Dense(16, 12, activation_function=torch.nn.GELU())


def residual(layers: Any) -> Any:
    return layers.Dense(16, 16, bias=False, use_residual=True)


def layer_norm(layers: Any) -> Any:
    made = layers.LayerNorm(16)
    torch.nn.init.normal_(made.norm.weight)
    return made


def normalise(layers: Any) -> Any:
    return layers.Normalize()


def dropout(layers: Any) -> Any:
    return layers.Dropout(0.5)


MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
FOLDERS: list[dict[str, Any]] = [
    *({"pooling": mode} for mode in MODES),
    *({"pooling": mode, "include_prompt": False} for mode in MODES),
    {"pooling": ("mean", "max", "lasttoken"), "behind": [normalise]},
    {"behind": [dense]},
    {"behind": [dropout, residual, layer_norm, normalise]},
    {"behind": [normalise, residual]},
]
ASKED: list[dict[str, Any]] = [
    {}, {"prompt_name": "passage"}, {"prompt": "grote the "}, {"prompt_name": "document"}
]  # fmt: skip


def named(said: object) -> str:
    """A name for a case, the same in every process: functions by their names."""
    if isinstance(said, dict):
        return " ".join(f"{key} {named(value)}" for key, value in said.items()) or "plain"
    if isinstance(said, (list, tuple)):
        return " ".join(map(named, said))
    return getattr(said, "__name__", str(said))


@pytest.mark.parametrize("said", FOLDERS, ids=named)
def test_a_folder_answers_as_its_library_does(tmp_path: Path, said: dict[str, Any]) -> None:
    folder = saved(tmp_path, prompts=PROMPTS, default_prompt_name="query", **said)
    own = library().SentenceTransformer(str(folder), device="cpu")
    for number, asked in enumerate(ASKED):
        (place := tmp_path / str(number)).mkdir()
        answers = answered(folder, place, Options(**asked), TEXTS)
        wanted = [own.encode(each, **asked).tolist() for each in TEXTS]
        for answer, vector in zip(answers, wanted, strict=True):
            assert answer["embedding"] == pytest.approx(vector, rel=1e-4, abs=1e-4)
        assert [each["truncated"] for each in answers] == [False] * 2 + [True] + [False] * 3


@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_of_neighbours_do_not_meet(tmp_path: Path, include_prompt: bool) -> None:
    folder = saved(
        tmp_path, pooling=("max", "lasttoken"), prompts=PROMPTS, default_prompt_name="query",
        include_prompt=include_prompt,
    )  # fmt: skip
    own = library().SentenceTransformer(str(folder), device="cpu")
    asked = [(text, each) for text in TEXTS for each in ASKED]
    bad: list[Any] = [
        {"prompt_name": "passages"}, {"prompt_name": 7}, {"prompt": ["a"]}, {"prompt": "\ud800"},
        {"prompt": "a" * 2001}, {"compared_prompt_name": ""},
    ]  # fmt: skip
    bodies = [{"data": text, "parameters": each} for text, each in asked]
    bodies[5:5] = [{"data": "the cat", "parameters": each} for each in bad]
    answers = ask(configured(folder, tmp_path), bodies)
    refused = [answers.pop(5) for _ in bad]
    assert [status for status, _ in refused] == [422, 422, 422, 422, 413, 422]
    for (text, each), (status, answer) in zip(asked, answers, strict=True):
        assert status == 200
        wanted = own.encode(text, **each).tolist()
        assert answer["embedding"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("by", ["cosine", "dot", "euclidean", "manhattan"])
def test_texts_are_as_alike_as_the_library_finds_them(tmp_path: Path, by: str) -> None:
    folder = saved(tmp_path, prompts=PROMPTS, similarity_fn_name=by)
    own = library().SentenceTransformer(str(folder), device="cpu")
    asked = {"text": "the cat", "compare_with": TEXTS[1:]}
    options = Options(prompt_name="query", compared_prompt_name="passage")
    (answer,) = answered(folder, tmp_path, options, [asked])
    query = own.encode(["the cat"], prompt_name="query")
    wanted = own.similarity(query, own.encode(TEXTS[1:], prompt_name="passage"))[0].tolist()
    assert answer["similarities"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_a_limit_of_the_encoders_own_counts(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    said = json.loads((folder / "sentence_bert_config.json").read_text())
    own = {**said, "max_seq_length": 7, "do_lower_case": True}
    (folder / "sentence_bert_config.json").write_text(json.dumps(own))
    (answer,) = answered(folder, tmp_path, Options(), ["THE CAT " * 9])
    wanted = library().SentenceTransformer(str(folder), device="cpu").encode("THE CAT " * 9)
    assert answer["tokens"] == 7
    assert answer["embedding"] == pytest.approx(wanted.tolist(), abs=1e-4)


def test_prompts_that_there_are_not_are_refused_by_name(tmp_path: Path) -> None:
    folder = saved(tmp_path, prompts=PROMPTS)
    with pytest.raises(BadRequest, match=r"did you mean 'passage'.*allowed: query, document"):
        answered(folder, tmp_path, Options(prompt_name="passages"), ["a"])
    (place := tmp_path / "again").mkdir()
    with pytest.raises(BadRequest, match="2001 characters; at most 2000") as caught:
        answered(folder, place, Options(prompt="a" * 2001), ["a"])
    assert caught.value.status == 413


def test_a_prompt_that_leaves_nothing_of_a_text_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path, pooling="max", include_prompt=False)
    with pytest.raises(BadRequest, match="leaves no token of the text"):
        answered(folder, tmp_path, Options(prompt="a dogs"), ["the"])  # "dogsthe" is one token


def say(file: str, **changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / file
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def add(kind: str, path: str = "") -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "modules.json"
        said = [*json.loads(file.read_text()), {"type": kind, "path": path}]
        file.write_text(json.dumps(said))

    return spoil


def pickled(folder: Path) -> None:
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (add("sentence_transformers.models.LSTM"), "a layer LSTM; these are known: Transformer"),
        (add("custom.Normalize"), "a layer custom.Normalize, code of its own"),
        (add("sentence_transformers.models.Transformer", "0_x"), "the encoder of model is in 0_x"),
        (say("1_Pooling/config.json", pooling_mode="median"), "pools by median; these are known"),
        (say("2_Dense/config.json", activation_function="my.Act"), "is my.Act, which is not of"),
        (say("2_Dense/config.json", module_input_name="token_embeddings"), "'token_embeddings'"),
        (say("2_Dense/config.json", out_features=9), "don't fit its config.json: Error"),
        (say("2_Dense/config.json", out_features="x"), "has no 'out_features'"),
        (pickled, "has no model.safetensors; a pickle can run code"),
        (say("sentence_bert_config.json", transformer_task="fill-mask"), "has a transformer_task"),
        (say("sentence_bert_config.json", model_args={"x": 1}), "has a model_args in"),
        (say("config_sentence_transformers.json", model_type="SparseEncoder"), "a SparseEncoder"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    tmp_path: Path, spoil: Callable[[Path], None], words: str
) -> None:
    folder = saved(tmp_path, behind=[dense])
    spoil(folder)
    with pytest.raises(BuildError, match=words):
        HuggingFace(huggingface=folder, head="text_embedding").load(
            Cache(tmp_path), lambda line: None
        )


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torchscript", "onnx", "openvino"])
@pytest.mark.parametrize(
    "said",
    [
        {"pooling": ("cls", "max", "weightedmean", "lasttoken"), "include_prompt": False},
        {"pooling": "mean_sqrt_len_tokens", "behind": [residual, layer_norm, normalise]},
    ],
    ids=named,
)
def test_its_archive_does_too(tmp_path: Path, said: dict[str, Any], runtime: str) -> None:
    folder = saved(tmp_path, prompts=PROMPTS, default_prompt_name="query", **said)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ntask: text_embedding\nruntime: {runtime}\nsource: {{huggingface: {folder}}}\n"
    )
    build(reading.load(recipe), tmp_path / "store")
    first, *_ = Report.read(tmp_path / "store" / "x.report.json").ladder
    assert first.name == "untouched"
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        found = [
            harness.predict([Request.json({"data": e, "parameters": asked}) for e in TEXTS])
            for asked in ASKED
        ]
    own = library().SentenceTransformer(str(folder), device="cpu")
    for asked, responses in zip(ASKED, found, strict=True):
        assert all(response.status == 200 for response in responses)
        for text, response in zip(TEXTS, responses, strict=True):
            wanted = own.encode(text, **asked).tolist()
            assert response.json()["embedding"] == pytest.approx(wanted, rel=1e-4, abs=1e-4)
