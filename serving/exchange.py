"""What the HTTP routes share: reading a request, admitting it, waiting for its answer while its client is there.

Boundary: Starlette requests over a Desk.
Invariants: work whose client has left is cancelled; what a request says is in no log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.websockets import WebSocket

from contracts.telemetry import REQUEST_LABELS
from serving.calls import Call, Desk
from serving.forms import read_body
from serving.ingress import Caller, Terms
from serving.link import ServingFailure
from serving.router import Family

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Document = TypeVar("Document", bound=BaseModel)
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class ClientGone(Exception):
    """The client closed its connection before the answer."""


def unexpected(name: str, error: Exception) -> ServingFailure:
    """An error that nobody foresaw, as its client is told it."""
    # The message might quote a request: its kind and the request's id are enough to find it.
    log.error("request %s failed: %s", name, type(error).__name__)
    return ServingFailure("internal", "the gateway failed on this request")


def sent_labels(request: Request | WebSocket) -> dict[str, str]:
    """The label headers of a request, as sent."""
    headers = request.headers
    return {name: headers[key] for name in REQUEST_LABELS if (key := f"x-soundcheck-{name}") in headers}


def client_of(request: Request | WebSocket) -> str:
    """The client's address."""
    return request.client.host if request.client else ""


async def body_of(request: Request, limit_bytes: int, idle_s: float) -> bytes:
    """The whole body; raises what serving.forms.read_body raises."""
    length = request.headers.get("content-length", "")
    return await read_body(request.stream(), length, limit_bytes=limit_bytes, idle_s=idle_s)


def parsed(model: type[Document], body: bytes, what: str) -> Document:
    """A JSON body in the form of the contract; ServingFailure `bad_request` names the field that is not."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        # The field alone: what is below it (the name of a label) is the client's own text.
        field = str(first["loc"][0]) if first["loc"] else "body"
        if first["type"] == "extra_forbidden":
            field = "an unknown field"
        raise ServingFailure("bad_request", f"{what} is not valid in {field}: {first['msg']}") from None


def admitted(
    desk: Desk, request: Request, family: Family, caller: Caller, terms: Terms, labels: Mapping[str, str]
) -> Call:
    """A call for an HTTP request; raises what Desk.admit raises."""
    return desk.admit(
        family,
        caller,
        mode="http",
        trace=request.state.trace,
        sent_session=request.headers.get("x-soundcheck-session", ""),
        sent_labels=labels,
        client=client_of(request),
        terms=terms,
    )


def routed_headers(call: Call) -> dict[str, str]:
    """Which bundle answers a call, and which route table chose it."""
    return {"X-Soundcheck-Bundle": call.bundle, "X-Soundcheck-Route": str(call.table.version)}


async def unless_gone(work: asyncio.Future[Result], receive: Receive) -> Result:
    """The work's result; when the client leaves first, the work is cancelled, and ClientGone raised once it ended."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(left())
    try:
        await asyncio.wait((work, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise ClientGone
        return work.result()
    finally:
        leaving.cancel()
        await ended(work)


async def ended(work: asyncio.Future[Any]) -> None:
    """Cancel work that nobody waits for, and see it end: what it had begun is then told to the request's leftovers."""
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
