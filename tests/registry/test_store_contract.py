"""One contract for every store: create-once, content addresses, compare-and-set, listing, races."""

from __future__ import annotations

import hashlib
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contracts.digest import sha256_bytes
from contracts.errors import AlreadyExists, Conflict, Corrupt, DependencyFailed, NotFound, WrongCall
from registry.store import Pointer, Store, open_store
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from tests.registry.registry_parts import Damage

RACERS = 16
ROUNDS = {"S3Store": 2}
"""Rounds of a race where a round takes a second; 20 elsewhere (tests/crash has 20 rounds on S3 and 200 on the rest)."""
EMPTY = hashlib.sha256(b"").hexdigest()


def test_what_was_created_is_read_and_listed(store: Store) -> None:
    store.create("ledger/asr/000000000000", b"first")
    store.create("ledger/asr/000000000001", b"")
    assert store.read("ledger/asr/000000000000") == b"first"
    assert store.read("ledger/asr/000000000001") == b""
    assert list(store.list("ledger/asr/")) == ["ledger/asr/000000000000", "ledger/asr/000000000001"]


def test_equal_bytes_may_be_created_again_and_other_bytes_may_not(store: Store) -> None:
    store.create("notes/a", b"one")
    store.create("notes/a", b"one")
    with pytest.raises(AlreadyExists) as raised:
        store.create("notes/a", b"two")
    assert str(raised.value) == (
        "a create-once key is taken by other bytes\n"
        f"  where: {store.url}, key notes/a\n"
        "  got: sha256 7692c3ad3540\n"
        "  expected: sha256 3fc4ccfe7458"
    )
    assert store.read("notes/a") == b"one"


def test_a_missing_object_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="no object has the key 'ledger/none'"):
        store.read("ledger/none")


def test_a_key_is_not_both_object_and_folder(store: Store) -> None:
    store.create("a/b", b"x")
    for key in ("a", "a/b/c"):
        with pytest.raises(WrongCall, match="both an object and the folder of another key"):
            store.create(key, b"y")
    assert list(store.list("")) == ["a/b"]


@pytest.mark.parametrize(
    ("key", "fault"),
    [
        ("", "not a relative POSIX path"),
        ("/etc/passwd", "not a relative POSIX path"),
        ("a\\b", "not a relative POSIX path"),
        ("a/../b", "'..' part"),
        ("a//b", "empty"),
        ("a/./b", "'.'"),
        ("a/", "empty"),
        ("cafe\u0301", "is not in Unicode NFC"),
        ("a\0b", "has a control"),
        ("a\nb", "has a control"),
        ("a\u202eb", "bidirectional"),
        ("x" * 256, "has a part of over 255 bytes"),
        ("/".join(["x" * 200] * 6), "is over 1024 bytes"),
        ("\udc80", "is not UTF-8"),
        ("blobs/sha256/ab", "its first part is reserved"),
        ("pointers/asr", "its first part is reserved"),
        (".local/parts", "its first part is reserved"),
    ],
)
def test_a_bad_key_is_a_wrong_call(store: Store, key: str, fault: str) -> None:
    with pytest.raises(WrongCall) as raised:
        store.create(key, b"x")
    assert fault in str(raised.value)
    assert list(store.list("")) == []


def test_a_blob_is_named_by_its_bytes(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"y" * 3_000_000)
    digest = store.put_blob(b"hello")
    large = store.put_blob(tmp_path / "file")
    assert (digest, large) == (sha256_bytes(b"hello"), sha256_bytes(b"y" * 3_000_000))
    assert store.put_blob(b"hello") == digest
    assert store.put_blob(tmp_path / "file") == large
    assert store.put_blob(b"") == EMPTY
    assert store.read_blob(digest) == b"hello"
    assert store.check_blob(large) == 3_000_000
    assert store.has_blob(EMPTY)
    assert sorted(store.list("blobs/")) == sorted(blob_key(name) for name in (digest, large, EMPTY))


