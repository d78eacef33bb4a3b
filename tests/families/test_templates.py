"""Each template is a family as it stands: it learns, an improvement is one, and the bad candidate is found."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import FamilyPolicy, Task
from contracts.reports import ScoreReport
from contracts.verdict import Value, worst
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack, load
from evalpacks.scoring import score_report
from operations.family_new import TEMPLATES, tasks
from operations.settings import Settings
from speech.kinds import Prompt, kind
from speech.runtimes.kinds import Model, task_of
from tests.flows.release_project import REPOSITORY, commit


class Made(NamedTuple):
    """What a template makes in a project of its own."""

    engine: ModuleType
    pack: Pack
    payloads: dict[str, Path]
    policy: FamilyPolicy

    def model(self, version: str) -> Model:
        return self.engine.load(self.payloads[version], threads=1)  # type: ignore[no-any-return]

    def outputs(self, version: str) -> dict[str, Outputs]:
        table = kind(self.policy.task).run_pack(self.model(version), self.pack.utterances, self.pack.root)
        return {self.pack.name: Outputs(table)}

    def scored(self, version: str, stable: str | None) -> ScoreReport:
        return score_report(
            family=self.policy.family, version=version, payload_digest="a" * 64,
            stable_payload="b" * 64 if stable else None, packs=[self.pack], candidate=self.outputs(version),
            stable=self.outputs(stable) if stable else None, policy=self.policy,
        )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("project")
    params: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    sections = [(TEMPLATES / task / "params.yaml").read_text().replace("NAME", task) for task in tasks()]
    params["families"] = yaml.safe_load("\n".join(sections))
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    commit(root)
    return root


JUDGED_BY_MODELS = ("synthesis",)
"""Tasks whose metrics four models give, seconds a text: their candidates are compared by `make drills`."""


@pytest.fixture(params=[task for task in tasks() if task not in JUDGED_BY_MODELS])
def judged(request: pytest.FixtureRequest, project: Path) -> Made:
    return _made(request.param, project)


@pytest.fixture(params=tasks())
def made(request: pytest.FixtureRequest, project: Path) -> Made:
    return _made(request.param, project)


@cache
def _made(task: Task, root: Path) -> Made:
    package = f"families.templates.{task}"
    make = importlib.import_module(f"{package}.make")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make.make_pack()
        payloads = {version: root / make.make_candidate(version) / "payload" for version in make.RECIPES}
    policy = Settings(root, root / "home").policy(task)
    return Made(importlib.import_module(f"{package}.engine"), load(root / "data/packs" / task), payloads, policy)


def test_the_engine_is_of_its_task(made: Made) -> None:
    assert task_of(made.model("v1")) == made.policy.task


def test_the_same_prompt_has_the_same_answer_whatever_was_asked_before(made: Made) -> None:
    ways = kind(made.policy.task)
    first, last = made.model("v1"), made.model("v1")
    rows = made.pack.utterances.head(8).to_dict("records")
    prompts = [Prompt(made.pack.root / str(row["path"]), text=str(row["text"])) for row in rows]
    forwards = [ways.answer(first, prompt) for prompt in prompts]
    assert forwards == [ways.answer(last, prompt) for prompt in reversed(prompts)][::-1]


def test_a_first_release_is_within_its_limits(judged: Made) -> None:
    rows = judged.scored("v1", None).comparisons
    assert worst([row.verdict for row in rows]).value == Value.PASS, [row.verdict.reasons for row in rows]


def test_the_improvement_passes_its_gates(judged: Made) -> None:
    rows = judged.scored("v2", "v1").comparisons
    assert worst([row.verdict for row in rows]).value == Value.PASS, [row.verdict.reasons for row in rows]
    overall = next(row for row in rows if row.slice == "overall")
    assert overall.estimate is not None
    assert overall.estimate < 0 if overall.better == "lower" else overall.estimate > 0


def test_the_bad_candidate_fails_at_its_gates(judged: Made) -> None:
    rows = judged.scored("worse", "v2").comparisons
    assert worst([row.verdict for row in rows]).value == Value.FAIL


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=6), seed=st.integers(0, 99))
def test_law_a_stream_says_the_same_however_it_is_cut(cuts: list[int], seed: int) -> None:
    from families.templates.transcription.engine import Engine
    from families.templates.transcription.make import WORDS_HZ, speech

    random = np.random.default_rng(seed)
    audio = speech([str(word) for word in random.choice(list(WORDS_HZ), 4)], random, 0.003)
    engine = Engine({"tones_hz": WORDS_HZ, "share": 0.5})
    stream = engine.stream()
    shown = [stream.accept(chunk) for chunk in np.split(audio, sorted(cut for cut in cuts if cut < audio.size))]
    whole = engine.transcribe(audio)
    assert stream.finish() == whole
    assert len(whole.text.split()) == 4
    for partial in filter(None, shown):
        assert whole.text.split()[: partial.committed] == partial.text.split()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 20_000), max_size=6), seed=st.integers(0, 99))
def test_law_a_turn_is_answered_the_same_however_it_is_cut(project: Path, cuts: list[int], seed: int) -> None:
    from families.templates.dialogue.make import QUESTIONS, speech

    random = np.random.default_rng(seed)
    tenant = str(random.choice(list(QUESTIONS)))
    asked = str(random.choice(list(QUESTIONS[tenant])))
    audio = speech(asked.split(), random, 0.003)
    model: Any = _made("dialogue", project).model("v2")
    turn = model.turn(tenant)
    for chunk in np.split(audio, sorted(cut for cut in cuts if cut < audio.size)):
        turn.accept(chunk)
    reply = turn.reply()
    assert reply.heard.text == asked
    assert reply.handoff == (not QUESTIONS[tenant][asked])
    assert reply.text == model.answer(asked, tenant).text


def test_a_user_is_told_nothing_of_another_tenant_s_documents(project: Path) -> None:
    model: Any = _made("dialogue", project).model("v2")
    assert model.answer("lost", "station").citations == ("services#0",)
    assert (model.answer("lost", "museum").citations, model.answer("lost", "").citations) == ((), ())
