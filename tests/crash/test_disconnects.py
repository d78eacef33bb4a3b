"""Ten thousand clients that leave at every state of a stream or an upload: memory, files and threads stay flat."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from serving.client import RunningGateway, transcribe
from tests.crash.conftest import tell_at_end
from tests.serving.conftest import Home, home, pinned, silence, start_tiny, wav
from tests.serving.talking import idle
from tests.serving.test_faulty_clients import leave_requests, leave_streams, resident_mb, workers_of

__all__ = ["home", "pinned", "start_tiny"]

ROUNDS = 10
STREAMS, REQUESTS = 700, 300
GROWTH_MB = 16.0
"""What the second half of all disconnects may add: 5,000 that each left 4 KB would add 20."""


def held(pid: int) -> tuple[float, int, int]:
    """Resident megabytes, open files and threads of a process."""
    proc = Path(f"/proc/{pid}")
    return resident_mb(pid), len(os.listdir(proc / "fd")), len(os.listdir(proc / "task"))


@pytest.mark.timeout(1200)
def test_fault_58_ten_thousand_disconnects_leave_memory_flat(pinned: RunningGateway, home: Home) -> None:
    processes = [pinned.pid, *workers_of(pinned)]
    looks: list[list[tuple[float, int, int]]] = []
    for _ in range(ROUNDS):
        asyncio.run(leave_streams(pinned, home.key, STREAMS))
        leave_requests(pinned, home.key, REQUESTS)
        idle(pinned)
        looks.append([held(pid) for pid in processes])
    first, last = ("; ".join(f"{mb:.0f}" for mb, _, _ in look) for look in (looks[0], looks[-1]))
    tell_at_end(f"disconnects: gateway; worker hold {first} MB after 1,000 and {last} MB after 10,000")
    assert workers_of(pinned) == processes[1:], "a worker died"
    for (before_mb, files, threads), (after_mb, files_after, threads_after) in zip(
        looks[ROUNDS // 2 - 1], looks[-1], strict=True
    ):
        assert after_mb - before_mb < GROWTH_MB
        assert files_after <= files + 4
        assert threads_after <= threads + 2
    assert transcribe(pinned.base_url, wav(silence(1.0)), "tiny", home.key).text == "alpha bravo"
