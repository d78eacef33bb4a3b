"""`python -m benchmarks [--json]`: every benchmark, one after the other, each in a process of its own.

Boundary: finds the modules of this package that have a `measure`; prints what they print.
Invariants: a benchmark that fails is named and the others still run; the exit status is then 1.
"""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import click

import benchmarks


def names() -> list[str]:
    """All benchmarks, sorted."""
    modules = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "__main__")
    return [name for name in modules if hasattr(importlib.import_module(f"benchmarks.{name}"), "measure")]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def main(as_json: bool) -> None:
    """Run every benchmark: tables, or one JSON object a line, on stdout; progress on stderr."""
    failed = []
    for name in names():
        command = [sys.executable, "-m", f"benchmarks.{name}", *(["--json"] if as_json else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        click.echo(f"benchmarks that failed: {', '.join(failed)}", err=True)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