def test_a_missing_blob_is_not_found(store: Store, tmp_path: Path) -> None:
    missing = "0" * 64
    assert not store.has_blob(missing)
    for read in (store.read_blob, store.check_blob, lambda digest: store.copy_blob(digest, tmp_path / "out")):
        with pytest.raises(NotFound, match="no blob 000000000000"):
            read(missing)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("digest", ["", "abc", "../" + "0" * 61, "A" * 64, "0" * 65])
def test_what_is_no_digest_is_a_wrong_call(store: Store, digest: str) -> None:
    with pytest.raises(WrongCall, match="not a digest"):
        store.read_blob(digest)


def test_a_file_that_is_not_there_cannot_become_a_blob(store: Store, tmp_path: Path) -> None:
    with pytest.raises(DependencyFailed, match="No such file"):
        store.put_blob(tmp_path / "nowhere")


def test_a_damaged_blob_is_corrupt_and_leaves_no_file(store: Store, tmp_path: Path, damage_blob: Damage) -> None:
    digest = store.put_blob(b"weights")
    damage_blob(store, digest, 11)
    for read in (store.read_blob, store.check_blob, lambda name: store.copy_blob(name, tmp_path / "out")):
        with pytest.raises(Corrupt) as raised:
            read(digest)
        assert raised.value.what == "a blob's bytes are not what its digest says"
        assert raised.value.expected == f"sha256 {digest}"
    assert not (tmp_path / "out").exists()


