"""The daily question to a bucket: asked once a day, never of a folder, and again as long as the answer was no."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contracts.errors import Refused
from operations import store_check
from operations.store_check import check_store, check_store_daily
from registry.store import Store
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def _bucket(name: str = "speech") -> MemoryStore:
    store = MemoryStore()
    store.url = f"s3://{name}/releases"
    return store


class Lenient(MemoryStore):
    """Lets every creator win."""

    def create(self, key: str, content: bytes) -> None:
        self.objects[key] = content


def test_a_bucket_is_asked_once_a_day(tmp_path: Path) -> None:
    store = _bucket()
    asked = [check_store_daily(store, tmp_path, NOON + timedelta(hours=hours)) for hours in (0, 1, 11, 12, 13, 36)]
    assert asked == [True, False, False, True, False, True]


def test_another_bucket_is_asked_for_itself(tmp_path: Path) -> None:
    assert check_store_daily(_bucket("one"), tmp_path, NOON)
    assert check_store_daily(_bucket("two"), tmp_path, NOON)


def test_up_asks_every_time(tmp_path: Path) -> None:
    store = _bucket()
    assert [check_store(store, tmp_path, NOON) for _ in range(2)] == [True, True]
    assert not check_store_daily(store, tmp_path, NOON), "what `up` found is not asked again by a release"


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_what_is_no_bucket_is_never_asked(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = LocalStore(tmp_path / "store") if kind == "local" else MemoryStore()
    monkeypatch.setattr(store_check, "self_test", lambda _store: pytest.fail("a folder was tested"))
    assert not check_store(store, tmp_path, NOON)
    assert not check_store_daily(store, tmp_path, NOON)
    assert not (tmp_path / "cache").exists()


def test_a_store_that_does_not_exclude_is_refused_each_time(tmp_path: Path) -> None:
    """Fault 20."""
    store = Lenient()
    store.url = "s3://lenient/releases"
    for _ in range(2):
        with pytest.raises(Refused, match="does not keep the promise that releases rest on"):
            check_store_daily(store, tmp_path, NOON)


@pytest.mark.parametrize("torn", [b"", b"yesterday", b"\xff\xfe"])
def test_a_marker_that_cannot_be_read_means_ask(torn: bytes, tmp_path: Path) -> None:
    store = _bucket()
    check_store_daily(store, tmp_path, NOON)
    marker = next((tmp_path / "cache" / "store-check").iterdir())
    marker.chmod(0o644)
    marker.write_bytes(torn)
    assert check_store_daily(store, tmp_path, NOON)
