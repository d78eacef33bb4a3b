"""A payload over its packs again, for every task: equal counts pass, a difference is said with its interval."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.policy import FamilyPolicy, Task
from contracts.reports import ScoreReport
from contracts.verdict import Value
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack
from evalpacks.rescoring import Rescored, score_again
from evalpacks.scoring import score_report
from tests.evalpacks.evaluation_samples import make_pack, make_policy, make_table, outputs

Table = pd.DataFrame
GATE = {"pack": "commands", "slices": "overall", "min_speakers": 1, "min_support": 1}


class Told(NamedTuple):
    """A task: what its pack has more, what a model gives for it at some share of harm, and what is gated."""

    columns: dict[str, Callable[[int], Any]]
    gives: Callable[[Table, float], Table]
    limits: dict[str, float]
    """Metric -> its absolute limit."""


def _some(rows: Table, share: float) -> Any:
    return np.random.default_rng(5).random(len(rows)) < share


def _heard(rows: Table, share: float) -> Table:
    return outputs(rows, share).assign(confidence=0.9)


def _spoken(rows: Table, share: float) -> Table:
    return outputs(rows, share).assign(mos=np.where(_some(rows, share), 2.0, 3.0), speaker_similarity=0.9)


def _vectors(rows: Table, share: float) -> Table:
    """A direction a speaker; a harmed probe points at nobody in particular."""
    who = pd.factorize(rows["speaker"])[0]
    lost = _some(rows, share) & (rows["role"] == "probe").to_numpy()
    drawn = np.random.default_rng(7).normal(size=(len(rows), who.max() + 1))
    given_ = np.where(lost[:, None], drawn, np.eye(who.max() + 1)[who] + 0.02 * drawn)
    unit = given_ / np.linalg.norm(given_, axis=1, keepdims=True)
    return pd.DataFrame({"utterance_id": rows["utterance_id"], "text": "", "vector": list(unit), "space": "a"})


def _classes(rows: Table, share: float) -> Table:
    label = rows["label"].to_numpy(dtype=object)
    other = np.where(label == "speech", "music", "speech")
    predicted = np.where(_some(rows, share), other, label)
    return pd.DataFrame({"utterance_id": rows["utterance_id"], "text": "", "predicted": predicted})


def _replies(rows: Table, share: float) -> Table:
    wrong = _some(rows, share)
    return _heard(rows, 0.0).assign(
        reply=np.where(wrong, "It is closed.", "It costs six pounds."),
        citations=np.where(wrong, "hours#0", "fees#0"), grounded=1.0, barged_in=np.nan,
    )  # fmt: skip


TASKS: dict[Task, Told] = {
    "transcription": Told({}, _heard, {"wer": 0.9}),
    "synthesis": Told({}, _spoken, {"cer": 0.9, "mos": 1.0, "speaker_similarity": 0.1}),
    "embedding": Told(
        {"role": lambda row: "enrolment" if row % 12 == 0 else "probe"}, _vectors,
        {"eer": 0.9, "recall_at_1": 0.01, "cross_version_eer": 0.9},
    ),
    "classification": Told(
        {"label": lambda row: ("speech", "music")[row % 3 == 0]}, _classes, {"macro_f1": 0.01, "class_recall": 0.01}
    ),
    "dialogue": Told(
        {"answer": lambda _: json.dumps(["six pounds"]), "cites": lambda _: json.dumps(["fees"])}, _replies,
        {"task_success": 0.01, "citation_coverage": 0.01},
    ),
}  # fmt: skip


class Scene:
    """A pack of a task and a release of it, measured with a tenth of harm."""

    def __init__(self, task: Task, *, distance: float = 0.0, margin: float = 0.02, quality: list[Any] | None = None):
        told = TASKS[task]
        table = make_table()
        more = {name: [value(row) for row in range(len(table))] for name, value in told.columns.items()}
        slices = ["accent", "noise", *(["label"] if "label" in more else [])]
        self.told, self.pack = told, make_pack(table.assign(**more), slices=slices)
        gates = quality or [GATE | {"metric": name, "limit": at, "margin": margin} for name, at in told.limits.items()]
        staging = make_policy().staging.model_dump() | {"golden_max_distance": distance}
        self.policy = make_policy(task=task, quality=gates, staging=staging)
        self.released = self.scored(self.gives(0.1))

    def gives(self, share: float) -> Table:
        return self.told.gives(self.pack.utterances, share)

    def scored(self, given_: Table) -> ScoreReport:
        return score_report(
            family="f", version="v1", payload_digest="a" * 64, stable_payload=None, packs=[self.pack],
            candidate={"commands": Outputs(given_)}, stable=None, policy=self.policy,
        )  # fmt: skip

    def again(self, given_: Table, *, pack: Pack | None = None, policy: FamilyPolicy | None = None) -> Rescored:
        own = pack or self.pack
        return score_again(self.released, [own], {own.name: Outputs(given_)}, policy or self.policy)


@pytest.mark.parametrize("task", TASKS)
def test_what_is_as_released_passes_and_says_every_figure(task: Task) -> None:
    scene = Scene(task)
    found = scene.again(scene.gives(0.1))
    asked = [name for name in TASKS[task].limits if name != "cross_version_eer"]  # the other version is not run
    assert [one.metric for one in found.scores] == asked
    assert {(one.same, one.difference, one.lower, one.upper) for one in found.scores} == {(True, 0.0, 0.0, 0.0)}
    assert found.verdict.value == Value.PASS
    (reason,) = found.verdict.reasons
    assert reason.startswith("commands: ")
    assert reason.endswith(" as released, every count equal")


@pytest.mark.parametrize("task", TASKS)
def test_what_changed_fails_with_the_difference_and_its_interval(task: Task) -> None:
    scene = Scene(task)
    found = scene.again(scene.gives(0.4))
    assert found.verdict.value == Value.FAIL
    moved = [one for one in found.scores if not one.same]
    assert moved
    for one in moved:
        assert one.measured is not None
        assert one.difference is not None
        assert one.lower is not None
        assert one.upper is not None
        now, before = one.measured.rate, one.released.rate
        assert now is not None
        assert before is not None
        assert one.difference == pytest.approx(now - before)
        assert one.lower < one.difference < one.upper
        assert (one.difference > 0) == (one.better == "lower")
        assert not one.lower <= 0 <= one.upper  # a harm of this size is more than chance
    assert all(reason.endswith(": the environment changed") for reason in found.verdict.reasons)


def test_a_difference_reads_as_a_sentence() -> None:
    scene = Scene("synthesis")
    given_ = scene.gives(0.1)
    (reason,) = scene.again(given_.assign(mos=given_["mos"] - 0.4)).verdict.reasons
    assert re.fullmatch(
        r"commands/overall: MOS \(predicted\) 2\.89 when released, 2\.49 now \(-0\.40 \[-0\.4\d, -0\.3\d\]\): "
        r"the environment changed",
        reason,
    )


@pytest.mark.parametrize("task", TASKS)
def test_what_cannot_be_measured_now_never_passes(task: Task) -> None:
    scene = Scene(task)
    bare = scene.gives(0.1)[["utterance_id", "text"]]
    found = scene.again(bare)
    lost = {one.metric for one in found.scores if one.same is None}
    assert lost == {name for name in TASKS[task].limits if name not in ("wer", "cer", "cross_version_eer")}
    assert found.verdict.value == (Value.INCONCLUSIVE if lost else Value.PASS)
    assert sum("not measured now" in reason for reason in found.verdict.reasons) == len(lost)


NEAR: dict[str, tuple[float, float, Value]] = {
    "numbers must be equal": (0.0, 0.02, Value.FAIL),
    "numbers may differ, and it is less than the margin": (0.001, 0.02, Value.INCONCLUSIVE),
    "numbers may differ, but it is more than the margin": (0.001, 0.001, Value.FAIL),
}


@pytest.mark.parametrize("name", NEAR)
def test_a_clip_more_or_less_where_golden_numbers_may_differ(name: str) -> None:
    distance, margin, value = NEAR[name]
    scene = Scene("classification", distance=distance, margin=margin)
    given_ = scene.gives(0.1)
    label = scene.pack.utterances["label"].to_numpy()
    first = given_.index[(given_["predicted"] == label) & (label == "speech")][0]
    given_.loc[first, "predicted"] = "music"
    found = scene.again(given_)
    assert found.verdict.value == value
    tail = "the environment changed" if value == Value.FAIL else "within what the policy lets numbers differ by"
    assert all(reason.endswith(tail) for reason in found.verdict.reasons)


def test_another_pack_and_another_normaliser_are_not_compared() -> None:
    scene = Scene("transcription")
    other = scene.again(scene.gives(0.1), pack=make_pack(make_table(seed=4)))
    assert other.scores == ()
    assert other.verdict.value == Value.INCONCLUSIVE
    assert other.verdict.reasons == ("the pack commands is not the one the bundle was released on",)
    english = scene.policy.model_copy(update={"normalizer": "english"})
    (reason,) = scene.again(scene.gives(0.1), policy=english).verdict.reasons
    assert reason.startswith("commands: texts were normalised by ")


def test_a_pack_without_a_figure_of_the_release_is_not_called_equal() -> None:
    scene = Scene("transcription", quality=[GATE | {"metric": "churn", "limit": 1.0, "margin": 0.1}])
    found = scene.again(scene.gives(0.1))
    assert (found.scores, found.verdict.value) == ((), Value.INCONCLUSIVE)
    assert found.verdict.reasons == ("commands: the release measured nothing on it that can be measured again",)


def test_many_differences_are_counted_not_listed() -> None:
    gate = GATE | {"metric": "wer", "limit": 0.9, "margin": 0.02}
    values = ["accent=us", "accent=scottish", "noise=clean", "noise=5db"]
    scene = Scene("transcription", quality=[gate, gate | {"slices": values}])
    found = scene.again(scene.gives(0.4))
    assert len(found.scores) == 5
    assert len(found.verdict.reasons) == 5
    assert found.verdict.reasons[-1] == "commands: 1 more figure differs"


@given(shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), order=st.permutations(range(24 * 12)))
@settings(deadline=None, max_examples=8)
def test_law_the_order_of_rows_changes_nothing_and_pass_means_equal(
    shares: tuple[float, float], order: list[int]
) -> None:
    scene = Scene("classification")
    scene.released = scene.scored(scene.gives(shares[0]))
    now = scene.gives(shares[1])
    found = scene.again(now)
    assert scene.again(now.iloc[order]) == found
    equal = all(one.measured == one.released for one in found.scores)
    assert (found.verdict.value == Value.PASS) == equal
