"""Bundles: assemble a folder into a manifest, freeze it into the store, restore it, verify it, keep it in a cache.

Boundary: the store and the folders it is handed.
Invariants: a bundle is named by the digest of its manifest; blobs are written before the manifest, so that a bundle
without its manifest does not exist (R5.3); a restored folder appears whole, under its name, or not at all (S2);
completeness is judged by the manifest, never by a listing (fault 17); modes, owners and times are not part of a bundle;
an erased file that a bundle does not run from may be absent, and the folder then has a note that says so (S5); a copy
in the cache that was restored before an erasure loses the file, or is refused, when it is next used.
Source: release-algorithm R5, B3, S1 to S3; model-transparency's way of naming extra, missing and changed files apart.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from contracts.bundle import PAYLOAD, BundleManifest, payload_digest
from contracts.digest import Digest, sha256_bytes, short
from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, NotFound, Refused, SoundcheckError
from contracts.tombstone import ABSENT, AbsentFile, AbsentFiles
from contracts.train_manifest import FileEntry
from registry.documents import put_document
from registry.folders import TRANSFERS, Progress, changed, digest_file, digest_folder, each, survey
from registry.store import Store
from registry.store.files import (
    SCRATCH_FOLDER,
    disk,
    make_folder,
    replace_file,
    scratch_folder,
    sweep,
    sync_files,
    sync_folder,
)
from registry.tombstones import absent_file, absent_in, erased_among, take_out

MANIFEST_PATH = "(manifest)"
"""How a fault names the manifest itself; no bundle path has parentheses at both ends."""

_CACHE_ATTEMPTS = 8


class BundleFault(NamedTuple):
    """One thing wrong with a bundle: the file's path, what kind of fault, and the details in words."""

    path: str
    kind: Literal["missing", "extra", "changed", "corrupt", "manifest"]
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} ({self.detail})"


def assemble(folder: Path, *, family: str, version: str) -> BundleManifest:
    """The manifest of a folder laid out as contracts/bundle.py says.

    Raises Refused for links, devices, empty folders, names that are not portable, git's files, over 10,000 files, and
    for files that change while they are digested.
    """
    files = digest_folder(folder)
    payload = {path.removeprefix(PAYLOAD): entry for path, entry in files.items() if path.startswith(PAYLOAD)}
    return BundleManifest(family=family, version=version, payload_digest=payload_digest(payload), files=files)


def freeze(store: Store, folder: Path, manifest: BundleManifest, on_progress: Progress | None = None) -> Digest:
    """Write a bundle: every blob the store lacks (R5.2), then the manifest (R5.3); the bundle's digest.

    Run again after a failure it goes on where it stopped. Raises Refused where a file is no longer what the manifest
    says; the manifest is then not written.
    """
    sources = {entry.sha256: path for path, entry in manifest.files.items()}
    sizes = {entry.sha256: entry.size for entry in manifest.files.values()}

    def put(digest: Digest) -> None:
        if not store.keep_blob(digest) and store.put_blob(folder / sources[digest]) != digest:
            raise changed(folder, [sources[digest]])

    done = 0
    for digest, _ in each(sorted(sources, key=lambda digest: -sizes[digest]), put, threads=TRANSFERS):
        done += sizes[digest]
        if on_progress:
            on_progress(done, sum(sizes.values()))
    return put_document(store, manifest)


def load_manifest(store: Store, digest: Digest) -> BundleManifest:
    """The manifest of a bundle; raises NotFound, or Corrupt where its bytes are not its own."""
    try:
        content = store.read_blob(digest)
    except NotFound:
        raise NotFound(
            f"no bundle {short(digest)}", where=store.url, next_step="`soundcheck status` lists the bundles there are"
        ) from None
    return BundleManifest.parse(content, where=f"{store.url}, bundle {short(digest)}")


