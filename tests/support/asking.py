"""Clients that ask a server for the version of a tiny model, again and again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx

from marsmith.serving.host.run_folder import ServerInfo
from tests.support.servers import authorization
from tests.support.waiting import wait_until


@contextmanager
def asking_on(info: ServerInfo) -> Iterator[list[str]]:
    """Four clients of the model `tiny`; what they heard: a status, and which version answered."""
    answers: list[str] = []
    finished = threading.Event()
    headers = {"Authorization": authorization(info)}

    def ask() -> None:
        with httpx.Client(base_url=info.inference_address, headers=headers, timeout=120) as http:
            while not finished.wait(0.1):  # what starts meanwhile needs the cores
                answer = http.post("/predictions/tiny", json={"sleep": 0.01})
                name = answer.json().get("version") if answer.status_code == 200 else answer.text
                answers.append(f"{answer.status_code} {name}")

    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(ask) for _ in range(4)]
        try:
            wait_until(lambda: len(answers) > 20)
            yield answers
        finally:
            finished.set()
        for job in jobs:
            job.result()
