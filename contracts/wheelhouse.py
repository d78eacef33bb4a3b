"""The wheels that serving needs of one runtime lock, so that the store alone can serve a bundle.

Boundary: no I/O. Source: release-algorithm R5.6; the binary distribution format (PEP 427).
Invariants: every name is one a wheel can have, so that it is safe as the name of a file.
"""

from __future__ import annotations

import re
from typing import ClassVar, NamedTuple

from pydantic import Field, field_validator

from contracts.digest import Digest
from contracts.document import Document
from contracts.train_manifest import FileEntry

WHEELHOUSES = "wheelhouses/"
"""Where the store has them: `wheelhouses/LOCK/PLATFORM/N`."""
_WHEEL = re.compile(r"(?P<name>\w[\w.]*)-(?P<version>\w[\w.+!]*)(-\d\w*)?(-[\w.]+){3}\.whl", re.ASCII)


class Pin(NamedTuple):
    """A package at a version; the name as indexes spell it: small letters, runs of `-`, `_` and `.` as one dash."""

    name: str
    version: str


def spelled(name: str) -> str:
    """The normal form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pin_of(wheel: str) -> Pin:
    """What a wheel is of, by its file name. Raises ValueError for a name that no wheel can have."""
    match = _WHEEL.fullmatch(wheel)
    if match is None:
        raise ValueError(f"{wheel!r} is not the name of a wheel")
    return Pin(spelled(match["name"]), match["version"])


class Wheelhouse(Document):
    """The wheels of a lock for one platform, by file name.

    Attributes:
        lock: digest of the runtime lock.
        platform: interpreter and machine that they run on, like `cp311-linux-x86_64`.
    """

    KIND: ClassVar[str] = "wheelhouse"

    lock: Digest
    platform: str
    wheels: dict[str, FileEntry] = Field(min_length=1)

    @field_validator("wheels")
    @classmethod
    def _names(cls, wheels: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for wheel in wheels:
            pin_of(wheel)
        return wheels

    def size(self) -> int:
        """Bytes of all wheels."""
        return sum(entry.size for entry in self.wheels.values())

    def requirements(self) -> str:
        """A requirements file that lets pip install these wheels and nothing else (`--require-hashes`)."""
        lines = []
        for wheel, entry in sorted(self.wheels.items()):
            name, version = pin_of(wheel)
            lines.append(f"{name}=={version} --hash=sha256:{entry.sha256}\n")
        return "".join(lines)
