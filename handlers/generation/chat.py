"""Conversations as a model has learnt them: messages in, the text that it goes on with out.

A model's folder has a Jinja template for that. It is run as transformers runs it, without anything
that could reach beyond it, for a limited time.

See: `apply_chat_template` of transformers, and https://jinja.palletsprojects.com/en/stable/sandbox.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from handlers.errors import BadRequest, LoadError
from handlers.schema import kind, object_schema
from handlers.text import text

FILE_NAME = "<template>"
"""What Jinja calls the file of a template that comes as text."""
SECONDS = 2.0
MAX_CHARACTERS = 1_000_000
MAX_MESSAGES = 1024
ROLE, CONTENT = "role", "content"
MESSAGE = object_schema({ROLE: text.SCHEMA, CONTENT: text.SCHEMA})
SCHEMA = object_schema(
    {"messages": {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": MAX_MESSAGES}}
)
"""The JSON Schema of a conversation."""


class ChatTemplate:
    """A template of a conversation.

    Args:
        source: in Jinja's language.
        tokens: special tokens that it knows by name.

    Raises:
        LoadError: jinja2 is missing or too old, or this is no template.
    """

    def __init__(self, source: str, tokens: Mapping[str, object]) -> None:
        self._tokens = dict(tokens)
        try:
            self._template = _environment().from_string(source)
        except LoadError:
            raise
        except Exception as error:  # of Jinja's compiler
            raise LoadError(f"the chat template is none: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of a conversation, up to where the model's next message begins.

        Raises:
            BadRequest: the template refuses it, fails, or takes too long.
        """
        told: dict[str, Any] = {"tools": None, "documents": None, "add_generation_prompt": True}
        pieces, size = [], 0
        try:
            with _limited(SECONDS):
                for piece in self._template.generate(
                    **{**self._tokens, **told, "messages": [dict(each) for each in messages]}
                ):
                    pieces.append(piece)
                    size += len(piece)
                    if size > MAX_CHARACTERS:
                        raise OverflowError(f"it writes more than {MAX_CHARACTERS} characters")
        except Exception as error:  # a template's own words, or whatever it stumbles over
            reason = f"{str(error)[:300]!a}"
            raise BadRequest(
                f"the model's chat template refuses these messages: {reason}", status=422
            ) from None
        return "".join(pieces)


def read(path: Path, tokens: Mapping[str, object]) -> ChatTemplate:
    """Read a template of an archive.

    Raises:
        LoadError: it isn't there, or is no template.
    """
    try:
        source = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadError(f"the chat template {path.name} can't be read: {error}") from error
    return ChatTemplate(source, tokens)


def messages_of(instance: Mapping[str, object]) -> list[dict[str, str]]:
    """The messages of an instance.

    Raises:
        BadRequest: it has none, or something else in it.
    """
    hint = 'send {"messages": [{"role": "user", "content": "..."}]}'
    (messages,) = text.parts_of(instance, ("messages",))
    if not isinstance(messages, list) or not 1 <= len(messages) <= MAX_MESSAGES:
        raise BadRequest(f"'messages' must be a list of 1 to {MAX_MESSAGES}", hint=hint, status=422)
    found = []
    for each in messages:
        if not isinstance(each, Mapping) or set(each) != {ROLE, CONTENT}:
            raise BadRequest("a message is a role and its content", hint=hint, status=422)
        role, content = each[ROLE], each[CONTENT]
        if not isinstance(role, str) or not isinstance(content, str):
            raise BadRequest(
                f"role and content must be strings, not {kind(role)} and {kind(content)}",
                status=422,
            )
        found.append({ROLE: role, CONTENT: content})
    return found


def _environment() -> Any:
    """Jinja, as transformers sets it up."""
    try:
        from importlib.metadata import version

        from jinja2 import TemplateError, nodes
        from jinja2.exceptions import SecurityError
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise LoadError("a chat template needs Jinja", hint="pip install jinja2") from error
    if tuple(map(int, version("jinja2").split(".")[:3])) < (3, 1, 6):
        raise LoadError("older versions of Jinja have holes", hint="pip install 'jinja2>=3.1.6'")

    class TrainedOn(Extension):
        """{% generation %}, which marks what a model is trained on, and writes nothing."""

        tags = {"generation"}

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    class Sandbox(ImmutableSandboxedEnvironment):
        """Where one operation can't take for ever."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            numbers = all(isinstance(each, (int, float)) for each in (left, right))
            if operator == "**" or (operator != "%" and not numbers):
                raise SecurityError(f"{operator!r} is for numbers alone, and powers are for none")
            return super().call_binop(context, operator, left, right)

    def refuse(message: object) -> None:
        raise TemplateError(str(message))

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[TrainedOn, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment


def _to_json(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Stop a template that runs for too long, wherever it is; within this thread alone."""
    until, before = time.monotonic() + seconds, sys.gettrace()

    def look(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        if time.monotonic() > until:
            raise TimeoutError("it takes too long")
        return look if frame.f_code.co_filename == FILE_NAME else None

    sys.settrace(look)
    try:
        yield
    finally:
        sys.settrace(before)
