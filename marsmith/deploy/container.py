"""Writes a folder that an image is built from: archives, wheels by SHA-256, a Dockerfile.

See: https://docs.docker.com/reference/dockerfile/; https://github.com/opencontainers/image-spec,
annotations.md.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import yaml

from marsmith import __version__
from marsmith.atomic import replacing
from marsmith.deploy import _sizing, _wheels, ray
from marsmith.deploy._archives import Deployed, read, refuse_full
from marsmith.errors import MarsmithError
from marsmith.serving.ray.arguments import ApplicationArguments

System = Literal["torchserve", "ray"]
TEMPLATES = Path(__file__).parent / "templates"
USER = 10001
PORTS = {"torchserve": 8080, "ray": ray.PORT}
GRACE_S = 30
"""For requests on their way at a stop, as `marsmith serve` has it."""
STOP_S = 2 * GRACE_S
"""Until it is ended by force: what ends behind the last request takes a little, too."""
INFO_S = 30.0
BUILDERS = ("docker", "podman", "buildah")
HEALTH = "import urllib.request as r; r.urlopen('http://127.0.0.1:{}/v2/health/ready', timeout=2)"
IGNORED = """\
*
!requirements.txt
!wheels
!sbom
"""


@dataclass(frozen=True)
class Image:
    """An image that is to be.

    Attributes:
        system: what serves in it.
        gpu: whether its torch has CUDA.
        mounted: whether archives are mounted, instead of being in it.
        explains: whether it has what explanations need.
        tag: its name.
    """

    system: System = "torchserve"
    gpu: bool = False
    mounted: bool = False
    explains: bool = False
    tag: str = "marsmith-server"

    def command(self, models: Sequence[Deployed]) -> list[str]:
        """What runs in it: these bytes are served, and no others."""
        if self.system == "ray":
            return ["serve", "run", "/etc/serve.yaml"]
        return [
            "marsmith", "serve", *(model.served.archive for model in models), "--foreground",
            "--host", "0.0.0.0", "--insecure-http", "--grace-s", str(GRACE_S),  # noqa: S104
        ]  # fmt: skip

    def health(self) -> list[str]:
        """What tells whether every model in it can be asked."""
        return ["python", "-c", HEALTH.format(PORTS[self.system])]


def write(
    archives: Sequence[str], out: Path, image: Image, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Write a folder that an image is built from.

    Args:
        archives: paths, perhaps with digests.
        out: an empty folder, or a new one.
        image: what it is to be.
        say: takes a line about each step.

    Returns:
        The folder: `Dockerfile`, `.dockerignore`, `compose.yaml`, `requirements.txt`, `wheels/`,
        `models/`, `sbom/`.

    Raises:
        ArchiveError: one is not sound, or wasn't built by marsmith.
        MarsmithError: the folder isn't empty, or a package is nowhere to be had.
    """
    refuse_full(out)
    models = read(archives)
    with replacing(out) as folder:
        folder.mkdir()
        say("memory: a worker of each archive is weighed")
        size = _sizing.measure(models)
        say("wheels: pip is asked for those that are needed")
        pins = _wheels.collect(
            folder / "wheels", needs(models, image), versions(models), gpu=image.gpu
        )
        describe(folder, models, image, size, pins)
        (folder / "models").mkdir()
        for model in models:
            shutil.copyfile(model.file, folder / "models" / f"{model.name}.mar")
    return out


def describe(
    folder: Path, models: Sequence[Deployed], image: Image, size: _sizing.Size, pins: str
) -> None:
    """Write all of a folder but its wheels and archives.

    Args:
        folder: it.
        models: the archives.
        image: what it is to be.
        size: what it takes of a machine.
        pins: its packages, by version and SHA-256.
    """
    (folder / "requirements.txt").write_text(pins, "utf-8")
    (folder / "sbom").mkdir()
    for model in models:
        _write_json(folder / "sbom" / f"{model.name}.cdx.json", model.bill)
    _write_json(folder / "sbom" / "image.cdx.json", bill(pins))
    if image.system == "ray":
        text = yaml.safe_dump(applications(models), sort_keys=False)
        (folder / "serve.yaml").write_text(ray.HEADER + text, "utf-8")
    _render(folder, models, image, size)


def needs(models: Sequence[Deployed], image: Image) -> set[str]:
    """The packages of an image: of what serves, and of the engines of its archives."""
    engines = {name for model in models for name in model.engines()}
    if not image.explains:
        engines.discard(_wheels.EXPLAINS)
    return {*_wheels.SERVES, *_wheels.SYSTEMS[image.system], *engines}


