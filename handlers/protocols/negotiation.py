"""Choose the media type of an answer, among those that a task can write: HTTP's Accept.

See: RFC 9110, section 12.5.1.
"""

from __future__ import annotations

from collections.abc import Sequence


def choose(accept: str, offered: Sequence[str]) -> str:
    """The offered media type that a client wants most.

    Args:
        accept: the value of the header; empty when there is none.
        offered: in our order of preference; the first is chosen when nothing fits.
    """
    ranges = [_read(part) for part in accept.split(",")]

    def wanted(media_type: str) -> tuple[float, int]:
        family = media_type.partition("/")[0]
        patterns = ("*/*", f"{family}/*", media_type)
        fits = [(patterns.index(name), weight) for name, weight in ranges if name in patterns]
        specific, weight = max(fits, default=(0, 0.0))
        return weight, specific

    return max(offered, key=wanted)


def _read(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip().lower() for piece in part.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return name, min(1.0, max(0.0, float(parameter[2:])))
            except ValueError:
                return name, 0.0
    return name, 1.0
