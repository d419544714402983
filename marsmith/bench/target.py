"""What a load is sent to: an address, and request bodies in turn."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from handlers.schema import Json
from marsmith.client.flows import Api
from marsmith.errors import MarsmithError
from marsmith.recipe.sections import Recipe
from marsmith.serving.host.run_folder import ServerInfo

RAW = "application/octet-stream"


@dataclass(frozen=True)
class Body:
    """One request's body and its media type."""

    content: bytes
    media_type: str = RAW


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and what they are.

    Attributes:
        url: of every request, a POST.
        bodies: sent in turn, so that no cache of the server's sees one alone.
        headers: of every request, such as its key.
        what: where the bodies come from, in words.
        temp_dir: the temporary folder of a server of ours, to find its processes.
    """

    url: str
    bodies: tuple[Body, ...]
    headers: Mapping[str, str] = field(default_factory=dict)
    what: str = "the bodies given"
    temp_dir: Path | None = None


def of_url(url: str, bodies: Sequence[Body], headers: Sequence[str]) -> Endpoint:
    """A target that is no server of ours.

    Args:
        url: http or https.
        bodies: at least one.
        headers: each as "Name: value".

    Raises:
        MarsmithError: the address is none, there is no body, or a header has no colon.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
        raise MarsmithError(f"{url!r} is not an address", "say http://HOST:PORT/PATH")
    if not bodies:
        raise MarsmithError("an address needs bodies to send", "name files: --body FILE")
    return Endpoint(url, tuple(bodies), dict(_header(each) for each in headers))


def of_model(
    info: ServerInfo,
    name: str,
    bodies: Sequence[Body],
    what: str,
    options: Mapping[str, object] | None = None,
    *,
    stream: bool = False,
) -> Endpoint:
    """A model of a running server of ours, asked as its client asks, by its own user's key.

    Args:
        info: the server.
        name: the model's.
        bodies: at least one.
        what: where they come from, in words.
        options: of the task, by name.
        stream: ask for the answer piece by piece.
    """
    api = Api(info.inference_address, None, info.key_file)
    requests = [
        api.streaming(name, each.content, each.media_type, options)
        if stream
        else next(api.ask("predictions", name, each.content, each.media_type, options, None))
        for each in bodies
    ]
    sent = tuple(Body(each.read(), each.headers.get("Content-Type", RAW)) for each in requests)
    headers = {k: requests[0].headers[k] for k in ("Authorization",) if k in requests[0].headers}
    return Endpoint(str(requests[0].url), sent, headers, what, info.temp_dir)


def held_out(recipe: Recipe) -> list[Body]:
    """The bodies of a recipe's held-out data.

    Raises:
        MarsmithError: it has none.
        BuildError: the data is none.
    """
    from marsmith.verify.evaluation import bodies_of, items_of  # imports torch

    if recipe.evaluation is None:
        raise MarsmithError(
            f"the recipe of {recipe.name} has no evaluation", "name files instead: --body FILE"
        )
    data = recipe.evaluation.data
    return [Body(each) for each in bodies_of(items_of(data), data)]


def example(described: Json) -> Body:
    """The example body that a model's description has.

    Raises:
        MarsmithError: it has none.
    """
    said = described.get("example") if isinstance(described, dict) else None
    if not isinstance(said, dict) or "body_base64" not in said:
        raise MarsmithError("the model describes no example", "name files: --body FILE")
    return Body(b64decode(str(said["body_base64"])), str(said.get("content_type") or RAW))


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise MarsmithError(f"the header {text!r} must be 'Name: value'")
    return name.strip(), value.strip()