def versions(models: Sequence[Deployed]) -> dict[str, str]:
    """The versions that archives were verified with.

    Raises:
        MarsmithError: two archives were verified with different ones of a package.
    """
    found: dict[str, tuple[str, str]] = {}
    for model in models:
        for name, version in model.packages().items():
            before, by = found.setdefault(name, (version, model.name))
            if before.partition("+")[0] != version.partition("+")[0]:
                raise MarsmithError(
                    f"{by} was verified with {name} {before}, {model.name} with {version}:"
                    " an image has one",
                    "build both with the same packages, or make an image of each",
                )
    return {name: version for name, (version, _) in found.items()}


def applications(models: Sequence[Deployed]) -> dict[str, Any]:
    """The applications file of an image that serves with Ray."""
    arguments = ApplicationArguments(archives=tuple(model.served.archive for model in models))
    return ray.document([model.served for model in models], arguments)


def labels(models: Sequence[Deployed], image: Image) -> dict[str, str]:
    """The annotations of an image, as the OCI names them, and the digests of its archives."""
    names = ", ".join(f"{model.name} {model.version}" for model in models)
    return {
        "org.opencontainers.image.title": image.tag,
        "org.opencontainers.image.description": f"{names}, served by marsmith {__version__}",
        "org.opencontainers.image.version": models[0].version if len(models) == 1 else __version__,
        "marsmith.sbom": "/usr/share/sbom",
        **{f"marsmith.model.{model.name}": f"sha256:{model.sha256}" for model in models},
    }


def bill(pins: str) -> dict[str, Any]:
    """The bill of materials of an image's packages: each wheel and its SHA-256, in CycloneDX."""
    components = []
    for line in pins.splitlines():
        pin, _, digest = line.partition(" --hash=sha256:")
        name, _, version = pin.partition("==")
        components.append({
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{version.replace('+', '%2B')}",
            "hashes": [{"alg": "SHA-256", "content": digest}],
        })  # fmt: skip
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, pins).urn,
        "version": 1,
        "components": components,
    }


def build(folder: Path, tag: str, base: str | None = None) -> str:
    """Build the image of a folder with docker, podman or buildah, whichever is there.

    Args:
        folder: see `write`.
        tag: the image's name.
        base: the image that it is made on; by default the one that the Dockerfile names.

    Returns:
        The builder.

    Raises:
        MarsmithError: there is none, or it fails.
    """
    builder = next(filter(_works, BUILDERS), None)
    if builder is None:
        raise MarsmithError(
            f"none of {', '.join(BUILDERS)} is there and answers to `info`",
            f"install one, or build {folder} elsewhere: it is complete",
        )
    # OCI's own format of images has no health check.
    as_docker = [] if builder == "docker" else ["--format", "docker"]
    command = [builder, "build", *as_docker, "--tag", tag]
    command += ["--build-arg", f"BASE={base}"] if base else []
    done = subprocess.run([*command, str(folder)], stdout=sys.stderr.fileno(), check=False)
    if done.returncode:
        raise MarsmithError(
            f"{builder} didn't build the image: status {done.returncode}",
            f"its own words are above; {folder} is complete, and can be built again",
        )
    return builder


def _works(builder: str) -> bool:
    """Whether a builder is there; a client without its daemon is none."""
    try:
        done = subprocess.run(
            [builder, "info"], capture_output=True, timeout=INFO_S, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _render(folder: Path, models: Sequence[Deployed], image: Image, size: _sizing.Size) -> None:
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["tojson"] = json.dumps  # jinja's own writes for HTML
    said = {
        "models": models, "python": "{}.{}".format(*sys.version_info), "user": USER,
        "port": PORTS[image.system], "ray": image.system == "ray", "stop_s": STOP_S,
        "labels": labels(models, image), "health": image.health(),
        "command": image.command(models), "tag": image.tag,
        "mounted": image.mounted, "gpu": image.gpu, "size": size,
    }  # fmt: skip
    for name in ("Dockerfile", "compose.yaml"):
        (folder / name).write_text(environment.get_template(f"{name}.j2").render(said), "utf-8")
    ignored = IGNORED + ("" if image.mounted else "!models\n")
    ignored += "!serve.yaml\n" if image.system == "ray" else ""
    (folder / ".dockerignore").write_text(ignored, "utf-8")


def _write_json(file: Path, said: object) -> None:
    file.write_text(json.dumps(said, indent=2) + "\n", "utf-8")
