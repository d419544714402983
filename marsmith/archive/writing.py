"""Writes an archive: `torch-model-archiver`, then canonical bytes and hashes."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import yaml

import handlers
from marsmith.archive import contents, sums
from marsmith.archive.packages import REQUIREMENTS
from marsmith.archive.reading import ENTRY, FACTS, MANIFEST
from marsmith.archive.sums import SUMS
from marsmith.converters import Artifact
from marsmith.errors import BuildError
from marsmith.recipe.candidate import Candidate
from marsmith.recipe.sections import USUAL_RESPONSE_S, Recipe, Serving

CONFIG = "model-config.yaml"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time that a zip can say
ARCHIVER_TIMEOUT_S = 600


def package(
    recipe: Recipe,
    candidate: Candidate,
    artifact: Artifact,
    facts: Mapping[str, object],
    work: Path,
) -> Path:
    """Write a self-contained archive.

    Args:
        recipe: name, version, task settings and serving settings.
        candidate: the model's runtime and precision.
        artifact: the converted model.
        facts: what was verified; travels as MAR-INF/marsmith.json.
        work: a folder that doesn't exist yet, for the archive and what it is made of.

    Returns:
        `work/NAME.mar`: equal inputs give equal bytes.

    Raises:
        BuildError: two files have one name, or torch-model-archiver failed.
    """
    stage = work / "stage"
    stage.mkdir(parents=True)
    package_folder = Path(handlers.__file__).parent
    shutil.copytree(package_folder, stage / "handlers", ignore=_only_code)
    converted = {file.name: file for file in artifact.files}
    contents.copy(converted, stage)
    taken = {artifact.model.name, *converted}
    requirements = None
    if recipe.requirements:
        requirements = work / REQUIREMENTS
        requirements.write_text("".join(f"{pin}\n" for pin in recipe.requirements), "utf-8")
        taken.add(REQUIREMENTS)
    contents.copy(contents.travelling(recipe), stage, taken)
    entry, config = work / ENTRY, work / CONFIG
    shutil.copyfile(package_folder / ENTRY, entry)
    config.write_text(model_config(recipe, candidate, artifact), "utf-8")
    raw = _run_archiver(recipe, artifact.model, entry, config, stage, work, requirements)
    archive = work / f"{recipe.name}.mar"
    _canonicalise(raw, facts, archive)
    return archive


def _only_code(folder: str, names: list[str]) -> list[str]:
    """The names that `shutil.copytree` leaves out."""
    return [
        name
        for name in names
        if name == "__pycache__"
        or (not name.endswith((".py", "py.typed")) and not (Path(folder) / name).is_dir())
    ]


def model_config(recipe: Recipe, candidate: Candidate, artifact: Artifact) -> str:
    """The archive's `model-config.yaml`: TorchServe's settings, then the front's and the handler's.

    TorchServe silently ignores a setting of the wrong type. Without timeouts here, its default of
    120 s overrides those of config.properties.
    """
    serving: Serving = recipe.serving
    settings: dict[str, object] = {
        "minWorkers": serving.min_workers,
        "maxWorkers": serving.max_workers,
        "batchSize": serving.batch_size,
        "maxBatchDelay": serving.max_batch_delay_ms,
        "responseTimeout": serving.response_timeout_s or USUAL_RESPONSE_S,
        "startupTimeout": serving.startup_timeout_s,
        "jobQueueSize": serving.job_queue_size,
        "deviceType": serving.device,
    }
    if serving.continuous_batching:
        settings["continuousBatching"] = True
    front: dict[str, object] = {"max_body_bytes": serving.max_body_bytes, "openai": True}
    if serving.worker_per_core:
        front["worker_per_core"] = True
    if serving.queue_timeout_s is not None:
        front["queue_timeout_s"] = serving.queue_timeout_s
    form = {"runtime": candidate.runtime, "precision": candidate.precision}
    section = {**recipe.handler_section, **form}
    if artifact.options:
        section["runtime_options"] = dict(artifact.options)
    if artifact.instructions:
        section["instructions"] = list(artifact.instructions)
    return yaml.safe_dump({**settings, "front": front, "handler": section}, sort_keys=False)


def _run_archiver(
    recipe: Recipe,
    model: Path,
    entry: Path,
    config: Path,
    stage: Path,
    work: Path,
    requirements: Path | None,
) -> Path:
    # It stages in $TMPDIR/<model name>, deleting what is there: it gets a TMPDIR of its own.
    # A folder given as an extra file is flattened: its contents land at the archive's root.
    (work / "tmp").mkdir()
    (work / "raw").mkdir()
    command = [sys.executable, "-m", "model_archiver.model_packaging"]
    command += ["--model-name", recipe.name, "--version", recipe.version, "--runtime", "python"]
    command += ["--handler", str(entry), "--serialized-file", str(model)]
    command += ["--config-file", str(config), "--extra-files", str(stage)]
    command += ["--requirements-file", str(requirements)] if requirements else []
    command += ["--export-path", str(work / "raw")]
    done = subprocess.run(
        command,
        env={**os.environ, "TMPDIR": str(work / "tmp")},
        capture_output=True,
        text=True,
        timeout=ARCHIVER_TIMEOUT_S,
        check=False,
    )
    archive = work / "raw" / f"{recipe.name}.mar"
    if done.returncode or not archive.is_file():
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
        raise BuildError(
            f"torch-model-archiver failed: {(done.stderr or done.stdout).strip()[-2000:]}"
        )
    return archive


def _canonicalise(raw: Path, facts: Mapping[str, object], out: Path) -> None:
    with zipfile.ZipFile(raw) as archive:
        entries = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    manifest = json.loads(entries[MANIFEST])
    manifest.pop("createdOn", None)
    entries[MANIFEST] = dump(manifest)
    entries[FACTS] = dump(facts)
    entries[SUMS] = sums.of(entries)
    # Stored, not deflated: compressors differ between machines, and weights hardly shrink.
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(entries):
            info = zipfile.ZipInfo(name, EPOCH)
            info.external_attr = 0o644 << 16
            info.create_system = 3
            archive.writestr(info, entries[name])


def dump(data: object) -> bytes:
    """Data as canonical JSON, where infinite figures and NaN are text: "Infinity", "NaN"."""
    said = json.dumps(_spelled(data), indent=2, sort_keys=True, allow_nan=False)
    return (said + "\n").encode()


def _spelled(data: object) -> object:
    if isinstance(data, float) and not math.isfinite(data):
        return json.dumps(data)
    if isinstance(data, Mapping):
        return {key: _spelled(each) for key, each in data.items()}
    if isinstance(data, (list, tuple)):
        return [_spelled(each) for each in data]
    return data
