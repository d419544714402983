"""An answer that is sent while it is written: what there is of it, and what has been sent."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from handlers.errors import HandlerError
from handlers.generation.decoding import TokenSequence
from handlers.protocols import payload
from handlers.protocols.exchange import Exchange
from handlers.schema import JsonObject

LINES, EVENTS = "application/jsonlines", "text/event-stream"


@dataclass(eq=False)
class Stream:
    """The answer to a request, from when it comes to its last byte.

    Attributes:
        exchange: what was asked, and the answer where it isn't sent in pieces.
        sequences: what is written for it.
        media_type: of its pieces; None where the answer is one whole.
        piecewise: its pieces may be sent before the last is known.
        sent: how many characters of its pieces have been.
        opened: some of its answer has been sent.
        began: when it came.
        error: why all of it has failed.
    """

    exchange: Exchange
    sequences: list[TokenSequence] = field(default_factory=list)
    media_type: str | None = None
    piecewise: bool = False
    sent: int = 0
    opened: bool = False
    began: float = field(default_factory=time.monotonic)
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
        """Why it has failed, all of it or one of its sequences."""
        return self.error or next((each.error for each in self.sequences if each.error), None)

    def take(self) -> str:
        """What has been written, and not been sent."""
        piece = self.sequences[0].text[self.sent :]
        self.sent += len(piece)
        return piece

    def line(self, said: JsonObject) -> bytes:
        """A piece, as its media type has it."""
        self.exchange.media_type = self.media_type or payload.JSON
        data = payload.dump(said)
        return b"data: " + data + b"\n\n" if self.media_type == EVENTS else data + b"\n"
