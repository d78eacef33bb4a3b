"""OpenLineage transport: ledger events forwarded to Marquez, or to any other HTTP collector, after they were appended.

Boundary: reads the ledger's events, writes a cursor file a family, talks to one address; times out.
Invariants: the ledger is the queue: the cursor names the event that is sent next, and moves when the collector has
taken one, so that none is skipped and none is sent out of order, however long the collector was away; an event may
arrive twice (a kill between answer and cursor), with the same run and sequence; an append is never delayed and never
fails because of the collector; what people wrote or are called (reasons, notes, actors) is not sent, and nor is any
fact that is not on the list below.
Source: OpenLineage 2-0-2, with openlineage-python's classes and transport.
"""

from __future__ import annotations

import atexit
import logging
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import JsonValue, NonNegativeInt, ValidationError

from contracts.digest import Digest
from contracts.document import Part
from contracts.errors import Corrupt, DependencyFailed, NotFound, SoundcheckError, WrongCall
from contracts.ledger_event import FACET_SCHEMA, GENESIS, PRODUCER, LedgerEvent
from registry.ledger import Ledger
from registry.store import Store
from registry.store.files import disk, exclusive, make_folder, replace_file

if TYPE_CHECKING:
    from openlineage.client.event_v2 import RunEvent

log = logging.getLogger("soundcheck")

SENT_FACTS = frozenset(
    {"version", "kind", "decision", "mode", "verdict", "stage", "bytes", "new_bytes", "route_version", "intent"}
)
"""Facts of an event that may leave this installation, where their value is a number or one plain word."""
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
LOCK_TIMEOUT_S = 30.0
EXIT_TIMEOUT_S = 2.0
"""How long the end of a process waits for events that are on their way; the rest is sent later."""

Send = Callable[["RunEvent"], None]
"""Hand an event to the collector; raises DependencyFailed where it does not take it."""


def run_event(event: LedgerEvent) -> RunEvent:
    """The event as openlineage-python's own RunEvent: digests, names and the facts that may be sent.

    The facet's `digest` is that of the event as it is stored, so that whoever has the ledger can compare.
    """
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
    from openlineage.client.generated.base import RunFacet

    stored = event.run_event()
    facet: Any = RunFacet(producer=PRODUCER).with_additional_properties(
        family=event.family,
        sequence=event.sequence,
        previous=event.previous,
        digest=event.digest(),
        release=event.release,
        facts={name: value for name, value in event.data.items() if _may_be_sent(name, value)},
    )
    facet._schemaURL = FACET_SCHEMA
    return RunEvent(
        eventType=RunState[stored["eventType"]],
        eventTime=event.at,
        run=Run(runId=stored["run"]["runId"], facets={"soundcheck": facet}),
        job=Job(namespace=stored["job"]["namespace"], name=event.step),
        inputs=[InputDataset(**dataset) for dataset in stored["inputs"]],
        outputs=[OutputDataset(**dataset) for dataset in stored["outputs"]],
        producer=PRODUCER,
    )


def _may_be_sent(name: str, value: JsonValue) -> bool:
    if name not in SENT_FACTS:
        return False
    return isinstance(value, (int, float)) or (isinstance(value, str) and PLAIN.fullmatch(value) is not None)


def http_collector(url: str, *, timeout_s: float, api_key: str = "") -> Send:
    """Send to `URL/api/v1/lineage`; `api_key` becomes the bearer token. WrongCall for what is no HTTP address."""
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider
    from requests import RequestException

    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WrongCall(
            "not the address of an OpenLineage collector",
            where="params.yaml: lineage.url, or OPENLINEAGE_URL",
            expected="http://HOST:PORT or https://HOST",
        )
    auth = ApiKeyTokenProvider({"api_key": api_key}) if api_key else TokenProvider({})
    once = {"total": 0, "read": 0, "connect": 0}  # the cursor is our way of trying again
    transport = HttpTransport(HttpConfig(url=url.rstrip("/") + "/", timeout=timeout_s, auth=auth, retry=once))

    def send(event: RunEvent) -> None:
        try:
            transport.emit(event)
        except RequestException as error:
            answer = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
            raise DependencyFailed(
                "the OpenLineage collector did not take an event",
                where=shown,
                got=answer,
                expected="an answer of 200 or 201",
                next_step="nothing is lost: `soundcheck lineage send` goes on with this event",
            ) from None

    return send


