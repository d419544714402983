"""Answers of the page's server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from marsmith.errors import ServerError

if TYPE_CHECKING:
    from starlette.responses import Response


def answer(data: object, status: int = 200) -> Response:
    """Data, as JSON in ASCII: what a model says of itself may have half of a surrogate pair.

    Raises:
        ServerError: it has a NaN or an infinity in it.
    """
    from starlette.responses import Response

    try:
        text = json.dumps(data, allow_nan=False)
    except ValueError as error:
        raise ServerError(f"the server says what is no JSON: {error}") from error
    return Response(text, status, media_type="application/json")


def refusal(status: int, error: str, hint: str) -> Response:
    """An error, as the model server's own look."""
    return answer({"error": error, "hint": hint}, status)
