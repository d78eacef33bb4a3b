"""The MLflow mirror of a real family: followed, compared, lost and rebuilt; the ledger is the only truth.

Two candidates are captured, scored, gated and packaged by the product's own steps; MLflow is a real server. The tests
go on with one installation, in their order.
"""

from __future__ import annotations

import io
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from contracts.digest import Digest
from contracts.errors import Corrupt, Refused
from contracts.routing import CanaryRoute
from operations import mirror as mirrors
from operations import pointer, stack
from operations.capture import capture
from operations.context import Context
from operations.gate import gate
from operations.package import package
from operations.register import register
from operations.release import finish
from operations.score import score
from operations.shards import here
from registry.documents import get_document
from registry.mirrored import ALIASES
from registry.mlflow_mirror import Mirror
from tests.flows.release_project import FAMILY, context_of, make_project, soundcheck

QUICK: dict[str, Any] = {
    "statistics": {"replicates": 200, "stream_utterances": 24, "timed_utterances": 8},
    "staging": {"golden_fixtures": 2, "soak_requests": 0},
}


@dataclass
class Installation:
    """A project with an MLflow server, and what was released in it."""

    root: Path
    context: Context
    releases: dict[str, Digest]
    bundles: dict[str, Digest]

    def start_mlflow(self) -> None:
        ports = self.context.settings.ports
        found = stack.start(self.context.home, ports, auto_ports=True, parts=["mlflow"])
        self.context.mirror = Mirror(str(found.mlflow), store_url=self.context.settings.store.url)

    @property
    def client(self) -> Any:
        from mlflow import MlflowClient

        assert isinstance(self.context.mirror, Mirror)
        uri = self.context.mirror.tracking_uri
        return MlflowClient(uri, uri)

    def release(self, version: str) -> None:
        """R1 to R5 by the product's steps, then a move of the pointer, as R9 makes it."""
        captured = capture(self.context, FAMILY, version)
        registered = register(self.context, FAMILY, captured)
        scored = score(self.context, FAMILY, captured, here(self.context.settings))
        gated = gate(self.context, FAMILY, captured, scored)
        packaged = package(self.context, FAMILY, captured, registered, scored, gated)
        self.releases[version], self.bundles[version] = captured["release"], packaged["bundle"]

    def promote(self, version: str) -> None:
        seen = pointer.current(self.context, FAMILY)
        outputs, ledger = {"bundle": self.bundles[version]}, self.context.ledger(FAMILY)
        facts: dict[str, Any] = {"version": version, "kind": "promote", "actor": "anna", "reason": "tests"}
        release = self.releases[version]
        intent = ledger.append(
            "promote", "start", at=self.context.timestamp(), release=release, outputs=outputs, data=facts
        )
        table = pointer.move(self.context, FAMILY, seen, stable=self.bundles[version], actor="anna", reason="tests")
        outputs["route_table"] = table.digest()
        ledger.append(
            "promote", "complete", at=self.context.timestamp(), release=release, outputs=outputs,
            data=pointer.settled(intent, table),
        )  # fmt: skip
        finish(self.context, FAMILY, release, {})


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """v1 was released while MLflow was away; v2 is packaged, and MLflow runs."""
    root = make_project(tmp_path_factory.mktemp("mirrored") / "project", every=24, **QUICK)
    made = Installation(root, context_of(root), {}, {})
    made.context.mirror = Mirror("http://127.0.0.1:9", store_url=made.context.settings.store.url)
    made.release("v1")
    made.promote("v1")
    try:
        made.start_mlflow()
        made.release("v2")
        yield made
    finally:
        stack.stop(made.context.home)


def shown(client: Any) -> dict[str, Any]:
    """All that a person sees of the family in MLflow, asked of MLflow itself; no ids, no times of writing."""
    versions = {}
    for version in client.search_model_versions(f"name = '{FAMILY}'"):
        run = client.get_run(version.run_id)
        files = Path(client.download_artifacts(version.run_id, ""))
        versions[str(version.version)] = {
            "tags": version.tags,
            "run": {name: value for name, value in run.data.tags.items() if name != "mlflow.user"},
            "metrics": run.data.metrics,
            "started": run.info.start_time,
            "description": version.description,
            "files": {
                path.relative_to(files).as_posix(): path.read_bytes() for path in files.rglob("*") if path.is_file()
            },
        }
    model = client.get_registered_model(FAMILY)
    return {"versions": versions, "aliases": model.aliases, "description": model.description}


