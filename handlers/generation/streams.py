"""Streams: answers that are sent while they are written."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from handlers.errors import HandlerError
from handlers.generation.decoding import TokenSequence
from handlers.protocols import json_text
from handlers.protocols.exchange import Exchange
from handlers.schema import JsonObject

LINES, EVENTS = "application/jsonlines", "text/event-stream"


@dataclass(eq=False)
class Stream:
    """The answer to a request, from the request's arrival to the last byte.

    Attributes:
        exchange: the request, and the answer where it isn't sent in pieces.
        sequences: the sequences that are written for it.
        media_type: the media type of its pieces; None where the answer is sent as a whole.
        piecewise: whether its pieces may be sent before the last is known.
        sent: how many characters have been sent.
        opened: whether some of its answer has been sent.
        began: when the request came.
        came: the same, in nanoseconds since 1970.
        first: when the first token was there, on that clock; noted where somebody is told.
        error: why all of it has failed, if it has.
    """

    exchange: Exchange
    sequences: list[TokenSequence] = field(default_factory=list)
    media_type: str | None = None
    piecewise: bool = False
    sent: int = 0
    opened: bool = False
    began: float = field(default_factory=time.monotonic)
    came: int = field(default_factory=time.time_ns)
    first: int | None = None
    error: HandlerError | None = None

    @property
    def done(self) -> bool:
        """Whether all of the answer is known."""
        return all(each.done for each in self.sequences)

    @property
    def has_piece(self) -> bool:
        """Whether there is a piece to be sent, and more will follow."""
        return self.piecewise and not self.done and len(self.sequences[0].text) > self.sent

    @property
    def failure(self) -> HandlerError | None:
        """Why the stream or one of its sequences has failed; None if none has."""
        return self.error or next((each.error for each in self.sequences if each.error), None)

    def take(self) -> str:
        """Take the text that has been written and not yet sent."""
        piece = self.sequences[0].text[self.sent :]
        self.sent += len(piece)
        return piece

    def line(self, said: JsonObject) -> bytes:
        """Write a piece in the stream's media type."""
        self.exchange.media_type = self.media_type or json_text.JSON
        if self.exchange.route:
            pieces = self.exchange.route.pieces(said)
            return b"".join(event(piece) for piece in pieces)
        return event(said) if self.media_type == EVENTS else json_text.dump(said) + b"\n"


def event(said: JsonObject | str) -> bytes:
    """A server-sent event: JSON, or a word as it is.

    See: https://html.spec.whatwg.org/multipage/server-sent-events.html.
    """
    data = said.encode("ascii") if isinstance(said, str) else json_text.dump(said)
    return b"data: " + data + b"\n\n"
