"""The chat template of a Hugging Face folder, as it travels with a language model."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TypedDict

from handlers.errors import HandlerError
from handlers.generation.chat import ChatTemplate
from marsmith.errors import BuildError
from marsmith.extras import need
from marsmith.sources.heads import read_json

FILE = "chat_template.jinja"
CONFIG = "tokenizer_config.json"
KEEP_OUT = "remove it from the folder if the model is not for conversations"
TALK = [
    {"role": "user", "content": " What is it? "},
    {"role": "assistant", "content": "A question."},
    {"role": "user", "content": "No:\nan answer"},
]


class ChatSettings(TypedDict, total=False):
    """What the `handler:` section of a language model says of conversations."""

    chat_template: str
    special_tokens: dict[str, str]


def bring(folder: Path, out: Path) -> ChatSettings:
    """Write the folder's chat template into `out`, if it has one.

    Args:
        folder: has a chat_template.jinja, or a template in its tokenizer_config.json.
        out: an existing folder.

    Raises:
        BuildError: it can't be read, or does not write what transformers makes of it.
    """
    if not has_one(folder):
        return {}
    need("huggingface", "transformers")
    try:
        auto = importlib.import_module("transformers").AutoTokenizer
        tokenizer = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        source = tokenizer.get_chat_template()
    except Exception as error:  # what is wrong in the files decides which
        raise BuildError(
            f"the chat template of {folder.name} can't be read: {error}",
            KEEP_OUT,
        ) from error
    tokens = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    try:
        ours = ChatTemplate(source, tokens).render(TALK)
    except HandlerError as error:
        raise BuildError(f"the chat template of {folder.name} fails: {error}", KEEP_OUT) from error
    theirs = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    if ours != theirs:
        raise BuildError(
            f"the chat template of {folder.name} writes something else than in transformers",
            KEEP_OUT,
        )
    (out / FILE).write_text(source, "utf-8")
    return {"chat_template": FILE, "special_tokens": tokens}


def has_one(folder: Path) -> bool:
    """Whether the folder has a chat template."""
    if (folder / FILE).is_file():
        return True
    said = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    return isinstance(said, dict) and bool(said.get("chat_template"))
