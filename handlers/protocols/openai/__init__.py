"""OpenAI's routes, one file each: what may be asked there, and how answers are written.

The module's name is the key: `chat_completions.py` answers what is sent to `v1/chat/completions`.
A route knows OpenAI's shapes and no task. It serves each model whose answers have what it needs.

See: https://platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

import re
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from handlers import by_name
from handlers.errors import BadRequest, HandlerError, ModelError
from handlers.schema import JsonObject, SchemaError, kind, parse, setting
from handlers.task import Answer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

HEADER = "x-openai-route"
"""Where a front says the route: what it asks TorchServe has another path."""
VERSION = "v1/"
ALSO = ("v2/", "")
"""What may stand before a route's name instead, as in Cohere's own paths and those of others."""
DONE = "[DONE]"
NO_NUMBERS = "send text, not tokens: their numbers are those of another tokenizer"
REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, kw_only=True)
class RouteFields:
    """The fields of a body that every route has."""

    model: str | None = setting(None, "The model's name, where the path doesn't say it.")
    user: str | None = setting(None, "Who asks; changes nothing.")


@dataclass(frozen=True)
class Asked:
    """What a body asks of the model.

    Attributes:
        instances: for the task to decode.
        options: the task's, as the client has set them.
        usual: the task's, where neither the client nor the archive says anything.
    """

    instances: Sequence[object]
    options: Mapping[str, object] = field(default_factory=dict)
    usual: Mapping[str, object] = field(default_factory=dict)


class FieldError(BadRequest):
    """A field of a body has something in it that isn't allowed.

    Args:
        message: what was wrong.
        param: the field.
        code: OpenAI's name for the error, if it has one.
        hint: what to do about it.
        status: the HTTP status that the request gets.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        hint: str = "",
        status: int = 400,
    ) -> None:
        super().__init__(message, hint=hint, status=status)
        self.param, self.code = param, code


class Route(ABC):
    """One request to one of OpenAI's routes.

    Args:
        model: the name of the model that is asked.
        identity: tells the request from others; a client may have given it.

    Attributes:
        Fields: the dataclass of what a body may hold.
        needs: the fields of a task's answers that the route is written from.
        form: whether a body is a form, not JSON.
        typed: JSON Schemas of the fields that a body must have.
        answer: a JSON Schema of what `write` makes, where that is JSON.
        hints: what to do where a field is wrong, by its name.
        media_type: the media type of the answer.
        body: what was sent.
        answered: the fields that the model's answers have.
    """

    Fields: ClassVar[type[DataclassInstance]] = RouteFields
    needs: ClassVar[tuple[str, ...]]
    form: ClassVar[bool] = False
    typed: ClassVar[JsonObject] = {}
    answer: ClassVar[JsonObject] = {}
    hints: ClassVar[Mapping[str, str]] = {}

    body: Any

    def __init__(self, model: str, identity: str = "") -> None:
        self.model = model
        self.identity = identity if REQUEST_ID.fullmatch(identity) else uuid.uuid4().hex
        self.created = int(time.time())
        self.media_type = "application/json"
        self.answered: Collection[str] = ()

    def read(self, body: object, known: Collection[str]) -> Asked:
        """Read a body.

        Args:
            body: what was sent, an object.
            known: the names of the options that the task has.

        Raises:
            FieldError: a field is unknown or wrong, or the model doesn't have what it asks for.
        """
        if not isinstance(body, Mapping):
            raise FieldError(f"the body must be an object, not {kind(body)}")
        try:
            self.body = parse(self.Fields, body, where="the request", text=self.form)
        except SchemaError as error:
            hint = self.hints.get(error.key, "")
            raise FieldError(str(error), param=error.key or None, hint=hint) from None
        if self.body.model not in (None, self.model):
            raise FieldError(
                f"the model {self.body.model[:80]!a} is not here; {self.model} is",
                param="model",
                code="model_not_found",
                status=404,
            )
        asked = self.asked(known)
        for name in asked.options:
            if name not in known:
                raise FieldError(f"the model {self.model} has no {name!r}", param=name)
        return asked

    @abstractmethod
    def asked(self, known: Collection[str]) -> Asked:
        """What `body` asks of the model; `known` are the options that the task has."""

    @abstractmethod
    def write(self, answers: Sequence[Any]) -> JsonObject | str | bytes:
        """Write the answers as an object, or as text or bytes where `media_type` says so.

        Args:
            answers: one for each instance; they have what the route needs.
        """

    def pieces(self, said: Mapping[str, Any]) -> list[JsonObject | str]:
        """Write a piece of a stream as the data of server-sent events.

        Args:
            said: the next `text`; in the last piece with all of the answer, or an `error`.
        """
        raise ModelError(f"{type(self).__name__} is not sent in pieces")


