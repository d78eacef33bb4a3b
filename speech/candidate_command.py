"""The command line of modules that make a candidate: `python -m MODULE NAME --out DIR`.

Boundary: parses arguments; what is made is the caller's business.
Invariants: the folder's path goes to stdout, an error to stderr with its exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from contracts.errors import SoundcheckError


def parser(module: str, description: str | None, names: Iterable[str]) -> argparse.ArgumentParser:
    """Arguments `name`, one of `names`, and `--out`; the first line of `description` is the help."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", description=(description or "").split("\n")[0])
    made.add_argument("name", choices=sorted(names))
    made.add_argument("--out", type=Path, required=True, help="the candidate folder")
    return made


def run(make: Callable[[], Path]) -> int:
    """Make the candidate and print its folder; the exit status."""
    try:
        sys.stdout.write(f"{make()}\n")
    except SoundcheckError as error:
        sys.stderr.write(f"{error.diagnostics()}\n")
        return error.exit_status
    return 0