class _Cursor(Part):
    """Which event is sent next, and the digest of the one before it."""

    next: NonNegativeInt = 0
    previous: Digest = GENESIS


class Forwarder:
    """Sends what the ledgers have beyond the cursors: at once (`send`), or beside the work (`appended`).

    Args:
        folder: where the cursors lie, one file a family.
    """

    def __init__(self, store: Store, folder: Path, send: Send) -> None:
        self._store = store
        self._folder = folder
        self._send = send
        self._behind: set[str] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._warned = False

    def send(self, family: str, on_sent: Callable[[int], None] | None = None) -> int:
        """Send all new events of a family, in order; how many. After each, `on_sent` is told how many it has had ever.

        Raises DependencyFailed where the collector does not take one (the next call begins with it), and Corrupt where
        the ledger is not the one that was sent before.
        """
        with disk("the cursor of the lineage could not be written", str(self._folder)):
            make_folder(self._folder)
            with exclusive(self._folder / f"{family}.lock", timeout_s=LOCK_TIMEOUT_S):
                count = 0
                for event in self._unsent(family):
                    self._send(run_event(event))
                    self._advance(event)
                    count += 1
                    if on_sent:
                        on_sent(event.sequence + 1)
                return count

    def _unsent(self, family: str) -> Iterator[LedgerEvent]:
        cursor, ledger = self._cursor(family), Ledger(self._store, family)
        sequence, previous = cursor.next, cursor.previous
        while True:
            key = ledger.key(sequence)
            try:
                event = LedgerEvent.from_bytes(self._store.read(key), where=key)
            except NotFound:
                return
            if event.previous != previous:
                raise Corrupt(
                    "the ledger is not the one that was forwarded before",
                    where=f"{self._store.url}, {key}",
                    next_step=f"soundcheck verify {family}; if it is whole, remove {self._path(family)} to send it all",
                )
            yield event
            sequence, previous = sequence + 1, event.digest()

    def _path(self, family: str) -> Path:
        return self._folder / f"{family}.json"

    def _cursor(self, family: str) -> _Cursor:
        path = self._path(family)
        try:
            return _Cursor.model_validate_json(path.read_bytes()) if path.exists() else _Cursor()
        except ValidationError:
            raise Corrupt(
                "the cursor of the lineage cannot be read", where=str(path), next_step="remove it, to send all again"
            ) from None

    def _advance(self, event: LedgerEvent) -> None:
        cursor = _Cursor(next=event.sequence + 1, previous=event.digest())
        replace_file(self._path(event.family), cursor.model_dump_json().encode(), scratch=self._folder)

    def appended(self, family: str) -> None:
        """Remember that a family has a new event; a thread sends it. Never waits, never raises."""
        with self._changed:
            self._behind.add(family)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lineage", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._changed.notify_all()

    def close(self, timeout_s: float = EXIT_TIMEOUT_S) -> bool:
        """Wait until all is sent or has failed, but not for long; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._behind and not self._busy, timeout_s)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._behind)
                family = self._behind.pop()
                self._busy = True
            self._try(family)
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _try(self, family: str) -> None:
        try:
            self.send(family)
        except SoundcheckError as error:
            self._warn(f"{error.what} ({error.got})" if error.got else error.what)
        except Exception as error:
            # Whatever a collector or a disk does, the work beside which this runs goes on.
            self._warn(type(error).__name__)

    def _warn(self, what: str) -> None:
        """Once a process: a collector that is away all day is no news."""
        if not self._warned:
            log.warning("lineage: %s; nothing waits for it, `soundcheck lineage send` sends the rest", what)
        self._warned = True
