"""What a running server keeps on disk: its archives, configuration, keys, logs and identity.

    <state>/servers/<port>/
      server.json  key  key_file.json
      torchserve/   config.properties, TorchServe's own keys, store/NAME.mar, the archive
      front/        haproxy.cfg and its maps
      logs/         access.log haproxy.log supervisor.log ts.log model.log console.log
      ray.json  ray_keys.json  ray/     of a server on Ray, instead of torchserve/ and front/

`<state>` is `$MARSMITH_STATE`, or the user's state folder. Only the owner can read the folder,
because of the keys. Sockets and extracted models lie elsewhere, in a temporary folder with a short
path, because the path of a Unix socket has 104 bytes at most.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from marsmith.atomic import replacing
from marsmith.errors import ServerError
from marsmith.serving.host.plan import PLAN
from marsmith.shipped import shipped

TEMP_PREFIX = "marsmith-"
LONGEST_TEMP = 80
BEFORE = "before"
"""The folder of what `rollback` serves again."""
OF_RAY = ("ray.json", "ray_keys.json", "ray")
"""What a server on Ray was started from, its own key, and the folder of its archives."""
WORKERS = "workers"
"""The folder, in the temporary one, of how many workers a model was scaled to."""


class ServerInfo(BaseModel):
    """One running server, as `server.json` says it.

    Args:
        port: that of the inference API, which names the server.
        inference_address: where clients ask.
        management_address: TorchServe's own; "unix:PATH" behind the front; None on Ray.
        metrics_address: what Prometheus scrapes, without the path `/metrics`; None on Ray.
        grpc_address: TorchServe's own service, as "HOST:PORT"; None where it is not offered.
        front: whether HAProxy stands before TorchServe.
        on: what serves.
        pid: of its supervisor.
        create_time: when that process started, in seconds since the epoch; with it, another
            process that got the same pid later is not mistaken for it.
        grace_s: how long a stop waits for the requests on their way.
        temp_dir: its sockets and extracted models; removed when it stops.
        run_dir: its folder here.
        models: the names of the models that it was started with.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int
    inference_address: str
    management_address: str | None
    metrics_address: str | None
    grpc_address: str | None = None
    front: bool
    on: Literal["torchserve", "ray"] = "torchserve"
    pid: int
    create_time: float
    grace_s: float
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
    def key_file(self) -> Path:
        """The keys that the commands of its own user send, as TorchServe would write them."""
        return self.run_dir / "key_file.json"

    @property
    def key(self) -> Path:
        """The file with the inference key alone, for whoever writes a command line."""
        return self.run_dir / "key"

    @property
    def logs(self) -> Path:
        """The folder of its logs."""
        return self.run_dir / "logs"


def state_folder() -> Path:
    """Return the folder of all that marsmith keeps of servers."""
    state = os.environ.get("MARSMITH_STATE")
    return Path(state).absolute() if state else platformdirs.user_state_path("marsmith")


def servers_folder() -> Path:
    """Return the folder that holds one folder per server."""
    return state_folder() / "servers"


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


def fill(run_dir: Path, archives: Mapping[str, Path], settings: Mapping[str, str]) -> None:
    """Write what TorchServe starts from, and remove what an earlier run left, except its logs.

    Args:
        run_dir: the server's folder.
        archives: by the names of their models; linked, so nobody else may write to them.
        settings: of `config.properties`, instead of those that ship.
    """
    forget(run_dir)
    (run_dir / "front").mkdir()
    fill_torchserve(run_dir, archives, settings)


def fill_torchserve(
    run_dir: Path, archives: Mapping[str, Path], settings: Mapping[str, str]
) -> None:
    """Write what one TorchServe starts from; see `fill`."""
    (run_dir / "logs").mkdir(parents=True, exist_ok=True)
    store = run_dir / "torchserve" / "store"
    new = store.with_name("store.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name, archive in archives.items():
        (new / f"{name}.mar").hardlink_to(archive)
    shutil.rmtree(store, ignore_errors=True)  # an archive of it may just have been kept
    new.rename(store)
    hardened = shipped("config.properties").read_text(encoding="utf-8")
    # Relative to its folder, where TorchServe starts: the file is read as Latin-1, and a path may
    # hold anything.
    text = _overridden(hardened, {**settings, "model_store": "store"})
    (store.parent / "config.properties").write_text(text, encoding="utf-8")


def before(run_dir: Path, model: str) -> Path:
    """Where the archive is kept that a model was served from before its latest rollout."""
    return run_dir / BEFORE / f"{model}.mar"


def keep_before(run_dir: Path, model: str, archive: Path) -> None:
    """Keep the archive that a model is served from, before another takes its place."""
    with replacing(before(run_dir, model)) as unfinished:
        unfinished.hardlink_to(archive)


def forget(run_dir: Path) -> None:
    """Remove everything of one run except its logs."""
    for name in ("server.json", "key_file.json", "key", PLAN, *OF_RAY[:2]):
        (run_dir / name).unlink(missing_ok=True)
    for name in ("torchserve", "front", "b", BEFORE, OF_RAY[2]):
        shutil.rmtree(run_dir / name, ignore_errors=True)


def forget_own(run_dir: Path, temp_dir: Path) -> None:
    """Remove everything of a run, unless another server has taken the folder over meanwhile."""
    with suppress(OSError, ValueError):
        if json.loads((run_dir / PLAN).read_bytes())["temp_dir"] != str(temp_dir):
            return
    forget(run_dir)


def write_keys(run_dir: Path, inference: str, management: str) -> None:
    """Write the keys for the commands of the server's own user."""
    keys = {"management": {"key": management}, "inference": {"key": inference}}
    for name, text in (("key_file.json", json.dumps(keys)), ("key", inference)):
        with replacing(run_dir / name) as unfinished:
            unfinished.touch(mode=0o600)
            unfinished.write_text(text, encoding="utf-8")


def note_workers(temp_dir: Path, model: str, number: int) -> None:
    """Tell a model's new workers how many they are, and so what share of the cores is theirs."""
    with replacing(temp_dir / WORKERS / model) as unfinished:
        unfinished.write_text(str(number), encoding="utf-8")


def write_info(info: ServerInfo) -> None:
    """Write `server.json` in one step: a reader finds all of it or none."""
    with replacing(info.run_dir / "server.json") as unfinished:
        unfinished.write_text(info.model_dump_json(indent=2), encoding="utf-8")


def read_info(run_dir: Path) -> ServerInfo | None:
    """Read the `server.json` of a run folder; None if there is none that can be read."""
    with suppress(OSError, ValidationError):
        text = (run_dir / "server.json").read_text(encoding="utf-8")
        return ServerInfo.model_validate_json(text)
    return None


def read_infos() -> list[ServerInfo]:
    """Read every `server.json`, sorted by port; the servers may have died."""
    found = [read_info(file.parent) for file in servers_folder().glob("*/server.json")]
    return sorted((info for info in found if info), key=lambda info: info.port)


def _overridden(properties: str, settings: Mapping[str, str]) -> str:
    """Return a properties file with some settings replaced, and the rest as it was."""
    lines = [
        line for line in properties.splitlines() if line.partition("=")[0].strip() not in settings
    ]
    lines += ["", "# --- Of this run ---", *(f"{key}={value}" for key, value in settings.items())]
    return "\n".join(lines) + "\n"
