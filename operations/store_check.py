"""Is the bucket fit to hold releases? Asked at `soundcheck up`, and before the first release of a day (fault 20).

Boundary: the store, and a marker in HOME/cache/store-check.
Invariants: a folder (file://) is never asked, its exclusion is the kernel's; a store that was found unfit gets no
marker, so it is asked again; a marker is of one store address and one UTC day: whoever runs the bucket may change it.
"""

from __future__ import annotations

import os
from datetime import date, datetime
from pathlib import Path

from contracts.digest import sha256_bytes
from registry.store import BUCKET, Store
from registry.store.files import disk, make_folder, replace_file, sweep
from registry.store.self_test import self_test


def check_store(store: Store, home: Path, now: datetime) -> bool:
    """Test a bucket, and end what dead writers left of uploads in parts; whether there was anything to test.

    Raises Refused for a store whose conditional writes do not exclude, DependencyFailed for one that is away.
    """
    if not store.url.startswith(BUCKET):
        return False
    self_test(store)
    _end_dead_uploads(store)
    marker = _marker(store, home)
    with disk("the cache could not be written", str(marker)):
        make_folder(marker.parent)
        sweep(marker.parent)
        replace_file(marker, now.date().isoformat().encode(), scratch=marker.parent)
    return True


def check_store_daily(store: Store, home: Path, now: datetime) -> bool:
    """`check_store`, unless this installation did so today; whether it was done now."""
    return _last(_marker(store, home)) != now.date() and check_store(store, home, now)


def _marker(store: Store, home: Path) -> Path:
    return Path(os.path.abspath(home)) / "cache" / "store-check" / sha256_bytes(store.url.encode())


def _last(marker: Path) -> date | None:
    try:
        return date.fromisoformat(marker.read_text())
    except (OSError, ValueError):
        return None


def _end_dead_uploads(store: Store) -> None:
    from registry.store.s3 import S3Store

    if isinstance(store, S3Store):
        store.abort_incomplete()
