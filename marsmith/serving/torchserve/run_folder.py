"""What a running server keeps on disk: its archives, configuration, keys, logs and identity.

    <state>/servers/<inference port>/
      config.properties  key_file.json  server.json
      store/NAME.mar -> the archive
      logs/ts.log  logs/model.log  logs/console.log

`<state>` is `$MARSMITH_STATE`, or the user's state folder. Only the owner can read the folder,
because of the keys. TorchServe's sockets and extracted models lie elsewhere, in a temporary folder
with a short path, because the path of a Unix socket has 104 bytes at most.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from marsmith.atomic import replacing
from marsmith.errors import ServerError
from marsmith.serving.torchserve.ports import Ports
from marsmith.shipped import shipped

TEMP_PREFIX = "marsmith-"
LONGEST_TEMP = 80


class ServerInfo(BaseModel):
    """One running server, as `server.json` says it.

    Args:
        ports: where it listens, on loopback.
        pid: of TorchServe's Java process.
        create_time: when that process started, in seconds since the epoch; with it, another
            process that got the same pid later is not mistaken for it.
        temp_dir: its sockets and extracted models; removed when it stops.
        run_dir: its folder here.
        models: the names of the models that it was started with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ports: Ports
    pid: int
    create_time: float
    temp_dir: Path
    run_dir: Path
    models: tuple[str, ...]

    @field_validator("temp_dir")
    @classmethod
    def _is_ours(cls, temp_dir: Path) -> Path:
        # Processes are ended and files removed by this path, so a file may not claim just any.
        if not temp_dir.name.startswith(TEMP_PREFIX):
            raise ValueError(f"{temp_dir} is not a temporary folder of a server")
        return temp_dir

    @property
    def port(self) -> int:
        """The inference port, which names the server."""
        return self.ports.inference

    @property
    def inference_address(self) -> str:
        """The address of the inference API."""
        return f"http://127.0.0.1:{self.ports.inference}"

    @property
    def management_address(self) -> str:
        """The address of the management API, which shows and scales workers."""
        return f"http://127.0.0.1:{self.ports.management}"

    @property
    def metrics_address(self) -> str:
        """The address that Prometheus scrapes."""
        return f"http://127.0.0.1:{self.ports.metrics}"

    @property
    def key_file(self) -> Path:
        """The file with the tokens, which TorchServe writes."""
        return self.run_dir / "key_file.json"

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return self.run_dir / "logs"


def servers_folder() -> Path:
    """Return the folder that holds one folder per server."""
    state = os.environ.get("MARSMITH_STATE")
    folder = Path(state).absolute() if state else platformdirs.user_state_path("marsmith")
    return folder / "servers"


def make_temp_dir() -> Path:
    """Make a private folder whose path leaves room for the name of a socket."""
    usual = tempfile.gettempdir()
    parent = usual if len(os.fsencode(usual)) <= LONGEST_TEMP else "/tmp"  # noqa: S108
    return Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=parent))


@contextmanager
def locked(run_dir: Path) -> Iterator[None]:
    """Make a run folder, and hold it while a server starts in it.

    Raises:
        ServerError: another process is starting a server in it.
    """
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    run_dir.chmod(0o700)
    with (run_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"another `marsmith serve` is starting a server on port {run_dir.name}"
            raise ServerError(message) from error
        yield


def fill(run_dir: Path, archives: Mapping[str, Path], ports: Ports) -> None:
    """Write what a server starts from, and remove what an earlier one left, except its logs."""
    forget(run_dir)
    (run_dir / "logs").mkdir(exist_ok=True)
    store = run_dir / "store"
    store.mkdir()
    for name, archive in archives.items():
        (store / f"{name}.mar").symlink_to(archive.resolve())
    settings = {
        "inference_address": f"http://127.0.0.1:{ports.inference}",
        "management_address": f"http://127.0.0.1:{ports.management}",
        "metrics_address": f"http://127.0.0.1:{ports.metrics}",
        "grpc_inference_port": str(ports.grpc_inference),
        "grpc_management_port": str(ports.grpc_management),
        # Relative to the run folder, where TorchServe starts: the file is read as Latin-1, and a
        # path may hold anything.
        "model_store": "store",
    }
    hardened = shipped("config.properties").read_text(encoding="utf-8")
    (run_dir / "config.properties").write_text(_overridden(hardened, settings), encoding="utf-8")


def forget(run_dir: Path) -> None:
    """Remove everything of one run except its logs."""
    for name in ("server.json", "key_file.json"):
        (run_dir / name).unlink(missing_ok=True)
    shutil.rmtree(run_dir / "store", ignore_errors=True)


def write_info(info: ServerInfo) -> None:
    """Write `server.json` in one step: a reader finds all of it or none."""
    with replacing(info.run_dir / "server.json") as unfinished:
        unfinished.write_text(info.model_dump_json(indent=2), encoding="utf-8")


def read_infos() -> list[ServerInfo]:
    """Read every `server.json`, sorted by port; the servers may have died."""
    infos = []
    for file in servers_folder().glob("*/server.json"):
        with suppress(OSError, ValidationError):
            infos.append(ServerInfo.model_validate_json(file.read_text(encoding="utf-8")))
    return sorted(infos, key=lambda info: info.port)


def _overridden(properties: str, settings: Mapping[str, str]) -> str:
    """Return a properties file with some settings replaced, and the rest as it was."""
    lines = [
        line for line in properties.splitlines() if line.partition("=")[0].strip() not in settings
    ]
    lines += ["", "# --- Of this run ---", *(f"{key}={value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"
