"""Sound that is sent sentence by sentence, while the next sentences are still to be spoken."""

from __future__ import annotations

import logging
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ts.protocol.otf_message_handler import create_predict_response

from handlers import base, wave_files
from handlers.errors import BadRequest, HandlerError
from handlers.protocols import json_text, negotiation
from handlers.protocols.exchange import Exchange
from handlers.task import Config, M, O, Sample
from handlers.telemetry import BatchMetrics
from handlers.torchserve import Context

logger = logging.getLogger(__name__)

END = re.compile(r"(?<=[.!?…])\s+|(?<=[。\uff01\uff1f])|\n+")  # the last are wide ! and ?
ONE_BY_ONE = ("raw", "openai")  # protocols in which a request may have one instance alone

C = TypeVar("C", bound=Config)


def split(text: str) -> list[str]:
    """The sentences of a text: what ends with a full stop, an exclamation or a question mark."""
    return [each.strip() for each in END.split(text) if each.strip()] or [text]


class SentenceHandler(base.Handler[C, O, M]):
    """A handler whose answers are sound, a WAV file or bare PCM, and may come in parts.

    A sample is the first sentence, and has the others behind it; `options.stream` asks for parts.
    """

    _asked: Sequence[Exchange] = ()

    @abstractmethod
    def rest(self, sample: Sample[O, M]) -> list[Sample[O, M]]:
        """The samples of the sentences that follow."""

    @abstractmethod
    def pcm(self, answer: Any) -> bytes:
        """The bare samples of a sentence's answer."""

    def read(self, exchange: Exchange) -> None:
        """Read a row; refuse one that wants parts of what has none."""
        super().read(exchange)
        if not exchange.open or not getattr(exchange.options, "stream", False):
            return
        offered = (wave_files.WAV, json_text.JSON)
        chosen = negotiation.choose(exchange.accept or json_text.JSON, offered)
        sounds = exchange.route is not None or chosen == wave_files.WAV
        assert exchange.request is not None  # noqa: S101 - `read` has made it
        alone = exchange.request.protocol in ONE_BY_ONE and len(exchange.instances) == 1
        if not sounds or not alone or exchange.grpc:
            exchange.fail(
                BadRequest(
                    "a stream is the sound of one text, by HTTP",
                    hint='send {"data": "..."}, with the header Accept: audio/wav',
                    status=422,
                )
            )

    def answer_all(self, exchanges: Sequence[Exchange]) -> BatchMetrics:
        """Answer every open exchange, those that stream with their first sentence."""
        self._asked = exchanges
        return super().answer_all(exchanges)

    def handle(self, data: Sequence[Mapping[str, object]], context: Context) -> list[bytes]:
        """Answer a batch; send between what is known, while sentences are left to be spoken."""
        ids: dict[int, str] = dict(context.request_ids)
        context.stopping_criteria = None
        bodies = dict(zip(ids, super().handle(data, context), strict=True))
        asked, self._asked = dict(zip(ids, self._asked, strict=False)), ()
        left = {
            index: rest
            for index, each in asked.items()
            if each.answers
            and each.status < 400
            and getattr(each.options, "stream", False)
            # To the end of a stream that never began TorchServe makes no answer.
            and (rest := self.rest(each.samples[0]))
        }
        for index in left:
            if asked[index].media_type == wave_files.WAV:  # nobody knows yet how long it is
                start = wave_files.header(self._rate(asked[index]))
                bodies[index] = start + bodies[index][len(start) :]
        opened = set(left)
        while any(left.values()):
            self._send(bodies, {index for index in left if left[index]}, opened, context)
            left = {index: lines for index, lines in left.items() if lines}
            bodies = self._next(left, asked)
            for index in bodies:
                asked[index].set_headers(context, index)
        _mark(bodies, set(), opened, context)
        return [bodies.get(index, b"") for index in range(len(data))]

    def _rate(self, exchange: Exchange) -> int:
        said: Any = exchange.answers[0]
        return int(said.sampling_rate)

    def _next(
        self, left: dict[int, list[Sample[O, M]]], asked: Mapping[int, Exchange]
    ) -> dict[int, bytes]:
        """The next sentence of each stream; one that can't be spoken is its end."""
        self.until = time.monotonic() + self.seconds  # TorchServe waits anew
        for index, lines in left.items():
            asked[index].samples = [lines.pop(0)]
        bodies: dict[int, bytes] = {}
        answers = self._run([asked[index] for index in left], BatchMetrics(), explain=False)
        for (index, lines), answer in zip(left.items(), answers, strict=True):
            if isinstance(answer, HandlerError):
                logger.warning("a stream has ended early: %s", answer)
                lines.clear()
                bodies[index] = b""
            else:
                bodies[index] = self.pcm(answer)
        return bodies

    def _send(
        self, bodies: dict[int, bytes], more: set[int], opened: set[int], context: Context
    ) -> None:
        """Send what there is; rows without `more` are over, and forgotten."""
        names = {index: context.request_ids[index] for index in bodies}
        _mark(bodies, more, opened, context)
        everything = [bodies.get(index, b"") for index in range(max(bodies) + 1)]
        context.cl_socket.sendall(
            create_predict_response(everything, names, "Prediction success", 200, context)
        )
        for index in bodies.keys() - more:
            del context.request_ids[index]


def _mark(bodies: Mapping[int, bytes], more: set[int], opened: set[int], context: Context) -> None:
    """Say of each row whether it is over; of one that has no parts, nothing."""

    def always(value: bool | None) -> Callable[[object], bool | None]:
        return lambda _: value

    context.stopping_criteria = {
        index: always(index not in more if index in opened else None) for index in bodies
    }
