from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from marsmith.deploy.ray import write
from marsmith.errors import ArchiveError, ServerError
from marsmith.serving.ray.arguments import ApplicationArguments
from marsmith.serving.ray.served import ONE_LOOP


@pytest.fixture(scope="module")
def archive(make_tiny_archive: Callable[..., Path]) -> Path:
    return make_tiny_archive("tiny")


@pytest.fixture(scope="module")
def document(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    arguments = ApplicationArguments(archives=(str(archive),), keys=False, ingresses=2)
    out = tmp_path_factory.mktemp("out") / "serve.yaml"
    return yaml.safe_load(write([str(archive)], out, arguments).read_text("utf-8"))


def test_an_application_names_archives_by_their_digests(document: Any, archive: Path) -> None:
    (application,) = document["applications"]
    assert application["import_path"] == "marsmith.serving.ray:app"
    arguments = application["args"]
    (named,) = arguments.pop("archives")
    assert named.startswith(f"{archive.resolve()}@sha256:")
    assert arguments == {"keys": False, "ingresses": 2}
    assert ApplicationArguments.of({"archives": [named], **arguments}).keys is False


def test_each_model_is_a_deployment_as_its_archive_says(document: Any) -> None:
    tiny, ingress = document["applications"][0]["deployments"]
    assert tiny["name"] == "tiny"
    assert tiny["max_ongoing_requests"] == 2
    assert tiny["autoscaling_config"] == {
        "min_replicas": 1, "max_replicas": 1, "target_ongoing_requests": 1,
    }  # fmt: skip
    environment = {"runtime_env": {"env_vars": ONE_LOOP}}
    assert tiny["ray_actor_options"] == {"num_cpus": 1, "num_gpus": 0, **environment}
    assert ingress["ray_actor_options"] == {"num_cpus": 0, **environment}
    assert (ingress["num_replicas"], ingress["max_replicas_per_node"]) == (2, 1)


def test_replicas_of_a_single_model_speak_to_clients_themselves(
    archive: Path, tmp_path: Path
) -> None:
    arguments = ApplicationArguments(archives=(str(archive),))
    said = yaml.safe_load(write([str(archive)], tmp_path / "serve.yaml", arguments).read_text())
    (tiny,) = said["applications"][0]["deployments"]
    # Who waits too long is told so by a replica, in the words of TorchServe's front.
    assert (tiny["name"], tiny["max_queued_requests"]) == ("tiny", -1)
    assert tiny["max_ongoing_requests"] > 100


def test_ray_knows_all_of_it(document: Any) -> None:
    schema = pytest.importorskip("ray.serve.schema")
    config = pytest.importorskip("ray.serve.config")
    schema.ServeDeploySchema.model_validate(document)
    # Ray passes over what it doesn't know, in case that another of its versions does.
    (application,) = document["applications"]
    assert set(document) <= set(schema.ServeDeploySchema.model_fields)
    assert set(application) <= set(schema.ServeApplicationSchema.model_fields)
    for deployment in application["deployments"]:
        assert set(deployment) <= set(schema.DeploymentSchema.model_fields)
        scaling = deployment.get("autoscaling_config", {})
        assert set(scaling) <= set(config.AutoscalingConfig.model_fields)


def test_several_models_need_somebody_who_speaks_to_clients(
    archive: Path, make_tiny_archive: Callable[..., Path], tmp_path: Path
) -> None:
    both = [str(archive), str(make_tiny_archive("other"))]
    arguments = ApplicationArguments(archives=tuple(both), ingresses=0)
    with pytest.raises(ServerError, match="for one archive alone, and there are 2"):
        write(both, tmp_path / "serve.yaml", arguments)
    assert not (tmp_path / "serve.yaml").exists()


def test_two_models_of_one_name_are_refused(archive: Path, tmp_path: Path) -> None:
    arguments = ApplicationArguments(archives=(str(archive),))
    with pytest.raises(ArchiveError, match="two archives hold a model named 'tiny'"):
        write([str(archive), str(archive)], tmp_path / "serve.yaml", arguments)
    assert not (tmp_path / "serve.yaml").exists()
