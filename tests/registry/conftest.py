"""Stores, folders and keys that the tests of the registry share."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from registry.store import Store
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.store.s3 import S3Store
from tests.registry.registry_parts import Damage, flip_bit, write_folder
from tests.registry.syscalls import Syscalls
from tests.servers.seaweed import S3Server, running, s3_client


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def bucket(s3_server: S3Server) -> S3Store:
    """The publisher's store over a bucket of its own."""
    client = s3_client(s3_server)
    client.create_bucket(Bucket="soundcheck")
    return S3Store(client, "soundcheck")


def make_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A new empty store of a kind."""
    if kind == "s3":
        shared: S3Store = request.getfixturevalue("bucket")
        return S3Store(shared.client, shared.bucket, secrets.token_hex(8))
    return LocalStore(tmp_path / "store") if kind == "local" else MemoryStore()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Every store there is; each must pass the same suite."""
    return make_store(request.param, request, tmp_path)


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
