"""A file on its way into a store, digested again as it is read: what is stored is what was named (fault 27).

Boundary: reads the file it is handed; nothing here knows where it goes.
Invariants: the last read fails where the bytes were others than the digest says, before an upload can be completed.
"""

from __future__ import annotations

import hashlib
import io
from typing import BinaryIO

from contracts.digest import Digest, short
from contracts.errors import DependencyFailed


class DigestedFile(io.RawIOBase):
    """A file that is read once, from front to back; the read that finds its end fails where the bytes were others."""

    def __init__(self, file: BinaryIO, digest: Digest, url: str) -> None:
        self._file = file
        self._digest = digest
        self._url = url
        self._hasher = hashlib.sha256()

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, all there are where it is negative; DependencyFailed at the end of other bytes."""
        chunk = self._file.read(size)
        self._hasher.update(chunk)
        if not chunk or size < 0 or len(chunk) < size:
            check_unchanged(self._hasher.hexdigest(), self._digest, self._url)
        return chunk


def check_unchanged(got: Digest, digest: Digest, url: str) -> None:
    """Raise DependencyFailed unless what was read is what was digested before."""
    if got != digest:
        raise DependencyFailed(
            "a file changed while it was stored",
            where=url,
            got=f"sha256 {short(got)}",
            expected=f"sha256 {short(digest)}",
            next_step="let nothing write to it, then run the same command again",
        )
