"""What is in an archive that others made, read without running or loading any of it."""

from __future__ import annotations

import json
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from marsmith import imports
from marsmith.archive import texts
from marsmith.archive.reading import Named, check, glance
from marsmith.errors import ArchiveError
from marsmith.foreign import source, traps
from marsmith.foreign.source import BUILT_IN, HandlerSource
from marsmith.harness.unpacking import read_manifest

PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")
TORCHSCRIPT, ONNX, PROGRAM, COMPILED, PICKLE = (
    "TorchScript", "ONNX", "a program of torch.export", "machine code", "a pickle",
)  # fmt: skip
INDEX = "index_to_name.json"


@dataclass(frozen=True)
class Pickled:
    """A pickle in the archive: what it would import, and of that what it would call."""

    names: tuple[str, ...]
    called: tuple[str, ...]
    harmful: tuple[str, ...]
    damaged: bool


@dataclass(frozen=True)
class Foreign:
    """What is in an archive.

    Attributes:
        name: the model's.
        version: the model's.
        sha256: of the archive.
        handler: as the manifest says it.
        kind: the module of TorchServe's that it is, or is a kind of; empty for anything else.
        source: of a handler of its own; None for one of TorchServe's.
        imports: by what the archive's code imports from elsewhere, the files that do.
        model: the file of the model; empty without one.
        form: what that file is; empty where that isn't known.
        model_file: the file of the model's class; empty without one.
        architecture: transformers' class of the model, where its files are a folder of theirs.
        pickles: by file.
        requirements: the lines of its requirements file.
        config: its `model-config.yaml`.
        wrong: what TorchServe takes otherwise than it is said.
    """

    name: str
    version: str
    sha256: str
    handler: str
    kind: str
    source: HandlerSource | None
    imports: Mapping[str, tuple[str, ...]]
    model: str
    form: str
    model_file: str
    architecture: str
    pickles: Mapping[str, Pickled]
    requirements: tuple[str, ...]
    config: Mapping[str, object] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()

    @property
    def harmful(self) -> list[str]:
        """What its pickles name that no model needs."""
        return sorted({name for each in self.pickles.values() for name in each.harmful})


def is_foreign(archive: Path) -> bool:
    """Whether an archive is sound, and has no facts of marsmith's and no handlers of ours."""
    path = Named.of(archive).path
    try:
        said = glance(path)
    except ArchiveError:  # whoever reads it will say why
        return False
    with zipfile.ZipFile(path) as opened_file:
        names = opened_file.namelist()
    return said.facts is None and not any(name.startswith("handlers/") for name in names)


@contextmanager
def opened(archive: Path) -> Iterator[tuple[Foreign, Path]]:
    """Lay an archive out in a temporary folder, and read what is in it.

    Raises:
        ArchiveError: it is no archive of a Python handler, or its handler isn't Python.
    """
    named = Named.of(archive)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve() / "archive"
        sha256 = check(named, folder).sha256
        yield _examine(named.path, folder, sha256), folder


def examine(archive: Path) -> Foreign:
    """Read what is in an archive.

    Raises:
        ArchiveError: see `opened`.
    """
    with opened(archive) as (found, _):
        return found


def _examine(archive: Path, folder: Path, sha256: str) -> Foreign:
    manifest = read_manifest(archive, folder)
    file = manifest["handler"].partition(":")[0]
    own = folder / Path(file if file.endswith(".py") else f"{file}.py").name
    read, wrong = _read_handler(own, file)
    config: dict[str, object] = {}
    if name := manifest.get("configFile"):
        config, said = traps.of_text((folder / name).read_text("utf-8", "replace"), name)
        wrong += said
    model = manifest.get("serializedFile", "")
    wrong += _labels(folder)
    requirements = _lines(folder, manifest.get("requirementsFile", ""))
    if requirements:
        wrong.append("its requirements are installed with install_py_dep_per_model=true alone")
    return Foreign(
        name=manifest["modelName"],
        version=manifest["modelVersion"],
        sha256=sha256,
        handler=manifest["handler"],
        kind=read.kind if read else file if file in BUILT_IN.values() else "",
        source=read,
        imports=_imports(folder),
        model=model,
        form=form_of(folder / model) if model else "",
        model_file=manifest.get("modelFile", ""),
        architecture=_architecture(folder / "config.json"),
        pickles=_scanned(folder),
        requirements=requirements,
        config=config,
        wrong=tuple(wrong),
    )


