"""What is to be known of a server that runs."""

from __future__ import annotations

import json

import httpx

from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo


def pids(info: ServerInfo) -> list[int]:
    """The processes of all its workers."""
    return [worker.pid for model in server.status(info).models for worker in model.workers]


def scraped(info: ServerInfo) -> str:
    """What Prometheus would read."""
    headers = {"Authorization": authorization(info)}
    return httpx.get(f"{info.metrics_address}/metrics", headers=headers, timeout=60).text


def authorization(info: ServerInfo) -> str:
    """The header that its inference API asks for."""
    return f"Bearer {json.loads(info.key_file.read_text())['inference']['key']}"
