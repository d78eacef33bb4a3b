"""What the WebSockets share: the handshake, messages in and out, and what is recorded of how they ended.

Boundary: one ASGI WebSocket at a time, over a Desk; what is said on it is the business of whoever talks (streams.py,
speech_stream.py, dialogue.py).
Invariants: a handshake is refused with the errors of HTTP; a client that does not read is left (fault 57); whatever
becomes of a routed call is recorded once; nothing that was said is logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from contracts.policy import Task
from contracts.serving_api import STATUS, AssistantStart, SpeechStart, StreamStart
from serving.answers import refusal
from serving.calls import CLIENT_GONE_STATUS, Call, Desk, error_body
from serving.exchange import client_of, sent_labels
from serving.ingress import Caller, Terms, Trace, terms_of, trace_of
from serving.link import ServingFailure, WorkerGone
from serving.router import Family

log = logging.getLogger(__name__)

LEAVE_S = 1.0
"""How long a client that is told goodbye may take to hear it."""

Control = Literal["end", "cancel", "barge_in"]

CONTROLS: tuple[Control, ...] = ("end", "cancel", "barge_in")

First = TypeVar("First", bound=BaseModel)
Result = TypeVar("Result")


class Cancelled(Exception):
    """The client wants no answer any more."""


class Unread(Exception):
    """The client has not read what it was sent."""


class Opening(NamedTuple):
    """A handshake that was accepted: who asks whom, on which terms, with which labels; `session` as sent."""

    trace: Trace
    caller: Caller
    family: Family
    terms: Terms
    labels: Mapping[str, str]
    session: str
    client: str


def control(message: str) -> Control:
    """What a text message between frames asks for; ServingFailure `bad_request`."""
    try:
        asked = json.loads(message).get("type")
    except (ValueError, AttributeError, RecursionError):
        asked = None
    for known in CONTROLS:
        if asked == known:
            return known
    kinds = ", ".join(f'{{"type": "{known}"}}' for known in CONTROLS)
    raise ServingFailure("bad_request", f"after the start come binary frames and {kinds}")


class Socket:
    """One accepted WebSocket."""

    def __init__(self, websocket: WebSocket, deadline_s: float) -> None:
        self._websocket = websocket
        self._deadline_s = deadline_s
        self._given_back: list[bytes | str] = []

    def give_back(self, message: bytes | str) -> None:
        """A message that was taken too early: the next to be received."""
        self._given_back.append(message)

    async def receive(self) -> bytes | str:
        """The next message; raises WebSocketDisconnect."""
        if self._given_back:
            return self._given_back.pop()
        message = await self._websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        content: bytes | str | None = message.get("bytes")
        return content if content is not None else message["text"]

    async def first(self, model: type[First], hint: str) -> First:
        """The first message; raises TimeoutError, and ServingFailure `bad_request` where it is not what it must be."""
        async with asyncio.timeout(self._deadline_s):
            message = await self.receive()
        try:
            return model.model_validate_json(message)
        except ValidationError:
            raise ServingFailure("bad_request", f"the first message is JSON text: {hint}") from None

    async def send(self, message: Mapping[str, Any] | bytes) -> None:
        """Send JSON text, or a binary frame; raises Unread where the client does not read it."""
        # A client that does not read may not hold a stream for ever.
        try:
            async with asyncio.timeout(self._deadline_s):
                if isinstance(message, bytes):
                    await self._websocket.send_bytes(message)
                else:
                    await self._websocket.send_text(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
        except TimeoutError:
            raise Unread from None

    async def leave(self, message: Mapping[str, Any] | None, code: int) -> None:
        """Say a last word, if any, and close; a client that has gone or does not read does not matter."""
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                if message is not None:
                    await self._websocket.send_text(json.dumps(message))
                await self._websocket.close(code)

    async def refuse(self, failure: ServingFailure) -> None:
        """Send the error and close."""
        error = {"type": "error", **json.loads(error_body(failure))}
        await self.leave(error, 1011 if STATUS[failure.code] >= 500 else 1008)


async def converse(
    websocket: WebSocket, desk: Desk, task: Task, talk: Callable[[Socket, Opening], Awaitable[None]]
) -> None:
    """Serve one WebSocket of families that do this task, from handshake to close. Never raises."""
    headers = websocket.headers
    trace = trace_of(headers.get("traceparent", ""))
    try:
        caller = desk.enter(headers.get("authorization", ""))
        family = desk.family(websocket.query_params.get("model", ""), task)
        terms = terms_of(headers, desk.deadline_s)
    except ServingFailure as failure:
        desk.metrics.refused.labels(failure.code).inc()
        await websocket.send_denial_response(refusal(failure, trace.headers))
        return
    await websocket.accept(headers=[(key.lower().encode(), value.encode()) for key, value in trace.headers.items()])
    session = headers.get("x-soundcheck-session", "")
    opening = Opening(trace, caller, family, terms, sent_labels(websocket), session, client_of(websocket))
    socket = Socket(websocket, desk.deadline_s)
    try:
        await talk(socket, opening)
    except TimeoutError:
        await socket.refuse(ServingFailure("deadline", "nothing was sent within the deadline"))
    except ServingFailure as failure:
        await socket.refuse(failure)
    except (WebSocketDisconnect, RuntimeError):
        # The client left; what it had begun has been recorded.
        return
    except Exception as error:
        # The message might quote what was said: its kind and the request's id are enough to find it.
        log.error("stream %s failed: %s", trace.request_id, type(error).__name__)
        await socket.refuse(ServingFailure("internal", "the gateway failed on this stream"))


def admitted(desk: Desk, opening: Opening, start: StreamStart | SpeechStart | AssistantStart) -> Call:
    """A call for what a first message asks; raises what Desk.admit raises."""
    labels = {**opening.labels, **start.labels}
    spoken = (getattr(start, "language", ""), *getattr(start, "language_hints", ()))
    if language := next(filter(None, spoken), ""):
        labels.setdefault("language", language)
    return desk.admit(
        opening.family,
        opening.caller,
        mode="stream",
        trace=opening.trace,
        sent_session=start.session or opening.session,
        sent_labels=labels,
        client=opening.client,
        terms=opening.terms._replace(priority="batch") if start.priority == "batch" else opening.terms,
    )


def ready(call: Call, **more: Any) -> dict[str, Any]:
    """The server's first message."""
    named = {"request_id": call.request_id, "bundle": call.bundle, "route_version": call.table.version}
    return {"type": "ready", **named, **more}


