"""Garbage collection: what is named stays, what was stable always stays, and nothing is lost to a race or a kill."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.digest import canonical_json
from contracts.errors import Conflict, Corrupt, DependencyFailed, Refused, WrongCall
from contracts.garbage import POINTER, GarbageDeclaration
from registry import bundle as bundles
from registry.garbage import Collection, collect, document_names, refuse_collected
from registry.ledger import Ledger
from registry.store.keys import blob_key
from registry.store.memory import Crash, FaultKind, MemoryStore
from tests.registry.conftest import make_store
from tests.registry.registry_parts import flip_bit, write_folder
from tests.registry.stepped_store import SteppedStore

FAMILY = "asr"
DAY_S = 86_400.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Days since START, moved by hand."""

    def __init__(self) -> None:
        self.days = 0.0

    def now(self) -> datetime:
        return START + timedelta(days=self.days)

    def seconds(self) -> float:
        return self.now().timestamp()

    def at(self) -> str:
        return self.now().strftime("%Y-%m-%dT%H:%M:%S.000Z")


class House:
    """A store with releases, made as the product makes them: blobs, manifest, event; intent, pointer, outcome."""

    def __init__(self, folder: Path, clock: Clock, store: MemoryStore) -> None:
        self.folder, self.clock, self.store = folder, clock, store

    def source(self, name: str, weights: bytes) -> Path:
        folder = self.folder / name
        if not folder.exists():
            write_folder(folder, {"payload/weights.bin": weights, "golden/audio/0.wav": b"RIFF" + name.encode(),
                                  "MODEL_CARD.md": b"# card"})  # fmt: skip
        return folder

    def package(self, release: str, weights: bytes) -> str:
        folder = self.source(release, weights)
        manifest = bundles.assemble(folder, family=FAMILY, version=release)
        ledger = Ledger(self.store, FAMILY)
        for event in ledger.events():
            if event.release == release and event.step == "package":
                return event.outputs["bundle"]
        digest = bundles.freeze(self.store, folder, manifest)
        ledger.append("package", "complete", at=self.clock.at(), release=release, outputs={"bundle": digest},
                      data={"version": release})  # fmt: skip
        return digest

    def promote(self, release: str, bundle: str) -> None:
        ledger = Ledger(self.store, FAMILY)
        refuse_collected(ledger.state(), bundle)
        ledger.append("promote", "start", at=self.clock.at(), release=release, outputs={"bundle": bundle})
        refuse_collected(ledger.state(), bundle)
        pointer = self.store.pointer("families/asr")
        table = canonical_json({"stable": bundle})
        self.store.swap("families/asr", table, expected=pointer.version if pointer else None)
        ledger.append("promote", "complete", at=self.clock.at(), release=release, outputs={"bundle": bundle})

    def collect(self, *, delete: bool = True, stopped_days: float = 90, grace_days: float = 7) -> Collection:
        return collect(self.store, [FAMILY], clock=self.clock.now, grace_s=grace_days * DAY_S,
                       stopped_s=stopped_days * DAY_S, delete=delete)  # fmt: skip


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def house(tmp_path: Path, clock: Clock) -> House:
    return House(tmp_path, clock, MemoryStore(clock=clock.seconds))


def test_a_blob_that_nobody_names_goes_after_the_grace_period(house: House, clock: Clock) -> None:
    orphan = house.store.put_blob(b"half a release")
    clock.days = 6
    assert (house.collect().unnamed, house.collect().young) == ((), 1)
    clock.days = 8
    dry = house.collect(delete=False)
    assert [info.digest for info in dry.unnamed] == [orphan]
    assert (dry.deleted, house.store.has_blob(orphan)) == (0, True)
    done = house.collect()
    assert (done.deleted, done.deleted_bytes, house.store.has_blob(orphan)) == (1, 14, False)


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_every_store_is_collected_alike(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, clock: Clock
) -> None:
    """Ages are the store's own, so the collection's clock is ahead: a year after these were put."""
    store = make_store(kind, request, tmp_path)
    clock.days = (datetime.now(UTC) - START).days + 365
    orphan, report = store.put_blob(b"orphan"), store.put_blob(b"report")
    Ledger(store, FAMILY).append("score", "complete", at=clock.at(), release="r1", outputs={"report": report})
    done = collect(store, [FAMILY], clock=clock.now, grace_s=7 * DAY_S, stopped_s=90 * DAY_S, delete=True)
    assert ([info.digest for info in done.unnamed], done.deleted, done.kept) == ([orphan], 1, 1)
    assert (store.has_blob(orphan), store.read_blob(report)) == (False, b"report")


def test_bundle_documents_and_what_they_name_stay(house: House, clock: Clock) -> None:
    inner = house.store.put_blob(b"a document of the second rank")
    outer = house.store.put_blob(canonical_json({"kind": "x", "inside": inner}))
    Ledger(house.store, FAMILY).append("score", "complete", at=clock.at(), release="r1", outputs={"report": outer})
    bundle = house.package("r1", b"weights")
    clock.days = 60
    assert house.collect().deleted == 0
    assert bundles.verify(house.store, bundle) == []
    assert house.store.has_blob(inner)


