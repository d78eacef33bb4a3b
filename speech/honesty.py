"""Does a stream hear: its words come from the chunks it was given, none from the future or from a batch run.

Boundary: runs a runtime on audio in memory; reads no clock and no file.
Invariants: every altered recording is heard before the whole one, so that nothing can be remembered from it; noise is
seeded; a fault names times, never words.
Method: metamorphic. A partial at time t is a function of the audio up to t, so it stays whatever is put after t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

from contracts.errors import WrongCall
from speech.run import Event, hear
from speech.runtimes import Runtime, Samples

_CUTS = (0.25, 0.5, 0.75)
_LEAST_CHUNKS = 4


class _BatchAskedError(Exception):
    """The stream called `transcribe`."""


def check_causal(runtime: Runtime, audio: Samples, *, chunk_ms: int = 100) -> tuple[str, ...]:
    """What shows that a stream was not computed from its chunks, a sentence each; empty for an honest one.

    Args:
        runtime: one that says it streams, freshly loaded: it should not have heard this audio before.
        audio: one utterance with words, (samples,) at the runtime's rate, at least four chunks long.
        chunk_ms: length of a chunk.

    The checks:
        1. No stream calls `transcribe`.
        2. A word is shown before the last chunk is heard.
        3. Partials up to a cut are the same whether the speech goes on, or silence, noise, the rest backwards or
           nothing at all follows.
        4. A committed word stays to the end.
        5. Where silence follows the first cut the whole text is not shown, unless `transcribe` finds it there too.
    """
    step = round(chunk_ms / 1000 * runtime.sample_rate_hz)
    if audio.size < _LEAST_CHUNKS * step:
        raise WrongCall(
            "an utterance is too short to be cut",
            got=f"{audio.size / runtime.sample_rate_hz:.2f} s",
            expected=f"at least {_LEAST_CHUNKS} chunks of {chunk_ms} ms",
        )
    cuts = sorted({round(share * audio.size / step) * step for share in _CUTS})
    try:
        with _without_batch(runtime):
            altered = {
                cut: [hear(runtime, np.concatenate([audio[:cut], rest]), chunk_ms=chunk_ms).events for rest in rests]
                for cut, rests in ((cut, _other_endings(audio[cut:])) for cut in cuts)
            }
            events = hear(runtime, audio, chunk_ms=chunk_ms).events
    except _BatchAskedError:
        return ("the stream asked for the batch transcript",)  # (1)
    silenced = np.concatenate([audio[: cuts[0]], np.zeros_like(audio[cuts[0] :])])
    known_s = cuts[0] / runtime.sample_rate_hz
    return (
        *_late(events),
        *_looking_ahead(events, {cut / runtime.sample_rate_hz: others for cut, others in altered.items()}),
        *_broken_commitments(events),
        *_copied(events, altered[cuts[0]][0], known_s, lambda: runtime.transcribe(silenced).text),
    )


def _late(events: list[Event]) -> list[str]:  # (2)
    *partials, final = events
    shown = any(partial.text and partial.heard_s < final.heard_s for partial in partials)
    return [] if shown or not final.text else ["no word was shown before all audio was heard"]


def _looking_ahead(events: list[Event], altered: dict[float, list[list[Event]]]) -> list[str]:  # (3)
    return [
        f"partials up to {cut_s:.2f} s change with the audio that follows"
        for cut_s, others in altered.items()
        if any(_until(other, cut_s) != _until(events, cut_s) for other in others)
    ]


def _until(events: list[Event], cut_s: float) -> list[tuple[float, str, int]]:
    return [(one.heard_s, one.text, one.committed) for one in events if not one.final and one.heard_s <= cut_s]


def _broken_commitments(events: list[Event]) -> list[str]:  # (4)
    final = events[-1].text.split()
    return [
        f"a word committed at {event.heard_s:.2f} s changed later"
        for event in events
        if event.text.split()[: event.committed] != final[: event.committed]
    ]


def _copied(events: list[Event], silenced: list[Event], known_s: float, batch: Callable[[], str]) -> list[str]:  # (5)
    text = events[-1].text
    if not text or text not in [event.text for event in silenced] or batch() == text:
        return []
    return [f"the whole text was shown though speech was heard for {known_s:.2f} s alone"]


def _other_endings(rest: Samples) -> list[Samples]:
    """Silence, noise as loud as the speech, the speech backwards, nothing: each instead of `rest` (samples,)."""
    loudness = float(np.sqrt(np.mean(np.square(rest))))
    noise = np.random.default_rng(0).standard_normal(rest.size) * loudness
    return [np.zeros_like(rest), noise.astype(np.float32), rest[::-1].copy(), rest[:0]]


@contextmanager
def _without_batch(runtime: Runtime) -> Iterator[None]:
    with patch.object(runtime, "transcribe", side_effect=_BatchAskedError):
        yield
