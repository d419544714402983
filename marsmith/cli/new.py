"""`marsmith new`: a recipe and a model to start from, which build and serve as they stand.

A task's templates are found by its name: `templates/TASK.yaml.j2`, `TASK.model.py.j2` and
`TASK.handler.py.j2`.
"""

from __future__ import annotations

import re
from pathlib import Path

from handlers.schema import unknown
from marsmith.atomic import replacing
from marsmith.errors import MarsmithError

TEMPLATES = Path(__file__).parent / "templates"
NAME = re.compile(r"(?!token)[A-Za-z][A-Za-z0-9_-]{0,99}")


def tasks() -> list[str]:
    """The tasks that there are templates for."""
    return sorted(file.name.partition(".")[0] for file in TEMPLATES.glob("*.model.py.j2"))


def write(name: str, task: str, into: Path, *, custom: bool = False) -> list[Path]:
    """Write a folder with a recipe, a model, and a handler if asked for.

    Args:
        name: the name of the model, the folder and the recipe.
        task: one of `tasks`.
        into: the folder in which the new one is made.
        custom: write a handler, too; it subclasses the task's.

    Returns:
        The files; the recipe first.

    Raises:
        MarsmithError: the name can't name an archive and a module, there is no such task, or the
            folder has something in it.
    """
    refuse_unservable(name)
    if task not in tasks():
        raise MarsmithError(unknown(task, tasks(), "--task"))
    folder = into / name
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MarsmithError(f"{folder} exists, and is not empty", "choose another name")
    module = name.replace("-", "_")
    made = {f"{name}.yaml": f"{task}.yaml.j2", f"{module}_model.py": f"{task}.model.py.j2"}
    if custom:
        made[f"{module}_handler.py"] = f"{task}.handler.py.j2"
    texts = {file: _render(template, name, task, custom) for file, template in made.items()}
    with replacing(folder) as unfinished:
        unfinished.mkdir()
        for file, text in texts.items():
            (unfinished / file).write_text(text, "utf-8")
    return [folder / file for file in texts]


def refuse_unservable(name: str) -> None:
    """Refuse a name that a model and its files can't have.

    Raises:
        MarsmithError: it is one.
    """
    if not NAME.fullmatch(name):
        raise MarsmithError(
            f"{name!r} can't be a model's name",
            "use up to 100 letters, digits, '-' and '_', a letter first, but not 'token'",
        )


def _render(template: str, name: str, task: str, custom: bool) -> str:
    module = name.replace("-", "_")
    class_name = "".join(part.capitalize() for part in module.split("_")) + "Handler"
    handler = f"{module}_handler:{class_name}" if custom else None
    return render(
        template, name=name, task=task, module=module, class_name=class_name, handler=handler,
        code=f"{module}_model",
    )  # fmt: skip


def render(template: str, **known: object) -> str:
    """Fill in a template.

    Args:
        template: the name of its file.
        known: what it asks for; of recipes, `code` is the module of the user's data.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # noqa: S701 - it is Python and YAML, not HTML
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**known)
