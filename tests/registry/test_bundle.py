"""Bundles: frozen, restored byte for byte, verified file by file, cached."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.bundle import BundleManifest, path_fault
from contracts.digest import sha256_bytes
from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, NotFound, Refused, WrongCall
from contracts.train_manifest import FileEntry
from registry import folders
from registry.bundle import (
    MANIFEST_PATH,
    BundleFault,
    assemble,
    cached,
    freeze,
    load_manifest,
    restore,
    verify,
    verify_folder,
)
from registry.store import Store
from registry.store.keys import blob_key
from registry.store.local import LocalStore
from registry.store.memory import Crash, FaultKind, MemoryStore
from tests.registry.registry_parts import Damage, flipped, read_folder, write_folder
from tests.registry.syscalls import Syscalls


def _frozen(store: Store, folder: Path) -> tuple[str, BundleManifest]:
    manifest = assemble(folder, family="asr", version="v1")
    return freeze(store, folder, manifest), manifest


def test_a_manifest_names_every_file_by_content(payload_folder: Path) -> None:
    manifest = assemble(payload_folder, family="asr", version="v1")
    assert {path: entry.sha256 for path, entry in manifest.files.items()} == {
        path: sha256_bytes(content) for path, content in read_folder(payload_folder).items()
    }
    assert list(manifest.files) == sorted(manifest.files)
    assert set(manifest.payload()) == {"runtime.json", "weights.safetensors", "lexicon/words.txt"}


def test_what_is_restored_is_what_was_frozen(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    digest, manifest = _frozen(store, payload_folder)
    assert load_manifest(store, digest) == manifest
    assert restore(store, digest, tmp_path / "out") == manifest
    assert read_folder(tmp_path / "out") == read_folder(payload_folder)
    assert verify(store, digest) == []
    assert verify_folder(tmp_path / "out", manifest) == []


def test_freezing_again_gives_the_same_bundle(store: Store, payload_folder: Path) -> None:
    """Fault 33."""
    first, _ = _frozen(store, payload_folder)
    keys = list(store.list(""))
    with ThreadPoolExecutor(4) as pool:
        again = list(pool.map(lambda _: _frozen(store, payload_folder)[0], range(4)))
    assert set(again) == {first}
    assert list(store.list("")) == keys


def test_equal_files_are_stored_once(store: Store, payload_folder: Path) -> None:
    """R5.2."""
    _frozen(store, payload_folder)
    assert len(list(store.list("blobs/"))) == 7 - 1 + 1, "two golden files are one blob; the manifest is one more"


def test_progress_ends_with_all_bytes(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    manifest = assemble(payload_folder, family="asr", version="v1")
    seen: list[tuple[int, int]] = []
    digest = freeze(store, payload_folder, manifest, lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 10_000
    assert seen == sorted(seen)
    seen.clear()
    restore(store, digest, tmp_path / "out", lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] > 10_000


def test_modes_are_not_part_of_a_bundle(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    """Fault 22: an executable, set-user-id file comes back as plain data."""
    plain, _ = _frozen(store, payload_folder)
    (payload_folder / "MODEL_CARD.md").chmod(0o4755)
    assert _frozen(store, payload_folder)[0] == plain
    restore(store, plain, tmp_path / "out")
    assert (tmp_path / "out" / "MODEL_CARD.md").stat().st_mode & 0o7111 == 0


def _link(folder: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")


def _linked_folder(folder: Path) -> None:
    (folder / "payload" / "deep").symlink_to("/etc")


def _pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def _file(name: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(b"x")

    return make


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_link, "'link' is a link"),
        (_linked_folder, "'payload/deep' is a link"),
        (_pipe, "'pipe' is not a regular file"),
        (lambda folder: (folder / "hollow").mkdir(), "'hollow' is an empty folder"),
        (_file(".gitattributes"), "'.gitattributes' belongs to git"),
        (_file("payload/.git/config"), "'payload/.git' belongs to git"),
        (_file("model_card.md"), "'model_card.md' differs only in case from 'MODEL_CARD.md'"),
        (_file("Payload/other"), "'payload' differs only in case from 'Payload'"),
        (_file("cafe\u0301"), "'cafe\\u0301' is not in Unicode NFC"),
        (_file("a\nb"), "'a\\nb' has a control or bidirectional character"),
        (_file("evil\u202etxt.exe"), "has a control or bidirectional character"),
        (_file("back\\slash"), "not a relative POSIX path"),
        (_file(b"not utf8 \xff"), "is not UTF-8"),
    ],
)
def test_what_may_not_be_in_a_bundle_is_named(spoil: Callable[[Path], None], said: str, payload_folder: Path) -> None:
    """Faults 22, 47, 50."""
    spoil(payload_folder)
    with pytest.raises(Refused) as raised:
        assemble(payload_folder, family="asr", version="v1")
    assert raised.value.what == "a folder cannot become a bundle"
    assert said in raised.value.got
    assert raised.value.next_step == "remove or rename what is named here"


def test_everything_that_is_wrong_is_named_at_once(payload_folder: Path) -> None:
    for number in range(12):
        (payload_folder / f"hollow{number:02d}").mkdir()
    _link(payload_folder)
    with pytest.raises(Refused) as raised:
        assemble(payload_folder, family="asr", version="v1")
    assert raised.value.got.startswith("'hollow00' is an empty folder; 'hollow01' is an empty folder")
    assert raised.value.got.endswith("; and 3 more")


def test_a_folder_of_too_many_files_is_refused(payload_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 47."""
    monkeypatch.setattr(folders, "MAX_FILES", 6)
    with pytest.raises(Refused, match="over 6 files"):
        assemble(payload_folder, family="asr", version="v1")


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="it has no files"):
        assemble(tmp_path / "empty", family="asr", version="v1")
    with pytest.raises(WrongCall, match="not a folder"):
        assemble(tmp_path / "nowhere", family="asr", version="v1")


