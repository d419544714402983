"""One model's replicas, asked; what one that dies had is asked again, of another or its next."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING

from marsmith.harness.wire import Request, Response
from marsmith.serving.ray import refusals
from marsmith.serving.ray.batches import NotAskedError, WorkerDiedError
from marsmith.serving.ray.condition import Condition
from marsmith.serving.ray.served import Served

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

logger = logging.getLogger("ray.serve")
DEATHS = 3
"""A request that so many died with isn't asked again: it may be what they die of."""
PAUSE_S = 0.2


class Replicas:
    """The replicas of one model.

    Args:
        served: the model.
        handle: Ray's, of its deployment.
        condition: knows whether a replica runs.
    """

    def __init__(self, served: Served, handle: DeploymentHandle, condition: Condition) -> None:
        self.served = served
        self._ask = handle.options(method_name="ask")
        self._stream = handle.options(method_name="stream", stream=True)
        self._condition = condition

    async def ask(self, request: Request) -> AsyncGenerator[Response, None]:
        """Ask, and again while replicas or workers die that have said nothing.

        Raises:
            RefusedError: too many wait, nobody is there for too long, the answer takes too long,
                or `DEATHS` have died with it.
        """
        from ray.exceptions import RayError, RayTaskError, TaskCancelledError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

        clock, plan = asyncio.get_running_loop().time, self.served.plan
        patient_until = clock() + plan.queue_timeout_s
        until = patient_until + plan.response_timeout_s
        deaths = 0
        while deaths < DEATHS:
            if not await self._condition.wait(self.served.name, patient_until):
                raise refusals.down(self.served.name)
            said = False
            try:
                async with aclosing(self._parts(request, until - clock())) as parts:
                    async for part in parts:
                        said = True
                        yield part
                return
            except asyncio.TimeoutError:
                raise refusals.too_long() from None
            except BackPressureError:
                raise refusals.queue(self.served.name) from None
            except DeploymentUnavailableError:
                raise refusals.down(self.served.name) from None
            except (WorkerDiedError, RayError) as error:
                ours = isinstance(error, WorkerDiedError)
                told = isinstance(error, (RayTaskError, TaskCancelledError))
                if said or (told and not ours):
                    raise
                deaths += not isinstance(error, NotAskedError)
                logger.warning("%s: asked again: %s", self.served.name, error)
            if clock() >= patient_until:
                break
            await asyncio.sleep(PAUSE_S)
        raise refusals.killed()

    async def _parts(self, request: Request, seconds: float) -> AsyncGenerator[Response, None]:
        """What a replica says, each part of it within some seconds."""
        if not self.served.streams:
            yield await asyncio.wait_for(self._ask.remote(request), seconds)
            return
        response = self._stream.remote(request)
        try:
            parts = aiter(response)
            while True:
                yield await asyncio.wait_for(anext(parts), seconds)
        except StopAsyncIteration:
            pass
        finally:
            response.cancel()
