"""Sixteen releases promoted at once, and a promotion against a rollback: one wins, the others are told (31, 32).

Every promoter runs operations/promote.py with an installation of its own over one store, and waits before its swap
until all have come so far, so that none of them may find the pointer moved when it looks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from contracts.approval import Evidence
from contracts.digest import Digest
from contracts.errors import Conflict, SoundcheckError
from contracts.routing import pointer_name
from operations import pointer
from operations.approve import record
from operations.context import Context, put
from operations.promote import promote
from operations.restore import verify_family
from operations.rollback import rollback
from registry.documents import get_document
from registry.store import Pointer, Store
from registry.store.memory import MemoryStore
from tests.crash.conftest import AMOUNTS, Told, tell_at_end
from tests.crash.rehearsal import APPROVER, OPERATOR, Chapter, carry, open_rehearsal
from tests.flows.release_project import FAMILY
from tests.registry.conftest import make_store

pytestmark = pytest.mark.timeout(3600)

PROMOTERS = 16
SLOWER = {"memory": 1, "local": 1, "s3": 10}
"""Rounds are divided by this: a contended conditional put of the S3 server takes seconds."""


class Field(NamedTuple):
    """A store with as many approved releases as there are promoters, and who they are."""

    project: Path
    home: Path
    store: MemoryStore
    releases: tuple[tuple[dict[str, Digest], Digest], ...]

    def copy(self, target: Store) -> Store:
        """The same in another store."""
        carry(self.store, target)
        return target

    def context(self, store: Store) -> Context:
        """An installation of its own."""
        return open_rehearsal(self.project, self.home, store)


class Together:
    """A store whose callers meet before they move the family's pointer."""

    def __init__(self, store: Store, meeting: threading.Barrier) -> None:
        self._store, self._meeting = store, meeting

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        if name == pointer_name(FAMILY):
            self._meeting.wait(timeout=300)
        return self._store.swap(name, content, expected=expected)


@pytest.fixture(scope="module")
def field(story: Told, tmp_path_factory: pytest.TempPathFactory) -> Field:
    """v4 is stable, and releases p0 to p15 of the bundles before it wait for their promotion, approved."""
    chapter: Chapter = story.chapters["back"]
    store, home = MemoryStore(), tmp_path_factory.mktemp("field") / "home"
    context = chapter.begin(story.project, home, store)
    events = context.ledger(FAMILY).events()
    asked = [event for event in events if event.step == "request_approval"][:2]
    releases = []
    for number in range(PROMOTERS):
        shown = get_document(store, Evidence, asked[number % 2].outputs["evidence"])
        (evidence,) = put(context, shown.model_copy(update={"version": f"p{number}"}))
        release = f"{number:064x}"
        context.ledger(FAMILY).append(
            "request_approval", "complete", at=context.timestamp(), release=release, outputs={"evidence": evidence}
        )
        record(context, FAMILY, evidence, decision="promote", key_name=APPROVER)
        releases.append(({"release": release, "policy": shown.policy}, evidence))
    return Field(story.project, home, store, tuple(releases))


def _at_once(actions: list[Callable[[], object]]) -> list[SoundcheckError | None]:
    """Run all in threads; what each was refused with."""

    def act(action: Callable[[], object]) -> SoundcheckError | None:
        try:
            action()
        except SoundcheckError as error:
            return error
        return None

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(act, actions))


@pytest.mark.parametrize("kind", ["memory", "local", "s3"])
def test_of_sixteen_promotions_one_wins_and_the_others_are_told_which(
    kind: str, field: Field, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    rounds = max(1, AMOUNTS.rounds // SLOWER[kind])
    winners = set()
    for number in range(rounds):
        store = field.copy(make_store(kind, request, tmp_path / str(number)))
        meeting = threading.Barrier(PROMOTERS)
        contexts = [field.context(cast(Store, Together(store, meeting))) for _ in field.releases]
        errors = _at_once(
            [
                partial(promote, context, FAMILY, *release)
                for context, release in zip(contexts, field.releases, strict=True)
            ]
        )
        looking = field.context(store)
        pointer.reconcile(looking, FAMILY)
        table = pointer.current(looking, FAMILY).table
        assert table is not None
        won = [place for place, error in enumerate(errors) if error is None]
        assert len(won) == 1, errors
        assert table.reason == f"release p{won[0]}"
        for error in errors:
            assert error is None or isinstance(error, Conflict), error
            assert error is None or f"version {table.version}: release p{won[0]}, by {APPROVER}" in error.got
        state = looking.ledger(FAMILY).state()
        assert [move.version for move in state.history][-2:] == ["v4", f"p{won[0]}"]
        assert (state.current, state.open_intents) == (table.stable, ())
        assert verify_family(looking, FAMILY) == []
        winners.add(won[0])
    tell_at_end(f"{kind}: {rounds} rounds of {PROMOTERS} promoters, one winner each, {len(winners)} different ones")


@pytest.mark.parametrize("round_", range(max(4, AMOUNTS.rounds // 10)))
def test_a_rollback_wins_over_a_promotion_at_the_same_time(round_: int, field: Field) -> None:
    """B7: whoever moves the pointer first, the rollback is what stands in the end."""
    store = field.copy(MemoryStore())
    meeting = threading.Barrier(2)
    promoting, back = (field.context(cast(Store, Once(store, meeting))) for _ in range(2))
    refused, failed = _at_once(
        [
            lambda: promote(promoting, FAMILY, *field.releases[round_ % PROMOTERS]),
            lambda: rollback(back, FAMILY, key_name=OPERATOR, reason="v4 mishears"),
        ]
    )
    assert failed is None
    assert refused is None or isinstance(refused, Conflict)
    looking = field.context(store)
    pointer.reconcile(looking, FAMILY)
    state = looking.ledger(FAMILY).state()
    assert state.history[-1].kind == "rollback"
    assert pointer.current(looking, FAMILY).stable == state.current == state.history[-1].bundle
    assert verify_family(looking, FAMILY) == []


class Once(Together):
    """Its callers meet before their first move only: a rollback tries again."""

    def __init__(self, store: Store, meeting: threading.Barrier) -> None:
        super().__init__(store, meeting)
        self._met = False

    def swap(self, name: str, content: bytes, *, expected: str | None) -> Pointer:
        if self._met:
            return self._store.swap(name, content, expected=expected)
        self._met = True
        return super().swap(name, content, expected=expected)
