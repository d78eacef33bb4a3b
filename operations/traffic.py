"""Traffic as `soundcheck traffic` plays it: the family's eval pack as labelled probes through the gateway.

Boundary: the gateway's API; reads the pack and the demo API key.
Invariants: a probe sends counts afterwards, never text (R7.8).
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from contracts.errors import DependencyFailed
from operations.context import Context
from operations.keys import ensure_api_key
from operations.migration.probing import speakers_not_found
from operations.packs import required_packs
from operations.stack import addresses

if TYPE_CHECKING:
    from contracts.policy import Task
    from serving.asking import Asked
    from serving.traffic import CountProbe, Habits, Utterance


WRONG_LENGTH, SILENT, CLIPPED = 0.5, 0.6, 0.01
"""Shares of the reference's length, of the seconds and of the samples from which speech counts as wrong. Of 22 texts of
the pack tts-prompts the voices v1, v2 and studio stay below 0.28, 0.39 and 0; `loud` clips 0.05 of its samples."""


def count_errors(normalizer: str) -> Any:
    """(reference, hypothesis) -> (word errors, reference words), under the family's normaliser."""
    from evalpacks.metrics.words import word_edits
    from evalpacks.normalize import normalize

    def count(reference: str, hypothesis: str) -> tuple[int, int]:
        said = normalize(reference, normalizer)
        return word_edits(said, normalize(hypothesis, normalizer)), len(said.split())

    return count


def _class_errors(utterance: Utterance, asked: Asked) -> tuple[int, int]:
    """A wrong class, of one clip."""
    return int(asked.answer.label != utterance.row["label"]), 1


def _turn_errors(utterance: Utterance, asked: Asked) -> tuple[int, int]:
    """A turn that did not do its task, of one."""
    from evalpacks.metrics.dialogue import ANSWER, succeeds

    _, _, reply = asked.answer.text.partition("\n")
    return int(not succeeds(json.loads(utterance.row[ANSWER]), reply, asked.answer.label)), 1


def _speech_errors(utterance: Utterance, asked: Asked) -> tuple[int, int]:
    """Speech that cannot be right, of one text: cut off or far too long, mostly silence, or clipped to be heard.

    Whether it is understood is not asked: a recogniser's round trip costs many times what the text did.
    """
    from speech.kinds.synthesis import FULL_SCALE, silent_s, speech_s

    assert asked.speech is not None
    samples, rate_hz = asked.speech
    if not samples.size:
        return 1, 1
    reference_s = _reference_s(utterance.path)
    wrong_length = abs(speech_s(samples, rate_hz) - reference_s) > WRONG_LENGTH * reference_s
    silent = silent_s(samples, rate_hz) > SILENT * samples.size / rate_hz
    clipped = int((abs(samples) >= FULL_SCALE).sum()) > CLIPPED * samples.size
    return int(wrong_length or silent or clipped), 1


@lru_cache(maxsize=512)
def _reference_s(path: Path) -> float:
    """Seconds of speech in the reference voice's recording of a text."""
    from speech.judges import RATE_HZ
    from speech.kinds.synthesis import speech_s
    from speech.run import read_audio

    return speech_s(read_audio(path, RATE_HZ), RATE_HZ)


COUNTED: dict[Task, CountProbe] = {
    "classification": _class_errors,
    "dialogue": _turn_errors,
    "synthesis": _speech_errors,
}
"""Tasks besides transcription whose clients can tell what a labelled probe came to."""


def _counting(context: Context, family: str, task: Task) -> CountProbe | None:
    return speakers_not_found(context, family) if task == "embedding" else COUNTED.get(task)


def play(
    context: Context,
    family: str,
    *,
    seconds: float,
    concurrency: int,
    cadence: float,
    seed: int,
    rate_per_s: float | None = None,
    habits: Habits | None = None,
    probes: bool = True,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Play sessions for so long, in the family's languages unless `habits` names others; the summary by name."""
    from serving.traffic import Habits
    from serving.traffic import play as play_sessions

    url = addresses(context.home).gateway
    if not url:
        raise DependencyFailed(
            "the gateway is away", where="HOME/run/stack.json", expected="a running gateway", next_step="soundcheck up"
        )
    policy, habits = context.settings.policy(family), habits or Habits()
    languages = habits.languages or tuple(str(one) for one in cast(list[object], policy.registry.get("languages", [])))
    pack = required_packs(context, family)[0]
    summary = play_sessions(
        url,
        family=family,
        utterances=pack.utterances,
        root=pack.root,
        api_key=ensure_api_key(context.home, "demo"),
        seconds=seconds,
        concurrency=concurrency,
        rate_per_s=rate_per_s,
        habits=replace(habits, languages=languages),
        probe=probes,
        cadence=cadence,
        seed=seed,
        task=policy.task,
        count_errors=count_errors(policy.normalizer),
        count_probe=_counting(context, family, policy.task),
        stop=stop,
        on_progress=lambda made, done: context.progress(
            f"traffic, % of time ({made:,} requests)", int(100 * done), 100
        ),
    )
    return asdict(summary)


def in_lines(summary: dict[str, Any]) -> list[str]:
    """The summary as a table for people: one line a figure, those of several parts with their parts."""

    def said(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name[:12]} {said(part)}" for name, part in value.items()) or "-"
        return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"

    return [f"{name.replace('_', ' '):<20} {said(value)}" for name, value in summary.items()]
