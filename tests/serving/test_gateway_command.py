"""First errors of the gateway's own command: one clear paragraph, the next step, an exit status, no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.serving.conftest import TINY_GATEWAY


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parent.parent.parent
    return subprocess.run(
        [*TINY_GATEWAY, *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("--home", str(tmp_path), "--family", "tiny", "--port", str(port))
    assert done.returncode == 3
    assert done.stderr == (
        "the gateway's port cannot be had\n"
        f"  where: 127.0.0.1:{port}\n"
        "  got: Address already in use\n"
        "  expected: a free port\n"
        "  next step: stop what listens there, or name another with --port (0 takes a free one)\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the gateway has nothing to serve"),
        (("--serve", "tiny"), "'tiny' is not FAMILY=BUNDLE"),
        (("--family", "tiny", "--store", "ftp://x"), "the store's address is not one this version can open"),
    ],
    ids=["nothing", "pin", "store"],
)
def test_wrong_calls(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    done = run("--home", str(tmp_path), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
