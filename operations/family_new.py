"""A new family, from a template of its task: its code below families/, and its section of params.yaml.

Boundary: writes families/MODULE, and params.yaml where that is asked for.
Invariants: nothing that is there is written over; params.yaml keeps every byte it has, and the section that is added
parses to a policy of that task, or nothing is written.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple, get_args

import yaml

import families
from contracts.errors import AlreadyExists, WrongCall
from contracts.policy import Task
from operations.settings import PARAMS, Settings

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
TEMPLATES = Path(families.__file__).parent / "templates"
_SECTION = "params.yaml"


class New(NamedTuple):
    """A family that was written.

    Attributes:
        files: its code, relative to the project.
        module: the package, as `python -m` names it.
        section: what params.yaml needs of it.
    """

    files: tuple[str, ...]
    module: str
    section: str


def tasks() -> tuple[Task, ...]:
    """Tasks that there is a template of, in the order of contracts.policy."""
    return tuple(task for task in get_args(Task) if (TEMPLATES / task).is_dir())


def create(settings: Settings, name: str, task: Task, *, write_params: bool) -> New:
    """Write the code of a family of this task; with `write_params` also its section at the end of params.yaml.

    Raises:
        WrongCall: the name is none, or the project is not a checkout whose families/ the engines are loaded from.
        AlreadyExists: a family of this name, or its folder, is there.
    """
    folder = _folder(settings, name)
    section = (TEMPLATES / task / _SECTION).read_text().replace("NAME", name)
    grown = _with_section(settings, section) if write_params else None
    shutil.copytree(TEMPLATES / task, folder, ignore=shutil.ignore_patterns(_SECTION, "__pycache__"))
    for path in folder.glob("*.py"):
        path.write_text(path.read_text().replace("families.NAME", f"families.{folder.name}").replace("NAME", name))
    if grown is not None:
        (settings.root / PARAMS).write_text(grown)
    files = sorted(path.relative_to(settings.root).as_posix() for path in folder.glob("*.py"))
    return New(tuple(files), f"families.{folder.name}", section)


def _folder(settings: Settings, name: str) -> Path:
    """Where the family's code will be; raises where it cannot be there."""
    if not NAME.fullmatch(name):
        raise WrongCall(
            "this is no name of a family", got=name, expected="lower-case letters, digits and hyphens, like door-bells"
        )
    folder = settings.root / "families" / name.replace("-", "_")
    if folder.parent.resolve() != Path(families.__file__).parent.resolve():
        raise WrongCall(
            "this project is not the checkout that engines are loaded from",
            where=str(settings.root),
            got=f"families/ is {Path(families.__file__).parent}",
            next_step="work in a clone of Soundcheck, and install it there (make install)",
        )
    if name in settings.families or folder.exists():
        raise AlreadyExists(
            f"the family {name!r} is already there",
            where=str(folder) if folder.exists() else str(settings.root / PARAMS),
            next_step="choose another name",
        )
    return folder


def _with_section(settings: Settings, section: str) -> str:
    """params.yaml with the section at its end; WrongCall where `families` is not its last key."""
    path = settings.root / PARAMS
    text = path.read_text().rstrip("\n") + "\n\n" + section
    try:
        grown = yaml.safe_load(text)
    except yaml.YAMLError:
        grown = None
    own = yaml.safe_load(section)
    if grown != {**settings.params, "families": {**settings.params["families"], **own}}:
        raise WrongCall(
            "the section cannot be added at the end of params.yaml",
            where=str(path),
            expected="`families` as the last key, its families indented by two spaces",
            next_step="leave --write-params away, and write the section that is printed below `families`",
        )
    return text
