"""`marsmith deploy`: files that other systems deploy archives from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marsmith.cli.json_output import AsJson, tell
from marsmith.cli.terminal import progress

Archives = Annotated[list[str], typer.Argument(help=".mar files, or FILE@sha256:DIGEST.")]
Out = Annotated[Path, typer.Option("--out", help="An empty folder, or a new one.")]
Image = Annotated[str, typer.Option(help="Of `deploy container`; by its digest, at best.")]
Name = Annotated[str, typer.Option(help="Of all that is written.")]
Replicas = Annotated[int, typer.Option(min=1, help="The fewest pods.")]
MaxReplicas = Annotated[int, typer.Option(min=1, help="The most, when they are busy.")]

app = typer.Typer(no_args_is_help=True, help="Write what other systems deploy archives from.")


@app.command()
def ray(
    archives: Archives,
    file: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("serve.yaml"),
    trust: Annotated[
        list[Path] | None,
        typer.Option(help="A public key, or a folder of them: one must have signed each."),
    ] = None,
    keys: Annotated[bool, typer.Option(help="Ask for keys.")] = True,
    keys_file: Annotated[
        Path | None, typer.Option(help="Where nodes have the keys; default: this user's there.")
    ] = None,
    ingresses: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Replicas that speak to clients, each on its own node; 0: a single model's own"
            " replicas do. By default 0 for one archive, else 1.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write an applications file of archives, for `serve deploy` of Ray Serve."""
    from marsmith.deploy.ray import write
    from marsmith.serving.ray.arguments import ApplicationArguments

    arguments = ApplicationArguments(
        archives=tuple(archives),
        trust=tuple(trust or ()),
        keys=keys,
        keys_file=keys_file,
        ingresses=ingresses,
    )
    write(archives, file, arguments)
    tell(as_json, {"file": file}, f"wrote {file}", f"next: serve deploy {file}")


@app.command()
def container(
    archives: Archives,
    folder: Out,
    system: Annotated[
        str, typer.Option("--for", help="What serves in it: torchserve or ray.")
    ] = "torchserve",
    gpu: Annotated[bool, typer.Option(help="With CUDA, for NVIDIA's GPUs.")] = False,
    mounted: Annotated[bool, typer.Option(help="Archives are mounted, not in the image.")] = False,
    explanations: Annotated[bool, typer.Option(help="With what they need.")] = False,
    tag: Annotated[str, typer.Option(help="The image's name.")] = "marsmith-server",
    build: Annotated[
        bool, typer.Option("--build", help="Build it with docker, podman or buildah.")
    ] = False,
    base: Annotated[
        str | None, typer.Option(help="The image to build on; default: Python's slim one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write what an image of archives is built from: Dockerfile, wheels by SHA-256, compose."""
    from typing import get_args

    from marsmith.deploy.container import Image, System, write
    from marsmith.deploy.container import build as run
    from marsmith.errors import MarsmithError

    if system not in get_args(System):
        raise MarsmithError(f"--for {system}: there are {', '.join(get_args(System))}")
    if base and not build:
        raise MarsmithError("--base is for --build", "or say it to the builder: --build-arg BASE=")
    image = Image(
        system="ray" if system == "ray" else "torchserve",
        gpu=gpu,
        mounted=mounted,
        explains=explanations,
        tag=tag,
    )
    with progress() as say:
        write(archives, folder, image, say)
    wrote = f"wrote {folder}"
    if not build:
        next_ = f"next: docker build --tag {tag} {folder}"
        tell(as_json, {"folder": folder, "built": None}, wrote, next_)
        return
    built = f"{run(folder, tag, base)} built {tag}"
    tell(as_json, {"folder": folder, "built": tag}, wrote, built)


@app.command()
def kubernetes(
    archives: Archives,
    folder: Out,
    image: Image = "marsmith-server",
    name: Name = "marsmith",
    replicas: Replicas = 2,
    max_replicas: MaxReplicas = 4,
    insecure_http: Annotated[
        bool, typer.Option(help="Pods speak HTTP: what is before them has TLS.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write what `kubectl apply` takes, and the values of the Helm chart for the same."""
    from marsmith.deploy.kubernetes import write

    pods = _range(replicas, max_replicas)
    write(archives, folder, name=name, image=image, tls=not insecure_http, replicas=pods)
    tell(as_json, {"folder": folder}, f"wrote {folder}")


@app.command()
def kserve(
    archives: Archives,
    folder: Out,
    storage: Annotated[str, typer.Option(help="oci://IMAGE or pvc://CLAIM/FOLDER.")],
    image: Image = "marsmith-server",
    name: Name = "marsmith",
    canary: Annotated[
        int | None, typer.Option(min=0, max=100, help="Per cent that this revision gets at first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a ClusterServingRuntime and an InferenceService, for KServe."""
    from marsmith.deploy.kserve import write

    write(archives, folder, name=name, image=image, storage=storage, canary=canary)
    tell(as_json, {"folder": folder}, f"wrote {folder}")


@app.command()
def kuberay(
    archives: Archives,
    folder: Out,
    image: Image = "marsmith-ray",
    name: Name = "marsmith",
    replicas: Replicas = 2,
    max_replicas: MaxReplicas = 4,
    as_json: AsJson = False,
) -> None:
    """Write a RayService, for KubeRay."""
    from marsmith.deploy.kuberay import write

    write(archives, folder, name=name, image=image, replicas=_range(replicas, max_replicas))
    tell(as_json, {"folder": folder}, f"wrote {folder}")


def _range(fewest: int, most: int) -> tuple[int, int]:
    """Refuse fewer at most than there are at least."""
    from marsmith.errors import MarsmithError

    if fewest > most:
        raise MarsmithError(f"--replicas {fewest} is more than --max-replicas {most}")
    return fewest, most
