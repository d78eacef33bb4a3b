"""Requests that upload a recording: to a transcript, a vector or a class (contracts/serving_api.py).

Boundary: Starlette requests over a Desk; audio is decoded in two threads of its own.
Invariants: a routed request is recorded whatever becomes of it, and its answer names the bundle; audio that the feature
contract does not accept is refused before a model hears it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from contracts.bundle import GoldenAnswer
from contracts.policy import Task
from serving.answers import FORMATS, classification, embedding, refusal, transcription
from serving.audio import MAX_UPLOAD_BYTES, Audio, decode
from serving.calls import CLIENT_GONE_STATUS, OPERATIONS, Call, Desk, Final
from serving.cascade import Cascade, Heard
from serving.exchange import (
    ClientGone,
    admitted,
    body_of,
    ended,
    routed_headers,
    sent_labels,
    unexpected,
    unless_gone,
)
from serving.forms import Form, parse
from serving.ingress import check_language, terms_of
from serving.link import Hearing, ServingFailure
from serving.preprocess import measure
from serving.shadow import Shadow

SMALL_BYTES = 1 << 18

Result = TypeVar("Result")


class Uploads:
    """Hears what is uploaded."""

    def __init__(self, desk: Desk, shadow: Shadow) -> None:
        self._desk = desk
        self._shadow = shadow
        self.cascade = Cascade(desk)
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="decode")

    async def answer(self, request: Request, task: Task) -> Response:
        """The answer of a family that does this task; raises ServingFailure before it is routed, ClientGone."""
        desk, name = self._desk, request.state.trace.request_id
        caller = desk.enter(request.headers.get("authorization", ""))
        terms = terms_of(request.headers, desk.deadline_s)
        body = await body_of(request, MAX_UPLOAD_BYTES, desk.deadline_s)
        form = parse(request.headers.get("content-type", ""), body)
        content = _file(form)
        labels = sent_labels(request)
        if language := form.one("language"):
            labels.setdefault("language", language)
        call = admitted(desk, request, desk.family(form.one("model"), task), caller, terms, labels)
        try:
            audio, heard = await self._heard(call, content, form.one("language"), request, OPERATIONS[task])
        except ClientGone:
            desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
            raise
        except Exception as error:
            failure = error if isinstance(error, ServingFailure) else unexpected(name, error)
            desk.record_failure(call, failure)
            return refusal(failure, routed_headers(call))
        final = desk.finish(call, heard.bundle, heard.answer)
        response = _shaped(task, call, form, audio, heard, final)
        call.latency_ms = (time.monotonic() - call.began) * 1000
        desk.record(call, status=200)
        said = GoldenAnswer(final.text, heard.answer.label, heard.answer.vector)
        self._shadow.copy(call, said, [audio.samples])
        self.cascade.audit(call, heard.answer, audio.samples)
        return response

    async def _heard(
        self, call: Call, content: bytes, language: str, request: Request, operation: Hearing
    ) -> tuple[Audio, Heard]:
        with call.worker.hold():
            bundle = await call.worker.description(call.deadline_s)
            check_language(language, bundle.languages)
            small = len(content) <= SMALL_BYTES and content.startswith(b"RIFF")
            audio = await self._timed(call, small, decode, content, bundle.contract)
            call.audio_s, call.sent_rate_hz = audio.duration_s, audio.sent_rate_hz
            work = asyncio.ensure_future(self.cascade.hear(call, operation, audio.samples, ends=call.ends))
            try:
                # The worker has the audio before it is measured here, so that measuring costs the answer no time.
                await asyncio.sleep(0)
                rate_hz = bundle.contract.sample_rate_hz
                call.acoustics = await self._timed(call, small, measure, audio.samples, rate_hz)
                return audio, await unless_gone(work, request.receive)
            finally:
                await ended(work)

    async def _timed(self, call: Call, small: bool, step: Callable[..., Result], *arguments: object) -> Result:
        """Do a step of preprocessing; beside the loop, unless it takes less time than the way to a thread."""
        began = time.perf_counter()
        if small:
            result = step(*arguments)
        else:
            result = await asyncio.get_running_loop().run_in_executor(self._decoders, step, *arguments)
        call.preprocess_ms += (time.perf_counter() - began) * 1000
        return result


def _file(form: Form) -> bytes:
    """The recording of a form; ServingFailure `bad_request` where there is none, or a shape that no answer has."""
    if form.one("response_format", "json") not in FORMATS:
        raise ServingFailure("bad_request", f"response_format is one of {', '.join(FORMATS)}", param="response_format")
    if form.file is None:
        raise ServingFailure("bad_request", "the form has no file", param="file")
    return form.file


def _shaped(task: Task, call: Call, form: Form, audio: Audio, heard: Heard, final: Final) -> Response:
    """The answer in its task's form."""
    headers = routed_headers(call)
    if task == "embedding":
        return embedding(heard.answer.vector, call.worker.facts["space"], audio.duration_s, headers)
    if task == "classification":
        return classification(heard.answer, call.worker.facts["classes"], audio.duration_s, headers)
    return transcription(
        final,
        shape=form.one("response_format", "json"),
        granularities=form.all("timestamp_granularities[]") or form.all("timestamp_granularities"),
        duration_s=audio.duration_s,
        language=form.one("language") or heard.bundle.language,
        segments=(call.acoustics and call.acoustics.segments) or (),
        headers=headers,
    )
