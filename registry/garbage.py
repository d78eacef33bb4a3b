"""Garbage: which blobs nobody needs, and their deletion, so that a release which runs meanwhile loses nothing.

Boundary: the store and the clock it is handed.
Invariants: a blob is kept that is reachable from any ledger, pointer, key ring or tombstone: every run of 64
hexadecimal digits in an event counts as a name, and so does every one in a document so named; the ledger is read
upward and verified, never listed (fault 17), and a damaged document ends the collection, for nobody knows what it
names. What was ever stable is reachable, whatever the options. Of a release that stopped long ago the documents stay,
and the files of its payload and bundle go if nothing else names them.

How a collection and a release that run at once are kept apart (fault 29):
1. Blobs: the collection declares a batch in the pointer `gc`, reads ledgers, pointers and ages again, and deletes what
   is still unnamed and old. registry/store/keeping.py has the writer's half and the argument.
2. Stopped releases: the ledger itself decides. The event `collect` is appended by compare-and-set on the sequence that
   the decision was made on, before anything is deleted; an event of the release that came first makes the append fail,
   one that comes later finds `collect` before it, and `promote` looks there after its own intent.
3. A collection that was killed leaves its declaration; another takes it over when its lease has ended. A run deletes
   nothing after half its lease, so it would have to be stopped for the other half between the look at the clock and
   the one request for a late deletion to come through; no lease on a store without fencing can exclude that.
Source: Dekker's mutual exclusion; release-algorithm R5.3; faults 2, 29.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from contracts.digest import Digest, canonical_json, short
from contracts.errors import Conflict, Corrupt, NotFound, Refused, WrongCall
from contracts.garbage import POINTER, GarbageDeclaration
from contracts.ledger_event import LedgerEvent
from contracts.wheelhouse import WHEELHOUSES, Wheelhouse
from registry.ledger import Ledger
from registry.release_state import MOVES, ReleaseState
from registry.store import BlobInfo, Store
from registry.store.keeping import YOUNG_S
from registry.store.keys import POINTERS, pointer_key

DOCUMENT_BYTES = 64 << 20
"""No document is larger: a manifest of 10,000 files with the longest names has a fifth of it."""
BATCH = 500
"""Blobs of one declaration."""
LEASE_S = 1800.0
LEAST_GRACE_S = 24 * YOUNG_S
NAMING = ("keyring/", "tombstones/", WHEELHOUSES, POINTERS)
"""Where names stand beside the ledgers."""
ASIDE = ("collect", "condemn", "consent", "erase")
"""Steps whose events speak about a release and are no part of it: they do not keep its files."""
_HOLDING = {"bundle_manifest": "files", "train_manifest": "payload", Wheelhouse.KIND: "wheels"}
"""Documents that hold plain files, and where."""
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


class Stopped(NamedTuple):
    """A release that ended without promotion: its documents that name files, and when it was last heard of."""

    family: str
    release: str
    version: str
    bundle: Digest | None
    manifests: frozenset[Digest]
    last_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """What is garbage, or was.

    Attributes:
        unnamed: blobs that no ledger, pointer or document names, older than the grace period.
        stopped: releases whose files go; their blobs are `of_stopped`.
        young: unnamed blobs that are left for their age.
        kept, kept_bytes: blobs that stay, the young ones included.
        deleted: blobs that were deleted; 0 in a dry run.
    """

    unnamed: tuple[BlobInfo, ...]
    stopped: tuple[Stopped, ...]
    of_stopped: tuple[BlobInfo, ...]
    young: int
    kept: int
    kept_bytes: int
    deleted: int = 0
    deleted_bytes: int = 0


def names_in(content: bytes) -> frozenset[Digest]:
    """Everything in these bytes that can be a digest."""
    return frozenset(match.decode() for match in _HEX.findall(content))


def stopped_releases(events: Sequence[LedgerEvent], before: datetime) -> list[Stopped]:
    """Releases of one ledger that never tried to move a pointer and were last heard of before a time; pure.

    One that was collected before stays so, however late the event that says it.
    """
    moving = [event for event in events if event.step in MOVES]
    moved = {event.outputs.get("bundle") for event in moving}
    tried = {event.release for event in moving}
    collected = {str(event.data.get("release")) for event in events if event.step == "collect"}
    releases: dict[str, list[LedgerEvent]] = {}
    for event in events:
        if event.release:
            releases.setdefault(event.release, []).append(event)
    found = []
    for release, own in releases.items():
        bundle = next((event.outputs["bundle"] for event in own if event.step == "package" and event.outputs), None)
        manifests = {event.outputs.get("train_manifest") for event in own if event.step == "capture"} | {bundle}
        old = release in collected or _is_before(own[-1].at, before)
        if old and release not in tried and (bundle is None or bundle not in moved):
            version = next((str(event.data["version"]) for event in own if "version" in event.data), "")
            named = frozenset(digest for digest in manifests if digest)
            found.append(Stopped(own[0].family, release, version, bundle, named, own[-1].at))
    return found


def _is_before(at: str, before: datetime) -> bool:
    """Whether an event's time is before another; one that cannot be told is not."""
    try:
        return datetime.fromisoformat(at) < before
    except (ValueError, TypeError):
        return False


