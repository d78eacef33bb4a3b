"""The judge, asked in a bounded way: one that crashes or hangs is missing evidence, never a pass (fault 42).

Boundary: a thread a look; the judge itself is monitoring/canary.py.
Invariants: at most one judge runs at a time; one that is late is not waited for again before it has answered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from contracts.errors import SoundcheckError, WrongCall
from monitoring.canary import Judgement

log = logging.getLogger("soundcheck")

ANSWER_S = 30.0
"""Seconds that one look may take."""


class Blind(Exception):
    """Why there is no judgement now, in a sentence."""


class Judge:
    """Asks a function for a Judgement."""

    def __init__(self, function: Callable[..., Judgement], answer_s: float = ANSWER_S) -> None:
        self._function = function
        self._answer_s = answer_s
        self._running: threading.Thread | None = None

    def ask(self, *args: Any, **kwargs: Any) -> Judgement:
        """Its answer; raises Blind where it fails or is late, its WrongCall for a plan."""
        if self._running is not None and self._running.is_alive():
            raise Blind(f"the judge has not answered for more than {self._answer_s:g} s")
        answers: list[Judgement] = []
        errors: list[Exception] = []

        def run() -> None:
            try:
                answers.append(self._function(*args, **kwargs))
            except Exception as error:
                # Whatever a judge does, its canary goes on being watched.
                errors.append(error)

        self._running = threading.Thread(target=run, name="canary-judge", daemon=True)
        self._running.start()
        self._running.join(self._answer_s)
        if answers:
            return answers[0]
        if errors and isinstance(errors[0], WrongCall):
            raise errors[0]
        if errors:
            log.error("the canary judge failed: %s", type(errors[0]).__name__)
            what = errors[0].what if isinstance(errors[0], SoundcheckError) else type(errors[0]).__name__
            raise Blind(f"the judge failed: {what}")
        raise Blind(f"the judge did not answer within {self._answer_s:g} s")
