"""Payload files from the store, in a verified folder that runtimes can load.

Boundary: writes below HOME/cache/payloads alone.
Invariants: the folder's name is the payload digest; every file is digested before it is used, so that what is scored
is what was captured (R3.2), whatever happened to the candidate folder since.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from contracts.digest import sha256_file
from contracts.train_manifest import TrainManifest
from operations.context import Context


def materialise(context: Context, manifest: TrainManifest) -> Path:
    """The folder that holds exactly the manifest's payload."""
    shelf = context.home / "cache" / "payloads"
    target = shelf / manifest.payload_digest
    if _whole(target, manifest):
        return target
    shutil.rmtree(target, ignore_errors=True)
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf, prefix=".partial-") as partial:
        folder = Path(partial) / "payload"
        for path, entry in manifest.payload.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            context.store.copy_blob(entry.sha256, folder / path)
        folder.rename(target)
    return target


def _whole(folder: Path, manifest: TrainManifest) -> bool:
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return present == set(manifest.payload) and all(
        sha256_file(folder / path) == entry.sha256 for path, entry in manifest.payload.items()
    )
