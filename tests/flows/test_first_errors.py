"""The first errors a person meets: one clear line, the next step, the right exit status, no traceback."""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contracts.errors import SoundcheckError
from contracts.feature_contract import FeatureContract
from flows.wiring import open_context
from operations.capture import capture
from operations.register import register
from tests.flows.release_project import FAMILY, commit, soundcheck

V1 = Path("candidates") / FAMILY / "v1"


@pytest.mark.parametrize(
    ("words", "exit_status", "said"),
    [
        (["release", "no-such-family"], 2, ["there is no family 'no-such-family'", "expected: asr-commands or asr-en"]),
        (["release", FAMILY, "--candidate", "nowhere"], 2, ["there is no such candidate", "got: nowhere", "or v1"]),
        (["release", FAMILY, "--candidate", "v1"], 3, ["the Prefect server is away", "next step: soundcheck up"]),
        (["rollback", FAMILY, "--key", "anna", "--reason", "x"], 2, ["no such key", "soundcheck keys new"]),
        (["restore", "abcdef0123", "--into", "out"], 1, ["there is no such bundle", "soundcheck status"]),
        (["status", "no-such-family"], 2, ["there is no family"]),
        (["pack", "build", "no-such-pack"], 2, ["there is no builder for this pack", "english-human"]),
        (["approve", FAMILY, "--key", "anna", "--evidence", "0" * 64, "--decision", "promote"], 2,
         ["no release of this family asks for that approval", "nothing waits for approval"]),
        (["traffic", FAMILY, "--plant", "thunder=1"], 2, ["cannot be planted in clients", "silence or wrong_rate"]),
        (["traffic", FAMILY, "--event", "correction=often"], 2, ["'correction=often' is not NAME=SHARE"]),
        (["traffic", FAMILY, "--leave", "2"], 2, ["a share is not between 0 and 1", "where: leave"]),
        (["no-such-command"], 2, ["No such command"]),
    ],
)  # fmt: skip
def test_a_wrong_call_is_told_what_where_and_what_next(
    project: Path, words: list[str], exit_status: int, said: list[str]
) -> None:
    answer = soundcheck(project, *words)
    assert answer.returncode == exit_status, answer.stderr
    assert "Traceback" not in answer.stderr
    for text in said:
        assert text in answer.stderr
    assert not (project / ".soundcheck" / "store" / "ledger").exists()


def test_a_taken_port_is_named_with_the_way_out(project: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        params = yaml.safe_load((project / "params.yaml").read_text())
        params["ports"]["prefect"] = other.getsockname()[1]
        (project / "params.yaml").write_text(yaml.safe_dump(params))
        answer = soundcheck(project, "up")
    assert answer.returncode == 3
    assert f"port {params['ports']['prefect']} is taken" in answer.stderr
    assert "--auto-ports" in answer.stderr
    assert "Traceback" not in answer.stderr


def _pickle_weights(folder: Path) -> None:
    (folder / "payload" / "weights.safetensors").write_bytes(pickle.dumps({"a": [1, 2, 3]}))


def _wrong_rate(folder: Path) -> None:
    path = folder / "payload" / "feature_contract.json"
    contract = FeatureContract.parse(path.read_bytes())
    path.write_bytes(contract.model_copy(update={"accepted_rates_hz": (8000,)}).canonical())


def _no_card(folder: Path) -> None:
    (folder / "MODEL_CARD.md").unlink()


def _no_manifest(folder: Path) -> None:
    (folder / "data_manifest.parquet").unlink()


def _bare_description(folder: Path) -> None:
    (folder / "candidate.yaml").write_text("{family: asr-commands, version: v1}\n")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_pickle_weights, ["weights.safetensors", "pickle"]),
        (_wrong_rate, ["sample_rate_hz"]),
        (_no_card, ["the candidate has no model card", "write MODEL_CARD.md"]),
        (_no_manifest, ["the candidate has no data manifest", "origin: third_party"]),
        (_bare_description, ["candidate.yaml is not complete", "missing: base_model, languages, licence, origin"]),
    ],
)
def test_a_candidate_that_may_not_be_released_is_refused_with_its_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], said: list[str]
) -> None:
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    spoil(project / V1)
    with pytest.raises(SoundcheckError) as refused:
        capture(open_context(), FAMILY, "v1")
    assert refused.value.exit_status == 1
    for text in said:
        assert text in str(refused.value)
    assert open_context().ledger(FAMILY).events() == ()


def test_every_missing_registry_field_is_named_at_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R2.1."""
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    params = yaml.safe_load((project / "params.yaml").read_text())
    for name in ("owner", "on_call", "retention_policy"):
        del params["families"][FAMILY]["registry"][name]
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    commit(project)
    context = open_context()
    captured = capture(context, FAMILY, "v1")
    with pytest.raises(SoundcheckError) as refused:
        register(context, FAMILY, captured)
    assert "the registry entry lacks 3 required fields" in str(refused.value)
    assert "got: missing: on_call, owner, retention_policy" in str(refused.value)
    assert refused.value.exit_status == 1


def test_a_dirty_work_tree_is_refused_and_dvc_lock_is_not_dirt(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R1.3."""
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    (project / "dvc.lock").write_text("schema: '2.0'\n")
    assert capture(open_context(), FAMILY, "v1")["release"]
    (project / "notes.txt").write_text("x")
    with pytest.raises(SoundcheckError) as refused:
        capture(open_context(), FAMILY, "v2")
    assert "the work tree has uncommitted changes" in str(refused.value)
    assert "got: 1 file: notes.txt" in str(refused.value)


def test_a_front_end_that_is_not_the_contracts_is_refused_before_serving(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R2.2: the mel count in front_end.json was changed without training again."""
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(project))
    path = project / V1 / "payload" / "front_end.json"
    front_end = json.loads(path.read_text())
    path.write_text(json.dumps({**front_end, "mels": int(front_end["mels"]) - 1}))
    context = open_context()
    captured = capture(context, FAMILY, "v1")
    with pytest.raises(SoundcheckError, match=r"front_end\.json is not the front end of the feature contract"):
        register(context, FAMILY, captured)
