"""`restore --with-data` from a real S3 server and from a folder, with DVC, its cache, its data and git gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import s3fs

from contracts.errors import AlreadyExists, Corrupt, DependencyFailed, Refused
from contracts.train_manifest import DvcRemote
from operations import data_push
from operations.with_data import restore_with_data
from registry.dvc_objects import folder_digest, md5_of
from registry.dvc_remote import DataRemote, Place
from registry.store import Store, s3
from registry.store.local import LocalStore
from registry.store.memory import MemoryStore
from registry.store.s3 import open_s3
from tests.operations.data_releases import FILES, UTTERANCES, Released
from tests.operations.dvc_project import (
    DATA,
    FAMILY,
    context_of,
    data_manifest,
    environment,
    lineage,
    summary,
)
from tests.registry.registry_parts import flipped, read_folder
from tests.servers.seaweed import SERVING, S3Server, free_ports, running, s3_client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running(tmp_path_factory.mktemp("s3")) as one:
        yield one


def patched(patch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        patch.setenv(name, value)


def push(made: Path, folder: Path, store: Store) -> None:
    """Push the project's data from a checkout that is gone afterwards, with its DVC cache."""
    checkout = Path(shutil.copytree(made, folder / "checkout"))
    data_push.push(context_of(checkout, store))
    shutil.rmtree(checkout)


@pytest.fixture(scope="module")
def local_release(dvc_project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("local")
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, environment(folder))
        store = LocalStore(folder / "store")
        push(dvc_project, folder, store)
        yield Released(dvc_project, folder / "installation", store)


@pytest.fixture(scope="module")
def s3_release(dvc_project: Path, server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("bucket")
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, environment(folder) | server.environment())
        s3_client(server).create_bucket(Bucket="data")
        store = open_s3(f"s3://data/team?endpoint={server.endpoint}")
        push(dvc_project, folder, store)
        yield Released(dvc_project, folder / "installation", store)


@pytest.fixture(params=["local", "s3"])
def released(request: pytest.FixtureRequest) -> Released:
    """A released bundle, its data pushed, all else gone but the store; what a test damages it puts back."""
    one: Released = request.getfixturevalue(f"{request.param}_release")
    return one


@contextmanager
def replaced(released: Released, path: str, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
    """Change an object of the data remote behind its back (None removes it) for the length of a block."""
    place, store = released.object(path), released.context.store
    before = place.read_bytes() if isinstance(place, Path) else store.read(place.removeprefix("team/"))
    after = change(before)
    _write(store, place, after)
    try:
        yield
    finally:
        _write(store, place, before)


def _write(store: Any, place: Path | str, content: bytes | None) -> None:
    if isinstance(place, Path):
        place.unlink(missing_ok=True)
        if content is not None:
            place.write_bytes(content)
    elif content is None:
        store.client.delete_object(Bucket=store.bucket, Key=place)
    else:
        store.client.put_object(Bucket=store.bucket, Key=place, Body=content)


def test_the_exact_data_comes_back_from_the_store_alone(released: Released, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    released.context.progress = lambda *step: told.append(step)
    done = released.restore(tmp_path / "back")
    assert read_folder(tmp_path / "back" / "data") == released.data
    assert (done.files, done.utterances) == (FILES, UTTERANCES)
    assert done.size == sum(map(len, released.data.values()))
    assert (tmp_path / "back" / "payload" / "weights.safetensors").read_bytes() == b"weights"
    assert told[-1] == ("bytes of data restored", done.size, done.size)
    assert [path.name for path in tmp_path.glob(".restore-*")] == []


def test_a_tampered_object_is_named_and_the_same_command_goes_on(released: Released, tmp_path: Path) -> None:
    into = tmp_path / "back"
    with (
        replaced(released, "corpus/audio/clip-1.wav", lambda content: flipped(content, 4001)),
        pytest.raises(Corrupt, match="an object of the data remote is not what its digest says") as corrupt,
    ):
        released.restore(into)
    assert f"{DATA}/audio/clip-1.wav" in corrupt.value.where
    assert not (into / "data").exists()
    assert (into / "payload" / "weights.safetensors").is_file()
    assert released.restore(into).files == FILES
    assert read_folder(into / "data") == released.data


def test_an_object_that_the_remote_lacks_is_named(released: Released, tmp_path: Path) -> None:
    with (
        replaced(released, "corpus/audio/clip-1.wav", lambda _: None),
        pytest.raises(DependencyFailed, match="the data remote lacks an object") as failed,
    ):
        released.restore(tmp_path / "back")
    assert failed.value.next_step.startswith("`soundcheck data push` from a machine that has the data")
    assert not (tmp_path / "back" / "data").exists()


def test_data_is_not_written_over(local_release: Released, tmp_path: Path) -> None:
    local_release.restore(tmp_path / "back")
    with pytest.raises(AlreadyExists, match="there is data already"):
        local_release.restore(tmp_path / "back")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="a bundle is only restored into a new or empty folder"):
        local_release.restore(tmp_path / "other")


def test_data_that_was_never_pushed_is_said_before_anything_is_written(dvc_project: Path, tmp_path: Path) -> None:
    released = Released(dvc_project, tmp_path / "installation", LocalStore(tmp_path / "store"))
    with pytest.raises(DependencyFailed, match="no data remote has the training data") as failed:
        released.restore(tmp_path / "back")
    assert failed.value.where == str(tmp_path / "store" / "dvc")
    assert not (tmp_path / "back").exists()


def test_the_serving_identity_can_restore(s3_release: Released, server: S3Server, tmp_path: Path) -> None:
    """Nothing is written to the store, and nothing but its address is known."""
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, server.environment(SERVING))
        reader = s3.S3Store(s3_client(server, SERVING), "data", "team", url=s3_release.context.store.url)
        context = context_of(s3_release.context.settings.root, reader)
        restore_with_data(context, FAMILY, s3_release.bundle, tmp_path / "back")
    assert read_folder(tmp_path / "back" / "data") == s3_release.data