def test_a_release_goes_on_without_mlflow_and_is_shown_later_in_its_place(released: Installation) -> None:
    """Fault 34: v1 was released while nobody listened; the next step that reaches MLflow shows it, first."""
    versions = {version.version: version for version in released.client.search_model_versions(f"name = '{FAMILY}'")}
    assert {str(number): version.tags["version"] for number, version in versions.items()} == {"1": "v1", "2": "v2"}
    assert versions[next(iter(sorted(versions)))].tags["soundcheck.outcome"] == "promoted"
    assert released.client.get_registered_model(FAMILY).aliases.keys() == {"candidate", "stable"}
    assert mirrors.check(released.context, FAMILY) == []


def test_the_canary_alias_stands_while_a_canary_is_routed(released: Installation) -> None:
    context = released.context
    route = CanaryRoute(
        bundle=released.bundles["v2"], stage="cohort", weight=0.5, cohort={}, release=released.releases["v2"]
    )
    seen = pointer.current(context, FAMILY)
    pointer.move(context, FAMILY, seen, stable=seen.stable, canary=route, actor="release", reason="canary: cohort")
    mirrors.follow(context, FAMILY)
    aliases = released.client.get_registered_model(FAMILY).aliases
    assert {name: str(number) for name, number in aliases.items()} == {"candidate": "2", "canary": "2", "stable": "1"}


def test_promotion_moves_stable_and_previous_and_ends_the_canary(released: Installation) -> None:
    released.promote("v2")
    aliases = released.client.get_registered_model(FAMILY).aliases
    assert {name: str(number) for name, number in aliases.items()} == {"candidate": "2", "stable": "2", "previous": "1"}
    assert mirrors.check(released.context, FAMILY) == []


def test_every_comparison_is_shown_with_difference_and_bounds(released: Installation) -> None:
    from contracts.reports import ScoreReport

    (event,) = [
        event
        for event in released.context.ledger(FAMILY).events()
        if event.step == "score" and event.release == released.releases["v2"]
    ]
    report = get_document(released.context.store, ScoreReport, event.outputs["score_report"])
    metrics = shown(released.client)["versions"]["2"]["metrics"]
    assert len(report.comparisons) > 20
    for row in report.comparisons:
        name = f"{row.metric}/{row.pack}/{row.slice}".replace("=", ":").replace("&", " ")
        assert metrics[name] == row.candidate.rate
        assert row.stable is not None
        assert metrics[f"{name}/stable"] == row.stable.rate
        for field, value in (("difference", row.estimate), ("lower", row.lower), ("upper", row.upper)):
            assert metrics.get(f"{name}/stable/{field}") == value, (name, field)


