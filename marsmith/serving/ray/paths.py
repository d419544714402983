"""What a request's path asks for, by the table that the front has, too."""

from __future__ import annotations

import re
from dataclasses import dataclass

from marsmith.serving.front.configuration import OPENAI_ROUTES, ROUTES

_ROUTES = [(re.compile(pattern), verb) for pattern, verb in ROUTES.items()]
_OPENAI = [(re.compile(pattern), route) for pattern, route in OPENAI_ROUTES.items()]
_OWN_OPENAI = re.compile("/predictions/[^/]+/v[12]/[a-z]")
UNKNOWN = "_"


@dataclass(frozen=True)
class AskedPath:
    """What is asked for.

    Attributes:
        verb: what is to be done; "_" where there is nothing at the path.
        model: whose name the path says; "" if it says none.
        version: the model's, which the path says; None if it says none.
        openai: the route of OpenAI's, such as "v1/embeddings"; None if it is none.
        own: whether the path begins with that of a model of its own.
    """

    verb: str
    model: str = ""
    version: str | None = None
    openai: str | None = None
    own: bool = False

    @classmethod
    def of(cls, path: str) -> AskedPath:
        """Read a path, which is as the client has sent it and has no query."""
        verb = next((verb for pattern, verb in _ROUTES if pattern.match(path)), UNKNOWN)
        found = ((pattern.match(path), route) for pattern, route in _OPENAI)
        openai = next((match.expand(route) for match, route in found if match), None)
        parts = [*path.split("/"), "", "", "", "", ""]
        own = path.startswith("/predictions/")
        model, version = "", None
        if own or path.startswith(("/explanations/", "/descriptions/")):
            model = parts[2]
            if parts[3] and parts[1] != "descriptions" and not _OWN_OPENAI.match(path):
                version = parts[3]
        elif path.startswith(("/v1/models/", "/v2/models/")):
            model = parts[3].partition(":")[0]
            if "/versions/" in path and parts[1] == "v2":
                version = parts[5]
        return cls(verb, model, version, openai, own)
