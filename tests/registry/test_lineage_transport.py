"""Ledger events forwarded to a real HTTP collector, which reads them with OpenLineage's own classes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from contracts.digest import sha256_bytes
from contracts.errors import Corrupt, DependencyFailed, WrongCall
from contracts.ledger_event import LedgerEvent
from registry.ledger import Ledger
from registry.lineage_transport import SENT_FACTS, Forwarder, http_collector, run_event
from registry.store.memory import MemoryStore
from tests.servers.loopback import Handler, listening

FAMILY = "asr-commands"
CANARY = "the caller said turn off the kitchen light"
"""Private content that must be found in nothing that is sent."""
PRIVATE: dict[str, JsonValue] = {
    "reason": CANARY,
    "actor": "anna",
    "approver": "anna",
    "note": CANARY,
    "version": CANARY,
}


class Collector:
    """A server that takes RunEvents. `status` is what it answers; `hang_s` how long it thinks."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.status, self.hang_s = 201, 0.0
        self.bodies, self.url = b"", ""

    def handler(self) -> type[Handler]:
        outer = self

        class Taking(Handler):
            def respond(self) -> None:
                time.sleep(outer.hang_s)
                if outer.status < 300:
                    assert self.path == "/api/v1/lineage"
                    outer.bodies += self.body
                    outer.headers.append(dict(self.headers))
                    outer.events.append(read_as_openlineage(self.body))
                self.answer(outer.status)

        return Taking

    @property
    def sequences(self) -> list[int]:
        return [event["run"]["facets"]["soundcheck"]["sequence"] for event in self.events]


def read_as_openlineage(body: bytes) -> dict[str, Any]:
    """The event, if OpenLineage's own classes take each of its fields; they check UUID, times and addresses."""
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState

    event: dict[str, Any] = json.loads(body)
    fields = dict(event)
    assert fields.pop("schemaURL") == "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
    RunEvent(
        eventType=RunState(fields.pop("eventType")),
        run=Run(**fields.pop("run")),
        job=Job(**fields.pop("job")),
        inputs=[InputDataset(**row) for row in fields.pop("inputs")],
        outputs=[OutputDataset(**row) for row in fields.pop("outputs")],
        **fields,
    )
    for facet in event["run"]["facets"].values():
        assert facet["_producer"].startswith("https://")
        assert facet["_schemaURL"].startswith("https://")
    return event


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Collector()
    with listening(made.handler()) as made.url:
        yield made


def _append(store: MemoryStore, count: int, *, on_append: Any = None, **data: JsonValue) -> Ledger:
    ledger = Ledger(store, FAMILY, on_append)
    for _ in range(count):
        ledger.append(
            "promote", "complete", at="2026-11-20T10:00:00.000Z", release="r" * 8,
            inputs={"evidence": sha256_bytes(b"evidence")}, outputs={"bundle": sha256_bytes(b"bundle")}, data=data,
        )  # fmt: skip
    return ledger


def _forwarder(store: MemoryStore, tmp_path: Path, url: str, timeout_s: float = 5.0, api_key: str = "") -> Forwarder:
    return Forwarder(store, tmp_path / "lineage", http_collector(url, timeout_s=timeout_s, api_key=api_key))