def test_the_stable_version_predicts_as_its_bundle_does(
    released: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    import soundfile

    from registry.bundle import restore
    from speech.runtimes import load

    restore(released.context.store, released.bundles["v2"], tmp_path / "bundle")
    golden = json.loads((tmp_path / "bundle" / "golden" / "golden.json").read_bytes())
    clips = [tmp_path / "bundle" / "golden" / fixture["audio"] for fixture in golden["fixtures"]]
    monkeypatch.setenv("SOUNDCHECK_HOME", str(released.context.home))
    assert isinstance(released.context.mirror, Mirror)
    mlflow.set_tracking_uri(released.context.mirror.tracking_uri)
    model = mlflow.pyfunc.load_model(f"models:/{FAMILY}@stable")
    heard = model.predict(pd.DataFrame({"audio": [clips[0].read_bytes(), *map(str, clips)]}))
    assert list(heard["text"][1:]) == [fixture["text"] for fixture in golden["fixtures"]]
    assert heard["text"][0] == heard["text"][1]
    samples, _rate_hz = soundfile.read(io.BytesIO(clips[0].read_bytes()), dtype="float32")
    assert load(tmp_path / "bundle" / "payload").transcribe(samples).text == heard["text"][0] != ""


def _run_of(client: Any, number: str) -> str:
    return str(client.get_model_version(FAMILY, number).run_id)


def _write_artifact(client: Any, number: str, path: str, content: bytes, folder: Path) -> None:
    target = folder / Path(path).name
    target.write_bytes(content)
    client.log_artifact(_run_of(client, number), str(target), str(Path(path).parent) if "/" in path else None)


def _false_version(client: Any, **tags: str) -> str:
    """A third version, whose source is the first one's model; MLflow itself refuses less likely places."""
    own = client.get_model_version(FAMILY, "1")
    return str(client.create_model_version(FAMILY, own.source, run_id=own.run_id, tags=tags).version)


TAMPERED: dict[str, tuple[Callable[[Any, Path], object], str]] = {
    "a tag of the version": (
        lambda client, _folder: client.set_model_version_tag(FAMILY, "1", "owner", "mallory"),
        "version 1 of asr-commands: the tag 'owner' is 'mallory' in MLflow, 'speech-commands team' by the ledger",
    ),
    "a tag of the run alone": (
        lambda client, _folder: client.set_tag(_run_of(client, "1"), "owner", "mallory"),
        "version 1 of asr-commands has other tags than its run: owner",
    ),
    "a tag too many": (
        lambda client, _folder: client.set_model_version_tag(FAMILY, "2", "note", "fine"),
        "version 2 of asr-commands: the tag 'note' is 'fine' in MLflow, not set by the ledger",
    ),
    "a metric": (
        lambda client, _folder: client.log_metric(_run_of(client, "2"), "rtf", 99.0),
        "version 2 of asr-commands: the metric 'rtf' is 99.0 in MLflow, ",
    ),
    "a report": (
        lambda client, folder: _write_artifact(client, "1", "reports/quality.json", b"{}", folder),
        "version 1 of asr-commands: the artifact reports/quality.json has other content in MLflow",
    ),
    "a file too many": (
        lambda client, folder: _write_artifact(client, "1", "model/extra.pkl", b"\x80", folder),
        "version 1 of asr-commands: the artifact model/extra.pkl is in MLflow alone",
    ),
    "an alias": (
        lambda client, _folder: client.set_registered_model_alias(FAMILY, "stable", "1"),
        "the alias 'stable' of asr-commands is at version 1 (bundle ",
    ),
    "an alias that is gone": (
        lambda client, _folder: client.delete_registered_model_alias(FAMILY, "previous"),
        "the alias 'previous' of asr-commands is nowhere in MLflow, at version 1 (bundle ",
    ),
    "a version that is gone": (
        lambda client, _folder: client.delete_model_version(FAMILY, "2"),
        "version 2 of asr-commands is not in MLflow",
    ),
    "a run that was deleted": (
        lambda client, _folder: client.delete_run(_run_of(client, "1")),
        "version 1 of asr-commands has a run that was deleted",
    ),
    "a version that nobody released": (
        lambda client, _folder: _false_version(client),
        "version 3 of asr-commands is in MLflow, but the ledger has no such release",
    ),
}


@pytest.mark.parametrize("tampered", TAMPERED)
def test_a_difference_is_named_and_rebuilding_repairs_it(released: Installation, tampered: str, tmp_path: Path) -> None:
    """Fault 35."""
    before = shown(released.client)
    tamper, said = TAMPERED[tampered]
    tamper(released.client, tmp_path)
    found = mirrors.check(released.context, FAMILY)
    assert [one for one in found if one.startswith(said)], found
    assert mirrors.rebuild(released.context, FAMILY) == (2, [])
    assert shown(released.client) == before


def test_the_pointer_is_the_authority_and_the_alarm_is_raised(released: Installation) -> None:
    """Fault 35, as a person sees it: exit status 1 and the field; status tells it without being asked."""
    released.client.set_registered_model_alias(FAMILY, "stable", "1")
    checked = soundcheck(released.root, "mirror", "check", FAMILY)
    assert checked.returncode == 1
    assert f"{FAMILY}: 1 difference from the ledger" in checked.stdout
    assert f"the alias 'stable' of {FAMILY} is at version 1" in checked.stdout
    assert f"soundcheck mirror rebuild {FAMILY}" in checked.stderr
    told = json.loads(soundcheck(released.root, "status", FAMILY, "--json").stdout)
    assert told["stable"]["bundle"] == released.bundles["v2"]
    assert len(told["differences"]) == 1
    assert f"MLflow's alias 'stable' of {FAMILY} is version 1 with bundle" in told["differences"][0]
    verified = soundcheck(released.root, "verify", FAMILY)
    assert (verified.returncode, "the alias 'stable'" in verified.stdout) == (1, True)
    assert soundcheck(released.root, "mirror", "rebuild", FAMILY).returncode == 0
    assert soundcheck(released.root, "mirror", "check", FAMILY).returncode == 0


@pytest.fixture
def load_stable(released: Installation, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Any]]:
    """`mlflow.pyfunc.load_model` of the stable version; MLflow is put right afterwards."""
    import mlflow

    monkeypatch.setenv("SOUNDCHECK_HOME", str(released.context.home))
    assert isinstance(released.context.mirror, Mirror)
    mlflow.set_tracking_uri(released.context.mirror.tracking_uri)
    yield lambda: mlflow.pyfunc.load_model(f"models:/{FAMILY}@stable")
    assert mirrors.rebuild(released.context, FAMILY) == (2, [])