def test_a_server_that_is_away_is_said(s3_release: Released, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    (port,) = free_ports(1)
    with pytest.raises(DependencyFailed, match="the data remote does not answer") as failed:
        DataRemote(Place("s3://data/team/dvc", f"http://127.0.0.1:{port}")).has("0" * 32)
    assert failed.value.next_step.startswith("is it up, and may this identity read there?")


@pytest.fixture
def variant(dvc_project: Path, local_release: Released, tmp_path: Path) -> Callable[..., Released]:
    """A release with another train manifest, over the same data."""

    def make(**changes: Any) -> Released:
        before = local_release.context.store
        assert isinstance(before, LocalStore)
        shutil.copytree(before.root / "dvc", tmp_path / "store" / "dvc")
        return Released(dvc_project, tmp_path / "installation", LocalStore(tmp_path / "store"), **changes)

    return make


def test_an_utterance_that_is_not_the_data_manifests_is_found(
    dvc_project: Path, variant: Callable[..., Released], tmp_path: Path
) -> None:
    """What MD5 alone would let through: the second digest is asked too."""
    frame = data_manifest(dvc_project)
    frame.loc[4, "sha256"] = "0" * 64
    frame.to_parquet(tmp_path / "other.parquet")
    store = LocalStore(tmp_path / "store")
    told = summary(context_of(dvc_project, store))
    released = variant(data=told.model_copy(update={"digest": store.put_blob(tmp_path / "other.parquet")}))
    with pytest.raises(Corrupt, match="an utterance of the training data is not what the data manifest says") as found:
        released.restore(tmp_path / "back")
    assert found.value.where == "audio/clip-4.wav"
    assert not (tmp_path / "back" / "data").exists()


def test_the_stores_own_place_is_recorded_without_an_address(dvc_project: Path, tmp_path: Path) -> None:
    """So the store can move, with the data in it."""
    project = Path(shutil.copytree(dvc_project, tmp_path / "project"))
    store = LocalStore(tmp_path / "store")
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, environment(tmp_path))
        data_push.configure(context_of(project, store))
    assert lineage(context_of(project, store)).remote == DvcRemote(name="soundcheck", url=None)
    assert (project / ".dvc" / "config").read_text() == (dvc_project / ".dvc" / "config").read_text()


def test_another_remote_that_the_manifest_names_is_asked(
    dvc_project: Path, variant: Callable[..., Released], tmp_path: Path
) -> None:
    elsewhere = DvcRemote(name="nas", url=str(tmp_path / "nas"))
    dvc = lineage(context_of(dvc_project)).model_copy(update={"remote": elsewhere})
    released = variant(dvc=dvc)
    (tmp_path / "store" / "dvc").rename(tmp_path / "nas")
    assert released.restore(tmp_path / "back").remote == str(tmp_path / "nas")
    assert read_folder(tmp_path / "back" / "data") == released.data


def test_a_folder_inside_an_output_comes_back_by_the_output_that_held_it(
    dvc_project: Path, variant: Callable[..., Released], tmp_path: Path
) -> None:
    plain = lineage(context_of(dvc_project))
    audio = {name: md5_of(content) for name, content in read_folder(dvc_project / DATA / "audio").items()}
    (corpus,) = (entry for entry in plain.data if entry.path == DATA)
    changes = {"path": f"{DATA}/audio", "md5": folder_digest(audio), "held_in": corpus.md5, "inside": "audio"}
    released = variant(dvc=plain.model_copy(update={"deps": (corpus.model_copy(update=changes),)}), data=None)
    released.restore(tmp_path / "back")
    assert set(read_folder(tmp_path / "back" / "data")) == {f"corpus/audio/{name}" for name in audio}


@pytest.mark.parametrize(
    ("changes", "got"),
    [({"dvc": None}, "no stage of dvc.lock made it from data"),
     ({"dvc": None, "origin": "third_party"}, "a third party's model")],
)  # fmt: skip
def test_a_bundle_without_data_of_ours_says_so(
    changes: dict[str, Any], got: str, variant: Callable[..., Released], tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="the training data of this bundle cannot be restored") as refused:
        variant(**changes).restore(tmp_path / "back")
    assert refused.value.got == got
    assert refused.value.next_step == "restore it without --with-data"


def test_a_store_in_memory_has_no_place_for_data(dvc_project: Path) -> None:
    with pytest.raises(Refused, match="this store has no place for data"):
        data_push.configure(context_of(dvc_project, MemoryStore()))
