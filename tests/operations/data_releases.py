"""A release whose train manifest names data that DVC made."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest

from contracts.train_manifest import TrainManifest
from operations import keys
from operations.with_data import RestoredData, restore_with_data
from registry.dvc_objects import object_key
from registry.store import Store
from registry.store.local import LocalStore
from tests.operations import gated_releases
from tests.operations.dvc_project import CLIPS, DATA, FAMILY, context_of, lineage, summary
from tests.operations.packaged import Packaged
from tests.registry.registry_parts import read_folder

UTTERANCES = CLIPS
FILES = CLIPS + 2
"""The clips, their manifest, and words.txt."""


class Released:
    """A bundle whose train manifest names the data of `made`, the project that DVC made.

    Args:
        folder: of the installation; it has params.yaml and nothing else.
        changes: go over the fields of the train manifest.
    """

    def __init__(self, made: Path, folder: Path, store: Store, **changes: Any) -> None:
        self.context = context_of(folder, store)
        folder.mkdir(exist_ok=True)
        shutil.copyfile(made / "params.yaml", folder / "params.yaml")
        keys.builder(self.context)
        told = {"dvc": lineage(context_of(made)), "data": summary(context_of(made, store)), **changes}
        plain = gated_releases._manifest

        def manifest(payload: str, version: str) -> TrainManifest:
            return plain(payload, version).model_copy(update=told)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gated_releases, "_manifest", manifest)
            self.bundle = Packaged(self.context, folder / "packaged").bundle
        self.data = {f"corpus/{path}": content for path, content in read_folder(made / DATA).items()}
        self.data["words.txt"] = (made / "words.txt").read_bytes()

    def restore(self, into: Path) -> RestoredData:
        return restore_with_data(self.context, FAMILY, self.bundle, into)[1]

    def object(self, path: str) -> Path | str:
        """Where the remote has a file of the data: a file, or a key of the bucket."""
        md5 = hashlib.md5(self.data[path], usedforsecurity=False).hexdigest()
        store, key = self.context.store, f"dvc/{object_key(md5)}"
        return store.root / key if isinstance(store, LocalStore) else f"team/{key}"
