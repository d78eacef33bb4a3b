"""The streaming timeline: what one utterance looked like while it was heard, partial by partial.

Boundary: no I/O, no markup: places are percentages of the time axis. The transcript comes from a document that only a
pack whose consent allows it can have.
Invariants: a word is revised when another word, or none, stands at its place in the final text; committed words are
the first ones of an event; a revised word is marked even where it was committed, because that is a fault; what was
said and what was heard are set side by side word by word, which is a picture, not the alignment that errors are
counted by.
Source: pages.md (streaming timeline); release-algorithm R3.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from contracts.reports import StreamTimeline, TimelineEvent
from pages.figures import Scale, duration, many, plain
from pages.plots.axis import Axis, axis

State = Literal["revised", "committed", "open", "differs"]
_SECONDS = Scale("time", 1, " s", "s", 1)


class Word(NamedTuple):
    """A word of a partial, and what became of it."""

    text: str
    state: State


class Row(NamedTuple):
    """One event: how far the audio was heard, when it was shown (percent of the axis), its words."""

    heard: float
    shown: float
    at: str
    words: tuple[Word, ...]
    final: bool
    title: str


class Timeline(NamedTuple):
    """One utterance: axis of seconds, where the audio ends, one row an event."""

    pack: str
    utterance: str
    axis: Axis
    audio_end: float
    rows: tuple[Row, ...]
    reference: tuple[Word, ...]
    final: tuple[Word, ...]
    said: str

    @property
    def differs(self) -> bool:
        """Whether something was not heard as it was said."""
        return any(word.state == "differs" for word in (*self.reference, *self.final))


def timeline(document: StreamTimeline) -> Timeline:
    """The picture of one StreamTimeline."""
    last = document.events[-1].text.split() if document.events else []
    drawn = axis(
        [document.duration_s, *(max(one.shown_s, one.heard_s) for one in document.events)], _SECONDS, signed=False
    )
    rows = tuple(_row(one, last, drawn) for one in document.events)
    partial = [word for row in rows if not row.final for word in row.words]
    revised = sum(word.state == "revised" for word in partial)
    reference, final = _compared(document.reference.split(), last)
    audio = f"{duration(document.duration_s)} of audio in chunks of {document.chunk_ms} ms"
    return Timeline(
        pack=plain(document.pack),
        utterance=plain(document.utterance_id),
        axis=drawn,
        audio_end=drawn.at(document.duration_s),
        rows=rows,
        reference=reference,
        final=final,
        said=f"{audio}; {revised} of {many(len(partial), 'partial word')} later revised",
    )


def _row(event: TimelineEvent, last: list[str], drawn: Axis) -> Row:
    words = tuple(
        Word(plain(word), _state(number, word, event.committed, last)) for number, word in enumerate(event.text.split())
    )
    lag = f"shown at {event.shown_s:.2f} s, {event.heard_s:.2f} s of audio heard"
    return Row(
        heard=drawn.at(event.heard_s),
        shown=drawn.at(event.shown_s),
        at=f"{event.shown_s:.2f}",
        words=words,
        final=event.final,
        title=f"{lag}, {many(event.committed, 'word')} committed",
    )


def _compared(reference: list[str], final: list[str]) -> tuple[tuple[Word, ...], tuple[Word, ...]]:
    """Both texts, with the words marked that the other one does not have there."""
    spoken, heard = ([word.casefold() for word in words] for words in (reference, final))
    matcher = SequenceMatcher(None, spoken, heard, autojunk=False)
    pairs = [(one.a + at, one.b + at) for one in matcher.get_matching_blocks() for at in range(one.size)]
    in_reference, in_final = {first for first, _ in pairs}, {second for _, second in pairs}
    return _marked(reference, in_reference), _marked(final, in_final)


def _marked(words: list[str], matched: set[int]) -> tuple[Word, ...]:
    return tuple(Word(plain(word), "open" if at in matched else "differs") for at, word in enumerate(words))


def _state(number: int, word: str, committed: int, last: list[str]) -> State:
    if number >= len(last) or last[number] != word:
        return "revised"
    return "committed" if number < committed else "open"
