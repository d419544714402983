"""Every causal language model of transformers: it writes what `generate` writes, or is refused."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_generation import TextGeneration
from marsmith.cache import Cache
from marsmith.errors import BuildError, UnsupportedError
from marsmith.sources.huggingface import HuggingFace
from tests.support.language_model import END, TOKENS, tokenizer
from tests.support.tiny_configs import shrink

TINY = 5_000_000  # parameters
# Types that people have, none of which may come to be refused: a test of refusals alone can't fail.
RIGHT = {
    "codegen", "gemma2", "gpt2", "gpt_neox", "gpt_oss", "gptj", "llama", "mistral", "mixtral",
    "opt", "phi3", "qwen2", "qwen3",
}  # fmt: skip
CHANCE = random.Random(6)
PROMPTS = ["import json\n", "größe 模型", "x", "a" * 70, "def f(x, y):\n    return"]
PROMPTS += ["".join(CHANCE.choices(string.printable, k=4 * n)) for n in range(1, 16)]
SETTINGS: dict[str, Any] = {
    "vocab_size": TOKENS, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0,
}  # fmt: skip


def types() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


# Of types whose sizes depend on each other, the first of these that the type takes.
VARIANTS: list[dict[str, Any]] = [
    {}, {"num_key_value_heads": 4}, {"head_dim": None, "num_key_value_heads": 4},
    {"kv_lora_rank": None, "q_lora_rank": None, "qk_rope_head_dim": None,
     "qk_nope_head_dim": None, "v_head_dim": None, "head_dim": None, "num_key_value_heads": 4},
    {"num_experts_per_tok": 1, "hidden_size_per_layer_input": None},
    {"layers": None, "num_hidden_layers": 4, "num_layers": 4, "n_layer": 4},
]  # fmt: skip


def made(kind: str, folder: Path) -> None:
    """Save a tiny model, with random weights that are far from each other.

    Where that can't be, the test is skipped.
    """
    problems: list[str] = []
    for variant in VARIANTS:
        try:
            save(kind, folder, variant)
        except Exception as error:
            problems.append(" ".join(str(error).split())[:150])
        else:
            return
    assert kind not in RIGHT, problems
    pytest.skip(f"{kind} can't be made tiny: {problems[0]}")


def save(kind: str, folder: Path, variant: Mapping[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = shrink(AutoConfig.for_model(kind), **{**SETTINGS, **variant})
    for name in ("initializer_range", "init_std", "initializer_factor"):
        if hasattr(config, name):
            setattr(config, name, 0.2)
    with torch.device("meta"):
        size = sum(each.numel() for each in AutoModelForCausalLM.from_config(config).parameters())
    if size > TINY:
        raise ValueError(f"it has {size:,} parameters")
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.inference_mode():
        model(input_ids=torch.tensor([[1, 2, 3]]))
    model.save_pretrained(folder)


def of_transformers(folder: Path) -> list[list[int]]:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    found = []
    for prompt in PROMPTS:
        ids = torch.tensor([tokenizer().encode(prompt).ids])
        with torch.inference_mode():
            made_ids = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=20
            )
        found.append(made_ids[0, ids.shape[1] :].tolist())
    return found


def ours(module: Any, source: HuggingFace, out: Path) -> list[list[int]]:
    out.mkdir()
    handler: TextGeneration = tasks.find("text_generation")()
    handler.configure({"task": "text_generation", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    options = handler.Options(max_new_tokens=20)
    rows = [handler.sequence(handler.decode(prompt, options)) for prompt in PROMPTS]
    decoder = handler.decoder(8)
    for row in rows:
        decoder.add(row)
    while decoder.busy:
        decoder.step()
    return [row.made for row in rows]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", types())
def test_it_writes_what_generate_writes_or_is_refused(kind: str, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path / "model"
    made(kind, folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END).save_pretrained(folder)
    source = HuggingFace(huggingface=folder, head="text_generation")
    try:
        module = source.load(Cache(tmp_path / "cache"), lambda line: None)
        written = ours(module, source, tmp_path / "out")
    except (BuildError, UnsupportedError) as refused:
        if kind in RIGHT:
            raise
        pytest.skip(f"{kind} is refused: {refused}")
    assert written == of_transformers(folder)
