"""A wheel holds every package of every room, and the files that they read beside their code."""

from __future__ import annotations

import tomllib
from pathlib import Path

from setuptools import find_packages

ROOT = Path(__file__).parents[1]
TOLD = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
OF_THE_REPOSITORY = {"dvc.yaml", "dvc.lock"}
"""Read by DVC, in a checkout alone."""


def test_every_package_of_every_room_is_found() -> None:
    found = set(find_packages(str(ROOT), include=TOLD["packages"]["find"]["include"]))
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("__init__.py")}
    assert found == {".".join(folder.parts) for folder in folders}
    assert {"serving", "serving.telemetry", "evalpacks.packs", "flows.commands"} <= found


def test_every_file_beside_the_code_is_package_data() -> None:
    told: dict[str, list[str]] = TOLD["package-data"]
    patterns = [(ROOT.joinpath(*package.split(".")), pattern) for package, globs in told.items() for pattern in globs]
    shipped = {path for folder, pattern in patterns for path in folder.glob(pattern)}
    beside = {
        path
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix != ".py" and path.parent.name != "__pycache__"
        if path.name not in OF_THE_REPOSITORY
    }
    assert beside - shipped == set()
    assert ROOT / "serving" / "alerts.yaml" in shipped
