"""What a package event says of the store: how many bytes of the bundle are new to it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from operations.context import Context
from operations.package import _new_bytes
from operations.settings import Settings
from registry.bundle import assemble, freeze
from registry.store.memory import MemoryStore
from tests.registry.registry_parts import write_folder


def test_bytes_count_once_and_only_where_the_store_lacks_them(tmp_path: Path) -> None:
    """R5.2."""
    context = Context(Settings(tmp_path, tmp_path / "home"), MemoryStore(), lambda: datetime(2026, 11, 20, tzinfo=UTC))
    folder = write_folder(tmp_path / "bundle", {"payload/a": b"aaaa", "payload/b": b"aaaa", "golden/c": b"cc"})
    context.store.put_blob(b"cc")
    bundle = assemble(folder, family="asr", version="v1")
    assert _new_bytes(context, bundle) == 4
    freeze(context.store, folder, bundle)
    assert _new_bytes(context, bundle) == 0