class Reach:
    """What is named, as far as it was read; `refresh` reads what is new.

    Attributes:
        stopped: releases whose files are not kept for their sake, by family and release.
        kept: every digest that is named.
    """

    def __init__(self, store: Store, families: Iterable[str], *, stopped_before: datetime) -> None:
        self.stopped: dict[tuple[str, str], Stopped] = {}
        self.kept: set[Digest] = set()
        self._store = store
        self._before = stopped_before
        self._ledgers = {family: Ledger(store, family) for family in families}
        self._read: dict[str, int] = {}
        self._live: set[Digest] = set()
        self._aside: set[Digest] = set()
        self._memo: dict[Digest, tuple[frozenset[Digest], frozenset[Digest]]] = {}

    def sequence(self, family: str) -> int:
        """The last event of a family that was read; -1 before the first."""
        return self._read.get(family, 0) - 1

    def refresh(self) -> None:
        """Read new events, and all pointers and other objects that name blobs; `kept` only grows."""
        for key in self._store.list("ledger/"):
            family = key.split("/")[1]
            self._ledgers.setdefault(family, Ledger(self._store, family))
        live: set[Digest] = set()
        aside: set[Digest] = set()
        for family, ledger in self._ledgers.items():
            events = ledger.events()
            if family not in self._read:
                self.stopped |= {(family, one.release): one for one in stopped_releases(events, self._before)}
            for event in events[self._read.get(family, 0) :]:
                names = names_in(canonical_json([event.inputs, event.outputs, event.data]))
                if event.step in ASIDE or ((family, event.release) in self.stopped and family not in self._read):
                    aside |= names
                else:
                    live |= names
                    self._revive(family, event, live)
            self._read[family] = len(events)
        for content in self._naming():
            names, files = document_names(content)
            live |= names_in(content) | names
            self.kept |= files
        self._expand(live, self._live, barred=frozenset())
        for one in list(self.stopped.values()):
            if one.bundle in self._live or one.manifests <= self._live:  # something that lives on names it
                self._revive_release(one)
        barred = frozenset(digest for one in self.stopped.values() for digest in one.manifests) - self._live
        self._expand(aside, self._aside, barred=barred)

    def _revive(self, family: str, event: LedgerEvent, live: set[Digest]) -> None:
        """A release that goes on is no longer stopped."""
        if one := self.stopped.pop((family, event.release), None):
            live |= one.manifests

    def _revive_release(self, one: Stopped) -> None:
        del self.stopped[one.family, one.release]
        self._expand(one.manifests, self._live, barred=frozenset())

    def _naming(self) -> Iterable[bytes]:
        for prefix in NAMING:
            for key in self._store.list(prefix):
                if prefix == POINTERS:
                    pointer = self._store.pointer(key.removeprefix(POINTERS)) if key != pointer_key(POINTER) else None
                    yield pointer.content if pointer else b""
                else:
                    yield key.encode()
                    yield self._store.read(key)

    def _expand(self, roots: Iterable[Digest], seen: set[Digest], *, barred: frozenset[Digest]) -> None:
        """Keep what these name, and what that names; the files of a barred manifest are not kept for its sake."""
        waiting = [digest for digest in roots if digest not in seen]
        while waiting:
            digest = waiting.pop()
            if digest in seen:
                continue
            seen.add(digest)
            names, files = self._named_by(digest)
            self.kept |= {digest} if digest in barred else {digest, *files}
            waiting += [name for name in names if name not in seen]

    def _named_by(self, digest: Digest) -> tuple[frozenset[Digest], frozenset[Digest]]:
        if digest not in self._memo:
            info = self._store.blob_info(digest)
            content = b""
            if info is not None and info.size <= DOCUMENT_BYTES:
                try:
                    content = self._store.read_blob(digest)
                except NotFound:
                    pass
                except Corrupt as error:
                    raise Corrupt(
                        "garbage cannot be told: a blob that the ledger names is damaged", where=error.where,
                        got=error.got, expected=error.expected, next_step="run `soundcheck verify`, mend it, try again",
                    ) from None  # fmt: skip
            found = document_names(content)
            if info is None:
                return found  # it may be put yet
            self._memo[digest] = found
        return self._memo[digest]


