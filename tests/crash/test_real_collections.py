"""Garbage collection and erasure killed with SIGKILL before each write, on a folder and on a bucket, then run again.

Nothing that anybody names is lost, all garbage goes in the end, and what was erased is erased once (faults 1 and 29).
"""

from __future__ import annotations

import pytest

from contracts.digest import sha256_bytes
from contracts.tombstone import ABSENT
from operations.restore import examine_family
from registry.bundle import cached
from registry.store.keeping import tombstones
from registry.store.keys import blob_key
from tests.crash.conftest import tell_at_end
from tests.crash.rehearsal import ERASED_FOR, ending, first_voice
from tests.crash.runner import Attempt
from tests.crash.test_real_kills import Bench, Place, bench
from tests.flows.release_project import FAMILY

__all__ = ["bench"]  # a fixture of the releases' tests, for these too

pytestmark = pytest.mark.timeout(3600)

LAST = "back"
"""The chapter before which the store has three releases."""
ORPHANS = tuple(b"nobody names this %d" % number for number in range(3))
ORPHAN_KEYS = {blob_key(sha256_bytes(orphan)) for orphan in ORPHANS}


def _unkilled(bench: Bench, chapter: str) -> tuple[int, set[str]]:
    """How many writes it asks of the store when nobody kills it, and the keys that are there afterwards."""
    place = _place(bench)
    outcome = bench.runners[0].run(Attempt(place.url, str(place.home), chapter))
    assert outcome.status == 0, outcome.error
    keys = set(place.store.list(""))
    bench.clear(place)
    return outcome.writes, keys


def _place(bench: Bench) -> Place:
    place = bench.place(LAST)
    for orphan in ORPHANS:
        place.store.put_blob(orphan)
    return place


def _killed_and_run_again(bench: Bench, place: Place, chapter: str, at: int, again: str) -> str:
    said = f"{bench.kind}, {chapter}, killed before write {at}"
    job = Attempt(place.url, str(place.home), chapter, at_write=at)
    assert bench.runners[0].run(job).killed, said
    outcome = bench.runners[0].run(job._replace(chapter=again, at_write=None))
    assert outcome.status == 0, f"{said}\n{outcome.error}"
    return said


def test_a_collection_that_was_killed_before_any_write_is_ended_by_the_next(bench: Bench) -> None:
    writes, keys = _unkilled(bench, "collect")
    assert keys.isdisjoint(ORPHAN_KEYS)
    for at in range(1, writes + 1):
        place = _place(bench)
        context = place.chapter.context(bench.story.project, place.home, place.store)
        before = ending(context)
        said = _killed_and_run_again(bench, place, "collect", at, "collect after the lease")
        assert set(place.store.list("")) == keys, said
        assert ending(context) == before, said
        bench.clear(place)
    tell_at_end(f"{bench.kind}, collection: SIGKILL before each of {writes} writes, each ended by the next run")


def test_an_erasure_that_was_killed_before_any_write_is_run_again_to_its_end(bench: Bench) -> None:
    writes, _ = _unkilled(bench, "erase")
    for at in range(1, writes + 1):
        place = _place(bench)
        context = place.chapter.context(bench.story.project, place.home, place.store)
        before, voice = ending(context), first_voice(context)
        assert before.stable is not None
        folder = cached(place.store, before.stable, place.home / "cache")
        said = _killed_and_run_again(bench, place, "erase", at, "erase")
        assert (place.store.has_blob(voice), tombstones(place.store, voice)) == (False, 1), said
        assert [event.step for event in context.ledger(FAMILY).events()].count("erase") == 1, said
        assert ending(context) == before, said
        absent = examine_family(context, FAMILY).absent
        assert absent, said
        assert all(sentence.endswith(ERASED_FOR) for sentence in absent), said
        assert (folder / ABSENT).is_file(), said
        bench.clear(place)
    tell_at_end(f"{bench.kind}, erasure: SIGKILL before each of {writes} writes, each run again to its end")
