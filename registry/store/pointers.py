"""How a pointer is written, the same in every store that keeps bytes.

    COUNTER SHA256[ NONCE]\\n
    CONTENT

Boundary: no I/O.
Invariants: the digest is over counter, nonce and content, so that a flipped bit anywhere is found; the counter grows
with each move, so that a pointer which returns to old content has a new version; the nonce tells one writer's bytes
from another's equal ones, where a store may lose an answer.
"""

from __future__ import annotations

from contracts.digest import sha256_bytes, short
from contracts.errors import Corrupt
from registry.store import Pointer


def encode(content: bytes, counter: int, *, nonce: str = "") -> bytes:
    """The bytes of a pointer's `counter`-th move (the first is 0)."""
    mark = f"{counter} {nonce}".rstrip().encode()
    digest = sha256_bytes(mark + b"\n" + content)
    return f"{counter} {digest} {nonce}".rstrip().encode() + b"\n" + content


def decode(stored: bytes, where: str) -> Pointer:
    """Content and version; Corrupt where the bytes are not as they were written."""
    header, _, content = stored.partition(b"\n")
    counter, _, rest = header.decode("ascii", "replace").partition(" ")
    digest, _, nonce = rest.partition(" ")
    if not counter.isdecimal() or encode(content, int(counter), nonce=nonce) != stored:
        raise Corrupt(
            "a pointer's bytes are not what was written",
            where=where,
            next_step="run `soundcheck verify`; the ledger's last move says what it must be",
        )
    return Pointer(content, f"{int(counter)}-{short(digest)}")
