"""The system calls that change a disk, counted, so that a test can fail at, or die before, the N-th."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("open", "write", "fsync", "link", "replace", "rename", "mkdir", "unlink")


class Syscalls:
    """Patches `os`; Python's pathlib calls these functions by their names in `os`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    @contextmanager
    def _patched(self, at: int, hit: Callable[[], None]) -> Iterator[list[str]]:
        made: list[str] = []

        def wrap(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **keywords: Any) -> Any:
                made.append(name)
                if len(made) == at:
                    hit()
                return original(*args, **keywords)

            return call

        with self._monkeypatch.context() as patch:
            for name in NAMES:
                patch.setattr(os, name, wrap(name, getattr(os, name)))
            yield made

    @contextmanager
    def failing(self, at: int, error: BaseException) -> Iterator[list[str]]:
        """The `at`-th call raises instead of doing its work; the names of the calls made are handed out."""

        def hit() -> None:
            raise error

        with self._patched(at, hit) as made:
            yield made

    def killed(self, work: Callable[[], object], at: int) -> bool:
        """Do `work` in a process that kill -9 ends before its `at`-th call; False where it came to its end.

        After call N is before call N + 1: nothing that a disk can see happens in between.
        """
        child = os.fork()
        if child == 0:

            def hit() -> None:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(10)

            try:
                with self._patched(at, hit):
                    work()
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        return os.WIFSIGNALED(status)
