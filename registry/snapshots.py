"""Snapshots of a family's state, so that a long ledger is not folded from its beginning each time.

Boundary: the store it is handed.
Invariants: a snapshot is a view of the ledger and never authority: it counts only where the event it ends with has the
digest it names, one that cannot be read is passed over, and `soundcheck verify` folds everything again and compares;
snapshots are create-once; a listing that is late gives an older one, which is as right.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from contracts.digest import sha256_bytes
from contracts.errors import AlreadyExists, DependencyFailed, NotFound
from registry.release_state import ReleaseState, fold
from registry.store import Store

EVERY = 200
"""Events from one snapshot to the next."""
_HEADER_BYTES = 65


def key(family: str, sequence: int) -> str:
    """Where the snapshot after event `sequence` lies."""
    return f"snapshots/{family}/{sequence:012d}"


def encode(state: ReleaseState) -> bytes:
    """A line with the digest of the rest, and the state as JSON."""
    body: bytes = _adapter().dump_json(state)
    return sha256_bytes(body).encode() + b"\n" + body


def decode(stored: bytes) -> ReleaseState | None:
    """The state, None where the bytes are not as they were written or of another version of this code."""
    header, body = stored[:_HEADER_BYTES], stored[_HEADER_BYTES:]
    if header != sha256_bytes(body).encode() + b"\n":
        return None
    try:
        state: ReleaseState = _adapter().validate_json(body)
    except ValidationError:
        return None
    return state


def newest(store: Store, family: str, event_key: str) -> ReleaseState | None:
    """The newest snapshot that agrees with the ledger; `event_key` is the format of an event's key, by `sequence`."""
    for name in sorted(store.list(f"snapshots/{family}/"), reverse=True):
        try:
            state = decode(store.read(name))
            if state is None or state.family != family:
                continue
            if sha256_bytes(store.read(event_key.format(sequence=state.sequence))) == state.head:
                return state
        except NotFound:
            continue
    return None


def write(store: Store, state: ReleaseState) -> None:
    """Keep a snapshot; a store that does not answer loses nothing but time."""
    try:
        store.create(key(state.family, state.sequence), encode(state))
    except (AlreadyExists, DependencyFailed):
        return


def faults(store: Store, family: str, events: Any) -> list[str]:
    """Snapshots that are not what the events fold to, in sentences; `events` are all of the family's."""
    found = []
    for name in store.list(f"snapshots/{family}/"):
        state = decode(store.read(name))
        if state is None:
            found.append(f"snapshot {name} cannot be read; it is passed over")
        elif encode(fold(events[: state.sequence + 1])) != encode(state):
            found.append(f"snapshot {name} is not what the ledger says")
    return found


@lru_cache(maxsize=1)
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(ReleaseState)
