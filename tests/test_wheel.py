"""marsmith installed from its wheel, outside the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import Distribution
from pathlib import Path

import pytest
from PIL import Image

from marsmith.cli import new
from tests.support.own_handlers import PROJECT, write
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

NOT_OF_IT = shutil.ignore_patterns(".*", "__pycache__", "build", "*.egg-info", "model_store")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel in it; what the wheel needs is this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_OF_IT)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(folder / "checkout")], check=True)
    shutil.rmtree(folder / "checkout")
    made = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(made)], check=True)
    # As a plain path: the .pth files there, of an editable install, aren't read.
    (packages(made) / "others.pth").write_text(sysconfig.get_path("purelib"))
    (wheel,) = folder.glob("*.whl")
    install = [*pip, "--python", str(made), "install", "--quiet", "--no-deps"]
    subprocess.run([*install, "--force-reinstall", str(wheel)], check=True)
    return made


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what would be uploaded: the sources, and a wheel that is made of them."""
    folder = tmp_path_factory.mktemp("distributions")
    shutil.copytree(ROOT, folder / "checkout", ignore=NOT_OF_IT)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    subprocess.run([*build, str(folder / "checkout")], check=True, capture_output=True)
    return folder / "dist"


def packages(environment: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(environment)}))


def run(environment: Path, folder: Path, *command: str, check: bool = True) -> str:
    """What a command of the environment says, started in a folder."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{variables['PATH']}"
    variables["MARSMITH_STATE"] = str(environment.parent / "state")
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert not check or done.returncode == 0, done.stderr
    return done.stdout + (done.stderr if done.returncode else "")


@pytest.mark.parametrize("checker", ["twine check --strict", "check_wheel_contents"])
def test_what_would_be_uploaded_is_sound(distributions: Path, checker: str) -> None:
    wheel_alone = checker == "check_wheel_contents"
    files = sorted(distributions.glob("*.whl" if wheel_alone else "*"))
    assert len(files) == (1 if wheel_alone else 2)
    command = [sys.executable, "-m", *checker.split(), *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_sources_have_what_the_wheel_has_and_no_tests(distributions: Path) -> None:
    (sources,), (wheel,) = distributions.glob("*.tar.gz"), distributions.glob("*.whl")
    with tarfile.open(sources) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if ".dist-info/" not in name}
        inside = {name for name in inside if ".data/" not in name}
    assert inside <= names
    assert {"constraints.txt", "CHANGELOG.md", "LICENSE", "README.md"} <= names
    assert not [name for name in names if name.startswith(("tests", "build", "model_store"))]


def test_nothing_of_the_packages_is_left_out(environment: Path) -> None:
    def files(root: Path) -> set[str]:
        found = (file for name in ("handlers", "marsmith") for file in (root / name).rglob("*.*"))
        return {str(f.relative_to(root)) for f in found if f.suffix != ".pyc"}

    assert files(packages(environment)) == files(ROOT)


def test_it_has_what_is_promised(environment: Path, tmp_path: Path) -> None:
    where = "import handlers, marsmith; print(handlers.__file__, marsmith.__file__)"
    for file in run(environment, tmp_path, "python", "-c", where).split():
        assert Path(file).is_relative_to(environment)
        assert Path(file).with_name("py.typed").is_file()
    said = run(environment, tmp_path, "marsmith", "build", "no.yaml", check=False)
    recipes = Path(said.split()[-1])
    assert recipes.is_relative_to(environment)
    shipped = ROOT / "archiver_configs"
    assert {f.name for f in recipes.iterdir()} == {f.name for f in shipped.glob("*.yaml")}
    run(environment, tmp_path, "marsmith", "examples", "scenes_detection", "--out", "copy")
    assert (tmp_path / "copy" / "examples" / "scene_models.py").is_file()
    for task in new.tasks():
        run(environment, tmp_path, "marsmith", "new", f"my_{task}", "--task", task, "--custom")


def test_the_extra_all_is_all(environment: Path) -> None:
    (found,) = Distribution.discover(name="marsmith", path=[str(packages(environment))])
    extras = set(found.metadata.get_all("Provides-Extra") or [])
    named = [each for each in found.requires or [] if each.endswith('extra == "all"')]
    within = {
        name for each in named for name in each.partition("[")[2].partition("]")[0].split(",")
    }
    assert within == extras - {"all", "dev"}


def test_it_serves_what_it_built(environment: Path, tmp_path: Path) -> None:
    def marsmith(*arguments: str) -> str:
        return run(environment, tmp_path, "marsmith", *arguments)

    marsmith("new", "pets", "--task", "image_classification")
    marsmith("build", "pets/pets.yaml")
    Image.new("RGB", (32, 32)).save(tmp_path / "pet.png")
    assert marsmith("run", "model_store/pets.mar", "pet.png").startswith("pet.png: 200 ")
    status = json.loads(marsmith("serve", "pets", "--port", "0", "--json"))
    port = status["inference_address"].rpartition(":")[2]
    try:
        assert "cat" in json.loads(marsmith("predict", "pets", "pet.png", "--port", port))
    finally:
        marsmith("stop", "--port", port)


TORCHRUN = "python -m torch.distributed.run --standalone --nproc-per-node=2 -m marsmith.cli build"


@pytest.mark.parametrize(
    "command",
    ["marsmith build", "python -m marsmith.cli build", "marsmith build --nproc 2", TORCHRUN],
)
def test_it_works_beside_a_handlers_of_ones_own(
    environment: Path, tmp_path: Path, command: str
) -> None:
    write(tmp_path, PROJECT)
    run(environment, tmp_path, *command.split(), "shades.yaml")
    Image.new("RGB", (2, 2)).save(tmp_path / "shade.png")
    said = run(environment, tmp_path, "marsmith", "run", "model_store/shades.mar", "shade.png")
    assert said.startswith("shade.png: 200 ")
    run(environment, tmp_path, "marsmith", "new", "pets", "--task", "image_classification")
    run(environment, tmp_path, *command.split(), "pets/pets.yaml")


SCRIPT = "if __name__ == '__main__':\n    import marsmith\n    marsmith.build('shades.yaml')"


@pytest.mark.parametrize(
    "command",
    ["marsmith build shades.yaml", "python -m marsmith.cli build shades.yaml", "python script.py"],
)
def test_processes_that_are_spawned_to_read_data_find_both(
    environment: Path, tmp_path: Path, command: str
) -> None:
    text = PROJECT["shades.yaml"].replace('net:Lessons"', 'net:spawned", workers: 1')
    write(tmp_path, PROJECT | {"shades.yaml": text, "script.py": SCRIPT})
    run(environment, tmp_path, *command.split())


@pytest.mark.parametrize(
    "files",
    [
        {"handlers/base.py": ""},
        {"handlers/__init__.py": "from .net import make"},
        {
            "shades.yaml": PROJECT["shades.yaml"].replace(
                "image_classification", "handlers.net:Mine"
            )
        },
    ],
)
def test_what_can_not_be_is_refused(
    environment: Path, tmp_path: Path, files: dict[str, str]
) -> None:
    mine = "\n    from handlers.tasks.image_classification import ImageClassification"
    mine += "\n    class Mine(ImageClassification): pass\n"
    write(tmp_path, PROJECT | {"handlers/net.py": PROJECT["handlers/net.py"] + mine} | files)
    for more in ([], ["--nproc", "2"]):
        command = ["python", "-m", "marsmith.cli", "build", "shades.yaml", *more]
        said = run(environment, tmp_path, *command, check=False)
        assert "error: " in said
        assert "give yours another name, such as my_handlers" in said
