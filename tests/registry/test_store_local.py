"""The local store on a disk that fails, fills up, or loses its process at any call."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from contracts.digest import sha256_bytes
from contracts.errors import Corrupt, DependencyFailed
from registry.store.files import exclusive, scratch_file, scratch_folder, sweep
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from tests.registry.registry_parts import flipped
from tests.registry.syscalls import Syscalls

CONTENT = b"the content" * 1000
DIGEST = sha256_bytes(CONTENT)


def _create(store: LocalStore) -> object:
    store.create("ledger/asr/0", CONTENT)
    return None


def _put_bytes(store: LocalStore) -> object:
    return store.put_blob(CONTENT)


def _put_file(store: LocalStore) -> object:
    source = store.root.parent / "source"
    if not source.exists():
        source.write_bytes(CONTENT)
    return store.put_blob(source)


def _swap(store: LocalStore) -> object:
    current = store.pointer("asr")
    if current and current.content == CONTENT:
        return current
    return store.swap("asr", CONTENT, expected=current.version if current else None)


OPERATIONS: list[tuple[str, Callable[[LocalStore], object], Callable[[LocalStore], object]]] = [
    ("create", _create, lambda store: store.read("ledger/asr/0")),
    ("put bytes", _put_bytes, lambda store: store.read_blob(DIGEST)),
    ("put file", _put_file, lambda store: store.read_blob(DIGEST)),
    ("swap", _swap, lambda store: (store.pointer("asr") or (b"",))[0]),
]
each_operation = pytest.mark.parametrize(
    ("work", "read"), [(work, read) for _, work, read in OPERATIONS], ids=[name for name, _, _ in OPERATIONS]
)


def _prepare(root: Path, work: Callable[[LocalStore], object]) -> LocalStore:
    """A store that was used before: an old pointer, and the source file of the blob."""
    store = LocalStore(root / "store")
    store.swap("asr", b"old", expected=None)
    if work is _put_file:
        (root / "source").write_bytes(CONTENT)
    return LocalStore(root / "store")


def _is_whole(store: LocalStore) -> None:
    """Everything that is visible is complete: old or new, never in between, never adopted from a temporary file."""
    pointer = store.pointer("asr")
    assert pointer is not None
    assert pointer.content in (b"old", CONTENT)
    for key in store.list(""):
        if not key.startswith("pointers/"):
            assert store.root.joinpath(key).read_bytes() == CONTENT, key
        assert not key.startswith(".local")


@each_operation
def test_killed_at_any_call_a_rerun_converges(
    work: Callable[[LocalStore], object],
    read: Callable[[LocalStore], object],
    tmp_path: Path,
    syscalls: Syscalls,
) -> None:
    """Faults 1 and 5."""
    for call in itertools.count(1):
        root = tmp_path / str(call)
        root.mkdir()
        store = _prepare(root, work)
        killed = syscalls.killed(lambda store=store: work(store), call)  # type: ignore[misc]
        _is_whole(LocalStore(store.root))
        again = LocalStore(store.root)
        work(again)
        assert read(again) == CONTENT
        assert list(store.root.rglob("*.part")) == [], "the next writer removes what a dead one left"
        if not killed:
            break
    assert call > 5


def _attempt(work: Callable[[LocalStore], object], store: LocalStore) -> str:
    """What the error said, "" where there was none."""
    try:
        work(store)
    except (DependencyFailed, MemoryError) as error:
        return str(error)
    return ""


@each_operation
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EIO, os.strerror(errno.EIO)),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        MemoryError("out of memory"),
    ],
    ids=["ENOSPC", "EIO", "EMFILE", "MemoryError"],
)
def test_what_fails_at_any_call_is_a_clear_error_and_leaves_nothing_half_done(
    work: Callable[[LocalStore], object],
    read: Callable[[LocalStore], object],
    error: Exception,
    tmp_path: Path,
    syscalls: Syscalls,
) -> None:
    """Faults 4 and 6."""
    for call in itertools.count(1):
        root = tmp_path / str(call)
        root.mkdir()
        store = _prepare(root, work)
        with syscalls.failing(call, error) as made:
            said = _attempt(work, store)
        if isinstance(error, OSError) and said:
            assert f"got: {error.strerror}" in said
            assert "run the same command again" in said
        _is_whole(LocalStore(store.root))
        work(store)
        assert read(store) == CONTENT
        if len(made) < call:
            break
    assert call > 5


def test_a_full_disk_says_what_to_do(tmp_path: Path, syscalls: Syscalls) -> None:
    store = LocalStore(tmp_path)
    store.create("a", b"")
    with (
        syscalls.failing(2, OSError(errno.ENOSPC, "No space left on device")),
        pytest.raises(DependencyFailed) as raised,
    ):
        store.create("b", b"x")
    assert str(raised.value) == (
        "the store could not write an object\n"
        f"  where: file://{tmp_path}, key b\n"
        "  got: No space left on device\n"
        "  next step: free some space on this disk, then run the same command again: it goes on where it stopped"
    )
    assert list(store.list("")) == ["a"]


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: original(descriptor, bytes(data)[:7]))
    store = LocalStore(tmp_path)
    assert store.read_blob(store.put_blob(CONTENT)) == CONTENT


def test_a_torn_temporary_file_is_never_adopted(tmp_path: Path) -> None:
    """Fault 5."""
    parts = tmp_path / ".local" / "parts"
    parts.mkdir(parents=True)
    (parts / f"{DIGEST}.part").write_bytes(CONTENT[:10])
    store = LocalStore(tmp_path)
    assert not store.has_blob(DIGEST)
    assert list(store.list("")) == []
    store.put_blob(CONTENT)
    assert store.read_blob(DIGEST) == CONTENT
    assert list(parts.iterdir()) == []


def test_the_temporary_file_of_a_living_writer_stays(tmp_path: Path) -> None:
    with scratch_file(tmp_path) as (alive, _), scratch_folder(tmp_path / "x") as folder:
        (tmp_path / "dead.part").write_bytes(b"")
        (tmp_path / "dead_folder.part").mkdir()
        (tmp_path / "dead_folder.part" / "file").write_bytes(b"")
        assert sweep(tmp_path) == 2
        assert alive.exists()
        assert folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_writer_whose_new_file_was_swept_takes_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swept: list[Path] = []
    original = fcntl.flock

    def steal(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend(tmp_path.glob("*.part"))
            swept[0].unlink()
        original(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", steal)
    with scratch_file(tmp_path) as (path, _):
        assert path != swept[0]
        assert path.exists()


@pytest.mark.parametrize("bit", range(0, 8 * 70, 13))
def test_a_bit_flipped_in_a_pointer_is_found(bit: int, tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.swap("asr", b"route table", expected=None)
    path = tmp_path / "pointers" / "asr"
    content = flipped(path.read_bytes(), bit)
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(Corrupt, match="a pointer's bytes are not what was written"):
        store.pointer("asr")
    with pytest.raises(Corrupt, match="a pointer's bytes are not what was written"):
        store.swap("asr", b"new", expected=None)


def test_a_lock_that_is_never_free_is_a_clear_error(tmp_path: Path) -> None:
    """Fault 11: a stopped process that holds the lock does not hang everybody else."""
    store = LocalStore(tmp_path, lock_timeout_s=0.05)
    store.swap("asr", b"v1", expected=None)
    (lock,) = (tmp_path / ".local" / "locks").iterdir()
    with exclusive(lock, timeout_s=1), pytest.raises(DependencyFailed) as raised:
        store.swap("asr", b"v2", expected=None)
    assert raised.value.got == "still held after 0.05 s"
    assert "end it, then run the same command again" in raised.value.next_step


def test_a_forked_child_does_not_keep_a_lock(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", timeout_s=1):
        child = os.fork()
        if child == 0:
            time.sleep(0.5)
            os._exit(0)
    with exclusive(tmp_path / "lock", timeout_s=0.1):
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # the child lives, and holds nothing
    os.waitpid(child, 0)


def test_stored_files_are_read_only_for_everybody(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("a", b"x")
    digest = store.put_blob(b"y")
    store.swap("asr", b"z", expected=None)
    for key in ("a", blob_key(digest), "pointers/asr"):
        assert (tmp_path / key).stat().st_mode & 0o222 == 0