def refuse_collected(state: ReleaseState, name: Digest) -> None:
    """Raise Refused where the files of a release, or of a bundle, were taken by a collection.

    Asked after one's own event stands in the ledger, it is certain: a `collect` that is not before it never comes (2).
    """
    if at := state.collected.get(name):
        raise Refused(
            "its files were collected: nothing had happened to this release for long",
            where=f"{state.family}, {short(name)}",
            got=f"collected on {at[:10]}",
            expected="a release that goes on",
            next_step="release the candidate again as a new version",
        )


def document_names(content: bytes) -> tuple[frozenset[Digest], frozenset[Digest]]:
    """What a document names: other blobs that may name more, and plain files; nothing where it is no document; pure."""
    if not content.startswith(b"{"):
        return frozenset(), frozenset()
    try:
        value = json.loads(content)
    except ValueError:
        return names_in(content), frozenset()
    files = _files_of(value)
    sealed = value.get("payload") if "payloadType" in value else None
    if not isinstance(sealed, str):
        return names_in(content) - files, files
    inside = base64.b64decode(sealed)
    predicate = _predicate(inside)
    quoted = _files_of(predicate)
    names = (names_in(content) | names_in(inside)) - quoted
    # A wheelhouse stands in its envelope alone; a manifest is a blob, which the envelope's subject names.
    return names, quoted if predicate.get("kind") == Wheelhouse.KIND else frozenset()


def _files_of(value: dict[str, Any]) -> frozenset[Digest]:
    """The plain files of a document that holds some."""
    entries = value.get(_HOLDING.get(str(value.get("kind")), ""))
    return names_in(canonical_json(entries)) if isinstance(entries, dict) else frozenset()


def _predicate(statement: bytes) -> dict[str, Any]:
    """What is signed, {} where these bytes are no statement."""
    try:
        value = json.loads(statement)
    except ValueError:
        return {}
    found = value.get("predicate") if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def collect(
    store: Store,
    families: Iterable[str],
    *,
    clock: Callable[[], datetime],
    grace_s: float,
    stopped_s: float,
    delete: bool = False,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    lease_s: float = LEASE_S,
) -> Collection:
    """Find garbage; with `delete`, delete it.

    Args:
        clock: UTC now; ages are told by it and by the store's clock.
        grace_s: blobs put within so many seconds are left.
        stopped_s: files of releases that were last heard of so many seconds ago, and were never promoted, are garbage.

    Raises WrongCall for a grace period under a day, Refused where another collection runs, Corrupt where a ledger or a
    document is damaged. A collection that fails is run again.
    """
    if grace_s < LEAST_GRACE_S:
        raise WrongCall(
            "the grace period is too short: releases that run now would lose what they have just put",
            got=f"{grace_s:.0f} s", expected=f"{LEAST_GRACE_S:.0f} s or more",
        )  # fmt: skip
    now_s = clock().timestamp()
    reach = Reach(store, families, stopped_before=datetime.fromtimestamp(now_s - stopped_s, UTC))
    listed = list(store.blobs())
    reach.refresh()
    found = _plan(store, reach, listed, now_s, grace_s)
    if not delete or not (found.unnamed or found.of_stopped):
        return found
    return _Run(store, reach, clock, grace_s, lease_s).delete(found, on_progress)


