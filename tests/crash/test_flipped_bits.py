"""One flipped bit anywhere in a store is found, named, and does not stop a family from going back (faults 21, 23; B3).

Behind the story stand three bundles that were stable. A bit is flipped in turn in every object that it left.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from contracts.bundle import BundleManifest
from contracts.digest import Digest, short
from contracts.errors import SoundcheckError
from operations import pointer
from operations.context import Context
from operations.restore import healthy, verify_family
from operations.rollback import rollback
from registry import snapshots
from registry.bundle import load_manifest
from registry.resolver import NoTarget, Resolution, rollback_target
from registry.store import Store
from registry.store.keys import BLOBS, POINTERS, blob_key, blob_of_key
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.store.s3 import S3Store
from tests.crash.conftest import Told, tell_at_end
from tests.crash.rehearsal import OPERATOR
from tests.flows.release_project import FAMILY
from tests.registry.conftest import make_store
from tests.registry.registry_parts import flip_bit, flipped

BIT = 1000


class Shelf:
    """A family whose stable bundle is v4, with v2 and v1 to go back to."""

    def __init__(self, kind: str, story: Told, folder: Path, store: Store) -> None:
        self.kind, self.store, self._project, self._home = kind, store, story.project, folder / "home"
        self._chapter = story.chapters["back"]
        context = self._chapter.begin(story.project, self._home, store)
        snapshots.write(store, context.ledger(FAMILY).state())
        versions = {version: bundle for bundle, version in context.ledger(FAMILY).state().packaged.items()}
        self.v1, self.v2, self.v4 = versions["v1"], versions["v2"], versions["v4"]

    def context(self) -> Context:
        """The installation as a new process opens it."""
        return self._chapter.context(self._project, self._home, self.store)

    @contextmanager
    def damaged(self, key: str) -> Iterator[None]:
        """A bit of an object is flipped for the length of a block."""
        flip_bit(self.store, key, BIT)
        try:
            yield
        finally:
            flip_bit(self.store, key, BIT)

    def target(self) -> Resolution:
        """Where the family goes back to now."""
        context = self.context()
        state = context.ledger(FAMILY).state()
        return rollback_target(
            state, named=None, healthy=lambda bundle: healthy(context, FAMILY, bundle), compatible=lambda _bundle: None
        )


@pytest.fixture(scope="module", params=["memory", "local", "s3"])
def shelf(request: pytest.FixtureRequest, story: Told, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """One shelf on each kind of store; a test that damages it repairs it."""
    folder = tmp_path_factory.mktemp("shelf")
    return Shelf(request.param, story, folder, make_store(request.param, request, folder))


def _blobs(manifest: BundleManifest) -> set[Digest]:
    return {entry.sha256 for entry in manifest.files.values()}


def test_a_flipped_bit_in_any_file_is_named_and_the_next_stable_bundle_is_offered(shelf: Shelf) -> None:
    manifest, first = load_manifest(shelf.store, shelf.v2), load_manifest(shelf.store, shelf.v1)
    assert shelf.target().target == shelf.v2
    shared = 0
    for path, entry in manifest.files.items():
        if not entry.size:
            continue
        with shelf.damaged(blob_key(entry.sha256)):
            said = healthy(shelf.context(), FAMILY, shelf.v2)
            assert any(fault.startswith(f"{path}: corrupt") for fault in said), path
            if entry.sha256 in _blobs(first):
                shared += 1
                with pytest.raises(NoTarget) as nothing:
                    shelf.target()
                assert [bundle for bundle, _ in nothing.value.skipped] == [shelf.v2, shelf.v1]
            else:
                found = shelf.target()
                assert (found.target, [bundle for bundle, _ in found.skipped]) == (shelf.v1, [shelf.v2])
    assert shelf.target().target == shelf.v2
    tell_at_end(f"{shelf.kind}: a bit in each of {len(manifest.files)} files of a bundle, all named ({shared} shared)")


@pytest.mark.parametrize("what", ["manifest", "signature", "provenance", "scores_attested"])
def test_a_flipped_bit_in_what_speaks_for_a_bundle_is_named_and_the_next_is_offered(what: str, shelf: Shelf) -> None:
    events = shelf.context().ledger(FAMILY).events()
    package = next(event for event in events if event.step == "package" and event.outputs["bundle"] == shelf.v2)
    with shelf.damaged(blob_key(package.outputs["bundle" if what == "manifest" else what])):
        said = healthy(shelf.context(), FAMILY, shelf.v2)
        assert any(what.replace("_", " ") in fault for fault in said), said
        assert shelf.target().target == shelf.v1


def test_a_flipped_bit_in_any_event_snapshot_version_of_the_ring_and_pointer_is_found(shelf: Shelf) -> None:
    objects = [key for key in shelf.store.list("") if not key.startswith((BLOBS, POINTERS))]
    assert {key.partition("/")[0] for key in objects} == {"ledger", "snapshots", "keyring"}
    for key in objects:
        with shelf.damaged(key):
            named = _found(shelf.context())
            room, _, number = key.partition("/")
            name = {"ledger": f"event {int(number[-12:])}", "snapshots": key, "keyring": "key ring"}[room]
            assert any(name in fault for fault in named), (key, named)
    with _damaged_pointer(shelf.store, f"families/{FAMILY}"):
        assert _found(shelf.context())
    assert not _found(shelf.context())
    tell_at_end(
        f"{shelf.kind}: a bit in each of {len(objects)} events, snapshots and key rings, and the pointer, found"
    )


def test_a_flipped_bit_in_any_blob_is_found_by_its_reader_and_by_verify(shelf: Shelf) -> None:
    """`verify` names every blob but the tables of moves that left no event (a canary's stages, the staging gateway's).

    A copy of such a table is read by nobody: the pointer holds the table itself.
    """
    blobs = [
        digest for key in shelf.store.list(BLOBS) if (digest := blob_of_key(key)) and shelf.store.read_blob(digest)
    ]
    tables = {digest for digest in blobs if b'"kind":"route_table"' in shelf.store.read_blob(digest)}
    recorded = {event.outputs.get("route_table") for event in shelf.context().ledger(FAMILY).events()}
    wanted = [digest for digest in blobs if digest not in tables - recorded]
    files = _paths(shelf)
    for digest in blobs:
        with shelf.damaged(blob_key(digest)):
            with pytest.raises(SoundcheckError, match="digest"):
                shelf.store.read_blob(digest)
            if digest not in wanted or shelf.kind != "memory":
                continue
            said = _found(shelf.context())
            named = [short(digest), *(f" {path}: corrupt" for path in files.get(digest, ()))]
            assert any(name in fault for name in named for fault in said), (short(digest), said)
    if shelf.kind == "memory":
        others = f"{len(blobs) - len(wanted)} others are tables that no event names"
        tell_at_end(f"memory: `verify` names a flipped bit in {len(wanted)} of {len(wanted)} blobs; {others}")


@pytest.mark.parametrize("step", ["request_approval", "approve"])
def test_a_flipped_bit_in_the_approval_of_a_bundle_is_named_and_the_next_is_offered(step: str, shelf: Shelf) -> None:
    """S1: the evidence, and what the approver signed."""
    events = shelf.context().ledger(FAMILY).events()
    promoted = next(event for event in events if event.step == "promote" and event.outputs.get("bundle") == shelf.v2)
    evidence = promoted.inputs["evidence"]
    decided = next(event for event in events if event.step == "approve" and event.inputs["evidence"] == evidence)
    digest = evidence if step == "request_approval" else decided.outputs["signature"]
    with shelf.damaged(blob_key(digest)):
        said = healthy(shelf.context(), FAMILY, shelf.v2)
        assert any(short(digest) in fault for fault in said), said
        assert shelf.target().target == shelf.v1
    assert shelf.target().target == shelf.v2


def _paths(shelf: Shelf) -> dict[Digest, list[str]]:
    """Where the bundles have a blob."""
    paths: dict[Digest, list[str]] = {}
    for bundle in (shelf.v1, shelf.v2, shelf.v4):
        for path, entry in load_manifest(shelf.store, bundle).files.items():
            paths.setdefault(entry.sha256, []).append(path)
    return paths


def test_a_rollback_passes_over_a_broken_bundle_condemns_it_and_pages(
    story: Told, request: pytest.FixtureRequest, tmp_path: Path, shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    own = Shelf(shelf.kind, story, tmp_path, make_store(shelf.kind, request, tmp_path))
    weights = load_manifest(own.store, own.v2).files["payload/weights.safetensors"].sha256
    assert weights not in _blobs(load_manifest(own.store, own.v1))
    flip_bit(own.store, blob_key(weights), BIT)
    with caplog.at_level(logging.ERROR):
        done = rollback(own.context(), FAMILY, key_name=OPERATOR, reason="v4 mishears")
    assert (done.target, [bundle for bundle, _ in done.skipped]) == (own.v1, [own.v2])
    assert (
        f"PAGE: {FAMILY}: bundle {short(own.v2)} is broken and was skipped: payload/weights.safetensors" in caplog.text
    )
    assert pointer.current(own.context(), FAMILY).stable == own.v1
    assert own.context().ledger(FAMILY).state().condemned == {own.v2}


def _found(context: Context) -> list[str]:
    """What somebody who verifies the family is told."""
    try:
        return verify_family(context, FAMILY)
    except SoundcheckError as error:
        return [f"{error.what} {error.where} {error.got}"]


@contextmanager
def _damaged_pointer(store: Store, name: str) -> Iterator[None]:
    """A pointer's stored bytes have a flipped bit for the length of a block."""
    if isinstance(store, MemoryStore):
        kept = store._pointers[name]
        store._pointers[name] = kept._replace(content=flipped(kept.content, BIT))
        yield
        store._pointers[name] = kept
    else:
        assert isinstance(store, LocalStore | S3Store)
        flip_bit(store, POINTERS + name, BIT)
        yield
        flip_bit(store, POINTERS + name, BIT)
