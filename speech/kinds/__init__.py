"""How models of each task are run: over a pack, on the clock, on one fixture. One module a task, all of one shape.

Boundary: reads the audio files that tables name; a clock is read for timings alone.
Invariants: what is measured of a model does not depend on who measures; quality and time are separate passes (R3).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from contracts.bundle import GoldenAnswer
from contracts.policy import Task

if TYPE_CHECKING:
    import pandas

    from speech.run import Progress


class Prompt(NamedTuple):
    """What a model is asked once: a recording, or a text to say; of a dialogue also whose user speaks."""

    path: Path | None
    text: str = ""
    tenant: str = ""


class Kind(Protocol):
    """A module of this package."""

    hears: bool
    """Whether its models are given audio; else they are given text."""

    def run_pack(
        self, model: Any, utterances: pandas.DataFrame, root: Path, *, on_progress: Progress | None = None
    ) -> pandas.DataFrame:
        """One row an utterance, in order: utterance_id, text, confidence (NaN: none), and the task's own columns.

        `text` is what is compared with the pack's text by word metrics; empty for tasks without one.
        """
        ...

    def time_pack(
        self,
        models: Mapping[str, Any],
        utterances: pandas.DataFrame,
        root: Path,
        *,
        chunk_ms: int = 100,
        on_progress: Progress | None = None,
    ) -> dict[str, pandas.DataFrame]:
        """Timings of several models in turns, alone on the machine.

        For each one row an utterance: utterance_id, final_ms, compute_s, audio_s, and where the task has them
        first_partial_ms, first_stable_ms, endpoint_ms, first_audio_ms (NaN: no such moment), starved (whether playback
        from the first chunk on would have starved).
        """
        ...

    def answer(self, model: Any, prompt: Prompt) -> GoldenAnswer:
        """What a model answers once, in the parts that golden outputs are compared by."""
        ...

    def warm(self, model: Any) -> None:
        """Let an engine make what it makes on its first use."""
        ...


def kind(task: Task) -> Kind:
    """How models of a task are run."""
    return cast(Kind, importlib.import_module(f"speech.kinds.{task}"))
