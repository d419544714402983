"""What is said to whoever gets no answer of a model, in the words of the front."""

from __future__ import annotations

import json
from collections.abc import Mapping

from marsmith.serving.front.configuration import OPENAI_ERRORS


class RefusedError(Exception):
    """A request gets no answer of a model.

    Args:
        status: of HTTP.
        error: what was wrong.
        hint: what to do about it.
        reason: the front's name for it.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        error: str,
        hint: str,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(error)
        self.status, self.error, self.hint = status, error, hint
        self.reason, self.headers = reason, dict(headers or {})

    def body(self, *, openai: bool) -> bytes:
        """The body of the answer; `openai`: for one of OpenAI's clients."""
        if not openai:
            return json.dumps({"error": self.error, "hint": self.hint}).encode()
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        said = {
            "message": f"{self.error} ({self.hint})",
            "type": kind,
            "param": "model" if self.reason == "model" else None,
            "code": OPENAI_ERRORS.get(self.reason, self.reason),
        }
        return json.dumps({"error": said}).encode()


RETRY = {"retry-after": "1"}


def no_path() -> RefusedError:
    """Nothing is at the path."""
    hint = (
        "models answer at POST /predictions/MODEL, /explanations/MODEL, /v1/models/MODEL:predict"
        " and /v2/models/MODEL/infer"
    )
    return RefusedError(404, "there is nothing at this path", hint, "route")


def no_method(method: str, allowed: str) -> RefusedError:
    """The path takes other methods."""
    hint = "ask a model with POST, everything else with GET"
    return RefusedError(405, f"{method} is not allowed here", hint, "method", {"allow": allowed})


def no_key() -> RefusedError:
    """A key is needed."""
    hint = (
        "send Authorization: Bearer KEY; whoever runs this server adds one with `marsmith keys add`"
    )
    return RefusedError(401, "this needs a key", hint, "key", {"www-authenticate": "Bearer"})


def too_often(rate: int) -> RefusedError:
    """A key has sent more than it may."""
    error = f"this key may send {rate} requests a second"
    return RefusedError(429, error, "send fewer, or ask for a higher rate", "rate", RETRY)


def no_scope(key: str, scopes: str, needed: str) -> RefusedError:
    """A key is for something else."""
    error = f"the key {key} is not for this; it is for: {scopes}"
    return RefusedError(403, error, f"a key with the scope {needed} is needed", "scope")


def unnamed(kibibytes: int) -> RefusedError:
    """Neither path nor body names a model."""
    error = f"the first {kibibytes} KiB of the body do not name a model"
    hint = "send model first, or take /predictions/MODEL/v1 as the base URL"
    return RefusedError(400, error, hint, "unnamed")


def no_model(name: str, hint: str) -> RefusedError:
    """There is no such model."""
    return RefusedError(404, f"there is no model {name[:128]}", hint, "model")


def no_version(name: str, asked: str, there: str, *, health: bool = False) -> RefusedError:
    """There is no such version; `health`: of who asked whether it is ready."""
    what = "such version" if health else f"version {asked}"
    return RefusedError(
        404, f"there is no {what} of the model {name}", f"there is: {there}", "model"
    )


def not_described(name: str) -> RefusedError:
    """The model doesn't describe itself."""
    error = f"the model {name} does not describe itself"
    return RefusedError(404, error, "models that marsmith has built do", "route")


def not_openai(name: str) -> RefusedError:
    """The model knows no route of OpenAI's."""
    error = f"the model {name} does not know the routes of OpenAI"
    return RefusedError(404, error, "models that marsmith builds now do", "route")


def too_large(size: int, most: int) -> RefusedError:
    """The body is larger than the model takes."""
    error = f"the body has {size} bytes; at most {most} are allowed"
    return RefusedError(413, error, "send less at once", "size")


def down(name: str) -> RefusedError:
    """No replica of the model runs."""
    hint = "send it again after a while; `serve status` says what is wrong"
    error = f"the model {name} has no worker that could answer"
    return RefusedError(503, error, hint, "down", {"retry-after": "2"})


def queue(name: str) -> RefusedError:
    """Too many wait."""
    error = f"too many requests wait for the model {name}"
    return RefusedError(503, error, "send it again after a while", "queue", RETRY)


def killed() -> RefusedError:
    """A worker died, and so did another that was asked anew."""
    error = "the worker was killed before it had answered"
    return RefusedError(503, error, "send it again", "", RETRY)


def too_long() -> RefusedError:
    """The answer didn't come in time."""
    return RefusedError(504, "the answer took too long", "send less at once")


def no_metrics() -> RefusedError:
    """Metrics are Ray's, of each node."""
    hint = "scrape Ray's own, of each node: see docs/ray.md"
    return RefusedError(404, "there are no metrics at this address", hint, "route")


def no_forms(name: str) -> RefusedError:
    """The model's handler reads no forms; TorchServe's Java would have read this one."""
    error = f"the model {name} can't be asked by a form here"
    return RefusedError(415, error, "send the input itself as the body", "form")