def test_a_release_that_stopped_long_ago_loses_its_files_and_keeps_its_documents(house: House, clock: Clock) -> None:
    stopped, stable = house.package("r1", b"one"), house.package("r2", b"two")
    house.promote("r2", stable)
    shared = bundles.load_manifest(house.store, stable).files["MODEL_CARD.md"].sha256
    clock.days = 91
    plan = house.collect(delete=False)
    assert [(one.release, one.bundle) for one in plan.stopped] == [("r1", stopped)]
    assert (len(plan.of_stopped), plan.unnamed) == (2, ())
    assert house.collect().deleted == 2
    manifest = bundles.load_manifest(house.store, stopped)
    assert house.store.has_blob(shared)
    assert not house.store.has_blob(manifest.files["payload/weights.bin"].sha256)
    state = Ledger(house.store, FAMILY).state()
    assert state.collected == {"r1": clock.at(), stopped: clock.at()}
    assert bundles.verify(house.store, stable) == []
    with pytest.raises(Refused) as raised:
        house.promote("r1", stopped)
    assert str(raised.value) == (
        "its files were collected: nothing had happened to this release for long\n"
        f"  where: asr, {stopped[:12]}\n"
        "  got: collected on 2026-04-02\n"
        "  expected: a release that goes on\n"
        "  next step: release the candidate again as a new version"
    )
    assert house.collect().deleted == 0


def test_a_bundle_that_another_release_packages_anew_is_whole_again(house: House, clock: Clock) -> None:
    """The same content under another policy: another release, the same bundle."""
    bundle = house.package("r1", b"one")
    clock.days = 91
    assert house.collect().deleted == 3
    manifest = bundles.load_manifest(house.store, bundle)
    assert bundles.freeze(house.store, house.source("r1", b"one"), manifest) == bundle
    Ledger(house.store, FAMILY).append("package", "complete", at=clock.at(), release="r2", outputs={"bundle": bundle})
    assert Ledger(house.store, FAMILY).state().collected == {"r1": clock.at()}
    house.promote("r2", bundle)
    clock.days = 5000
    assert house.collect().deleted == 0
    assert bundles.verify(house.store, bundle) == []


@pytest.mark.parametrize("grace_days", [1, 10_000])
@pytest.mark.parametrize("stopped_days", [0, -10])
def test_what_was_ever_stable_is_never_taken_whatever_the_options(
    house: House, clock: Clock, grace_days: float, stopped_days: float
) -> None:
    first, second = house.package("r1", b"one"), house.package("r2", b"two")
    house.promote("r1", first)
    house.promote("r2", second)
    Ledger(house.store, FAMILY).append("condemn", "complete", at=clock.at(), outputs={"bundle": first})
    clock.days = 5000
    house.collect(stopped_days=stopped_days, grace_days=grace_days)
    assert bundles.verify(house.store, first) == []
    assert bundles.verify(house.store, second) == []


def test_a_bundle_that_was_only_meant_to_be_promoted_stays(house: House, clock: Clock) -> None:
    bundle = house.package("r1", b"one")
    Ledger(house.store, FAMILY).append("promote", "start", at=clock.at(), release="r1", outputs={"bundle": bundle})
    clock.days = 5000
    assert house.collect().deleted == 0


def test_a_grace_period_under_a_day_is_a_wrong_call(house: House) -> None:
    with pytest.raises(WrongCall, match="the grace period is too short"):
        house.collect(grace_days=0.5)


def test_a_damaged_document_ends_the_collection(house: House, clock: Clock) -> None:
    bundle = house.package("r1", b"one")
    orphan = house.store.put_blob(b"orphan")
    clock.days = 20
    flip_bit(house.store, blob_key(bundle), 3)
    with pytest.raises(Corrupt, match="garbage cannot be told: a blob that the ledger names is damaged"):
        house.collect()
    assert house.store.has_blob(orphan)


def test_a_second_collection_waits_and_takes_over_a_dead_one(house: House, clock: Clock) -> None:
    house.store.put_blob(b"orphan")
    clock.days = 8
    dead = GarbageDeclaration(run="dead", until_s=clock.seconds() + 60, digests=("a" * 64,))
    house.store.swap(POINTER, dead.canonical(), expected=None)
    with pytest.raises(Refused) as raised:
        house.collect()
    assert str(raised.value) == (
        "another garbage collection is running\n"
        "  where: memory://memory\n"
        "  got: run dead, lease until 00:01:00 UTC\n"
        "  expected: one at a time\n"
        "  next step: wait for it; where it was killed, run this again after its lease"
    )
    clock.days = 8.01
    assert house.collect().deleted == 1
    pointer = house.store.pointer(POINTER)
    assert pointer is not None
    assert GarbageDeclaration.parse(pointer.content) == GarbageDeclaration()


