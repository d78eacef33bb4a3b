"""A cascade whose router watches the small part while it hears, and hands the utterance over when it is not sure.

Boundary: as speech/runtimes/cascade.py, which loads it.
Invariants: an utterance that was handed over stays so, and the large part answers it; who answers does not depend on
how audio is cut, so that a file and a stream get the same text; a stream shows nothing before it was judged, and goes
on showing words after it was handed over, so that no endpointer is misled by a display that stands still.

That utterances are handed over early is why few words are taken back: most are heard by the part that answers. Streams
are heard one at a time: parts of a batch would be of two models.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from speech.runtimes import Partial, Runtime, Samples, Stream, Transcript
from speech.runtimes.cascade_router import Outputs, Router, Sureness


@runtime_checkable
class TellingStream(Stream, Protocol):
    """A stream that tells how unsure its model's outputs are."""

    def outputs(self) -> Outputs:
        """Of the latest chunk, or of the tail after `finish`."""
        ...


@runtime_checkable
class TellingRuntime(Runtime, Protocol):
    """A runtime that tells how unsure its model's outputs are."""

    def listen(self, audio: Samples) -> tuple[Transcript, Outputs]:
        """The transcript of one whole utterance, and its outputs."""
        ...

    def stream(self) -> TellingStream:
        """Start hearing an utterance."""
        ...


class RoutedRuntime:
    """A loaded cascade with a router (speech.runtimes.Runtime); one thread uses it at a time."""

    def __init__(self, small: TellingRuntime, large: Runtime, below: float, router: Router) -> None:
        self.small = small
        self.large = large
        self.below = below
        self.router = router
        self.sample_rate_hz = small.sample_rate_hz
        self.streaming = small.streaming

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,), with the part that gave it."""
        first, outputs = self.small.listen(audio)
        sureness = Sureness(self.router)
        sureness.hear(outputs)
        if sureness.end() >= self.below:
            return first._replace(route="small")
        return self.large.transcribe(audio)._replace(route="large")

    def stream(self) -> RoutedStream:
        """Start hearing an utterance."""
        return RoutedStream(self)


class RoutedStream:
    """One utterance: the small part hears it until the router is not sure, the large part from its start on."""

    def __init__(self, runtime: RoutedRuntime) -> None:
        self._runtime = runtime
        self._small = runtime.small.stream()
        self._large: Stream | None = None
        self._sureness = Sureness(runtime.router)
        self._kept: list[Samples] = []
        self._text = self._shown = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,); a Partial when the words changed. None is ever committed."""
        if self._large is not None:
            return self._show(self._large.accept(chunk))
        partial = self._small.accept(chunk)
        self._kept.append(np.array(chunk, dtype=np.float32))  # a copy: callers use their buffers again
        if self._sureness.hear(self._small.outputs()) >= self._runtime.below:
            return self._show(partial)
        self._large = self._runtime.large.stream()
        return self._show(self._large.accept(self._audio()) or Partial("", 0))

    def finish(self) -> Transcript:
        """The final transcript."""
        if self._large is not None:
            return self._large.finish()._replace(route="large")
        first = self._small.finish()
        self._sureness.hear(self._small.outputs())
        if self._sureness.end() >= self._runtime.below:
            return first._replace(route="small")
        return self._runtime.large.transcribe(self._audio())._replace(route="large")

    def _audio(self) -> Samples:
        """All that was heard; it is not kept any longer."""
        kept, self._kept = self._kept, []
        return np.concatenate([np.zeros(0, np.float32), *kept])

    def _show(self, partial: Partial | None) -> Partial | None:
        """What is news to a client. Nothing is shown before the router has judged once."""
        if partial is not None:
            self._text = partial.text
        if self._text == self._shown or not self._sureness.is_judged:
            return None
        self._shown = self._text
        return Partial(self._text, 0)
