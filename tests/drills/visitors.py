"""Clients whose habits serving.traffic does not have: they ask again too soon, or correct what was misheard.

Boundary: talks to a gateway over HTTP; serving.traffic draws who visits, what a visit does comes in.
Invariants: a refusal ends the visits and is raised; texts are compared and forgotten.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

import httpx

from serving.client import TIMEOUT_S, Heard, transcribe_async
from serving.traffic import Session, Turn

TOLD = 202
"""Status of an event that was taken."""


class Client(NamedTuple):
    """The client of one session."""

    http: httpx.AsyncClient
    base_url: str
    family: str
    api_key: str
    session: Session

    async def ask(self, turn: Turn) -> Heard:
        """One request."""
        one = self.session
        headers = {"X-Soundcheck-Session": one.session_id, "X-Soundcheck-Device": one.device,
                   "X-Soundcheck-Tenant": one.tenant, "X-Soundcheck-Language": one.language}  # fmt: skip
        audio = turn.utterance.path.read_bytes()
        return await transcribe_async(self.base_url, audio, self.family, self.api_key, headers, client=self.http)

    async def tell(self, request_id: str, kind: str) -> None:
        """What the user did with an answer."""
        told = {"request_id": request_id, "kind": kind}
        headers = {"Authorization": f"Bearer {self.api_key}"}
        answer = await self.http.post(f"{self.base_url}/v1/events", json=told, headers=headers)
        assert answer.status_code == TOLD, answer.text


Visit = Callable[[Client], Awaitable[int]]
"""What a session does; how many requests it made."""


def impatient(asked: int) -> Visit:
    """A retry timer that is too short: each recording is sent so often, and answered."""

    async def visit(client: Client) -> int:
        for turn in client.session.turns:
            for _ in range(asked):
                await client.ask(turn)
        return asked * len(client.session.turns)

    return visit


def correcting(share: float, *, think_s: float) -> Visit:
    """Users who read an answer for so long, and correct this share of those that are not what they said."""

    async def visit(client: Client) -> int:
        for turn in client.session.turns:
            heard = await client.ask(turn)
            if heard.text != turn.utterance.text and random.Random(turn.noise).random() < share:
                await client.tell(heard.request_id, "correction")
            await asyncio.sleep(think_s)
        return len(client.session.turns)

    return visit


def play_visits(
    base_url: str, drawn: Iterable[Session], visit: Visit, *, family: str, api_key: str, concurrency: int,
    stop: threading.Event | None = None,
) -> int:  # fmt: skip
    """Have these sessions visit, so many at a time, until there are no more or `stop` is set; the requests made."""
    waiting = iter(drawn)

    async def all_of_them() -> int:
        async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:

            async def visitor() -> int:
                made = 0
                for session in waiting:
                    if stop is not None and stop.is_set():
                        break
                    made += await visit(Client(http, base_url, family, api_key, session))
                return made

            return sum(await asyncio.gather(*(visitor() for _ in range(concurrency))))

    return asyncio.run(all_of_them())
