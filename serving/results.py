"""What a model answered, as the header of the frame that tells it (serving/frames.py).

Boundary: pure; one function a kind of answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from serving.frames import Header
from speech.runtimes import Samples, Transcript
from speech.runtimes.kinds import Classifier, Embedder, Reply

AnswerClip = Callable[[Any, Samples], Header]
"""Has a model answer a whole clip."""


def transcript_header(transcript: Transcript) -> Header:
    """Text, words, confidence, and of a cascade the model that gave them."""
    return {
        "text": transcript.text,
        "words": [[word.word, word.start_s, word.end_s, word.confidence] for word in transcript.words],
        "confidence": transcript.confidence,
        **({"route": transcript.route} if transcript.route else {}),
    }


def reply_header(reply: Reply) -> Header:
    """An assistant's reply, with what it understood."""
    return {**reply._asdict(), "heard": transcript_header(reply.heard)}


def _embedded(model: Any, audio: Samples) -> Header:
    return {"vector": cast(Embedder, model).embed(audio).tolist()}


def _classified(model: Any, audio: Samples) -> Header:
    found = cast(Classifier, model).classify(audio)
    return {"label": found.label, "vector": list(found.scores), "confidence": max(found.scores)}


ANSWERS: dict[str, AnswerClip] = {"embed": _embedded, "classify": _classified}
"""By operation."""
