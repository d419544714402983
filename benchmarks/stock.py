"""TorchServe under its own default settings, with handlers as people write them today."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from marsmith.serving.host.ports import choose_ports
from marsmith.serving.torchserve.java import find_java


@dataclass(frozen=True)
class Handler:
    """A handler to serve.

    Attributes:
        source: the text of its file.
        files: lie beside it.
        body: a request that it answers.
        settings: its `model-config.yaml`, if it has one.
        model: what it loads, if it loads one as TorchServe's own handlers do.
    """

    source: str
    files: tuple[Path, ...] = ()
    body: bytes = b"x"
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: Path | None = None


@contextmanager
def stock_server(handlers: Mapping[str, Handler]) -> Iterator[int]:
    """TorchServe with these handlers, by name, until the block ends; gives the inference port."""
    ports = choose_ports(0)
    with tempfile.TemporaryDirectory(prefix="stock-") as folder:
        root = Path(folder)
        environment = {
            **os.environ,
            "JAVA_HOME": str(find_java()),
            "TEMP": folder,
            "TMPDIR": folder,
        }
        (root / "store").mkdir()
        for name, handler in handlers.items():
            archive(name, handler, root, environment)
        (root / "config.properties").write_text(
            f"inference_address=http://127.0.0.1:{ports.inference}\n"
            f"management_address=http://127.0.0.1:{ports.management}\n"
            f"metrics_address=http://127.0.0.1:{ports.metrics}\n"
            f"grpc_inference_port={ports.grpc_inference}\n"
            f"grpc_management_port={ports.grpc_management}\n"
        )
        start = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
        start += ["--disable-token-auth", "--model-store", "store"]
        start += ["--ts-config", "config.properties", "--models"]
        with (root / "console.log").open("w") as log:
            process = subprocess.Popen(
                [*start, *(f"{name}={name}.mar" for name in handlers)],
                cwd=root, env=environment, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                for name, handler in handlers.items():
                    if not _answers(f"http://127.0.0.1:{ports.inference}", name, handler.body):
                        said = (root / "console.log").read_text()[-4000:]
                        raise SystemExit(f"the stock server gave no answer of {name}:\n{said}")
                yield ports.inference
            finally:
                tree = psutil.Process(process.pid).children(recursive=True)
                process.kill()
                for each in tree:
                    with suppress(psutil.NoSuchProcess):  # it has ended with its parent
                        each.kill()
                process.wait()


def archive(
    name: str, handler: Handler, root: Path, environment: Mapping[str, str], version: str = "1.0"
) -> Path:
    """Pack a handler into `root/store`, an existing folder; return the archive."""
    file = root / f"{name}_handler.py"
    file.write_text(handler.source)
    archiver = [sys.executable, "-m", "model_archiver.model_packaging"]
    archiver += ["--version", version]
    archiver += ["--model-name", name, "--handler", str(file)]
    if handler.model:
        archiver += ["--serialized-file", str(handler.model)]
    if handler.files:
        archiver += ["--extra-files", ",".join(map(str, handler.files))]
    if handler.settings:
        settings = root / f"{name}.yaml"
        settings.write_text(yaml.safe_dump(dict(handler.settings)))
        archiver += ["--config-file", str(settings)]
    subprocess.run(
        [*archiver, "--export-path", str(root / "store")], check=True, env=dict(environment)
    )
    return root / "store" / f"{name}.mar"


def _answers(address: str, model: str, body: bytes) -> bool:
    """Whether a model answers within a minute."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{address}/predictions/{model}", data=body, headers=headers
    )
    for _ in range(120):
        try:
            with urllib.request.urlopen(request, timeout=30):  # noqa: S310 - our own server
                return True
        except (OSError, urllib.error.URLError):
            time.sleep(0.5)
    return False
