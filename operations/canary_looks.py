"""What a canary tells while it runs: its looks, thinned out, and the progress document of the live page.

Boundary: writes HOME/run/canary/FAMILY.json, whole and renamed.
Invariants: a stage keeps at most KEPT looks: the first, the last, and those at which evidence moved most; a document
that cannot be written (disk full) stops no canary.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from contracts.errors import SoundcheckError
from contracts.live import PROGRESS, CanaryProgress
from contracts.reports import Look, SliceEvidence

log = logging.getLogger("soundcheck")

KEPT = 60
LARGEST = 1e300
"""An e-value beyond it is written as this."""


class Looks:
    """The looks of one stage, as they are kept."""

    def __init__(self, looks: Iterable[Look] = ()) -> None:
        self._looks: list[Look] = []
        for look in looks:
            self.add(look)

    def add(self, look: Look) -> None:
        """Take a look; one that shows nothing new takes the place of the last."""
        if len(self._looks) > 1 and _same(self._looks[-1], look):
            self._looks[-1] = look
            return
        self._looks.append(look)
        if len(self._looks) > KEPT:
            inner = range(1, len(self._looks) - 1)
            least = min(inner, key=lambda place: _moved(self._looks[place - 1], self._looks[place]))
            del self._looks[least]

    @property
    def kept(self) -> tuple[Look, ...]:
        """In time order."""
        return tuple(self._looks)


def look_of(at_s: float, stable_sessions: int, canary_sessions: int, evidence: Sequence[SliceEvidence]) -> Look:
    """The look that this evidence is."""
    return Look(
        at_s=round(max(at_s, 0.0), 3),
        stable_sessions=stable_sessions,
        canary_sessions=canary_sessions,
        e_worse={f"{row.slice} {row.metric}": _e_value(row.e_worse) for row in evidence if row.e_worse is not None},
        e_fine={f"{row.slice} {row.metric}": _e_value(row.e_fine) for row in evidence if row.e_fine is not None},
    )


def _e_value(value: float) -> float:
    return float(f"{min(value, LARGEST):.6g}")


def _same(first: Look, second: Look) -> bool:
    return first.model_copy(update={"at_s": second.at_s}) == second


def _moved(first: Look, second: Look) -> float:
    """How far the evidence moved between two looks, on the logarithm, at the pair that moved most."""
    return max(
        (
            abs(_log(after.get(key, 1.0)) - _log(before.get(key, 1.0)))
            for before, after in ((first.e_worse, second.e_worse), (first.e_fine, second.e_fine))
            for key in before.keys() | after.keys()
        ),
        default=0.0,
    )


def _log(e_value: float) -> float:
    return math.log(max(e_value, 1e-6))


def slowest(evidence: Sequence[SliceEvidence], alpha: float) -> tuple[SliceEvidence | None, float]:
    """The pair that is furthest from being settled, and how far it has come: 0 to 1, on the logarithm."""
    shares = [(_share(row, alpha), row) for row in evidence]
    if not shares:
        return None, 0.0
    share, row = min(shares, key=lambda one: one[0])
    return row, share


def _share(row: SliceEvidence, alpha: float) -> float:
    if row.state == "fine":
        return 1.0
    if row.e_fine is None or row.e_fine <= 1:
        return 0.0
    return min(math.log(row.e_fine) / math.log(1 / alpha), 0.99)


def progress_path(home: Path, family: str) -> Path:
    """Where the family's progress lies."""
    return home / PROGRESS / f"{family}.json"


def read(home: Path, family: str) -> CanaryProgress | None:
    """The family's progress, None where there is none that can be read."""
    try:
        return CanaryProgress.parse(progress_path(home, family).read_bytes())
    except (OSError, SoundcheckError):
        return None


def write(home: Path, progress: CanaryProgress) -> None:
    """Replace the family's progress."""
    path = progress_path(home, progress.family)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(progress.canonical())
        temporary.rename(path)
    except OSError as error:
        log.warning("the canary's progress was not written: %s", error.strerror)
