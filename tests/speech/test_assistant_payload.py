"""The payload of an assistant: parts are the ones that are named, and the candidates are what they are said to be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from contracts.errors import Refused, WrongCall
from speech.assistant import make
from speech.assistant.index import stale_documents
from speech.kinds import dialogue, kind
from speech.runtimes import Samples, load_model
from speech.runtimes.assistant import AssistantModel, read_tenants
from speech.runtimes.kinds import task_of
from speech.weights import check_payload


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("assistants")
    for version in make.RECIPES:
        make.build(version, folder / version)
    return folder


@pytest.fixture(scope="session")
def model(candidates: Path) -> AssistantModel:
    loaded = load_model(candidates / "v2" / "payload")
    assert isinstance(loaded, AssistantModel)
    return loaded


@pytest.fixture(scope="session")
def question() -> Samples:
    import soxr

    from speech.synthesis import Synthesizer

    synthesizer = Synthesizer()
    spoken = synthesizer.say("How many books may I borrow at a time?", voice="en-us")
    return np.asarray(soxr.resample(spoken.samples, synthesizer.sample_rate_hz, 16_000, quality="HQ"), np.float32)


def test_a_question_is_heard_answered_and_spoken(model: AssistantModel, question: Samples) -> None:
    assert (task_of(model), kind("dialogue").hears) == ("dialogue", True)
    turn, reply = dialogue.ask(model, question, "library")
    assert reply.text == "You may borrow up to fifteen books at a time."
    assert (reply.citations, reply.grounded, reply.handoff) == (("borrowing#0",), True, False)
    spoken = np.concatenate(list(turn.speak()))
    assert spoken.size > 1.5 * model.voice_rate_hz
    assert 0.05 < np.abs(spoken).max() <= 1


def test_the_same_question_is_not_answered_to_another_tenant(model: AssistantModel, question: Samples) -> None:
    reply = dialogue.ask(model, question, "transit")[1]
    assert reply.handoff
    assert not reply.citations


@pytest.mark.parametrize("version", make.RECIPES)
def test_a_candidate_is_whole_and_says_what_it_is(candidates: Path, version: str) -> None:
    folder = candidates / version
    check_payload(folder / "payload")
    check_payload(folder / "payload" / "parts" / "asr")
    described = yaml.safe_load((folder / "candidate.yaml").read_text())
    assert (described["family"], described["version"]) == ("assistant", version)
    assert described["notes"] in (folder / "MODEL_CARD.md").read_text()


@pytest.mark.parametrize(
    ("version", "stale", "recut"),
    [("v1", {}, set()), ("v2", {}, set()), ("v3-rechunked", {}, {"clinic", "library", "transit"}),
     ("v3-stale", {"transit": ("tickets",)}, set())],
)  # fmt: skip
def test_a_candidate_is_broken_as_it_says(
    candidates: Path, version: str, stale: dict[str, tuple[str, ...]], recut: set[str]
) -> None:
    tenants = read_tenants(candidates / version / "payload")
    behind = {documents.tenant: stale_documents(index, documents) for documents, index in tenants}
    assert {tenant: names for tenant, names in behind.items() if names} == stale
    kept = {index.tenant: {one.id: one.text for one in index.passages} for _, index in tenants}
    served = {documents.tenant: documents.sources() for documents, _ in tenants}
    moved = {
        tenant
        for tenant, passages in kept.items()
        if sum(name not in served[tenant] or served[tenant][name].text != text for name, text in passages.items()) > 1
    }
    assert moved == recut


def test_versions_share_the_bytes_of_their_parts(candidates: Path) -> None:
    parts = [
        json.loads((candidates / version / "payload/cascade.json").read_text())["parts"] for version in make.RECIPES
    ]
    assert all(one == parts[0] for one in parts)


def test_the_same_recipe_gives_the_same_bytes(candidates: Path, tmp_path: Path) -> None:
    again = make.build("v3-stale", tmp_path / "again")
    names = sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((again / name).read_bytes() == (candidates / "v3-stale" / name).read_bytes() for name in names)


def test_there_is_no_other_version(tmp_path: Path) -> None:
    with pytest.raises(WrongCall) as refused:
        make.build("v9", tmp_path / "v9")
    assert refused.value.diagnostics() == (
        "unknown version of the assistant\n  got: v9\n  expected: v1 or v2 or v3-rechunked or v3-stale"
    )
    assert make.main(["v1", "--out", str(tmp_path / "v1")]) == 0


def copied(candidates: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(candidates / "v2" / "payload", tmp_path / "payload"))


def test_a_part_that_was_swapped_is_refused(candidates: Path, tmp_path: Path) -> None:
    payload = copied(candidates, tmp_path)
    voice = payload / "parts/voice/voice.json"
    voice.write_text(voice.read_text().replace("165", "400"))
    with pytest.raises(Refused) as refused:
        load_model(payload)
    assert refused.value.what == "a part of an assistant is not the payload that cascade.json names"
    assert refused.value.where == "payload/parts/voice"
    assert refused.value.next_step == (
        "put the part's own payload there and its digest into cascade.json: python -m speech.assistant.make"
    )


def test_a_tenant_without_an_index_is_refused(candidates: Path, tmp_path: Path) -> None:
    payload = copied(candidates, tmp_path)
    (payload / "index/clinic.json").unlink()
    with pytest.raises(Refused) as refused:
        load_model(payload)
    assert refused.value.diagnostics() == (
        "documents and indexes of an assistant do not go together\n"
        "  where: payload/documents and payload/index\n"
        "  got: in one of both alone: clinic.json\n"
        "  expected: one file a tenant in each\n"
        "  next step: build the index of every tenant: python -m speech.assistant.make"
    )


def test_parts_do_what_their_name_says(candidates: Path, tmp_path: Path) -> None:
    payload = copied(candidates, tmp_path)
    cascade = json.loads((payload / "cascade.json").read_text())
    shutil.rmtree(payload / "parts/asr")
    shutil.copytree(payload / "parts/voice", payload / "parts/asr")
    cascade["parts"]["asr"] = cascade["parts"]["voice"]
    (payload / "cascade.json").write_text(json.dumps(cascade))
    with pytest.raises(Refused) as refused:
        load_model(payload)
    assert refused.value.what == "the part 'asr' of an assistant does something else"
    assert (refused.value.got, refused.value.expected) == ("synthesis", "transcription")
