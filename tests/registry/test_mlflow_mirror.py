"""The MLflow mirror, on a real server (once a session) and on a real database file."""

from __future__ import annotations

import io
import json
import math
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import DependencyFailed, WrongCall
from contracts.registry_entry import RegistryEntry
from registry.mirrored import metric_name
from registry.mlflow_connection import QUIET, prepare_database
from registry.mlflow_mirror import Mirror
from tests.registry.registry_parts import registry_entry

FAMILY = "asr-en"
V1, V2 = "a1" * 32, "a2" * 32
BUNDLE_1, BUNDLE_2 = "b1" * 32, "b2" * 32


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server` on a free port."""
    folder = tmp_path_factory.mktemp("mlflow-server")
    prepare_database(folder / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        f"{folder}/artifacts",
    ]
    quiet = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=quiet, stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process, folder / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow-file')}/mlflow.db"


@pytest.fixture(params=["server", "database"])
def uri(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(request.param))


@pytest.fixture
def mirror(uri: str, request: pytest.FixtureRequest) -> tuple[Mirror, str]:
    """A mirror and a family of its own for the test."""
    return Mirror(uri), f"asr-{request.node.name.split('[')[0].removeprefix('test_').replace('_', '-')}"


def client(mirror: Mirror) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(mirror.tracking_uri, mirror.tracking_uri)


def test_a_release_is_a_run_and_a_version_with_every_field_of_the_contract(mirror: tuple[Mirror, str]) -> None:
    view, family = mirror
    number = view.register(registry_entry(), family=family, release=V1)
    version = client(view).get_model_version(family, number)
    for name in RegistryEntry.model_fields:
        assert version.tags[name], name
    assert version.tags["languages"] == '["en","es"]'
    assert version.tags["soundcheck.release"] == V1
    assert version.tags["soundcheck.payload"] == "cd" * 32
    run = client(view).get_run(version.run_id)
    assert run.data.tags["owner"] == "open-vocabulary team"
    assert run.info.status == "FINISHED"


def test_registering_again_finds_the_same_version(mirror: tuple[Mirror, str]) -> None:
    view, family = mirror
    first = view.register(registry_entry(), family=family, release=V1)
    assert Mirror(view.tracking_uri).register(registry_entry(), family=family, release=V1) == first
    second = view.register(registry_entry("v2"), family=family, release=V2)
    assert int(second) == int(first) + 1
    assert len(client(view).search_model_versions(f"name = '{family}'")) == 2


def test_recording_twice_leaves_one_point_one_file_one_tag(mirror: tuple[Mirror, str]) -> None:
    view, family = mirror
    release = "c1" * 32
    number = view.register(registry_entry(), family=family, release=release)
    metrics = {f"wer/pack/accent=a{i}&noise=5db": i / 1000 for i in range(1203)}
    for _ in range(2):
        view.record(release, metrics=metrics, tags={"verdict": "pass"}, artifacts={"reports/quality.json": b"{}"})
    version = client(view).get_model_version(family, number)
    assert version.tags["soundcheck.verdict"] == "pass"
    run = client(view).get_run(version.run_id)
    assert len(run.data.metrics) == 1203
    assert run.data.metrics["wer/pack/accent:a1202 noise:5db"] == 1.202
    assert len(client(view).get_metric_history(version.run_id, "wer/pack/accent:a7 noise:5db")) == 1
    assert [file.path for file in client(view).list_artifacts(version.run_id, "reports")] == ["reports/quality.json"]


def test_aliases_move_and_go(mirror: tuple[Mirror, str]) -> None:
    view, family = mirror
    releases = ["d1" * 32, "d2" * 32]
    numbers = [view.register(registry_entry(), family=family, release=release) for release in releases]
    for release, number in zip(releases, numbers, strict=True):
        view.point(family, "stable", release)
        assert str(client(view).get_model_version_by_alias(family, "stable").version) == number
    for _ in range(2):
        view.point(family, "stable", None)
        assert not client(view).get_registered_model(family).aliases
    view.point("asr-nobody-knows", "canary", None)


def test_a_false_alias_is_told(mirror: tuple[Mirror, str]) -> None:
    """Fault 35: the alias is moved, or its bundle tag is written over, behind the pointer's back."""
    view, family = mirror
    first, second = "e1" * 32, "e2" * 32
    for release, bundle in ((first, BUNDLE_1), (second, BUNDLE_2)):
        view.register(registry_entry(), family=family, release=release)
        view.record(release, tags={"bundle": bundle})
    assert view.differences(family, None) == []
    assert view.differences(family, BUNDLE_1) == [
        f"MLflow's alias 'stable' of {family} does not exist, but the pointer of {family} names bundle b1b1b1b1b1b1"
    ]
    view.point(family, "stable", first)
    assert view.differences(family, BUNDLE_1) == []
    assert view.differences(family, None) == [
        f"MLflow's alias 'stable' of {family} is version 1 with bundle b1b1b1b1b1b1, "
        f"but the pointer of {family} has no stable bundle"
    ]
    client(view).set_registered_model_alias(family, "stable", "2")
    assert view.differences(family, BUNDLE_1) == [
        f"MLflow's alias 'stable' of {family} is version 2 with bundle b2b2b2b2b2b2, "
        f"but the pointer of {family} names bundle b1b1b1b1b1b1"
    ]
    client(view).delete_model_version_tag(family, "2", "soundcheck.bundle")
    assert "version 2 with no bundle" in view.differences(family, BUNDLE_1)[0]


def test_the_model_of_a_version_is_two_text_files_that_name_loader_and_bundle(mirror: tuple[Mirror, str]) -> None:
    import mlflow

    view, family = mirror
    release = "f1" * 32
    number = Mirror(view.tracking_uri, store_url="file:///srv/store").register(
        registry_entry(), family=family, release=release
    )
    Mirror(view.tracking_uri, store_url="file:///srv/store").record(release, tags={"bundle": BUNDLE_1})
    mlflow.set_tracking_uri(view.tracking_uri)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{family}/{number}"))
    assert sorted(path.name for path in folder.iterdir() if path.name != "registered_model_meta") == [
        "MLmodel",
        "bundle.json",
    ]
    assert json.loads((folder / "bundle.json").read_bytes()) == {
        "bundle": BUNDLE_1,
        "family": family,
        "store": "file:///srv/store",
        "version": int(number),
    }
    flavor = mlflow.models.Model.load(str(folder)).flavors["python_function"]
    assert flavor == {"loader_module": "serving.pyfunc", "data": "bundle.json"}


def test_a_run_removed_behind_our_back_is_said(mirror: tuple[Mirror, str]) -> None:
    with pytest.raises(DependencyFailed) as caught:
        mirror[0].record("99" * 32, tags={"verdict": "pass"})
    assert caught.value.what == "MLflow has no run of the release 999999999999"
    assert caught.value.exit_status == 3


def test_a_deleted_experiment_comes_back(database: str) -> None:
    view = Mirror(database)
    first = view.register(registry_entry(), family="asr-deleted", release=V1)
    client(view).delete_experiment(client(view).get_experiment_by_name("asr-deleted").experiment_id)
    assert view.register(registry_entry(), family="asr-deleted", release=V1) == first


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a//b"])
def test_an_artifact_stays_in_its_run(database: str, path: str) -> None:
    with pytest.raises(WrongCall, match="an artifact's path"):
        Mirror(database).record(V1, artifacts={path: b""})


def test_a_release_id_is_not_a_query(database: str) -> None:
    with pytest.raises(WrongCall, match="not a release id"):
        Mirror(database).record("x' OR '1'='1", tags={})


def test_nobody_listening_is_told_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    began = time.monotonic()
    with pytest.raises(DependencyFailed) as caught:
        Mirror(url).point(FAMILY, "stable", V1)
    assert time.monotonic() - began < 2
    assert caught.value.what == "MLflow could not move the alias 'stable' of asr-en"
    assert caught.value.where == url
    assert "Connection refused" in caught.value.got
    assert "soundcheck up" in caught.value.next_step


def test_a_locked_database_is_told(tmp_path: Path) -> None:
    prepare_database(tmp_path / "mlflow.db")
    holder = sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(DependencyFailed, match="database is locked"):
        Mirror(f"sqlite:///{tmp_path}/mlflow.db").register(registry_entry(), family=FAMILY, release=V1)
    holder.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DependencyFailed, match=r"Not a directory|File exists"):
        Mirror(f"sqlite:///{tmp_path}/file/mlflow.db").register(registry_entry(), family=FAMILY, release=V1)


def test_no_credentials_are_shown() -> None:
    with pytest.raises(DependencyFailed) as caught:
        Mirror("http://name:secret@127.0.0.1:9").point(FAMILY, "stable", None)
    assert "secret" not in str(caught.value)
    assert Mirror("http://name:secret@host:5000").address(FAMILY, "3") == "http://host:5000/#/models/asr-en/versions/3"
    assert Mirror("sqlite:///x.db").address(FAMILY, "3") == "models:/asr-en/3"


def test_importing_the_mirror_does_not_import_mlflow() -> None:
    script = "import sys, registry.mlflow_mirror, serving.pyfunc\nassert not {'mlflow', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_stable_alias_is_asked_without_importing_mlflow(server: str) -> None:
    """`soundcheck status` answers at once."""
    view, release = Mirror(server), "44" * 32
    view.register(registry_entry(), family="asr-glance", release=release)
    view.record(release, tags={"bundle": BUNDLE_1})
    view.point("asr-glance", "stable", release)
    script = (
        "import sys; from registry.mlflow_mirror import Mirror\n"
        f"view = Mirror({server!r})\n"
        f"print(view.differences('asr-glance', {BUNDLE_2!r}), view.differences('asr-nobody-knows', None))\n"
        "assert not {'mlflow', 'sqlalchemy'} & set(sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert told.strip() == (
        "[\"MLflow's alias 'stable' of asr-glance is version 1 with bundle b1b1b1b1b1b1, "
        'but the pointer of asr-glance names bundle b2b2b2b2b2b2"] []'
    )


def test_nothing_phones_home(database: str) -> None:
    Mirror(database).differences(FAMILY, None)
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


SLICES = st.from_regex(r"[a-z0-9][a-z0-9_.+-]{0,8}", fullmatch=True)


@given(st.lists(st.tuples(SLICES, SLICES), min_size=1, max_size=3))
def test_law_every_slice_has_a_metric_name_that_mlflow_takes(pairs: list[tuple[str, str]]) -> None:
    from mlflow.utils.validation import _validate_metric

    _validate_metric(metric_name("pack/wer/" + "&".join(f"{column}={value}" for column, value in pairs)), 0.0, 0, 0)


@given(st.text(alphabet="ab=&+%é", max_size=6), st.text(alphabet="ab=&+%é", max_size=6))
def test_law_different_metrics_keep_different_names(left: str, right: str) -> None:
    assert (metric_name(left) == metric_name(right)) == (left == right)


def test_a_number_that_is_not_one_is_kept_as_such(database: str) -> None:
    view = Mirror(database)
    release = "77" * 32
    number = view.register(registry_entry(), family="asr-nan", release=release)
    view.record(release, metrics={"rate": math.nan})
    run = client(view).get_run(client(view).get_model_version("asr-nan", number).run_id)
    assert math.isnan(run.data.metrics["rate"])


TOKENS = ("", "lamp", "on", "off", "stop")


def write_bundle(folder: Path) -> None:
    """A bundle with a real (untrained, seeded) recogniser: its words mean nothing, and are always the same."""
    import torch

    from speech.ctc.export import write_payload
    from speech.ctc.model import ModelConfig, Recogniser
    from speech.ctc.recipe import Recipe
    from speech.front_end import FrontEndConfig

    torch.manual_seed(7)
    front_end = FrontEndConfig()
    model = Recogniser(ModelConfig(mels=front_end.mels, channels=8, hidden=8, vocabulary_size=len(TOKENS)))
    decoder = {"blank_bias": -5.0, "least_confidence": 0.0}
    recipe = Recipe(description="untrained", channels=8, hidden=8, steps=1, versions={"clean": 1}, decoder=decoder)
    (folder / "payload").mkdir(parents=True)
    write_payload(folder / "payload", model, recipe, front_end, TOKENS)


def wav(rate_hz: int = 16_000) -> bytes:
    samples = np.random.default_rng(1).uniform(-0.3, 0.3, rate_hz)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_mlflow_loads_the_stable_version_and_hears_as_its_runtime_does(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import pandas as pd

    from registry.bundle import assemble, freeze
    from registry.ledger import Ledger
    from registry.store import open_store
    from speech.runtimes import load

    write_bundle(tmp_path / "made")
    store = open_store("file://store", tmp_path / "home")
    bundle = freeze(store, tmp_path / "made", assemble(tmp_path / "made", family="asr-loaded", version="v1"))
    view, release = Mirror(server, store_url="file://store"), "55" * 32
    Ledger(store, "asr-loaded").append("package", "complete", at="2026-01-01T00:00:00Z", outputs={"bundle": bundle})
    view.register(registry_entry(), family="asr-loaded", release=release)
    view.record(release, tags={"bundle": bundle})
    view.point("asr-loaded", "stable", release)

    monkeypatch.setenv("SOUNDCHECK_HOME", str(tmp_path / "home"))
    mlflow.set_tracking_uri(server)
    model = mlflow.pyfunc.load_model("models:/asr-loaded@stable")
    (tmp_path / "clip.wav").write_bytes(wav())
    heard = model.predict(pd.DataFrame({"audio": [wav(), str(tmp_path / "clip.wav")]}))
    samples, _rate_hz = soundfile.read(io.BytesIO(wav()), dtype="float32")
    expected = load(tmp_path / "made" / "payload").transcribe(samples).text
    assert expected
    assert list(heard["text"]) == [expected, expected]

    with pytest.raises(WrongCall, match=r"row 0 of the column 'audio'\n  got: the audio has 8000 Hz"):
        model.predict(pd.DataFrame({"audio": [wav(8_000)]}))
    with pytest.raises(WrongCall, match="the input has no audio"):
        model.predict(pd.DataFrame({"sound": [b""]}))
    with pytest.raises(WrongCall, match="the audio cannot be read"):
        model.predict(pd.DataFrame({"audio": ["no-such.wav"]}))
