"""Folders of transformers' causal language models: they write what it would write."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_generation import TextGeneration
from marsmith.cache import Cache
from marsmith.errors import UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.heads.text_generation import wrap
from marsmith.sources.huggingface import HuggingFace
from tests.support.language_model import END, TOKENS, tokenizer

TEXTS = ["import json\n", "größe 模型", "x", "a" * 70, "def f(x, y):\n    return"]
SIZES: dict[str, Any] = {"num_attention_heads": 4, "num_hidden_layers": 2, "hidden_size": 32}
SIZES |= {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 128}
COMMON: dict[str, Any] = {"vocab_size": TOKENS, "eos_token_id": 0, "bos_token_id": 0}
COMMON |= {"initializer_range": 0.2}


def gpt2(folder: Path, **settings: Any) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, **COMMON, **settings)
    GPT2LMHeadModel(config).save_pretrained(folder)


def llama(folder: Path, **settings: Any) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(LlamaConfig(**SIZES, **COMMON, **settings)).save_pretrained(folder)


def mistral(folder: Path, **settings: Any) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    MistralForCausalLM(MistralConfig(**SIZES, **COMMON, **settings)).save_pretrained(folder)


def qwen2(folder: Path, **settings: Any) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    Qwen2ForCausalLM(Qwen2Config(**SIZES, **COMMON, **settings)).save_pretrained(folder)


def of(kind: str) -> Callable[..., None]:
    """What saves a model of a type of transformers'."""

    def make(folder: Path, **settings: Any) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(kind, **COMMON, **settings)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)

    return make


def saved(folder: Path, make: Callable[..., None], **settings: Any) -> Path:
    from transformers import PreTrainedTokenizerFast

    torch.manual_seed(0)
    make(folder, **settings)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END).save_pretrained(folder)
    return folder


def of_transformers(folder: Path, **settings: Any) -> list[str]:
    """What follows each of TEXTS, after `generate` with the settings."""
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Not AutoTokenizer, which for some models changes what tokenizer.json says.
        known = PreTrainedTokenizerFast.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        write = pipeline("text-generation", model=model, tokenizer=known)
        wanted = {"max_new_tokens": 30, "return_full_text": False, "pad_token_id": 0, **settings}
        return [write(text, **wanted)[0]["generated_text"] for text in TEXTS]


