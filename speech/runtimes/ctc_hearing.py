"""How the CTC recogniser hears: whole utterances, streams, and several of either in one call of its model.

Boundary: tensors and samples, no files; speech/runtimes/ctc.py loads and checks what stands here.
Invariants: texts do not depend on how audio is cut, nor on what is heard beside it: the model is causal, so that
padding behind an utterance's end changes nothing before it; the state of front end, model and decoder is kept between
chunks; samples are not copied; log probabilities that are not finite are never decoded (fault 52).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from speech.ctc.decode import BLANK, Decoder, DecoderConfig
from speech.ctc.model import Recogniser, State
from speech.front_end import FrontEndConfig, LogMel
from speech.runtimes import OutputsNotFinite, Partial, Samples, Stream, Transcript
from speech.runtimes.cascade_router import Outputs


class CtcRuntime:
    """A loaded recogniser (speech.runtimes.BatchRuntime); one thread uses it at a time."""

    streaming = True

    def __init__(
        self, model: Recogniser, front_end: FrontEndConfig, decoder: DecoderConfig, tokens: tuple[str, ...]
    ) -> None:
        self.model = model
        self.front_end = LogMel(front_end)
        self.sample_rate_hz = front_end.sample_rate_hz
        self.tail = torch.zeros(round(decoder.tail_ms / 1000 * self.sample_rate_hz))
        self._decoder = decoder
        self._tokens = tokens
        self._output_s = model.config.frames_per_output * front_end.hop_ms / 1000

    def new_decoder(self) -> Decoder:
        """The decoder of a new utterance."""
        return Decoder(self._decoder, self._tokens, self._output_s)

    def transcribe(self, audio: Samples) -> Transcript:
        """The transcript of one whole utterance, (samples,) at `sample_rate_hz`."""
        return self.transcribe_many([audio])[0]

    def stream(self) -> CtcStream:
        """Start hearing an utterance."""
        return CtcStream(self)

    def transcribe_many(self, utterances: Sequence[Samples]) -> list[Transcript]:
        """The transcripts of whole utterances, (samples,) each; shorter ones are padded behind their end."""
        return [self._decoded(scores) for scores in self._scores(utterances)]

    def listen(self, audio: Samples) -> tuple[Transcript, Outputs]:
        """The transcript of one whole utterance, and how unsure each output was (TellingRuntime)."""
        scores = self._scores([audio])[0]
        return self._decoded(scores), outputs_of(scores)

    def _scores(self, utterances: Sequence[Samples]) -> list[Tensor]:
        """Log probabilities of each utterance, (outputs, vocabulary)."""
        with torch.inference_mode():
            features = [self.front_end.frames(torch.cat([_tensor(audio), self.tail])) for audio in utterances]
            padded = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
            scores, _ = self.model(padded, self.model.initial(len(features)))
            counts = self.model.outputs_of(torch.tensor([len(frames) for frames in features])).tolist()
            return [_finite(own[:count]) for own, count in zip(scores, counts, strict=True)]

    def _decoded(self, scores: Tensor) -> Transcript:
        decoder = self.new_decoder()
        decoder.accept(scores)
        return decoder.transcript()

    def accept_many(self, streams: Sequence[Stream], chunks: Sequence[Samples]) -> list[Partial | None]:
        """Each of these different streams of this runtime hears its next chunk, (samples,) each.

        Those whose chunks and kept inputs have equal lengths, as at one cadence most have, share a call.
        """
        own = [stream for stream in streams if isinstance(stream, CtcStream)]
        with torch.inference_mode():
            heard = [_Hearing(stream, _tensor(chunk)) for stream, chunk in zip(own, chunks, strict=True)]
            alike: dict[tuple[int, ...], list[_Hearing]] = {}
            for hearing in heard:
                alike.setdefault(hearing.lengths, []).append(hearing)
            for group in alike.values():
                self._run(group)
            # Only now, when nothing can fail any more, does any stream change.
            return [hearing.commit() for hearing in heard]

    def _run(self, group: Sequence[_Hearing]) -> None:
        """Run the model once over frames and states of equal lengths."""
        first, second, hidden = zip(*(hearing.state for hearing in group), strict=True)
        before = State(torch.cat(first), torch.cat(second), torch.cat(hidden, dim=1))
        scores, after = self.model(torch.stack([hearing.frames for hearing in group]), before)
        for place, hearing in enumerate(group):
            here = slice(place, place + 1)
            hearing.scores = _finite(scores[place])
            hearing.state = State(after.first[here], after.second[here], after.hidden[:, here])


class CtcStream:
    """One utterance; all state of the recogniser lives here."""

    def __init__(self, runtime: CtcRuntime) -> None:
        self._runtime = runtime
        self.features = runtime.front_end.stream()
        self.state = runtime.model.initial()
        self.decoder = runtime.new_decoder()
        self.scores = torch.empty(0, runtime.model.config.vocabulary_size)
        self._last = Partial("", 0)

    def accept(self, chunk: Samples) -> Partial | None:
        """Hear the next chunk, (samples,); a Partial when words or their commitment changed."""
        return self._runtime.accept_many([self], [chunk])[0]

    def finish(self) -> Transcript:
        """Hear the tail of silence and give the final transcript."""
        self._runtime.accept_many([self], [self._runtime.tail.numpy()])
        return self.decoder.transcript()

    def outputs(self) -> Outputs:
        """How unsure each output of the latest chunk was (TellingStream)."""
        return outputs_of(self.scores)

    def partial(self) -> Partial | None:
        """What the decoder says now, None where it said the same before."""
        partial = self.decoder.partial()
        if partial == self._last:
            return None
        self._last = partial
        return partial


class _Hearing:
    """A stream and its next chunk: the frames, the scores and the state after them, not yet the stream's own."""

    def __init__(self, stream: CtcStream, chunk: Tensor) -> None:
        self._stream = stream
        self._features = copy(stream.features)
        self.frames = self._features.accept(chunk)
        self.state = stream.state
        self.scores = torch.empty(0)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Frames, and inputs that the convolutions have kept."""
        return len(self.frames), self.state.first.shape[2], self.state.second.shape[2]

    def commit(self) -> Partial | None:
        """Let the stream have heard it."""
        self._stream.features, self._stream.state = self._features, self.state
        self._stream.scores = self.scores
        self._stream.decoder.accept(self.scores)
        return self._stream.partial()


def outputs_of(scores: Tensor) -> Outputs:
    """Entropy (nats) and probability of the blank of each output, from log probabilities (outputs, vocabulary)."""
    probabilities = scores.exp()
    told = torch.stack([-(probabilities * scores).sum(-1), probabilities[:, BLANK]], dim=1)
    return np.asarray(told.numpy(), dtype=np.float64)


def _tensor(samples: Samples) -> Tensor:
    """Samples as a tensor, without a copy where they may be written to (torch asks for that, and nobody does)."""
    audio = np.asarray(samples, dtype=np.float32)
    return torch.from_numpy(audio if audio.flags.writeable else audio.copy())


def _finite(scores: Tensor) -> Tensor:
    if not bool(torch.isfinite(scores).all()):
        raise OutputsNotFinite
    return scores