@pytest.mark.parametrize("change", ["grown", "added", "removed", "rewritten"])
def test_a_source_that_changes_while_it_is_digested_is_refused(
    change: str, payload_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 27."""
    original = folders.digest_file
    card = payload_folder / "MODEL_CARD.md"

    def meddle(folder: Path, path: str, expected: folders.Seen) -> FileEntry:
        entry = original(folder, path, expected)
        if path == "MODEL_CARD.md" and change == "grown":
            card.write_bytes(b"# card, longer\n")
        elif path == "MODEL_CARD.md" and change == "added":
            (payload_folder / "new.txt").write_bytes(b"x")
        elif path == "MODEL_CARD.md" and change == "removed":
            card.unlink()
        elif path == "MODEL_CARD.md":
            os.utime(card, ns=(1, 1))
        return entry

    monkeypatch.setattr(folders, "digest_file", meddle)
    with pytest.raises(Refused) as raised:
        assemble(payload_folder, family="asr", version="v1")
    assert raised.value.what == "a folder changed while it was being read"
    assert raised.value.got == repr("new.txt" if change == "added" else "MODEL_CARD.md")


def test_a_source_that_changes_before_it_is_stored_is_refused(store: Store, payload_folder: Path) -> None:
    """Fault 27: the manifest is not written, so there is no bundle."""
    manifest = assemble(payload_folder, family="asr", version="v1")
    (payload_folder / "MODEL_CARD.md").write_bytes(b"# another")
    with pytest.raises(Refused, match="a folder changed while it was being read"):
        freeze(store, payload_folder, manifest)
    with pytest.raises(NotFound):
        load_manifest(store, manifest.digest())


@pytest.mark.parametrize("kind", list(FaultKind))
def test_a_rerun_after_a_fault_at_any_call_gives_the_same_bundle(
    kind: FaultKind, payload_folder: Path, tmp_path: Path
) -> None:
    """Faults 1, 2, 6, 10, 12: blobs before the manifest, so that a bundle is never half there."""
    manifest = assemble(payload_folder, family="asr", version="v1")
    for call in itertools.count(1):
        store = MemoryStore()
        store.inject(call, kind)
        try:
            freeze(store, payload_folder, manifest)
        except (DependencyFailed, Crash):
            if blob_key(manifest.digest()) in store.objects:
                assert verify(store, manifest.digest()) == [], "a bundle that can be seen is whole"
        if store.calls < call:
            break
        assert freeze(store, payload_folder, manifest) == manifest.digest()
        assert verify(store, manifest.digest()) == []
    assert call > 10


def test_killed_while_freezing_a_rerun_gives_the_same_bundle(
    payload_folder: Path, tmp_path: Path, syscalls: Syscalls
) -> None:
    """Faults 1 and 2, with a real kill -9 at system calls spread over the work."""
    manifest = assemble(payload_folder, family="asr", version="v1")
    for call in (1, 4, 9, 15, 22, 30, 41, 55):
        store = LocalStore(tmp_path / str(call))
        assert syscalls.killed(lambda store=store: freeze(store, payload_folder, manifest), call)  # type: ignore[misc]
        assert not store.has_blob(manifest.digest())
        again = LocalStore(store.root)
        assert freeze(again, payload_folder, manifest) == manifest.digest()
        assert verify(again, manifest.digest()) == []
        assert list(store.root.rglob("*.part")) == []


def test_a_target_that_is_not_empty_is_refused(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    digest, _ = _frozen(store, payload_folder)
    occupied = write_folder(tmp_path / "occupied", {"mine.txt": b"mine"})
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for target in (occupied, tmp_path / "file", tmp_path / "dangling"):
        with pytest.raises(AlreadyExists) as raised:
            restore(store, digest, target)
        assert str(raised.value) == (
            "a bundle is only restored into a new or empty folder\n"
            f"  where: {target}\n"
            "  got: something is there already\n"
            "  next step: name another folder, or move this one away"
        )
    assert read_folder(occupied) == {"mine.txt": b"mine"}


def test_an_empty_target_is_filled(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    digest, _ = _frozen(store, payload_folder)
    (tmp_path / "out").mkdir()
    restore(store, digest, tmp_path / "out")
    assert read_folder(tmp_path / "out") == read_folder(payload_folder)


def test_a_bundle_that_does_not_exist_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as raised:
        restore(store, "0" * 64, tmp_path / "out")
    assert raised.value.what == "no bundle 000000000000"
    assert raised.value.next_step == "`soundcheck status` lists the bundles there are"
    assert not (tmp_path / "out").exists()


def test_a_document_of_another_kind_is_no_bundle(store: Store) -> None:
    digest = store.put_blob(b'{"kind":"golden","max_word_edits":0,"fixtures":[]}')
    with pytest.raises(Corrupt, match="a document is of another kind"):
        load_manifest(store, digest)


def test_a_flipped_bit_in_any_file_is_found_and_named(
    store: Store, payload_folder: Path, tmp_path: Path, damage_blob: Damage
) -> None:
    """Fault 21: each file in turn, in the store; nothing of it is restored."""
    digest, manifest = _frozen(store, payload_folder)
    for path, entry in manifest.files.items():
        if not entry.size:
            continue
        damage_blob(store, entry.sha256, 7 * len(path))
        sharing = [other for other, content in manifest.files.items() if content.sha256 == entry.sha256]
        faults = verify(store, digest)
        assert [(fault.path, fault.kind) for fault in faults] == [(other, "corrupt") for other in sharing]
        with pytest.raises(Corrupt) as raised:
            restore(store, digest, tmp_path / "out")
        assert entry.sha256 in raised.value.where
        assert not (tmp_path / "out").exists()
        assert list(tmp_path.glob(".restore-*")) == []
        damage_blob(store, entry.sha256, 7 * len(path))
    assert verify(store, digest) == []


def test_a_flipped_bit_in_the_manifest_is_found(store: Store, payload_folder: Path, damage_blob: Damage) -> None:
    """Fault 23."""
    digest, _ = _frozen(store, payload_folder)
    damage_blob(store, digest, 1000)
    (fault,) = verify(store, digest)
    assert (fault.path, fault.kind) == (MANIFEST_PATH, "corrupt")
    assert str(fault).startswith("(manifest): corrupt (a blob's bytes are not what its digest says: got sha256 ")


def test_a_missing_blob_is_named_by_every_path_that_needs_it(store: Store, payload_folder: Path) -> None:
    """Faults 15 and 17."""
    digest, manifest = _frozen(store, payload_folder)
    store.delete_blob(manifest.files["golden/audio/000.wav"].sha256)
    missing = manifest.files["golden/audio/000.wav"].sha256[:12]
    assert verify(store, digest) == [
        BundleFault("golden/audio/000.wav", "missing", f"no blob {missing}"),
        BundleFault("golden/audio/001.wav", "missing", f"no blob {missing}"),
    ]
    store.delete_blob(digest)
    assert [(fault.path, fault.kind) for fault in verify(store, digest)] == [(MANIFEST_PATH, "missing")]


def test_extra_missing_and_changed_files_are_named_apart(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    """Faults 22 and 25."""
    _, manifest = _frozen(store, payload_folder)
    (payload_folder / "MODEL_CARD.md").write_bytes(b"# Card\n")
    (payload_folder / "empty.txt").rename(payload_folder / "renamed.txt")
    (payload_folder / "golden/audio/000.wav").unlink()
    (payload_folder / "golden/audio/000.wav").symlink_to("001.wav")
    (payload_folder / "payload/.gitkeep").write_bytes(b"")
    assert [(fault.path, fault.kind) for fault in verify_folder(payload_folder, manifest)] == [
        ("MODEL_CARD.md", "changed"),
        ("empty.txt", "missing"),
        ("golden/audio/000.wav", "changed"),
        ("payload/.gitkeep", "extra"),
        ("renamed.txt", "extra"),
    ]


def test_a_cached_bundle_is_restored_once(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    digest, _ = _frozen(store, payload_folder)
    folder = cached(store, digest, tmp_path / "cache")
    assert folder == tmp_path / "cache" / "bundles" / digest
    inode = folder.stat().st_ino
    assert cached(store, digest, tmp_path / "cache") == folder
    assert folder.stat().st_ino == inode
    assert read_folder(folder) == read_folder(payload_folder)


def test_a_whole_cached_bundle_needs_no_store(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    """Fault 19."""
    digest, _ = _frozen(store, payload_folder)
    folder = cached(store, digest, tmp_path / "cache")
    away = MemoryStore("away")
    away.inject(1, FaultKind.FAIL)
    assert cached(away, digest, tmp_path / "cache") == folder
    assert away.calls == 1


@pytest.mark.parametrize("path", ["MODEL_CARD.md", "payload/weights.safetensors"])
def test_a_damaged_cache_is_replaced_from_the_store(
    path: str, store: Store, payload_folder: Path, tmp_path: Path
) -> None:
    digest, _ = _frozen(store, payload_folder)
    folder = cached(store, digest, tmp_path / "cache")
    (folder / path).write_bytes(b"meddled with")
    assert read_folder(cached(store, digest, tmp_path / "cache")) == read_folder(payload_folder)
    (folder / path).write_bytes(b"meddled with")
    with pytest.raises(NotFound):
        cached(MemoryStore("away"), digest, tmp_path / "cache")
    assert not folder.exists(), "a damaged copy is never left to be used"


def test_a_damaged_cached_manifest_is_replaced_from_the_store(
    store: Store, payload_folder: Path, tmp_path: Path
) -> None:
    digest, _ = _frozen(store, payload_folder)
    folder = cached(store, digest, tmp_path / "cache")
    folder.with_name(f"{digest}.json").write_bytes(b"{}")
    assert cached(store, digest, tmp_path / "cache") == folder
    assert sha256_bytes(folder.with_name(f"{digest}.json").read_bytes()) == digest


def test_many_may_fill_one_cache_at_once(store: Store, payload_folder: Path, tmp_path: Path) -> None:
    digest, _ = _frozen(store, payload_folder)
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: cached(store, digest, tmp_path / "cache"), range(8)))
    assert found == {tmp_path / "cache" / "bundles" / digest}
    assert read_folder(found.pop()) == read_folder(payload_folder)
    assert list((tmp_path / "cache" / "bundles").glob(".restore-*")) == []


def test_a_restore_that_was_killed_leaves_nothing_that_is_used(
    payload_folder: Path, tmp_path: Path, syscalls: Syscalls
) -> None:
    """Faults 1 and 5: the name appears only with everything in it, and the next restore removes the remains."""
    store = LocalStore(tmp_path / "store")
    digest, _ = _frozen(store, payload_folder)
    for call in itertools.count(1, 3):
        into = tmp_path / "out" / str(call)
        killed = syscalls.killed(lambda into=into: restore(store, digest, into), call)  # type: ignore[misc]
        if into.exists():
            assert read_folder(into) == read_folder(payload_folder)
        else:
            restore(store, digest, into)
            assert read_folder(into) == read_folder(payload_folder)
            assert list(into.parent.glob(".restore-*")) == []
        if not killed:
            break
    assert call > 20


def test_a_full_disk_leaves_no_folder_behind(payload_folder: Path, tmp_path: Path, syscalls: Syscalls) -> None:
    """Fault 4."""
    store = MemoryStore()
    digest, _ = _frozen(store, payload_folder)
    for call in itertools.count(1):
        into = tmp_path / "out" / str(call)
        with syscalls.failing(call, OSError(28, "No space left on device")) as made:
            try:
                restore(store, digest, into)
            except DependencyFailed as error:
                assert "free some space" in error.next_step  # noqa: PT017
        if len(made) < call:
            break
        assert not into.exists() or read_folder(into) == read_folder(payload_folder)
        assert list(tmp_path.rglob(".restore-*")) == []
    assert call > 20


names = st.text(st.characters(codec="utf-8", exclude_characters="/\\"), min_size=1, max_size=12).filter(
    lambda name: path_fault(name) is None and not name.casefold().startswith(".git")
)
trees = st.dictionaries(
    st.lists(names, min_size=1, max_size=3).map("/".join), st.binary(max_size=300), min_size=1, max_size=6
)


def _is_a_tree(files: dict[str, bytes]) -> bool:
    folded = [path.casefold() for path in files]
    nested = any(a != b and (b + "/").startswith(a + "/") for a in folded for b in folded)
    parts = {part for path in files for part in itertools.accumulate(path.split("/"), "{}/{}".format)}
    return not nested and len({part.casefold() for part in parts}) == len(parts)


@given(files=trees.filter(_is_a_tree))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_law_restore_of_freeze_is_the_same_byte_for_byte(files: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = write_folder(Path(name) / "source", files)
        store = LocalStore(Path(name) / "store")
        digest, manifest = _frozen(store, source)
        restore(store, digest, Path(name) / "out")
        assert read_folder(Path(name) / "out") == files
        assert verify_folder(Path(name) / "out", manifest) == verify(store, digest) == []


@given(files=trees.filter(_is_a_tree), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_law_one_flipped_bit_of_a_folder_is_found_and_named(files: dict[str, bytes], data: st.DataObject) -> None:
    full = sorted(path for path, content in files.items() if content)
    if not full:
        return
    with tempfile.TemporaryDirectory() as name:
        source = write_folder(Path(name) / "source", files)
        manifest = assemble(source, family="asr", version="v1")
        path = data.draw(st.sampled_from(full))
        bit = data.draw(st.integers(0, 8 * len(files[path]) - 1))
        (source / path).write_bytes(flipped(files[path], bit))
        assert [(fault.path, fault.kind) for fault in verify_folder(source, manifest)] == [(path, "changed")]