def _plan(store: Store, reach: Reach, listed: Sequence[BlobInfo], now_s: float, grace_s: float) -> Collection:
    garbage = [info for info in listed if info.digest not in reach.kept]
    old = [info for info in garbage if now_s - info.modified_s > grace_s]
    files: dict[tuple[str, str], set[Digest]] = {}
    for place, one in reach.stopped.items():
        manifests = [store.read_blob(digest) for digest in sorted(one.manifests) if store.has_blob(digest)]
        files[place] = {digest for content in manifests for digest in document_names(content)[1]}
    of_stopped = frozenset().union(*files.values())
    going = {info.digest for info in old}
    kept = sum(info.size for info in listed) - sum(info.size for info in old)
    return Collection(
        unnamed=tuple(info for info in old if info.digest not in of_stopped),
        stopped=tuple(one for place, one in reach.stopped.items() if files[place] & going),
        of_stopped=tuple(info for info in old if info.digest in of_stopped),
        young=len(garbage) - len(old),
        kept=len(listed) - len(old),
        kept_bytes=kept,
    )


@dataclass(slots=True)
class _Run:
    """One collection that deletes."""

    store: Store
    reach: Reach
    clock: Callable[[], datetime]
    grace_s: float
    lease_s: float
    name: str = field(default_factory=lambda: secrets.token_hex(8))
    version: str | None = None
    until_s: float = 0.0

    def delete(self, found: Collection, on_progress: Callable[[int, int], None]) -> Collection:
        self._begin()
        for one in found.stopped:
            self._record(one)
        blobs = sorted((*found.unnamed, *found.of_stopped))
        deleted: list[BlobInfo] = []
        for start in range(0, len(blobs), BATCH):
            batch = blobs[start : start + BATCH]
            self._declare(batch)  # W2
            self.reach.refresh()
            deleted += [info for info in batch if self._delete(info)]
            on_progress(start + len(batch), len(blobs))
        self._swap(GarbageDeclaration())
        size = sum(info.size for info in deleted)
        return Collection(
            unnamed=found.unnamed, stopped=found.stopped, of_stopped=found.of_stopped, young=found.young,
            kept=found.kept, kept_bytes=found.kept_bytes, deleted=len(deleted), deleted_bytes=size,
        )  # fmt: skip

    def _begin(self) -> None:
        """Take the pointer; what a dead run has declared stays declared until this one declares its own."""
        pointer = self.store.pointer(POINTER)
        self.version = pointer.version if pointer else None
        if pointer is None:
            return
        standing = GarbageDeclaration.parse(pointer.content, where=f"{self.store.url}, pointer {POINTER}")
        if standing.run and standing.until_s > self.clock().timestamp():
            raise Refused(
                "another garbage collection is running",
                where=self.store.url,
                got=f"run {standing.run}, lease until {datetime.fromtimestamp(standing.until_s, UTC):%H:%M:%S} UTC",
                expected="one at a time",
                next_step="wait for it; where it was killed, run this again after its lease",
            )

    def _declare(self, batch: Sequence[BlobInfo]) -> None:
        self.until_s = self.clock().timestamp() + self.lease_s
        digests = tuple(info.digest for info in batch)
        self._swap(GarbageDeclaration(run=self.name, until_s=self.until_s, digests=digests))

    def _swap(self, declaration: GarbageDeclaration) -> None:
        self.version = self.store.swap(POINTER, declaration.canonical(), expected=self.version).version

    def _record(self, one: Stopped) -> None:
        """Say in the ledger that the release's files go, unless the ledger has grown since it was read (2)."""
        place = (one.family, one.release)
        while place in self.reach.stopped:
            ledger = Ledger(self.store, one.family)
            if any(event.step == "collect" and event.data.get("release") == one.release for event in ledger.events()):
                return
            try:
                ledger.append(
                    "collect", "complete", at=self._at(), outputs={"bundle": one.bundle} if one.bundle else {},
                    data={"release": one.release, "version": one.version}, expected=self.reach.sequence(one.family),
                )  # fmt: skip
            except Conflict:
                self.reach.refresh()
                continue
            self.reach.refresh()

    def _at(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"

    def _delete(self, info: BlobInfo) -> bool:
        """Delete a declared blob that is still unnamed and old (R2)."""
        if info.digest in self.reach.kept:
            return False
        seen = self.store.blob_info(info.digest)
        now_s = self.clock().timestamp()
        if seen is None or now_s - seen.modified_s <= self.grace_s:
            return False
        if now_s > self.until_s - self.lease_s / 2:
            raise Refused(
                "the collection took longer than half its lease, and stops",
                where=self.store.url, got=f"at blob {short(info.digest)}", next_step="run it again after the lease",
            )  # fmt: skip
        self.store.delete_blob(info.digest)
        return True
