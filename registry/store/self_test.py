"""Does the store exclude? Asked before an installation writes to a bucket (fault 20).

Boundary: writes and removes a few small objects below `selftest/` of the store under test.
Invariants: a store is refused that lets two of many racing creators win, that lets a stale swap through, or that gives
back other bytes than were written. What passes once may fail under other load: this finds stores whose conditional
writes are not there or not atomic, it proves nothing about one that is down at times.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from contracts.errors import AlreadyExists, Conflict, Refused
from registry.store import Store

RACERS = 8
ROUNDS = 2
PREFIX = "selftest/"


def self_test(store: Store) -> None:
    """Raise Refused, saying what the store did, unless its conditional writes exclude and its reads tell the truth."""
    for _ in range(ROUNDS):
        _creators(store, PREFIX + secrets.token_hex(8))
        _swappers(store, PREFIX + secrets.token_hex(8))


def _creators(store: Store, key: str) -> None:
    def create(number: int) -> bool:
        try:
            store.create(key, _mark(number))
        except AlreadyExists:
            return False
        return True

    won = _race(create)
    _one_winner(store, "create-once writes of one key", won)
    if store.read(key) != _mark(won[0]):
        raise _refused(store, "reads of a key after its creation", "another writer's bytes", "the winner's bytes")


def _swappers(store: Store, name: str) -> None:
    first = store.swap(name, b"first", expected=None)

    def swap(number: int) -> bool:
        try:
            store.swap(name, _mark(number), expected=first.version)
        except Conflict:
            return False
        return True

    won = _race(swap)
    _one_winner(store, "swaps of one pointer version", won)
    now = store.pointer(name)
    if now is None or now.content != _mark(won[0]):
        raise _refused(store, "reads of a pointer after its swap", "another writer's bytes", "the winner's bytes")


def _race(work: Callable[[int], bool]) -> list[int]:
    """Who won of RACERS that start together."""
    barrier = threading.Barrier(RACERS)

    def run(number: int) -> bool:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(RACERS) as pool:
        return [number for number, won in enumerate(pool.map(run, range(RACERS))) if won]


def _mark(number: int) -> bytes:
    return b"racer %d" % number


def _one_winner(store: Store, what: str, won: list[int]) -> None:
    if len(won) != 1:
        raise _refused(store, what, f"{len(won)} of {RACERS} racing writers succeeded", "exactly one")


def _refused(store: Store, what: str, got: str, expected: str) -> Refused:
    return Refused(
        f"this store does not keep the promise that releases rest on: {what}",
        where=store.url,
        got=got,
        expected=expected,
        next_step="use a store with atomic conditional writes (Amazon S3, SeaweedFS, MinIO), or file://DIR",
    )
