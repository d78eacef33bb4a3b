"""Stores, folders and keys that the tests of the registry share."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry.store import Store
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from tests.registry.registry_parts import Damage, flip_bit, write_folder
from tests.registry.syscalls import Syscalls


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every store there is; each must pass the same suite."""
    return LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()


@pytest.fixture
def damage() -> Damage:
    """Flip one bit of an object."""
    return flip_bit


@pytest.fixture
def damage_blob() -> Damage:
    """Flip one bit of a blob."""
    return lambda store, digest, bit: flip_bit(store, blob_key(digest), bit)


@pytest.fixture
def payload_folder(tmp_path: Path) -> Path:
    """A small folder laid out like a bundle."""
    return write_folder(
        tmp_path / "source",
        {
            "payload/runtime.json": b'{"engine":"ctc"}',
            "payload/weights.safetensors": bytes(range(256)) * 40,
            "payload/lexicon/words.txt": b"one\ntwo\n",
            "golden/audio/000.wav": b"RIFF....WAVE",
            "golden/audio/001.wav": b"RIFF....WAVE",
            "empty.txt": b"",
            "MODEL_CARD.md": b"# card\n",
        },
    )


@pytest.fixture
def syscalls(monkeypatch: pytest.MonkeyPatch) -> Syscalls:
    """The system calls that change a disk, under control."""
    return Syscalls(monkeypatch)
