"""Conversations become what transformers makes of them, and no template runs for ever."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from handlers.errors import BadRequest, LoadError
from handlers.generation import chat

# Small ones in the manner of those that models have.
CHATML = """{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
"""
LLAMA_2 = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{% set loop_messages = messages[1:] %}{% set system = messages[0]['content'] %}
{% else %}{% set loop_messages = messages %}{% set system = false %}{% endif %}
{%- for message in loop_messages -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Conversation roles must alternate') }}{%- endif -%}
{%- if message['role'] == 'user' -%}[INST] {{ ('<<SYS>>\n' + system + '\n<</SYS>>\n\n' if
loop.first and system else '') + message['content'].strip() }} [/INST]
{%- else %} {{ message['content'] | trim + ' ' + eos_token }}{% endif %}{%- endfor -%}"""
LLAMA_3 = """{%- set ns = namespace(first=true) -%}
{%- for message in messages -%}{% set content = '<|start_header_id|>' + message['role'] +
'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' %}
{%- if ns.first %}{% set content = bos_token + content %}{% set ns.first = false %}{% endif -%}
{{- content -}}{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""
GEMMA = """{{ bos_token }}{% for message in messages %}
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}
{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
QWEN = """{%- if tools %}{{ tools | tojson }}{%- endif %}
{%- for message in messages %}{%- if message.role == 'nobody' %}{% continue %}{% endif %}
{{- '<|im_start|>' + message.role + '\n' }}
{%- generation %}{{ message.content }}{% endgeneration %}{{ '<|im_end|>\n' }}{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}
{{ messages | tojson(indent=1) }}{% if not documents is defined %}x{% endif %}"""
TEMPLATES = [CHATML, LLAMA_2, LLAMA_3, GEMMA, QWEN]
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
SAID = [
    [{"role": "user", "content": " Grüße, <b>&'\"\n "}],
    [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two "}, {"role": "user", "content": "Three 😀"},
    ],
]  # fmt: skip


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("messages", SAID)
def test_a_prompt_is_what_transformers_writes(template: str, messages: list[Any]) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    theirs = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), **TOKENS)
    theirs.chat_template = template
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.ChatTemplate(template, TOKENS).render(messages) == expected


@pytest.mark.parametrize(
    "bomb",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxx{% endfor %}{% endfor %}",
        "{{ 'a' * 1000000000 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages.append(1) }}",
        "{{ raise_exception('No: ü') }}",
        "{{ nothing.at.all }}",
    ],
)
def test_a_template_that_fails_refuses_one_request(
    bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat, "SECONDS", 0.2)
    with pytest.raises(BadRequest, match="template refuses") as caught:
        chat.ChatTemplate(bomb, {}).render(SAID[0])
    assert caught.value.status == 422
    assert caught.value.message.isascii()


@pytest.mark.parametrize(
    "messages",
    [None, [], "hello", [1], [{"role": "user"}], [{"role": "user", "content": ["a"]}],
     [{"role": "user", "content": "a", "name": "b"}]],
)  # fmt: skip
def test_what_is_no_conversation_is_refused(messages: object) -> None:
    with pytest.raises(BadRequest):
        chat.messages_of({"messages": messages})


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="the chat template none"):
        chat.read(tmp_path / "none.jinja", {})
    with pytest.raises(LoadError, match="template is none"):
        chat.ChatTemplate("{% for %}", {})
    usual = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("jinja2"):
            raise ImportError(name)
        return usual(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LoadError, match="pip install jinja2"):
        chat.ChatTemplate("", {})
