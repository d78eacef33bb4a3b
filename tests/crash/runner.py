"""Real processes for real kills: a server that has imported everything forks one for each attempt.

    python -m tests.crash.runner PROJECT ANSWERS      (attempts as JSON lines on stdin, what became of them on stdout)

The attempt runs a chapter of a rehearsal (rehearsal.py) on a local store or a bucket and dies by SIGKILL: from its own
hand before the write whose number it is given, or from the server's some time after it began. Nothing of this is known
to the product: the store that the attempt is handed counts what is asked of it.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

from registry.store import Store, open_store
from tests.crash.rehearsal import STORY, UPKEEP, open_rehearsal, remembered

WRITES = frozenset({"create", "put_blob", "keep_blob", "renew_blob", "delete_blob", "swap"})
PATIENCE_S = 300.0


class Attempt(NamedTuple):
    """What one process does, and when it dies: before write `at_write`, or `after_s` from its start, or not at all."""

    url: str
    home: str
    chapter: str
    at_write: int | None = None
    after_s: float | None = None


class Outcome(NamedTuple):
    """How it ended: killed or with an exit status, after how many writes and seconds."""

    killed: bool
    status: int
    writes: int
    seconds: float
    error: str


class Mortal:
    """A store that counts the writes asked of it, and ends the process before one of them."""

    def __init__(self, store: Store, at_write: int | None, tally: Path) -> None:
        self._store = store
        self._at = at_write
        self._tally = tally
        self._writes = 0
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        return self._counted(real) if name in WRITES else real

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self._writes += 1
                with self._tally.open("ab") as tally:
                    tally.write(b".")
                if self._writes == self._at:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return write


def attempt(project: Path, job: Attempt, tally: Path) -> None:
    """One chapter, in this process."""
    home = Path(job.home)
    store = cast(Store, Mortal(open_store(job.url, home), job.at_write, tally))
    (STORY | UPKEEP)[job.chapter](open_rehearsal(project, home, store))


def _forked(project: Path, job: Attempt) -> Outcome:
    tally, failure = Path(job.home).with_suffix(".writes"), Path(job.home).with_suffix(".error")
    tally.write_bytes(b"")
    failure.write_text("")
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            attempt(project, job, tally)
            status = 0
        except BaseException:
            failure.write_text(traceback.format_exc())
        finally:
            os._exit(status)
    if job.after_s is not None:
        killer = threading.Timer(job.after_s, lambda: os.kill(pid, signal.SIGKILL))
        killer.start()
    # a zombie keeps its number until it is waited for, so the timer cannot hit another process
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    if job.after_s is not None:
        killer.cancel()
        killer.join()
    _, status = os.waitpid(pid, 0)
    seconds = time.monotonic() - began
    code = os.waitstatus_to_exitcode(status)
    return Outcome(code == -signal.SIGKILL, code, tally.stat().st_size, seconds, failure.read_text()[-3000:])


def main(project: Path, answers: Path) -> None:
    """Make attempts until stdin ends."""
    import boto3  # noqa: F401  imported once, for every attempt
    import great_expectations  # noqa: F401
    import torch

    import speech.runtimes.ctc  # noqa: F401

    torch.set_num_threads(1)
    with remembered(pickle.loads(answers.read_bytes())):
        for line in sys.stdin:
            outcome = _forked(project, Attempt(**json.loads(line)))
            sys.stdout.write(json.dumps(outcome._asdict()) + "\n")
            sys.stdout.flush()


class Runner:
    """A server of attempts; one at a time."""

    def __init__(self, project: Path, answers: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.runner", str(project), str(answers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            env={**os.environ, **environment, "OMP_NUM_THREADS": "1"}, cwd=Path(__file__).parents[2],
        )  # fmt: skip

    def run(self, job: Attempt) -> Outcome:
        """Make one attempt."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job._asdict()) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the runner ended with status {self._process.wait()}"
        return Outcome(**json.loads(line))

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
