"""Answers over HTTP: the shapes of what was heard, and the form of a refusal (contracts/serving_api.py).

Boundary: pure; values in, responses out. Source: coverage rows 3 and 34.
Invariants: every refusal has the error form of the contract, and where asking again is of use, when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from contracts.serving_api import STATUS, Classification, Embedding
from serving.calls import Final, error_body, retry_after_s
from serving.link import Answer, ServingFailure

FORMATS = ("json", "text", "verbose_json")
Segments = Sequence[tuple[float, float]]


def json_answer(value: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:
    """A value as compact JSON."""
    content = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, headers, media_type="application/json")


def refusal(failure: ServingFailure, headers: Mapping[str, str] | None = None) -> Response:
    """What a client gets that is refused."""
    wait_s = retry_after_s(failure)
    again = {} if wait_s is None else {"Retry-After": str(wait_s)}
    content = error_body(failure)
    return Response(content, STATUS[failure.code], {**(headers or {}), **again}, media_type="application/json")


def transcription(
    final: Final,
    *,
    shape: str,
    granularities: Sequence[str],
    duration_s: float,
    language: str,
    segments: Segments,
    headers: Mapping[str, str],
) -> Response:
    """An answer in one of FORMATS; `granularities` chooses what `verbose_json` times, empty for all of it."""
    if shape == "text":
        return Response(final.text + "\n", headers=headers, media_type="text/plain")
    if shape == "json":
        return json_answer({"text": final.text}, headers)
    wanted = granularities or ("word", "segment")
    words = final.words_json()
    answer: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": duration_s,
        "text": final.text,
        "words": words if "word" in wanted else [],
        "confidence": final.confidence,
        "segments": _segments(segments, words) if "segment" in wanted else [],
    }
    return json_answer(answer, headers)


def _segments(segments: Segments, words: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each stretch of speech with its words: those whose middle is after its beginning, before the next one's."""
    texts: list[list[str]] = [[] for _ in segments]
    for word in words if segments else ():
        middle = (word["start"] + word["end"]) / 2
        texts[max(sum(begin <= middle for begin, _ in segments) - 1, 0)].append(word["word"])
    return [
        {"id": number, "start": start, "end": end, "text": " ".join(text)}
        for number, ((start, end), text) in enumerate(zip(segments, texts, strict=True))
    ]


def embedding(vector: tuple[float, ...], space: str, duration_s: float, headers: Mapping[str, str]) -> Response:
    """A vector, and the space in which it may be compared with others."""
    answer = Embedding(
        embedding=vector, dimension=len(vector), space=space, duration=duration_s, bundle=headers["X-Soundcheck-Bundle"]
    )
    return json_answer(answer.model_dump(), headers)


def classification(answer: Answer, classes: Sequence[str], duration_s: float, headers: Mapping[str, str]) -> Response:
    """The likeliest class, and the score of each."""
    scores = dict(zip(classes, answer.vector, strict=True))
    found = Classification(
        label=answer.label, scores=scores, duration=duration_s, bundle=headers["X-Soundcheck-Bundle"]
    )
    return json_answer(found.model_dump(), headers)
