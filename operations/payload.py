"""Payload files from the store, in a verified folder that runtimes can load.

Boundary: writes below HOME/cache/payloads alone.
Invariants: the folder's name is the payload digest; every file is digested before it is used, so that what is scored
is what was captured (R3.2), whatever happened to the candidate folder since.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from contracts.bundle import BundleManifest, payload_digest
from contracts.digest import Digest, sha256_file, short
from contracts.errors import Corrupt, Refused
from contracts.feature_contract import FeatureContract
from contracts.train_manifest import FileEntry, TrainManifest
from operations.context import Context
from registry.documents import get_document
from registry.tombstones import erased_among


def payload_folder(home: Path, payload: Digest) -> Path:
    """Where the payload of a digest lies, once it was materialised."""
    return home / "cache" / "payloads" / payload


def materialise(context: Context, manifest: TrainManifest | BundleManifest) -> Path:
    """The folder that holds exactly the manifest's payload; Refused, and no folder, where a file of it was erased."""
    files = manifest.payload() if isinstance(manifest, BundleManifest) else manifest.payload
    target = payload_folder(context.home, manifest.payload_digest)
    shelf = target.parent
    try:
        erased_among(context.store, files)
    except Refused:
        shutil.rmtree(target, ignore_errors=True)
        raise
    if _whole(target, files):
        return target
    shutil.rmtree(target, ignore_errors=True)
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".partial-") as partial:
        folder = Path(partial) / "payload"
        for path, entry in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            context.store.copy_blob(entry.sha256, folder / path)
        folder.rename(target)
    return target


def feature_contract(context: Context, bundle: Digest) -> FeatureContract:
    """What a packaged bundle takes and gives."""
    manifest = get_document(context.store, BundleManifest, bundle)
    entry = manifest.files["payload/feature_contract.json"]
    return FeatureContract.parse(context.store.read_blob(entry.sha256))


def check_payload_folder(folder: Path, payload: Digest) -> None:
    """Digest every file of a folder that another process materialised; Corrupt where it is not the payload."""
    paths = {name: folder / name for name in _present(folder)}
    found = payload_digest({n: FileEntry(sha256=sha256_file(p), size=p.stat().st_size) for n, p in paths.items()})
    if found != payload:
        raise Corrupt(
            "a payload is not what its digest says",
            where=f"cache/payloads/{short(payload)} in the home folder",
            got=f"{len(paths)} files, {short(found)}",
            expected=short(payload),
            next_step="run the release again, it makes the folder anew; every worker must see the same home folder",
        )


def _present(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _whole(folder: Path, files: Mapping[str, FileEntry]) -> bool:
    return _present(folder) == set(files) and all(
        sha256_file(folder / path) == entry.sha256 for path, entry in files.items()
    )