TEXT: JsonObject = {"type": "string"}
NUMBER: JsonObject = {"type": "number"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
TEXTS: JsonObject = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}


def shape(*optional: str, **properties: JsonObject) -> JsonObject:
    """The JSON Schema of an object; all its properties are there, but for those named first."""
    needed = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": needed}


def several(item: JsonObject) -> JsonObject:
    """The JSON Schema of a list."""
    return {"type": "array", "items": item}


def const(value: str) -> JsonObject:
    """The JSON Schema of a word that is always the same."""
    return {"type": "string", "const": value}


class NoRoute(Route):
    """What is asked at a path where there is nothing."""

    needs = ()

    def read(self, body: object, known: Collection[str]) -> Asked:
        """Refuse it."""
        raise FieldError(
            "there is no such route", hint=f"there are: {', '.join(paths())}", status=404
        )

    def asked(self, known: Collection[str]) -> Asked:
        """Nothing."""
        return Asked(())

    def write(self, answers: Sequence[Any]) -> JsonObject:
        """Nothing."""
        return {}


def texts_of(given: str | tuple[str, ...], param: str) -> list[str]:
    """The texts of a field that has one or a list of them.

    Raises:
        FieldError: there are none.
    """
    texts = [given] if isinstance(given, str) else list(given)
    if not texts:
        raise FieldError(f"the request has no {param!r}", param=param, hint="send a string")
    return texts


def paths() -> list[str]:
    """The paths of all routes."""
    return [VERSION + name.replace("_", "/") for name in by_name.known(__name__)]


def find(path: str) -> type[Route] | None:
    """The route at a path; None where the path isn't OpenAI's.

    Args:
        path: what follows a model's version in TorchServe's path, or what a front says.
    """
    if not path:
        return None
    name = next(path.removeprefix(each) for each in (VERSION, *ALSO) if path.startswith(each))
    if VERSION + name not in paths():
        return NoRoute if path.startswith(VERSION) else None
    name = name.replace("/", "_")
    return by_name.only(by_name.find(__name__, name, "the route"), Route)  # type: ignore[type-abstract]


def check(route: Route, answer: type[Answer]) -> None:
    """Check that a route can be written from a task's answers.

    Raises:
        FieldError: it can't; 404.
    """
    route.answered = _names(answer)
    if set(route.needs) <= route.answered:
        return
    fit = [path for path in paths() if set(_found(path).needs) <= _names(answer)]
    raise FieldError(
        f"the model {route.model} does not answer at this route",
        hint=f"it answers at: {', '.join(fit) or 'none of OpenAI'}",
        status=404,
    )


def _names(answer: type[Answer]) -> set[str]:
    return {each.name for each in fields(answer)}


def _found(path: str) -> type[Route]:
    return find(path) or NoRoute


def error(found: HandlerError, where: str = "") -> tuple[int, JsonObject]:
    """An error in OpenAI's shape, and its status: what a task calls 422 is a 400 there."""
    status = 400 if found.status == 422 else int(found.status)
    said = where + (f"{found.message} ({found.hint})" if found.hint else found.message)
    return status, {
        "error": {
            "message": said[:2000],
            "type": "server_error" if status >= 500 else "invalid_request_error",
            "param": getattr(found, "param", None),
            "code": getattr(found, "code", None),
        }
    }
