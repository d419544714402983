"""Replicas of an application's only model, which speak to clients themselves: one step less."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from marsmith.harness.wire import Request, Response
from marsmith.serving.ray import refusals
from marsmith.serving.ray.asking import Replicas
from marsmith.serving.ray.condition import Condition
from marsmith.serving.ray.ingress import Ingress
from marsmith.serving.ray.replica import ModelReplica
from marsmith.serving.ray.served import Served

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle


class SpeakingReplica(Ingress):
    """An ingress and a replica of the model in one process; the worker is one of its own.

    Args:
        served: the model.
        trust: public keys, or folders of them, one of which must have signed the archive.
        keys: where keys are kept; nowhere: no request needs one.

    Raises:
        MarsmithError: the archive is not sound, not signed, or does not load.
    """

    def __init__(self, served: Served, trust: tuple[Path, ...], keys: tuple[Path, ...]) -> None:
        from ray import serve

        application = serve.get_replica_context().app_name
        handle = serve.get_deployment_handle(served.name, application)
        super().__init__([served], {served.name: handle}, keys)
        self._own = ModelReplica(served, trust)
        self._models[served.name] = _OwnFirst(self._own, served, handle, self._condition)

    async def ask(self, request: Request) -> Response:
        """Answer another replica's client, while its own worker is started anew."""
        return await self._own.ask(request)

    async def stream(self, request: Request) -> AsyncIterator[Response]:
        """Answer another replica's client in the parts that come."""
        async for part in self._own.stream(request):
            yield part

    def check_health(self) -> None:
        """Tell Ray that this replica must be replaced, when it must."""
        self._own.check_health()

    def close(self) -> None:
        """End the worker."""
        self._own.close()


class _OwnFirst(Replicas):
    """A replica's own worker, and while that is started anew another replica's."""

    def __init__(
        self, own: ModelReplica, served: Served, handle: DeploymentHandle, condition: Condition
    ) -> None:
        super().__init__(served, handle, condition)
        self._own = own

    async def _parts(self, request: Request, seconds: float) -> AsyncGenerator[Response, None]:
        if not self._own.up and self._condition.running(self.served.name) > 1:
            async with aclosing(super()._parts(request, seconds)) as parts:
                async for part in parts:
                    yield part
            return
        if self._own.waiting >= self.served.plan.most:
            raise refusals.queue(self.served.name)
        if not self.served.streams:
            yield await self._own.ask(request, seconds)
            return
        async with aclosing(self._own.stream(request, seconds)) as parts:
            async for part in parts:
                yield part
