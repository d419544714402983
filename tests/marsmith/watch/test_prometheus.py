"""What is drawn, and what calls somebody, asked of a real Prometheus that scrapes a real server."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from marsmith.serving import server
from marsmith.serving.host import ports
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.watch.table import Alert, Query, read
from tests.support.images import encode, noise
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

RULES = ROOT / "docs" / "grafana" / "alerts.yaml"
QUERIES = [
    query.model_copy(update={"sparse": query.sparse or panel.sparse})
    for panel in read().panels
    for query in panel.queries
]
COMPARED = re.compile(r"(.*) (?:==|>) [\d.]+")
LIMIT_S = 240


@pytest.fixture(scope="module")
def prometheus(
    digits_server: ServerInfo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of one that scrapes a server every second, while it is asked."""
    if not shutil.which("prometheus"):
        pytest.skip("there is no Prometheus: apt-get install prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), ports.free_ports(1)[0]
    target = digits_server.inference_address.removeprefix("http://")
    job = {
        "job_name": "marsmith",
        "authorization": {"credentials_file": str(digits_server.key)},
        "static_configs": [{"targets": [target]}],
    }
    told = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [job],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    command = ["prometheus", f"--config.file={folder}/prometheus.yml"]
    command += [f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for_samples(address, digits_server, folder / "log")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for_samples(address: str, info: ServerInfo, log: Path) -> None:
    """Ask the server until a rate of its answers is known."""
    image, until = encode(noise()), time.monotonic() + LIMIT_S
    with server.client(info) as client:
        while time.monotonic() < until:
            client.predict("digits", image, content_type="image/png")
            httpx.post(f"{info.inference_address}/predictions/digits", timeout=60)  # without a key
            try:
                found = ask(address, 'rate(Instances{ModelName="digits"}[30s]) > 0')
                if found and ask(address, "rate(marsmith_refusals_total[30s]) > 0"):
                    return
            except httpx.TransportError:  # it starts
                time.sleep(0.5)
            time.sleep(0.2)
    pytest.fail(log.read_text())


def ask(address: str, expression: str) -> list[Any]:
    """The series that an expression has now."""
    answer = httpx.get(f"{address}/api/v1/query", params={"query": expression}, timeout=30)
    said = answer.json()
    assert said["status"] == "success", said
    result: list[Any] = said["data"]["result"]
    return result


def filled(expression: str) -> str:
    return expression.replace("$model", ".*").replace("$range", "60s")


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.expr[:60])
def test_what_is_drawn_is_there(prometheus: str, query: Query) -> None:
    series = ask(prometheus, filled(query.expr))
    assert series or query.sparse
    labels = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    for each in series:
        assert labels <= set(each["metric"])
    values = [float(each["value"][1]) for each in series]
    # A model that isn't asked has no average; one is asked.
    assert query.sparse or any(math.isfinite(value) for value in values)


@pytest.mark.parametrize("alert", read().alerts, ids=lambda alert: alert.name)
def test_what_calls_somebody_can_be_known_and_is_not_so(prometheus: str, alert: Alert) -> None:
    compared = COMPARED.fullmatch(alert.expr)
    assert compared
    assert ask(prometheus, compared[1]) or alert.sparse
    assert ask(prometheus, alert.expr) == []


def test_the_rules_are_taken(prometheus: str) -> None:
    subprocess.run(["promtool", "check", "rules", str(RULES)], check=True, timeout=60)
    said = httpx.get(f"{prometheus}/api/v1/rules", timeout=30).json()
    (group,) = said["data"]["groups"]
    assert [rule["name"] for rule in group["rules"]] == [each.name for each in read().alerts]
    assert [rule["lastError"] for rule in group["rules"] if rule.get("lastError")] == []
