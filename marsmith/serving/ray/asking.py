"""One model's replicas, asked; what one that dies had is asked once more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from marsmith.harness.wire import Request, Response
from marsmith.serving.ray import refusals
from marsmith.serving.ray.batches import WorkerDiedError
from marsmith.serving.ray.served import Served

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("ray.serve")
TRIES = 2


class Replicas:
    """The replicas of one model.

    Args:
        served: the model.
        handle: Ray's, of its deployment.
    """

    def __init__(self, served: Served, handle: DeploymentHandle) -> None:
        self.served = served
        self._ask = handle.options(method_name="ask")
        self._stream = handle.options(method_name="stream", stream=True)
        self._seconds = served.plan.queue_timeout_s + served.plan.response_timeout_s

    async def ask(self, request: Request) -> AsyncGenerator[Response, None]:
        """Ask, and once more if a replica died before it had said anything.

        Raises:
            RefusedError: too many wait, it takes too long, or a second one died, too.
        """
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError
        from ray.serve.exceptions import BackPressureError

        for tried in range(1, TRIES + 1):
            said = False
            try:
                async with aclosing(self._parts(request)) as parts:
                    async for part in parts:
                        said = True
                        yield part
                return
            except asyncio.TimeoutError:
                raise refusals.too_long() from None
            except BackPressureError:
                raise refusals.queue(self.served.name) from None
            except (WorkerDiedError, RayError) as error:
                ours = isinstance(error, WorkerDiedError)
                told = isinstance(error, (RayTaskError, TaskCancelledError))
                if said or (told and not ours):
                    raise
                logger.warning("%s: try %d: %s", self.served.name, tried, error)
        raise refusals.killed()

    async def _parts(self, request: Request) -> AsyncGenerator[Response, None]:
        if not self.served.streams:
            yield await asyncio.wait_for(self._ask.remote(request), self._seconds)
            return
        response = self._stream.remote(request)
        try:
            parts = aiter(response)
            while True:
                yield await asyncio.wait_for(anext(parts), self._seconds)
        except StopAsyncIteration:
            pass
        finally:
            response.cancel()
