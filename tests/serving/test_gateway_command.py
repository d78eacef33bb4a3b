"""First errors of the gateway's own command: one clear paragraph, the next step, an exit status, no traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
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


def test_a_gateway_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    """kill -9 of a release in its staged replay leaves no gateway behind."""
    code = (
        "import sys, time; from pathlib import Path; from serving.client import start_gateway\n"
        f"with start_gateway(Path({str(tmp_path)!r}), families=('tiny',), wait=lambda _: True) as gateway:\n"
        "    print(gateway.pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parent.parent.parent
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE, text=True)
    with owner:
        assert owner.stdout is not None
        gateway = int(owner.stdout.readline())
        owner.kill()
    ends = time.monotonic() + 10
    while Path(f"/proc/{gateway}/cmdline").exists() and Path(f"/proc/{gateway}/cmdline").read_bytes():
        assert time.monotonic() < ends, "the gateway outlives its owner"
        time.sleep(0.05)
