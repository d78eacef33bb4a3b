"""A small recogniser and a large one as one model: the large one hears what the small one is not sure of.

Boundary: reads its payload folder when it is loaded and nothing afterwards; the parts are payloads of their own.
Invariants: each part is the payload that cascade.json names by digest, and passes the checks of its own engine; both
hear audio at one rate; no word of a partial is committed, because the large part may say otherwise at the end; an
answer's confidence is that of the part that gave it.
With a router, another kind of runtime hears (speech/runtimes/cascade_routed.py).
Source: coverage row 23. serving/cascade.py does the same with two bundles of a family and a switch in its route table;
here the pair is one bundle, judged, promoted and taken back as one.

Payload: runtime.json {"engine": "cascade"}, feature_contract.json, front_end.json, cascade.json, parts/small/...,
parts/large/... A stream keeps its audio until its end, 64 KB a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from contracts.bundle import payload_digest
from contracts.digest import Digest, sha256_file
from contracts.document import Document, later
from contracts.errors import Refused
from contracts.train_manifest import FileEntry
from speech.runtimes import BatchRuntime, Partial, Runtime, Samples, Stream, Transcript
from speech.runtimes import load as load_engine
from speech.runtimes.cascade_routed import RoutedRuntime, TellingRuntime
from speech.runtimes.cascade_router import Router

PARTS = ("small", "large")
Share = Annotated[float, Field(ge=0, le=1)]


class CascadeConfig(Document):
    """The file `cascade.json`.

    Attributes:
        below: sureness under which the large part hears an utterance.
        small, large: digests of the parts.
        router: what says how sure the small part is, while it hears; None: its confidence, at the end.
    """

    KIND: ClassVar[str] = "cascade"

    below: Share
    small: Digest
    large: Digest
    router: Router | None = later(None)


def part_digest(folder: Path) -> Digest:
    """The digest of a payload folder, as a bundle names it."""
    files = {
        path.relative_to(folder).as_posix(): FileEntry(sha256=sha256_file(path), size=path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }
    return payload_digest(files)


def load(payload: Path, *, threads: int = 1) -> CascadeRuntime | RoutedRuntime:
    """Load both parts; without a router one that hears several utterances at once where both parts do.

    Raises:
        Refused: a part is missing, is not the one that cascade.json names, or hears at another rate; a router has
            nothing to watch.
        Corrupt: a file does not parse.
    """
    from speech.weights import check_payload

    path = payload / "cascade.json"
    if not path.is_file():
        raise _refused("no cascade.json")
    config = CascadeConfig.parse(path.read_bytes(), where=path.name)
    parts = {}
    for name, named in zip(PARTS, (config.small, config.large), strict=True):
        folder = payload / "parts" / name
        if part_digest(folder) != named:
            raise _refused(f"parts/{name} is {part_digest(folder)[:12]}, cascade.json names {named[:12]}")
        check_payload(folder)
        parts[name] = load_engine(folder, threads=threads)
    small, large = parts["small"], parts["large"]
    if small.sample_rate_hz != large.sample_rate_hz:
        raise _refused(f"small hears {small.sample_rate_hz} Hz, large {large.sample_rate_hz} Hz")
    if config.router is not None:
        if not isinstance(small, TellingRuntime):
            raise _refused("cascade.json has a router, and parts/small does not tell how unsure its outputs are")
        return RoutedRuntime(small, large, config.below, config.router)
    if isinstance(small, BatchRuntime) and isinstance(large, BatchRuntime):
        return BatchCascadeRuntime(small, large, config.below)
    return CascadeRuntime(small, large, config.below)


def _refused(got: str) -> Refused:
    return Refused(
        "the parts of a cascade do not belong together",
        where="payload",
        got=got,
        expected="parts/small and parts/large of the digests in cascade.json, at one sample rate",
        next_step="make the candidate again: python -m speech.cascade",
    )


class CascadeRuntime:
    """A loaded cascade (speech.runtimes.Runtime); one thread uses it at a time."""

    def __init__(self, small: Runtime, large: Runtime, below: float) -> None:
        self.small = small
        self.large = large
        self.below = below
        self.sample_rate_hz = small.sample_rate_hz
        self.streaming = small.streaming

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,), with the part that gave it."""
        return self.second(self.small.transcribe(audio), audio)

    def second(self, first: Transcript, audio: Samples) -> Transcript:
        """The small part's answer where it is sure of it, else what the large part hears."""
        if self.is_sure(first):
            return first._replace(route="small")
        return self.large.transcribe(audio)._replace(route="large")

    def is_sure(self, first: Transcript) -> bool:
        """Whether the small part's answer stands; one without a confidence never does."""
        return first.confidence is not None and first.confidence >= self.below

    def stream(self) -> CascadeStream:
        """Start hearing an utterance."""
        return CascadeStream(self)


class BatchCascadeRuntime(CascadeRuntime):
    """A cascade of parts that hear several utterances in one call (speech.runtimes.BatchRuntime)."""

    small: BatchRuntime
    large: BatchRuntime

    def transcribe_many(self, utterances: Sequence[Samples]) -> list[Transcript]:
        """The transcripts of whole utterances, in order: all by the small part, then the unsure ones by the large."""
        heard = [first._replace(route="small") for first in self.small.transcribe_many(utterances)]
        unsure = [place for place, first in enumerate(heard) if not self.is_sure(first)]
        if unsure:
            again = self.large.transcribe_many([utterances[place] for place in unsure])
            for place, transcript in zip(unsure, again, strict=True):
                heard[place] = transcript._replace(route="large")
        return heard

    def accept_many(self, streams: Sequence[Stream], chunks: Sequence[Samples]) -> list[Partial | None]:
        """Each of these different streams of this runtime hears its next chunk."""
        own = [stream for stream in streams if isinstance(stream, CascadeStream)]
        partials = self.small.accept_many([stream.first for stream in own], chunks)
        # Only now, when nothing can fail any more, does any stream keep its chunk.
        for stream, chunk in zip(own, chunks, strict=True):
            stream.keep(chunk)
        return [stream.shown(partial) for stream, partial in zip(own, partials, strict=True)]


class CascadeStream:
    """One utterance: the small part hears it as it comes, the large one at its end, where that is needed."""

    def __init__(self, runtime: CascadeRuntime) -> None:
        self._runtime = runtime
        self.first = runtime.small.stream()
        self._kept: list[Samples] = []
        self._last = ""

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,); a Partial when the words changed."""
        partial = self.first.accept(chunk)
        self.keep(chunk)
        return self.shown(partial)

    def finish(self) -> Transcript:
        """The final transcript."""
        audio = np.concatenate([np.zeros(0, np.float32), *self._kept])
        return self._runtime.second(self.first.finish(), audio)

    def keep(self, chunk: Samples) -> None:
        """Keep a chunk for the large part; a copy, because callers use their buffers again."""
        self._kept.append(np.array(chunk, dtype=np.float32))

    def shown(self, partial: Partial | None) -> Partial | None:
        """What a client is shown: nothing is committed, so what merely became committed is no news."""
        if partial is None or partial.text == self._last:
            return None
        self._last = partial.text
        return Partial(partial.text, 0)