def test_a_run_that_is_late_deletes_nothing_more(house: House, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    orphan = house.store.put_blob(b"orphan")
    clock.days = 8
    look = house.store.blob_info

    def slow(digest: str) -> Any:
        clock.days += 0.5 if house.store.pointer(POINTER) else 0
        return look(digest)

    monkeypatch.setattr(house.store, "blob_info", slow)
    with pytest.raises(Refused, match="took longer than half its lease"):
        house.collect()
    assert house.store.has_blob(orphan)


def test_names_inside_an_envelope_count() -> None:
    sealed = base64.b64encode(b'{"digest":"' + b"c" * 64 + b'"}').decode()
    names, files = document_names(canonical_json({"payloadType": "x", "payload": sealed, "signatures": []}))
    assert (names, files) == (frozenset({"c" * 64}), frozenset())


@pytest.mark.parametrize(
    ("kind", "held", "expected"),
    [("bundle_manifest", "files", frozenset()), ("wheelhouse", "wheels", frozenset({"d" * 64}))],
)
def test_an_envelope_keeps_wheels_and_only_quotes_the_files_of_a_manifest(
    kind: str, held: str, expected: frozenset[str]
) -> None:
    predicate = {"kind": kind, held: {"name": {"sha256": "d" * 64, "size": 1}}}
    statement = canonical_json({"subject": [{"name": "x", "digest": {"sha256": "c" * 64}}], "predicate": predicate})
    sealed = base64.b64encode(statement).decode()
    names, files = document_names(canonical_json({"payloadType": "x", "payload": sealed, "signatures": []}))
    assert (names, files) == (frozenset({"c" * 64}), expected)


def _release(house: House, name: str, weights: bytes, result: dict[str, str]) -> None:
    """A release as a person runs it: again, until it ends."""
    for _ in range(50):
        try:
            bundle = house.package(name, weights)
            house.promote(name, bundle)
            result[name] = bundle
            return
        except (DependencyFailed, Conflict):
            continue
    raise AssertionError(f"the release {name} never ends")


def _collect(house: House) -> None:
    house.collect()


def _one_by_one(items: Sequence[Any], work: Callable[[Any], Any], **_: int) -> Iterator[tuple[Any, Any]]:
    return ((item, work(item)) for item in items)


@pytest.fixture(scope="module", autouse=True)
def _in_turn() -> Iterator[None]:
    """Files of a bundle go one after the other, so that an actor has one thread."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundles, "each", _one_by_one)
        yield


def _world(folder: Path, choose: Callable[[list[str]], str]) -> House:
    """Old garbage that a new release will need again, a release that stopped, a stable one."""
    clock = Clock()
    store = SteppedStore(choose, clock.seconds)
    house = House(folder, clock, store)
    manifest = bundles.assemble(house.source("new", b"new weights"), family=FAMILY, version="new")
    bundles.freeze(store, house.source("new", b"new weights"), manifest)
    house.package("stopped", b"other weights")
    house.promote("old", house.package("old", b"old weights"))
    clock.days = 120
    return house


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_law_no_blob_of_a_stable_bundle_is_lost_whatever_the_order_of_calls(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Fault 29: a new release over old garbage, a stopped one that goes on after all, and two collections."""
    choices = data.draw(st.lists(st.integers(0, 11), min_size=1, max_size=200))
    schedule = itertools.cycle([*choices, 0, 1, 2, 3])  # in the end everybody has a turn
    folder = tmp_path_factory.getbasetemp() / "garbage"
    house = _world(folder, lambda names: names[next(schedule) % len(names)])
    store = house.store
    assert isinstance(store, SteppedStore)
    stable: dict[str, str] = {}
    ended = store.run(
        {
            "new": lambda: _release(house, "new", b"new weights", stable),
            "stopped": lambda: _release(house, "stopped", b"other weights", stable),
            "gc": lambda: _collect(house),
            "gc too": lambda: _collect(house),
        }
    )
    assert {name: error for name, error in ended.items() if error and not isinstance(error, Refused)} == {}
    assert ended["new"] is None
    for bundle in {*stable.values(), *(move.bundle for move in Ledger(store, FAMILY).state().history)}:
        assert bundles.verify(store, bundle) == []


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_collection_that_fails_at_any_call_loses_nothing_and_the_next_one_ends_it(
    tmp_path: Path, kind: FaultKind
) -> None:
    """Faults 1, 6, 12: every N from the first call to the last."""
    for call in itertools.count(1):
        clock = Clock()
        house = House(tmp_path, clock, MemoryStore(clock=clock.seconds))
        stable = house.package("old", b"old weights")
        house.promote("old", stable)
        stopped = house.package("stopped", b"other weights")
        orphan = house.store.put_blob(b"orphan")
        clock.days = 120
        before = house.store.calls
        house.store.inject(call, kind)
        try:
            done = house.collect()
        except (DependencyFailed, Crash):
            clock.days += 1
            house.collect()
        else:
            assert done.deleted == 3
            if house.store.calls - before < call:
                break
        assert bundles.verify(house.store, stable) == []
        assert not house.store.has_blob(orphan)
        assert {fault.path for fault in bundles.verify(house.store, stopped)} == {
            "payload/weights.bin",
            "golden/audio/0.wav",
        }
        assert stopped in Ledger(house.store, FAMILY).state().collected
    assert call > 30