def _architecture(config: Path) -> str:
    """The class that transformers' `config.json` names; empty where it is none of theirs."""
    try:
        said = texts.read_json(config.read_bytes(), config.name)
    except (OSError, ArchiveError):
        return ""
    if not isinstance(said, dict) or "model_type" not in said:
        return ""
    named = said.get("architectures")
    first = named[0] if isinstance(named, list) and named else ""
    return first if isinstance(first, str) and first.isidentifier() else ""


def _read_handler(own: Path, name: str) -> tuple[HandlerSource | None, list[str]]:
    if not own.is_file():
        known = name in BUILT_IN.values()
        return None, [] if known else [f"the handler {name} is neither in it nor TorchServe's own"]
    try:
        read = source.read(own)
    except SyntaxError as error:
        raise ArchiveError(f"the handler {own.name} isn't Python: {error}") from error
    if len(read.classes) != 1 and not read.function:
        said = f"{own.name} defines {len(read.classes)} classes: TorchServe wants exactly one"
        return read, [f"{said}, or a function handle"]
    return read, []


def form_of(model: Path) -> str:
    """What the file of a model is; empty where that isn't known."""
    if model.suffix in (".onnx", ".so"):
        return ONNX if model.suffix == ".onnx" else COMPILED
    from marsmith.sources import _pickles  # imports torch

    names = _pickles.zipped(model)
    if any(name.endswith("/constants.pkl") for name in names):
        return TORCHSCRIPT
    if model.suffix == ".pt2" or any("serialized_exported_program" in name for name in names):
        return PROGRAM
    return PICKLE if _pickles.is_pickle(model) else ""


def _scanned(folder: Path) -> dict[str, Pickled]:
    """The pickles of a folder. TorchScript's are left out: no Python is called to read them."""
    from marsmith.sources import _pickles  # imports torch

    found = {}
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        if file.suffix == ".py" or form_of(file) == TORCHSCRIPT:
            continue
        begins = _pickles.is_pickle(file)
        if not begins and file.suffix not in PICKLES:
            continue
        scan = _pickles.scan(file)
        if not begins and not scan.names:  # a pickle may begin with any instruction
            continue
        if scan.damaged and file.suffix not in PICKLES:  # a text that begins like one
            continue
        found[file.relative_to(folder).as_posix()] = Pickled(
            tuple(scan.names), tuple(sorted(scan.called)), tuple(scan.harmful), scan.damaged
        )
    return found


def _imports(folder: Path) -> dict[str, tuple[str, ...]]:
    """What the code of a folder imports that is neither in it nor Python's own."""
    files = sorted(folder.rglob("*.py"))
    own = {path.relative_to(folder).parts[0].removesuffix(".py") for path in files}
    found: dict[str, list[str]] = {}
    for file in files:
        module = ".".join(file.relative_to(folder).with_suffix("").parts)
        try:
            named = {each.partition(".")[0] for each in imports.named(file, module)}
        except (SyntaxError, ImportError):
            continue
        for top in sorted(named - own - sys.stdlib_module_names):
            found.setdefault(top, []).append(file.relative_to(folder).as_posix())
    return {name: tuple(found[name]) for name in sorted(found)}


def _lines(folder: Path, name: str) -> tuple[str, ...]:
    if not name:
        return ()
    lines = (line.strip() for line in (folder / name).read_text("utf-8", "replace").splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def _labels(folder: Path) -> list[str]:
    if not (folder / INDEX).is_file():
        return []
    try:
        names = read_labels(folder / INDEX)
    except ValueError as error:
        return [f"{INDEX} can't be read: {error}"]
    twice = sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    lost = [f"{INDEX} has {', '.join(twice)} more than once: an answer keeps one of equal names"]
    return lost if twice else []


def read_labels(file: Path) -> dict[int, str]:
    """The names of classes by number, as TorchServe reads `index_to_name.json`.

    Raises:
        ValueError: it isn't a mapping of numbers to names.

    See: `load_label_mapping` in TorchServe's `ts/utils/util.py`.
    """
    try:
        said = json.loads(file.read_text("utf-8"))
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(said, dict):
        raise ValueError("it must be a mapping")
    names = said.get("object_type_names")
    if isinstance(names, list):
        said = dict(enumerate(names))
    last = {
        key: each[-1] if each and isinstance(each, list) else each for key, each in said.items()
    }
    found = {int(key): each for key, each in last.items()}
    if not all(isinstance(name, str) for name in found.values()):
        raise ValueError("names must be strings, or lists that end with one")
    return found
