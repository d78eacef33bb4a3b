"""A family's way along its pointer, without processes: tables that route nowhere, on a store that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import JsonValue

from contracts.digest import Digest
from contracts.routing import RouteTable, pointer_name
from registry.ledger import Ledger
from registry.store.memory import MemoryStore
from serving.bundles import Loaded
from serving.link import ServingFailure
from serving.metrics import Metrics
from serving.process import WorkerSettings
from serving.router import Family, pinned


async def fetch(_: Digest) -> Loaded:
    raise AssertionError("no worker is wanted")


def family(pointers: str = "families") -> tuple[Family, list[int]]:
    changes: list[int] = []
    made = Family("x", fetch, WorkerSettings(Path()), Metrics(), lambda: changes.append(1), pointers)
    return made, changes


def nobody(version: int) -> RouteTable:
    return pinned("x", "0" * 64).model_copy(update={"stable": None, "version": version})


def test_a_table_without_stable_is_served_and_answers_no_stable() -> None:
    async def run() -> None:
        store = MemoryStore()
        followed, changes = family()
        assert not followed.settled
        await followed.look(store)
        assert followed.settled
        store.swap(pointer_name("x"), nobody(4).canonical(), expected=None)
        await followed.look(store)
        assert followed.advance()
        assert not followed.advance()
        assert (followed.table, len(changes), followed.settled) == (nobody(4), 1, True)
        with pytest.raises(ServingFailure, match="no_stable: 'x' has no stable bundle"):
            followed.choose({}, "s")

    asyncio.run(run())


def test_staging_has_pointers_of_its_own() -> None:
    async def run() -> None:
        store = MemoryStore()
        store.swap("staging/x", nobody(1).canonical(), expected=None)
        production, staged = family()[0], family("staging")[0]
        for followed in (production, staged):
            await followed.look(store)
        assert (production.target, staged.target) == (None, nobody(1))

    asyncio.run(run())


@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("odd"), TimeoutError()])
def test_a_store_that_fails_changes_nothing(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        store = MemoryStore()
        store.swap(pointer_name("x"), nobody(1).canonical(), expected=None)
        followed, _ = family()
        await followed.look(store)
        followed.advance()
        with monkeypatch.context() as broken:

            def fail(_: str) -> None:
                raise error

            broken.setattr(store, "pointer", fail)
            await followed.look(store)
            assert followed.store_error == type(error).__name__
            assert followed.table == nobody(1)
        await followed.look(store)
        assert followed.store_error == ""

    asyncio.run(run())


def test_fault_24_a_table_older_than_the_one_that_was_seen_is_refused() -> None:
    async def run() -> None:
        store = MemoryStore()
        seen = store.swap(pointer_name("x"), nobody(4).canonical(), expected=None)
        followed, _ = family()
        await followed.look(store)
        followed.advance()
        replayed = store.swap(pointer_name("x"), nobody(3).canonical(), expected=seen.version)
        await followed.look(store)
        assert followed.store_error == "the pointer has a route table that is over"
        assert followed.table == followed.target == nobody(4)
        other = nobody(4).model_copy(update={"actor": "somebody"})
        forged = store.swap(pointer_name("x"), other.canonical(), expected=replayed.version)
        await followed.look(store)
        assert followed.target == nobody(4), "two tables cannot have one version"
        store.swap(pointer_name("x"), nobody(5).canonical(), expected=forged.version)
        await followed.look(store)
        assert (followed.target, followed.store_error) == (nobody(5), "")

    asyncio.run(run())


@pytest.mark.parametrize("slices", [{}, {"slices": ["accent=welsh"]}])
def test_fault_24_a_gateway_that_starts_anew_learns_from_the_ledger_which_version_is_over(
    slices: dict[str, JsonValue],
) -> None:
    async def run() -> None:
        store = MemoryStore()
        for version in (6, 7):
            Ledger(store, "x").append(
                "promote", "complete", at="2026", outputs={"bundle": "a" * 64},
                data={"route_version": version, "kind": "promote", **slices},
            )  # fmt: skip
        replayed = store.swap(pointer_name("x"), nobody(6).canonical(), expected=None)
        followed, _ = family()
        await followed.look(store)
        assert followed.store_error == "the pointer has a route table that is over"
        assert (followed.target, followed.settled) == (None, False)
        store.swap(pointer_name("x"), nobody(7).canonical(), expected=replayed.version)
        await followed.look(store)
        assert (followed.target, followed.store_error) == (nobody(7), "")

    asyncio.run(run())
