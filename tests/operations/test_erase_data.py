"""Withdrawn consent in the training data (S5): DVC's objects go, from a folder and from a real S3 server."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from contracts.digest import sha256_bytes
from contracts.errors import DependencyFailed
from operations import data_push, keys
from operations.context import Context
from operations.erase import erase
from operations.erase_data import Copies
from operations.with_data import restore_with_data
from registry.dvc_objects import object_key
from registry.dvc_remote import DataRemote, place_of_store
from registry.store import Store
from registry.store.local import LocalStore
from registry.store.s3 import open_s3
from tests.operations.data_releases import FILES, UTTERANCES, Released
from tests.operations.dvc_project import DATA, FAMILY, context_of, environment
from tests.registry.registry_parts import read_folder
from tests.servers.seaweed import running, s3_client

REASON = "consent withdrawn by speaker 7"
CLIP = f"{DATA}/audio/clip-1.wav"


class Withdrawn:
    """A project whose data was pushed, and a release of another installation that was trained on it."""

    def __init__(self, made: Path, folder: Path, store: Store) -> None:
        self.checkout = Path(shutil.copytree(made, folder / "checkout"))
        data_push.push(context_of(self.checkout, store))
        self.release = Released(made, folder / "installation", store)
        self.context = self.release.context
        keys.new(self.context, "bert", ("operator",))
        ledger = self.context.ledger(FAMILY)
        (package,) = (event for event in ledger.events() if event.step == "package")
        ledger.append("capture", "complete", at="2026", outputs={"train_manifest": package.inputs["train_manifest"]})
        self.voice = (made / CLIP).read_bytes()
        self.md5 = hashlib.md5(self.voice, usedforsecurity=False).hexdigest()
        place = place_of_store(store.url)
        assert place is not None
        self.remote = DataRemote(place)

    def erase(self, context: Context | None = None) -> Copies:
        return erase(context or self.context, sha256_bytes(self.voice), key_name="bert", reason=REASON).copies

    def checkout_context(self) -> Context:
        """The installation that has the work tree and DVC's cache; it shares keys with the other one."""
        context = context_of(self.checkout, self.context.store)
        shutil.copytree(self.context.home, context.home, dirs_exist_ok=True)
        return context


@pytest.fixture
def local(dvc_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Withdrawn:
    for name, value in environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return Withdrawn(dvc_project, tmp_path, LocalStore(tmp_path / "store"))


@pytest.fixture
def bucket(dvc_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Withdrawn]:
    with running(tmp_path / "server") as server:
        for name, value in (environment(tmp_path) | server.environment()).items():
            monkeypatch.setenv(name, value)
        s3_client(server).create_bucket(Bucket="data")
        yield Withdrawn(dvc_project, tmp_path, open_s3(f"s3://data/team?endpoint={server.endpoint}"))


@pytest.mark.parametrize("kind", ["local", "bucket"])
def test_an_utterance_goes_from_the_data_remote_and_restored_data_says_so(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place: Withdrawn = request.getfixturevalue(kind)
    assert place.remote.has(place.md5)
    assert place.erase() == Copies(removed=(f"object {place.md5} of {place.remote.address}",))
    assert not place.remote.has(place.md5)
    done, data = restore_with_data(place.context, FAMILY, place.release.bundle, tmp_path / "out")
    (said,) = done.absent
    assert said.startswith(f"{CLIP}: erased on ")
    assert said.endswith(f" by bert: {REASON}")
    assert (data.files, data.utterances) == (FILES - 1, UTTERANCES - 1)
    expected = {path: content for path, content in place.release.data.items() if content != place.voice}
    assert read_folder(data.folder) == expected
    assert data.size == sum(map(len, expected.values()))
    assert place.erase() == Copies()  # run again: there is nothing left


def _away(address: str) -> Callable[[DataRemote, str], bool]:
    real = DataRemote.remove

    def remove(self: DataRemote, md5: str) -> bool:
        if self.address == address:
            raise DependencyFailed("the data remote does not answer", where=self.address)
        return real(self, md5)

    return remove


def test_a_list_of_data_stays_until_the_data_remote_of_the_store_answers(
    local: Withdrawn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its MD5 is known from its content alone, so the blob goes last."""
    rows = (local.checkout / DATA / "manifest.parquet").read_bytes()
    md5 = hashlib.md5(rows, usedforsecurity=False).hexdigest()
    blob = sha256_bytes(rows)
    with monkeypatch.context() as patch:
        patch.setattr(DataRemote, "remove", _away(local.remote.address))
        with pytest.raises(DependencyFailed, match="the data remote does not answer"):
            erase(local.context, blob, key_name="bert", reason=REASON)
    assert local.context.store.has_blob(blob)
    done = erase(local.context, blob, key_name="bert", reason=REASON)
    assert done.copies.removed == (f"object {md5} of {local.remote.address}",)
    assert not local.context.store.has_blob(blob)


def test_dvc_s_cache_here_loses_it_and_what_cannot_be_deleted_is_named(
    local: Withdrawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, other = local.checkout_context(), tmp_path / "other"
    (local.checkout / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = other\n['remote \"other\"']\n    url = {other}\n"
    )
    cached = local.checkout / ".dvc" / "cache" / object_key(local.md5)
    assert cached.is_file()
    monkeypatch.setattr(DataRemote, "remove", _away(str(other)))
    assert local.erase(context) == Copies(
        removed=(f"object {local.md5} of this project's DVC cache", f"object {local.md5} of {local.remote.address}"),
        left=(
            f"{CLIP} in the project's folder, and in every other checkout: delete it, then `dvc commit`",
            f"object {local.md5} of {other} (the data remote does not answer): delete it there",
        ),
    )
    assert not cached.exists()
    assert not local.remote.has(local.md5)
