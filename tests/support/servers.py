"""What is to be known of a server that runs."""

from __future__ import annotations

import json

from marsmith.serving.torchserve import server
from marsmith.serving.torchserve.run_folder import ServerInfo


def pids(info: ServerInfo) -> list[int]:
    """The processes of all its workers."""
    return [worker.pid for model in server.status(info).models for worker in model.workers]


def authorization(info: ServerInfo) -> str:
    """The header that its inference API asks for."""
    return f"Bearer {json.loads(info.key_file.read_text())['inference']['key']}"
