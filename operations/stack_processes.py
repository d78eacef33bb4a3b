"""Background processes that outlive the command that started them, and their end.

Boundary: starts, finds and ends processes; reads /proc (Linux). Knows nothing of what runs in them.
Invariants: a process is known by its id and its start time together, so that a reused id is never taken for it; every
process and all that it starts carry a mark in their environment, so that none is left behind, whatever it does to its
session or its parent; only processes with the mark are ever ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from contracts.document import Part

MARK = "SOUNDCHECK_STACK"
"""The environment variable that carries the mark."""
_LISTEN = "0A"
"""The state of a listening socket in /proc/net/tcp."""


class ProcessName(Part):
    """A process for good: its id, and its start in clock ticks since the machine's start."""

    pid: int
    start_ticks: int


def spawn(command: Sequence[str], environment: Mapping[str, str], *, mark: str, log: Path) -> ProcessName:
    """Start a process in a session of its own, its output in `log`, which its owner alone may read;
    the log before it is kept as `LOG.previous`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists():
        log.replace(log.with_name(f"{log.name}.previous"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawn(
        command[0],
        list(command),
        {**environment, MARK: mark},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    return ProcessName(pid=pid, start_ticks=_start_ticks(pid) or 0)


def alive(process: ProcessName) -> bool:
    """Whether this very process runs (a zombie does not)."""
    _reap(process.pid)
    return _start_ticks(process.pid) == process.start_ticks


def marked(mark: str) -> list[int]:
    """Ids of all running processes that carry the mark, this one excepted."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                entries = (folder / "environ").read_bytes().split(b"\0")
            except OSError:  # another user's, or just gone
                continue
            if wanted in entries:
                found.append(int(folder.name))
    return found


def listens(mark: str, port: int) -> bool:
    """Whether a process with the mark listens at this machine's TCP port, rather than somebody else's."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    at_port = {row[9] for row in rows if row[3] == _LISTEN and int(row[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in at_port}
    return any(wanted & _open_files(pid) for pid in marked(mark))


def end(marks: Mapping[str, ProcessName | None], *, bound_s: float) -> None:
    """End all processes with these marks: the leaders are asked first, the rest after them, the unwilling are killed.

    Args:
        marks: a mark, and the process that leads those who carry it, where it is known.
        bound_s: seconds that leaders have to end by themselves, their children included.
    """

    def leaders() -> list[int]:
        return [process.pid for process in marks.values() if process and alive(process)]

    def everyone() -> list[int]:
        return leaders() + [pid for mark in marks for pid in marked(mark)]

    for chosen, number, patience_s in (
        (leaders, signal.SIGTERM, bound_s),
        (everyone, signal.SIGTERM, 2.0),
        (everyone, signal.SIGKILL, 5.0),
    ):
        for pid in chosen():
            _signal(pid, number)
        deadline = time.monotonic() + patience_s
        while chosen() and time.monotonic() < deadline:
            time.sleep(0.05)


def _open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # the process, or a file of it, is just gone
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _reap(pid: int) -> None:
    """Collect the process where it is a dead child of this one, so that it does not stay as a zombie."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _start_ticks(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *arguments]
