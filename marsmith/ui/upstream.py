"""The model server behind the page: where it is, what it serves, and what is known of that."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx

from marsmith.archive import openapi
from marsmith.client.asynchronous import AsyncClient
from marsmith.client.flows import UNIX, decoded
from marsmith.errors import MarsmithError, RequestError, ServerError
from marsmith.serving.host import run_folder
from marsmith.serving.host.plan import SIDES
from marsmith.ui import figures

if TYPE_CHECKING:
    from handlers.schema import Json
    from marsmith.serving.host.run_folder import ServerInfo

VERBS = {"predict": "predictions", "explain": "explanations"}
DESCRIBED = re.compile(
    r"/(predictions|explanations)/[^/]+|/v1/models/[^/:]+:(predict|explain)|/v2/models/[^/]+/infer"
    r"|/v2/health/ready"
)
"""The paths of the OpenAPI document."""


@dataclass(frozen=True)
class Upstream:
    """A model server.

    Attributes:
        client: asks it.
        address: where others ask it.
        key_file: where this machine has the key for a command line; None for no key.
        info: what is known of a server of this machine; None for another's.
        reports: the folder of the reports of builds.
    """

    client: AsyncClient
    address: str
    key_file: Path | None
    info: ServerInfo | None
    reports: Path

    @classmethod
    def local(cls, info: ServerInfo, reports: Path, timeout_s: float) -> Upstream:
        """A server of this machine, with the key of its own user."""
        address = f"unix:{info.temp_dir / 'local'}" if info.front else info.inference_address
        management = None if info.front else info.management_address
        client = AsyncClient(address, management, info.key_file, timeout_s)
        return cls(client, info.inference_address, info.key, info, reports)

    @classmethod
    def elsewhere(
        cls, address: str, key_file: Path | None, ca: Path | None, reports: Path, timeout_s: float
    ) -> Upstream:
        """A server that is known by its address alone."""
        client = AsyncClient(address, None, key_file, timeout_s, ca)
        return cls(client, address, key_file, None, reports)

    async def models(self) -> tuple[str, ...]:
        """The names of its models, sorted.

        Raises:
            ServerError: it doesn't answer, or not as a server of marsmith does.
        """
        if self.info is not None:
            return tuple(sorted(self.info.models))
        said = await self._json("/v1/models")
        match said:
            case {"data": list(models)}:
                named = [each["id"] for each in models if isinstance(each, dict) and "id" in each]
                # Half of a surrogate pair can't be asked for.
                return tuple(
                    sorted(str(each).encode("utf-8", "replace").decode() for each in named)
                )
        raise ServerError(
            f"{self.address} doesn't list its models", "the page needs a server of marsmith's"
        )

    async def is_up(self, model: str) -> bool:
        """Whether a model can be asked now."""
        response = await self.client.forward("GET", f"/v2/models/{quote(model, safe='')}/ready")
        await response.aclose()
        # TorchServe alone has no such path, and doesn't know.
        return response.status_code != 503

    async def describe(self, model: str) -> dict[str, Json]:
        """What a model takes and answers, and which of its versions are known.

        Of a model that doesn't describe itself, that is all.
        """
        said: Json = None
        try:
            said = (await self.client.describe(model)).get("customizedMetadata")
        except RequestError as error:
            if error.status != 404 or model not in await self.models():
                raise
        known = said if isinstance(said, Mapping) else {}
        versions: list[Json] = []
        with suppress(MarsmithError):
            match await self._json(f"/v2/models/{quote(model, safe='')}"):
                case {"versions": list(served)}:
                    versions = served
        with suppress(MarsmithError):
            seen = (await self.figures()).get(model, figures.Figures()).versions
            versions = [*versions, *(each for each in seen if each not in versions)]
        report = await asyncio.to_thread(self.report, model)
        return {**known, "versions": versions, "report": report is not None}

    async def ask(
        self, model: str, verb: str, version: str, headers: Mapping[str, str], body: bytes
    ) -> httpx.Response:
        """Ask a model; the answer is still to be read."""
        path = f"/{VERBS[verb]}/{quote(model, safe='')}"
        path += f"/{quote(version, safe='')}" if version else ""
        return await self.client.forward("POST", path, headers, body)

    async def figures(self) -> dict[str, figures.Figures]:
        """What its metrics say now, by model; nothing where there is no front to count.

        Raises:
            RequestError: the key is not for metrics.
            ServerError: what it says are no metrics.
        """
        response = await self._read("/metrics")
        if response.status_code == 404:
            return {}
        decoded(response) if response.is_error else None
        try:
            return figures.read(response.text)
        except (ValueError, KeyError) as error:
            raise ServerError(f"the metrics of {self.address} can't be read: {error}") from error

    async def document(self) -> dict[str, object]:
        """The OpenAPI document of the models that answer now, and describe themselves.

        Raises:
            ArchiveError: one of them was built before there were such documents.
        """
        names = await self.models()
        said = await asyncio.gather(*(self._says(name) for name in names))
        told = {
            name: {"name": name, **each} for name, each in zip(names, said, strict=True) if each
        }
        return openapi.of(told, self.address)

    async def _says(self, model: str) -> Mapping[str, Json]:
        """What a model says of itself; nothing where it doesn't, or can't be asked."""
        with suppress(RequestError):
            said = (await self.client.describe(model)).get("customizedMetadata")
            return said if isinstance(said, Mapping) else {}
        return {}

    def report(self, model: str) -> Path | None:
        """The page of the report of the build that made what is served; None if it isn't there."""
        archives = self._archives()
        archive = archives and archives / f"{model}.mar"
        page = self.reports / f"{model}.report.html"
        if archive is None or not page.is_file() or page.parent != self.reports:
            return None
        with suppress(OSError, ValueError, KeyError, TypeError):
            told = json.loads(page.with_suffix(".json").read_text("utf-8"))["archive"]["sha256"]
            digest = hashlib.sha256()
            with archive.open("rb") as file:
                while piece := file.read(1 << 20):
                    digest.update(piece)
            return page if digest.hexdigest() == told else None
        return None

    def _archives(self) -> Path | None:
        """The folder of the archives that are served now; None for another machine's."""
        if self.info is None:
            return None
        # After a rollout another TorchServe serves, whose folders bear the name of its side.
        now = run_folder.read_info(self.info.run_dir) or self.info
        side = Path((now.management_address or "").removeprefix(UNIX)).parent.name
        folder = now.run_dir / side if side in SIDES[1:] else now.run_dir
        return folder / "torchserve" / "store"

    async def _json(self, path: str) -> Json | bytes:
        return decoded(await self._read(path))

    async def _read(self, path: str) -> httpx.Response:
        """An answer, whole, whatever its status.

        Raises:
            ServerError: there is none, or it breaks off.
        """
        response = await self.client.forward("GET", path)
        try:
            await response.aread()
        except httpx.HTTPError as error:
            raise ServerError(f"what {self.address} said can't be read: {error}") from error
        finally:
            await response.aclose()
        return response
