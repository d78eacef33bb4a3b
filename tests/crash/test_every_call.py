"""A release that dies, or loses an answer, at every store, ledger and pointer call (faults 1, 3, 10, 12).

In memory, from the first call of a chapter to its last. What a crash leaves is gone on with once: two crashes that
leave the same bytes have the same future, since steps depend on the store, the home folder and a clock that stands.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from contracts.errors import SoundcheckError
from registry.store.keys import POINTERS
from registry.store.memory import Crash, FaultKind, MemoryStore
from tests.crash.conftest import Told, tell_at_end
from tests.crash.rehearsal import KILLED, STORY, ending
from tests.flows.release_project import FAMILY

pytestmark = pytest.mark.timeout(1200)


def _remains(store: MemoryStore, home: Path) -> str:
    """A digest of all that a crash has left."""
    said = hashlib.sha256()
    for key, content in sorted(store.objects.items()):
        said.update(key.encode() + hashlib.sha256(content).digest())
    for key in store.list(POINTERS):
        pointer = store.pointer(key.removeprefix(POINTERS))
        assert pointer is not None
        said.update(key.encode() + pointer.content)
    said.update("\n".join(sorted(str(path.relative_to(home)) for path in home.rglob("*"))).encode())
    return said.hexdigest()


@pytest.mark.parametrize("kind", [FaultKind.CRASH_BEFORE, FaultKind.LOST_ANSWER])
@pytest.mark.parametrize("name", KILLED)
def test_a_chapter_that_dies_at_any_call_ends_as_one_that_did_not(
    name: str, kind: FaultKind, story: Told, tmp_path: Path
) -> None:
    """A crash before call N + 1 is a crash after call N; the sweep ends where nothing went wrong any more."""
    chapter, home = story.chapters[name], tmp_path / "home"
    seen: set[str] = set()
    for call in range(1, 2 * chapter.calls):
        store = MemoryStore()
        context = chapter.begin(story.project, home, store)
        before = store.calls
        store.inject(call, kind)
        try:
            STORY[name](context)
            died = False
        except (Crash, SoundcheckError):
            died = True
        if store.calls - before < call:
            break  # the fault was never met
        left = _remains(store, home)
        if left not in seen:
            seen.add(left)
            objects, events = dict(store.objects), context.ledger(FAMILY).events()
            again = chapter.context(story.project, home, store)
            if died:
                STORY[name](again)
            assert ending(again) == chapter.ending, f"{kind} at call {call}"
            assert again.ledger(FAMILY).events()[: len(events)] == events
            assert objects.items() <= store.objects.items()
        shutil.rmtree(home)
    assert call > chapter.calls
    tell_at_end(f"memory, {name}: {kind.value} at each of {call - 1} calls, {len(seen)} different remains, all whole")
