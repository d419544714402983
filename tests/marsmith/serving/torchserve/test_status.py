"""What a server says of itself, and its JSON."""

from __future__ import annotations

import json

from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo


def test_its_json_has_the_fields_and_nothing_else_of_what_torchserve_says(
    tiny_server: ServerInfo,
) -> None:
    told = server.status(tiny_server)
    with server.client(tiny_server) as client:
        said = client.model("tiny")
    (worker,) = told.models[0].workers
    assert json.loads(told.model_dump_json()) == {
        "ready": True,
        "problems": [],
        "inference_address": tiny_server.inference_address,
        "management_address": tiny_server.management_address,
        "metrics_address": tiny_server.metrics_address,
        "grpc_address": None,
        "key_file": str(tiny_server.key_file),
        "models": [
            {
                "name": "tiny",
                "version": "1.0",
                "min_workers": said["minWorkers"],
                "max_workers": said["maxWorkers"],
                "batch_size": said["batchSize"],
                "workers": [{"id": worker.id, "pid": worker.pid, "status": "READY"}],
            }
        ],
    }