def restore(store: Store, digest: Digest, into: Path, on_progress: Progress | None = None) -> BundleManifest:
    """Write a bundle's files into a new or empty folder, digested as they are written (S2).

    The folder appears at once when all is written and synced. Raises AlreadyExists for a target that has something
    in it, NotFound or Corrupt for a bundle that is not whole; nothing is left behind then.
    """
    into = Path(os.path.abspath(into))
    if into.is_symlink() or (into.exists() and (not into.is_dir() or any(into.iterdir()))):
        raise _occupied(into)
    manifest = load_manifest(store, digest)
    with disk("a bundle could not be restored", str(into)):
        make_folder(into.parent)
        sweep(into.parent, SCRATCH_FOLDER + "*")
        with scratch_folder(into) as folder:
            _fill(store, manifest, folder, on_progress)
            try:
                folder.rename(into)
            except OSError as error:
                if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise _occupied(into) from None
                raise
        sync_folder(into.parent)
    return manifest


def _fill(store: Store, manifest: BundleManifest, folder: Path, on_progress: Progress | None) -> None:
    folders = {(folder / path).parent for path in manifest.files}
    for needed in sorted(folders):
        needed.mkdir(parents=True, exist_ok=True)

    def copy(path: str) -> AbsentFile | None:
        digest = manifest.files[path].sha256
        try:
            store.copy_blob(digest, folder / path, sync=False)
        except NotFound:
            if erased := absent_file(store, path, digest):
                return erased
            raise
        return None

    absent: dict[str, AbsentFile] = {}
    done, total = 0, sum(entry.size for entry in manifest.files.values())
    for path, erased in each(_largest_first(manifest), copy, threads=TRANSFERS):
        if erased:
            absent[path] = erased
        done += manifest.files[path].size
        if on_progress:
            on_progress(done, total)
    if absent:
        _note(folder, manifest, absent)
    sync_files(folder / path for path in (manifest.files.keys() - absent) | ({ABSENT} if absent else set()))
    for made in {
        folder,
        *folders,
        *(parent for leaf in folders for parent in leaf.parents if folder in parent.parents),
    }:
        if made.is_dir():
            sync_folder(made)


def _note(folder: Path, manifest: BundleManifest, absent: dict[str, AbsentFile]) -> None:
    """Say in the folder what it lacks (S5)."""
    (folder / ABSENT).write_bytes(AbsentFiles(bundle=manifest.digest(), files=dict(sorted(absent.items()))).canonical())
    for path in absent:
        with suppress(OSError):  # it has other files
            (folder / path).parent.rmdir()


def _largest_first(manifest: BundleManifest) -> list[str]:
    return sorted(manifest.files, key=lambda path: -manifest.files[path].size)


def _occupied(into: Path) -> AlreadyExists:
    return AlreadyExists(
        "a bundle is only restored into a new or empty folder",
        where=str(into),
        got="something is there already",
        next_step="name another folder, or move this one away",
    )


def verify(store: Store, digest: Digest) -> list[BundleFault]:
    """Read a bundle's manifest and every blob of it; [] is a whole bundle (B3)."""
    try:
        manifest = load_manifest(store, digest)
    except (NotFound, Corrupt) as error:
        return [BundleFault(MANIFEST_PATH, "missing" if isinstance(error, NotFound) else "corrupt", _one_line(error))]

    def check(entry: FileEntry) -> tuple[Literal["missing", "corrupt"], str] | None:
        try:
            size = store.check_blob(entry.sha256)
        except NotFound:
            return "missing", f"no blob {short(entry.sha256)}"
        except Corrupt as error:
            return "corrupt", _one_line(error)
        return None if size == entry.size else ("corrupt", f"{size} bytes, the manifest says {entry.size}")

    blobs = list({(entry.sha256, entry.size): entry for entry in manifest.files.values()}.values())
    wrong = {(entry.sha256, entry.size): fault for entry, fault in each(blobs, check, threads=TRANSFERS) if fault}
    faults = ((path, wrong.get((entry.sha256, entry.size))) for path, entry in sorted(manifest.files.items()))
    return [BundleFault(path, *fault) for path, fault in faults if fault]


def _one_line(error: SoundcheckError) -> str:
    return f"{error.what}: got {error.got}" if error.got else error.what