def configured(folder: Path, out: Path) -> TextGeneration:
    source = HuggingFace(huggingface=folder, head="text_generation")
    module = source.load(Cache(out), lambda line: None)
    out.mkdir()
    handler: TextGeneration = tasks.find("text_generation")()
    handler.configure({"task": "text_generation", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


def written(handler: TextGeneration, **wanted: Any) -> list[str]:
    options = handler.Options(max_new_tokens=30, **wanted)
    samples = [handler.decode(text, options) for text in TEXTS]
    outputs = handler.runtime(handler.collate(samples))
    return [answer.text for answer in handler.answer(outputs, samples)]


@pytest.mark.parametrize("make", [gpt2, llama, mistral, qwen2])
def test_it_writes_what_transformers_would(tmp_path: Path, make: Callable[..., None]) -> None:
    folder = saved(tmp_path / "model", make)
    handler = configured(folder, tmp_path / "out")
    assert written(handler) == of_transformers(folder, do_sample=False)
    penalised = of_transformers(folder, do_sample=False, repetition_penalty=1.3)
    assert written(handler, repetition_penalty=1.3) == penalised


GEMMA_2 = {**SIZES, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 112}
GPT_J = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128, "rotary_dim": 4}
GPT_OSS = {**SIZES, "head_dim": 8, "num_local_experts": 4, "sliding_window": 112}
GPT_NEO: dict[str, Any] = {
    "hidden_size": 32,
    "num_layers": 2,
    "num_heads": 4,
    "max_position_embeddings": 4096,
}
GPT_NEO |= {"attention_types": [[["global", "local"], 1]]}
PHI_3 = {**SIZES, "pad_token_id": 0}
QWEN_3 = {**SIZES, "head_dim": 8}
MPT = {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 4096}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("gemma2", GEMMA_2), ("gptj", GPT_J), ("codegen", GPT_J), ("gpt_oss", GPT_OSS)],
)
def test_where_masks_are_added_to_scores_it_writes_what_transformers_would(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    folder = saved(tmp_path / "model", of(kind), **settings)
    handler = configured(folder, tmp_path / "out")
    assert written(handler) == of_transformers(folder, do_sample=False)


@pytest.mark.parametrize(
    ("kind", "settings", "why"),
    [
        ("bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4}, "can't write token by token"),
        ("mpt", MPT, "row 0, token 3: logits differ by"),  # the first behind the prompt
        ("gpt_neo", GPT_NEO, "row 0, token 3: logits differ by"),
    ],
)
def test_what_would_be_written_otherwise_token_by_token_is_refused(
    tmp_path: Path, kind: str, settings: dict[str, Any], why: str
) -> None:
    folder = saved(tmp_path / "model", of(kind), **settings)
    with pytest.raises(UnsupportedError, match=why):
        configured(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "runtime"),
    [
        (llama, "torchscript"),
        pytest.param(gpt2, "onnx", marks=pytest.mark.slow),
        *(
            pytest.param(
                functools.partial(of(kind), **settings), runtime, marks=pytest.mark.slow, id=kind
            )
            for kind, settings, runtime in [
                ("gemma2", GEMMA_2, "onnx"),
                ("gpt_oss", GPT_OSS, "torchscript"),
                ("phi3", PHI_3, "onnx"),
                ("qwen3", QWEN_3, "onnx"),
            ]
        ),
    ],
)
def test_a_folder_builds_and_serves_with_a_short_recipe(
    tmp_path: Path, make: Callable[..., None], runtime: str
) -> None:
    folder = saved(tmp_path / "model", make)
    recipe = tmp_path / "writer.yaml"
    recipe.write_text(
        f"""
        name: writer
        task: text_generation
        source: {{huggingface: {folder}}}
        runtime: {runtime}
        serving: {{batch_size: 5}}
        """
    )
    build(reading.load(recipe), tmp_path / "store")
    options = {"max_new_tokens": 30}
    with Harness(tmp_path / "store" / "writer.mar") as harness:
        asked = [Request.json({"data": text, "parameters": options}) for text in TEXTS]
        answers = [json.loads(response.body) for response in harness.predict(asked)]
    assert [answer["text"] for answer in answers] == of_transformers(folder, do_sample=False)


def test_what_the_folder_says_of_lengths_and_chance_is_kept(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", mistral, sliding_window=48)
    said = {"eos_token_id": [0, 5], "do_sample": True, "temperature": 0.7, "top_p": 0.9}
    (folder / "generation_config.json").write_text(json.dumps(said))
    handler = configured(folder, tmp_path / "out")
    assert handler.config.max_tokens == 48
    assert handler.config.stop_tokens == (END, tokenizer().id_to_token(5))
    options = handler.default_options
    assert (options.temperature, options.top_p, options.top_k) == (0.7, 0.9, 50)


def test_a_model_without_a_cache_of_keys_is_refused(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=TOKENS, hidden_size=16, num_hidden_layers=1, state_size=4)
    with pytest.raises(UnsupportedError, match="keys and values"):
        wrap(MambaForCausalLM(config).eval(), tmp_path)


def test_a_text_is_no_longer_than_a_layer_looks_back(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**SIZES, **COMMON)).eval()
    model.config.attention_chunk_size = 32
    for kinds, positions in (
        (None, 32),
        (["chunked_attention", "full_attention"], 32),
        (["full_attention"] * 2, 128),
    ):
        model.config.layer_types = kinds
        assert wrap(model, tmp_path).positions == positions


def test_a_text_is_no_longer_than_its_positions_turn_alike(tmp_path: Path) -> None:
    from transformers import Phi3Config, Phi3ForCausalLM

    rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 24}
    rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 2.0]}
    config = Phi3Config(**SIZES, **COMMON, pad_token_id=0, rope_parameters=rope)
    config.original_max_position_embeddings = 24
    assert wrap(Phi3ForCausalLM(config).eval(), tmp_path).positions == 24


def test_what_a_model_that_sees_says_of_its_part_for_text_counts(tmp_path: Path) -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    text = {**SIZES, **COMMON, "head_dim": 8, "sliding_window": 24}
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = {**sizes, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    assert wrap(Gemma3ForConditionalGeneration(config).eval(), tmp_path).positions == 24


def test_a_text_is_no_longer_than_a_decoders_own_positions(tmp_path: Path) -> None:
    from transformers import WhisperConfig, WhisperForCausalLM

    sizes: dict[str, Any] = {"d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4}
    sizes |= {"decoder_ffn_dim": 48, "max_target_positions": 24, "pad_token_id": 0}
    config = WhisperConfig(**sizes, **COMMON)
    assert wrap(WhisperForCausalLM(config).eval(), tmp_path).positions == 24


def test_a_text_is_no_longer_than_the_keys_that_a_layer_keeps(tmp_path: Path) -> None:
    from transformers import DogeConfig, DogeForCausalLM

    config = DogeConfig(**SIZES, **COMMON, keep_window_size=24)
    assert wrap(DogeForCausalLM(config).eval(), tmp_path).positions == 24