def test_a_blob_is_copied_to_a_new_file_only(store: Store, tmp_path: Path) -> None:
    digest = store.put_blob(b"weights")
    store.copy_blob(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"weights"
    (tmp_path / "out").write_bytes(b"mine")
    with pytest.raises(AlreadyExists, match="a file is there already"):
        store.copy_blob(digest, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"mine"


def test_a_deleted_blob_is_gone_and_may_come_back(store: Store) -> None:
    digest = store.put_blob(b"fixture")
    store.delete_blob(digest)
    store.delete_blob(digest)
    assert not store.has_blob(digest)
    assert store.put_blob(b"fixture") == digest
    assert store.read_blob(digest) == b"fixture"


def test_a_pointer_moves_only_from_the_version_that_is_named(store: Store) -> None:
    assert store.pointer("asr") is None
    first = store.swap("asr", b"v1", expected=None)
    assert store.pointer("asr") == first == Pointer(b"v1", first.version)
    second = store.swap("asr", b"v2", expected=first.version)
    for stale in (None, first.version, "nonsense"):
        with pytest.raises(Conflict) as raised:
            store.swap("asr", b"v3", expected=stale)
        assert str(raised.value) == (
            "the pointer 'asr' has moved\n"
            f"  where: {store.url}\n"
            f"  got: current version {second.version}\n"
            f"  expected: version {stale or 'none'}\n"
            "  next step: read the pointer, decide again on what it says now"
        )
    assert store.pointer("asr") == second
    assert list(store.list("pointers/")) == ["pointers/asr"]


def test_a_pointer_that_returns_to_old_content_has_a_new_version(store: Store) -> None:
    first = store.swap("asr", b"v1", expected=None)
    second = store.swap("asr", b"v2", expected=first.version)
    third = store.swap("asr", b"v1", expected=second.version)
    assert len({first.version, second.version, third.version}) == 3


def test_a_pointer_may_not_be_expected_before_it_exists(store: Store) -> None:
    with pytest.raises(Conflict, match="got: current version none"):
        store.swap("asr", b"v1", expected="0-abc")
    assert store.pointer("asr") is None


def test_pointers_hold_any_bytes(store: Store) -> None:
    content = bytes(range(256)) + b"\n\n"
    store.swap("families/asr", content, expected=None)
    pointer = store.pointer("families/asr")
    assert pointer is not None
    assert pointer.content == content


def test_a_listing_is_by_prefix_and_sorted(store: Store) -> None:
    for key in ("b/2", "b/10", "ba/1", "a"):
        store.create(key, b"")
    assert list(store.list("b")) == ["b/10", "b/2", "ba/1"]
    assert list(store.list("b/")) == ["b/10", "b/2"]
    assert list(store.list("b/1")) == ["b/10"]
    assert list(store.list("c/")) == []
    assert list(store.list("")) == ["a", "b/10", "b/2", "ba/1"]
    with pytest.raises(WrongCall):
        store.list("../")


def _race(work: Callable[[int], str]) -> list[str]:
    """Start all racers at once; what each of them got."""
    barrier = threading.Barrier(RACERS)

    def run(number: int) -> str:
        barrier.wait()
        try:
            return work(number)
        except (AlreadyExists, Conflict) as error:
            return "lost: " + error.got

    with ThreadPoolExecutor(RACERS) as pool:
        return list(pool.map(run, range(RACERS)))


def test_of_racing_creators_one_wins_and_the_others_see_its_bytes(store: Store) -> None:
    for round_number in range(ROUNDS.get(type(store).__name__, 20)):
        key = f"race/{round_number}"
        results = _race(lambda number, key=key: store.create(key, b"writer %d" % number) or "won")  # type: ignore[misc, func-returns-value]
        winner = store.read(key)
        assert results.count("won") == 1
        assert results.count(f"lost: sha256 {sha256_bytes(winner)[:12]}") == RACERS - 1


def test_of_racing_swappers_one_wins_and_the_others_are_told_its_version(store: Store) -> None:
    expected = None
    for round_number in range(ROUNDS.get(type(store).__name__, 20)):
        results = _race(lambda number, old=expected: store.swap("race", b"%d" % number, expected=old).version)  # type: ignore[misc]
        pointer = store.pointer("race")
        assert pointer is not None
        assert results.count(pointer.version) == 1
        assert results.count(f"lost: current version {pointer.version}") == RACERS - 1, round_number
        expected = pointer.version


def test_racing_writers_of_one_blob_all_succeed(store: Store) -> None:
    results = _race(lambda _number: store.put_blob(b"the same"))
    assert set(results) == {sha256_bytes(b"the same")}


def _swap_in_process(root: Path, start: object, results: object, number: int) -> None:
    store = LocalStore(root)
    expected = None
    for round_number in range(10):
        start.wait()  # type: ignore[attr-defined]
        try:
            store.swap("race", b"%d" % number, expected=expected)
            store.create(f"won/{round_number}/{number}", b"")
        except Conflict:
            pass
        start.wait()  # type: ignore[attr-defined]
        pointer = store.pointer("race")
        assert pointer is not None
        expected = pointer.version
        results.put((round_number, pointer.version))  # type: ignore[attr-defined]


def test_of_racing_processes_one_wins_each_round(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(RACERS), context.Queue()
    racers = [
        context.Process(target=_swap_in_process, args=(tmp_path, start, results, number)) for number in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    seen = {results.get(timeout=60) for _ in range(10 * RACERS)}
    for racer in racers:
        racer.join(timeout=60)
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    assert len(seen) == 10, "all processes see the same version each round"
    assert len(list(LocalStore(tmp_path).list("won/"))) == 10, "one winner a round"


def test_the_address_names_the_folder(tmp_path: Path) -> None:
    assert open_store("file://store", tmp_path).url == f"file://{tmp_path}/store"
    assert open_store(f"file://{tmp_path}/else", Path("/nowhere")).url == f"file://{tmp_path}/else"
    first, second = open_store("file://s", tmp_path), open_store("file://s", tmp_path)
    first.create("a", b"x")
    assert second.read("a") == b"x"


@pytest.mark.parametrize("url", ["s4://bucket", "store", "file://", "", "http://host/store"])
def test_another_address_is_a_wrong_call_that_names_what_is_supported(url: str, tmp_path: Path) -> None:
    with pytest.raises(WrongCall) as raised:
        open_store(url, tmp_path)
    assert raised.value.got == repr(url)
    assert raised.value.expected == "file://DIR (below the home folder), file:///DIR (absolute) or s3://BUCKET/PREFIX"
