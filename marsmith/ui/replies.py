"""Answers of the page's server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.responses import JSONResponse


def refusal(status: int, error: str, hint: str) -> JSONResponse:
    """An error, as the model server's own look."""
    from starlette.responses import JSONResponse

    return JSONResponse({"error": error, "hint": hint}, status)