def test_events_arrive_in_order_and_once(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    ledger = _append(store, 5, version="v2")
    forwarder = _forwarder(store, tmp_path, collector.url)
    assert (forwarder.send(FAMILY), forwarder.send(FAMILY)) == (5, 0)
    assert collector.sequences == [0, 1, 2, 3, 4]
    first, stored = collector.events[0], ledger.events()[0]
    assert first["run"]["runId"] == stored.run_event()["run"]["runId"]
    assert (first["job"]["namespace"], first["job"]["name"]) == (f"soundcheck/{FAMILY}", "promote")
    assert first["outputs"][0]["name"] == f"bundle/{sha256_bytes(b'bundle')}"
    facet = first["run"]["facets"]["soundcheck"]
    assert (facet["digest"], facet["previous"], facet["facts"]) == (stored.digest(), "0" * 64, {"version": "v2"})
    _append(store, 2)
    assert _forwarder(store, tmp_path, collector.url).send(FAMILY) == 2, "another process goes on at the cursor"
    assert collector.sequences == [0, 1, 2, 3, 4, 5, 6]


def test_fault_62_what_people_wrote_is_not_sent(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    _append(store, 1, **PRIVATE)
    _forwarder(store, tmp_path, collector.url).send(FAMILY)
    assert len(collector.events) == 1
    assert CANARY.encode() not in collector.bodies
    assert b"anna" not in collector.bodies


@given(data=st.dictionaries(st.sampled_from([*sorted(SENT_FACTS), "reason", "note", "actor"]), st.text(max_size=80)))
@settings(max_examples=60, deadline=None)
def test_law_a_text_that_is_sent_is_one_plain_word_of_the_list(data: dict[str, str]) -> None:
    event = LedgerEvent(
        family=FAMILY, sequence=0, previous="0" * 64, at="2026-11-20T10:00:00Z", step="promote", outcome="complete",
        data=dict(data),
    )  # fmt: skip
    facet: Any = run_event(event).run.facets["soundcheck"]  # type: ignore[index]
    assert facet.facts.items() <= data.items()
    assert all(name in SENT_FACTS and not set(text) & set(" \n\t@/") for name, text in facet.facts.items())


def test_a_collector_that_is_away_loses_nothing(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    forwarder = _forwarder(store, tmp_path, collector.url)
    _append(store, 2)
    assert forwarder.send(FAMILY) == 2
    collector.status = 503
    _append(store, 3)
    with pytest.raises(DependencyFailed) as raised:
        forwarder.send(FAMILY)
    assert (raised.value.where, raised.value.got) == (collector.url, "HTTP 503")
    collector.status = 201
    _append(store, 1)
    assert forwarder.send(FAMILY) == 4
    assert collector.sequences == [0, 1, 2, 3, 4, 5]


def test_a_collector_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    store = MemoryStore()
    _append(store, 1)
    with pytest.raises(DependencyFailed) as raised:
        _forwarder(store, tmp_path, "http://me:secret@127.0.0.1:9").send(FAMILY)
    assert raised.value.where == "http://127.0.0.1:9"
    assert "secret" not in str(raised.value)


def test_an_api_key_is_the_bearer_token(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    _append(store, 1)
    _forwarder(store, tmp_path, collector.url, api_key="a-token").send(FAMILY)
    assert collector.headers[0]["Authorization"] == "Bearer a-token"


@pytest.mark.parametrize("url", ["marquez:5000", "ftp://marquez", "", "http://"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(WrongCall, match="not the address of an OpenLineage collector"):
        http_collector(url, timeout_s=1)


def test_appends_do_not_wait_for_a_collector_that_hangs(collector: Collector, tmp_path: Path) -> None:
    collector.hang_s = 1.5
    store = MemoryStore()
    forwarder = _forwarder(store, tmp_path, collector.url, timeout_s=0.3)
    started = time.monotonic()
    _append(store, 20, on_append=forwarder.appended)
    assert time.monotonic() - started < 0.3
    assert forwarder.close(5), "it gives up at the time-out"
    collector.hang_s = 0
    time.sleep(1.6)  # the answers that nobody waits for any more
    collector.events.clear()
    assert forwarder.send(FAMILY) == 20
    assert collector.sequences == list(range(20))


def test_every_append_is_sent_beside_the_work(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    forwarder = _forwarder(store, tmp_path, collector.url)
    _append(store, 10, on_append=forwarder.appended)
    assert forwarder.close(10)
    _append(store, 10, on_append=forwarder.appended)
    assert forwarder.close(10)
    assert collector.sequences == list(range(20))


def test_a_refused_event_fails_no_append_and_is_said_once(
    collector: Collector, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 422
    store = MemoryStore()
    forwarder = _forwarder(store, tmp_path, collector.url)
    for _ in range(3):
        _append(store, 1, on_append=forwarder.appended)
        assert forwarder.close(10)
    assert caplog.text.count("the OpenLineage collector did not take an event (HTTP 422)") == 1


def test_a_crash_of_the_sender_fails_no_append(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_event: object) -> None:
        raise RuntimeError(CANARY)

    store = MemoryStore()
    forwarder = Forwarder(store, tmp_path, broken)
    _append(store, 1, on_append=forwarder.appended)
    assert forwarder.close(10)
    assert "lineage: RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_two_forwarders_send_nothing_twice(collector: Collector, tmp_path: Path) -> None:
    store = MemoryStore()
    _append(store, 30)
    both = [_forwarder(store, tmp_path, collector.url) for _ in range(2)]
    threads = [threading.Thread(target=one.send, args=(FAMILY,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collector.sequences == list(range(30))


def test_another_ledger_is_not_taken_for_the_one_that_was_sent(collector: Collector, tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    _append(store, 2)
    _append(other, 3, version="v9")
    _forwarder(store, tmp_path, collector.url).send(FAMILY)
    with pytest.raises(Corrupt, match="the ledger is not the one that was forwarded before"):
        _forwarder(other, tmp_path, collector.url).send(FAMILY)


def test_a_damaged_cursor_is_corrupt(tmp_path: Path) -> None:
    (tmp_path / f"{FAMILY}.json").write_text('{"next": -1}')
    with pytest.raises(Corrupt, match="the cursor of the lineage cannot be read"):
        Forwarder(MemoryStore(), tmp_path, lambda _event: None).send(FAMILY)