def verify_folder(folder: Path, manifest: BundleManifest) -> list[BundleFault]:
    """Compare a folder with a manifest; names files that are extra, missing and changed apart, sorted by path.

    A link, a device or an empty folder is a change where the manifest has a file, else it is extra. Erased files that
    the folder's own note names are no faults (S5).
    """
    present, unfit = survey(folder)
    expected = manifest.files
    faults = [BundleFault(path, "changed" if path in expected else "extra", reason) for path, reason in unfit.items()]
    erased = absent_in(folder, manifest)
    known = expected | unfit | ({ABSENT: None} if erased else {})
    faults += [BundleFault(path, "extra", "not in the manifest") for path in present if path not in known]
    absent = expected.keys() - present.keys() - unfit.keys() - erased.keys()
    faults += [BundleFault(path, "missing", "not in the folder") for path in absent]
    common = [path for path in _largest_first(manifest) if path in present and path not in unfit]
    for path, entry in each(common, lambda path: digest_file(folder, path, present[path])):
        if entry != expected[path]:
            faults.append(BundleFault(path, "changed", f"got {_words(entry)}, expected {_words(expected[path])}"))
    return sorted(faults)


def _words(entry: FileEntry) -> str:
    return f"sha256 {short(entry.sha256)} of {entry.size} bytes"


class CachedBundle(NamedTuple):
    """A restored bundle's folder, and the manifest that whoever loads a file of it later compares the bytes with."""

    folder: Path
    manifest: BundleManifest


def cached(store: Store, digest: Digest, cache_root: Path) -> Path:
    """The folder of `cached_bundle`."""
    return cached_bundle(store, digest, cache_root).folder


def cached_bundle(store: Store, digest: Digest, cache_root: Path) -> CachedBundle:
    """A restored bundle, in `cache_root/bundles/DIGEST`, restored once and verified at every call.

    The manifest lies beside it, so that a whole cached bundle is found without the store (fault 19). A damaged copy is
    replaced from the store. What was erased meanwhile, by whatever machine, is taken out of it (S5). Raises what
    `restore` raises.
    """
    folder = Path(os.path.abspath(cache_root)) / "bundles" / digest
    manifest = _cached_manifest(store, digest, folder.with_name(f"{digest}.json"))
    for _ in range(_CACHE_ATTEMPTS):
        if folder.is_dir():
            if not verify_folder(folder, manifest):
                _take_out_erased(store, folder, manifest)
                return CachedBundle(folder, manifest)
            _discard(folder)
        with suppress(AlreadyExists):  # another process has restored it meanwhile: look again
            restore(store, digest, folder)
            return CachedBundle(folder, manifest)
    raise DependencyFailed(
        "a bundle could not be kept in the cache: something else writes there",
        where=str(folder),
        got=f"{_CACHE_ATTEMPTS} attempts",
        next_step="end what writes there or remove it, then run the same command again",
    )


def _take_out_erased(store: Store, folder: Path, manifest: BundleManifest) -> None:
    """Ask the store, once, what was erased since this copy was restored; Refused where the bundle runs from it."""
    try:
        erased = erased_among(store, manifest.files)
    except DependencyFailed:
        return  # the store is away: what is here goes on (fault 19), and is asked about when it is next used
    except Corrupt:
        raise
    except Refused:
        _discard(folder)
        raise
    if absent := {path: entry for path, entry in erased.items() if (folder / path).exists()}:
        with disk("an erased file could not be taken out of the cache", str(folder)):
            take_out(folder, manifest.digest(), absent)


def _discard(folder: Path) -> None:
    """Take a damaged copy away; a process that has it open keeps its files."""
    what = "a damaged copy could not be taken out of the cache"
    with disk(what, str(folder)), scratch_folder(folder) as discarded, suppress(FileNotFoundError):
        folder.rename(discarded / folder.name)  # not found: another process was faster


def _cached_manifest(store: Store, digest: Digest, path: Path) -> BundleManifest:
    with disk("the cache could not be read or written", str(path)):
        content = path.read_bytes() if path.is_file() else b""
        if sha256_bytes(content) != digest:
            content = load_manifest(store, digest).canonical()
            make_folder(path.parent)
            sweep(path.parent)
            replace_file(path, content, scratch=path.parent)
    return BundleManifest.parse(content, where=str(path))
