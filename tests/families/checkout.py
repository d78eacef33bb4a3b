"""A clone of the repository that a test may write into: the rooms, the policies, a first commit, nothing made yet."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.flows.release_project import REPOSITORY, commit, environment

ROOMS = (
    "contracts", "speech", "evalpacks", "registry", "pages", "serving", "monitoring", "operations", "tasks", "flows",
    "families",
)  # fmt: skip
FILES = ("params.yaml", "requirements.lock", "prefect.yaml", "automations.yaml", ".gitignore", "pyproject.toml")


def clone(root: Path) -> Path:
    """Copy the tree to `root` and commit it."""
    root.mkdir(parents=True)
    for name in ROOMS:
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copyfile(REPOSITORY / name, root / name)
    commit(root)
    return root


def patient(root: Path) -> None:
    """Widen the latency budgets of params.yaml: tests share their machine, and what is slow is not what they ask."""
    params = root / "params.yaml"
    params.write_text(re.sub(r"(_p(?:50|95)_ms: )\d+", r"\g<1>20000", params.read_text()))


def shell(root: Path, lines: str, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run lines of a shell in the clone: `python` is this one, `soundcheck` is the clone's, git has an author."""
    binaries = root.parent / "bin"
    binaries.mkdir(exist_ok=True)
    for name, words in {"python": "", "soundcheck": "-m flows.cli "}.items():
        (binaries / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words}"$@"\n')
        (binaries / name).chmod(0o755)
    author = {
        f"GIT_{who}_{what}": "tests@example.invalid" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    where = {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(root)}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", lines], cwd=root, env={**environment(root), **author, **where},
        capture_output=True, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