async def race(call: Call, listening: Coroutine[Any, Any, None], answering: Coroutine[Any, Any, Result]) -> Result:
    """The answer, unless what the client says, or that the bundle is withdrawn (R7.6), ends it before."""
    hears, answers = asyncio.create_task(listening), asyncio.create_task(answering)
    withdrawn = asyncio.create_task(call.worker.withdrawn.wait())
    tasks = (hears, answers, withdrawn)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if answers in done:
            # Whatever else is done: a client that has all of it may close as soon as it likes.
            return answers.result()
        if withdrawn in done:
            raise ServingFailure("withdrawn", "the model of this stream was withdrawn; open a new stream")
        await hears
        return await answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def concluded(desk: Desk, socket: Socket, call: Call, work: Awaitable[Result]) -> Result | None:
    """What the work came to; None where the client cancelled or does not read, and has been left.

    A failure is recorded and raised; success is recorded by the caller.
    """
    gauge = desk.metrics.open_streams.labels(call.family.name)
    gauge.inc()
    try:
        with call.worker.hold():
            return await work
    except ServingFailure as failure:
        desk.record_failure(call, failure)
        raise
    except WorkerGone:
        died = ServingFailure("internal", "the worker of this stream died")
        died.worker_died = 1
        desk.record_failure(call, died)
        raise died from None
    except TimeoutError:
        desk.record_failure(call, ServingFailure("deadline", ""))
        raise
    except Cancelled:
        desk.record(call, status=CLIENT_GONE_STATUS, error_code="cancelled")
        await socket.leave({"type": "cancelled", "request_id": call.request_id, "bundle": call.bundle}, 1000)
        return None
    except Unread:
        desk.record(call, status=CLIENT_GONE_STATUS, error_code="unread")
        await socket.leave(None, 1008)
        return None
    except (WebSocketDisconnect, RuntimeError):
        desk.record(call, status=CLIENT_GONE_STATUS, error_code="client_gone")
        raise
    except Exception:
        desk.record_failure(call, ServingFailure("internal", ""))
        raise
    finally:
        gauge.dec()