def test_a_version_whose_source_is_another_versions_model_is_refused(
    released: Installation, load_stable: Callable[[], Any]
) -> None:
    """Fault 54."""
    false = _false_version(released.client, **{"soundcheck.bundle": released.bundles["v2"]})
    released.client.set_registered_model_alias(FAMILY, "stable", false)
    with pytest.raises(Refused) as caught:
        load_stable()
    assert caught.value.what == "the source of a model version points elsewhere"
    assert caught.value.where == "version 3 of asr-commands in MLflow"
    assert caught.value.got == "the model of version 1 of asr-commands"


UNKNOWN = "d" * 64
FALSE_NAMES: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "another store": ({"store": "file:///srv/evil"}, Refused, "names a store that this installation does not know"),
    "a store above": ({"store": "file://../evil"}, Refused, "names a store that this installation does not know"),
    "a bucket": ({"store": "s3://evil/store"}, Refused, "names a store that this installation does not know"),
    "another family": ({"family": "asr-en"}, Refused, "the source of a model version points elsewhere"),
    "an unknown bundle": ({"bundle": UNKNOWN}, Refused, "dddddddddddd, which its ledger does not have"),
    "a path": ({"bundle": "../../etc"}, Corrupt, "does not name a bundle"),
}


@pytest.mark.parametrize("case", FALSE_NAMES)
def test_a_model_that_names_something_else_is_refused(
    released: Installation, load_stable: Callable[[], Any], case: str, tmp_path: Path
) -> None:
    """Fault 54."""
    changed, kind, said = FALSE_NAMES[case]
    own = {"bundle": released.bundles["v2"], "family": FAMILY, "store": "file://store", "version": 2}
    content = json.dumps({**own, **changed}).encode()
    _write_artifact(released.client, "2", "model/bundle.json", content, tmp_path)
    with pytest.raises(kind, match=said):
        load_stable()


def test_a_lost_mirror_comes_back_equal(released: Installation) -> None:
    """S4: MLflow's database and artifacts are gone; the ledger is enough, and doing it twice changes nothing."""
    before = shown(released.client)
    assert before["versions"].keys() == {"1", "2"}
    assert set(before["aliases"]) == set(ALIASES) - {"canary"}
    assert not any(math.isnan(value) for one in before["versions"].values() for value in one["metrics"].values())
    stack.stop(released.context.home)
    shutil.rmtree(released.context.home / "mlflow")
    released.start_mlflow()
    again = soundcheck(released.root, "mirror", "rebuild")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{FAMILY}: 2 versions, equal to the ledger" in again.stdout
    assert f"write {FAMILY}: 2 of 2" in again.stderr
    assert shown(released.client) == before
    runs = [_run_of(released.client, number) for number in ("1", "2")]
    assert mirrors.rebuild(released.context, FAMILY) == (2, [])
    assert [_run_of(released.client, number) for number in ("1", "2")] == runs


def test_without_mlflow_the_mirror_cannot_be_asked_and_status_still_answers(released: Installation) -> None:
    stack.stop(released.context.home)
    checked = soundcheck(released.root, "mirror", "check")
    assert checked.returncode == 3
    assert "MLflow does not run here" in checked.stderr
    assert "soundcheck up --part mlflow" in checked.stderr
    assert json.loads(soundcheck(released.root, "status", FAMILY, "--json").stdout)["differences"] == []
