"""`soundcheck capacity`: what is timed, where the page lies, what is refused."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

import flows.wiring
from contracts.capacity import Assumed
from contracts.errors import Refused, WrongCall
from flows.cli import soundcheck
from operations import capacity, compute
from operations.context import Context
from speech.assistant.stages import Stages
from tests.flows.release_project import REPOSITORY
from tests.operations.gated_releases import open_installation

UTTERANCES = pd.DataFrame({"utterance_id": [f"u{number}" for number in range(60)]})


def turn(name: str, hear_ms: float) -> Stages:
    return Stages(name, hear_ms, 1.0, 1.0, 10.0, 0.5, 2.0, 3.0, paused=True, margin_ms=200.0)


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A project with the assistant's policy and a candidate of one file; turns are timed by `timed`."""
    context = open_installation(tmp_path)
    shutil.copyfile(REPOSITORY / "params.yaml", context.settings.root / "params.yaml")
    folder = context.settings.root / "candidates" / "assistant" / "v9"
    (folder / "payload").mkdir(parents=True)
    (folder / "payload" / "runtime.json").write_text('{"engine": "tests"}')
    described = {
        "family": "assistant", "version": "v9", "origin": "third_party", "base_model": "none", "licence": "MIT",
        "languages": ["en"], "training_code_sha": "none",
    }  # fmt: skip
    (folder / "candidate.yaml").write_text(yaml.safe_dump(described))
    pack = SimpleNamespace(utterances=UTTERANCES, root=tmp_path)
    monkeypatch.setattr(capacity, "required_packs", lambda *_: [pack])
    monkeypatch.setattr(flows.wiring, "open_context", lambda *_: context)
    return context


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, pd.DataFrame, int]]:
    """What was timed: payload, sample, milliseconds of a chunk. Every turn hears for 250 ms."""
    calls = []

    def alone(_: object, payload: Path, sample: pd.DataFrame, root: Path, chunk_ms: int) -> pd.DataFrame:
        calls.append((payload, sample, chunk_ms))
        return pd.DataFrame([turn(name, 250.0) for name in sample["utterance_id"]], columns=list(Stages._fields))

    monkeypatch.setattr(compute, "alone", alone)
    return calls


def test_a_sample_of_the_pack_is_timed_and_drawn(
    installation: Context, timed: list[tuple[Path, pd.DataFrame, int]]
) -> None:
    made = capacity.capacity(installation, "assistant", assumed=Assumed(), candidate="v9", budget_ms=700)
    (payload, sample, chunk_ms), *more = timed
    assert not more
    assert payload == installation.settings.root / "candidates" / "assistant" / "v9" / "payload"
    assert len(sample) == made.turns == installation.settings.policy("assistant").statistics.timed_utterances
    assert set(sample["utterance_id"]) < set(UTTERANCES["utterance_id"])
    assert chunk_ms == installation.settings.policy("assistant").statistics.chunk_ms
    assert (made.family, made.version, made.budget_ms) == ("assistant", "v9", 700)
    assert [one.in_use for one in made.schedules] == [False, True]
    page = capacity.page_path(installation, "assistant")
    assert page == installation.home / "capacity" / "assistant" / "index.html"
    assert "assistant v9" in page.read_text()


@pytest.mark.usefixtures("timed", "installation")
@pytest.mark.parametrize(("budget_ms", "status", "fits"), [(700, 0, "fits"), (400, 1, "does not fit")])
def test_the_exit_status_says_whether_it_fits(budget_ms: int, status: int, fits: str) -> None:
    asked = ["capacity", "assistant", "--candidate", "v9", "--budget-ms", str(budget_ms)]
    done = CliRunner().invoke(soundcheck, asked)
    assert done.exit_code == status, done.output
    assert f"hearing while the end is waited for, in use: p50 602 ms, p95 602 ms, {fits}\n" in done.output
    assert f"  headroom {budget_ms - 602} ms of {budget_ms} ms\n" in done.output


def test_another_task_has_no_first_response(installation: Context) -> None:
    with pytest.raises(WrongCall) as wrong:
        capacity.capacity(installation, "tts-en", assumed=Assumed())
    assert str(wrong.value) == (
        "a capacity plan for a first response is one of a dialogue\n  where: tts-en\n  got: synthesis\n"
        "  expected: task: dialogue\n"
        "  next step: soundcheck status tts-en names the timings of its release"
    )


def test_without_a_stable_bundle_a_candidate_is_named(installation: Context) -> None:
    with pytest.raises(Refused) as refused:
        capacity.capacity(installation, "assistant", assumed=Assumed())
    assert str(refused.value) == (
        "the family has no stable bundle\n  where: assistant\n  next step: soundcheck release assistant, or name a "
        "candidate: soundcheck capacity assistant --candidate DIR"
    )


def test_an_engine_without_stages_is_refused(installation: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    def alone(function: Any, *arguments: Any) -> Any:
        return functools.partial(function, *arguments)()

    monkeypatch.setattr(compute, "alone", alone)
    monkeypatch.setattr(compute, "model", lambda _: SimpleNamespace(task="dialogue"))
    with pytest.raises(Refused) as refused:
        capacity.capacity(installation, "assistant", assumed=Assumed(), candidate="v9")
    assert str(refused.value) == (
        "the engine of this dialogue is no cascade, so that its stages cannot be timed one by one\n"
        "  where: runtime.json of the payload\n  got: types\n"
        "  expected: an engine that loads by speech.runtimes.assistant.load\n"
        "  next step: take the first audio of whole turns from the release's page, or release the model as a cascade"
    )
    assert not capacity.page_path(installation, "assistant").exists()
