"""Turns of an assistant: hearing, tenants, grounds, speech, and users who speak over a reply."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speech.assistant.hearing import Rehearing
from speech.assistant.index import build_index
from speech.assistant.response import NO_ANSWER, NOT_HEARD, TO_A_PERSON, Draft, Statement
from speech.assistant.retrieval import Found, Retriever
from speech.kinds import Prompt, dialogue
from speech.runtimes import Partial, Samples
from tests.speech.assistant_samples import (
    RATE_HZ,
    SHELF,
    VOCABULARY,
    VOICE_HZ,
    Hum,
    Listener,
    assistant,
    documents_of,
    said,
)

OPEN = "when does the library open on saturday"
CARD = "how much is a card"
OPENS = "The library opens at ten on Saturday."
Spoken = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=6).map(" ".join)


def chunks(audio: Samples, sizes: Sequence[int]) -> list[Samples]:
    cuts = np.cumsum(sizes)
    return [piece for piece in np.split(audio, cuts[cuts < audio.size]) if piece.size]


@given(
    words=st.lists(Spoken, min_size=1, max_size=3),
    pause_s=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    sizes=st.lists(st.integers(1, 400), max_size=20),
    in_pauses=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_final_does_not_depend_on_the_chunks(
    words: list[str], pause_s: float, sizes: list[int], in_pauses: bool
) -> None:
    audio = np.concatenate([said(text, pause_s=pause_s) for text in words])
    finals = set()
    for cut in (sizes, [audio.size]):
        stream = Rehearing(Listener(), every_s=0.5, in_pauses=in_pauses)
        for chunk in chunks(audio, cut):
            stream.accept(chunk)
        finals.add(stream.finish().text)
    assert len(finals) == 1


def test_a_final_that_was_made_in_the_pause_costs_nothing_at_the_end() -> None:
    spent = {}
    for in_pauses in (False, True):
        listener = Listener()
        stream = Rehearing(listener, every_s=60, in_pauses=in_pauses)
        for chunk in chunks(said(OPEN, pause_s=0.4), [100] * 20):
            stream.accept(chunk)
        before = len(listener.heard_s)
        assert stream.finish().text == OPEN
        spent[in_pauses] = len(listener.heard_s) - before
    assert spent == {False: 1, True: 0}


def test_partials_grow_and_are_promised_to_nobody() -> None:
    stream = Rehearing(Listener(), every_s=0.4, in_pauses=False)
    shown = [stream.accept(chunk) for chunk in chunks(said(OPEN), [100] * 20)]
    texts = [partial.text for partial in shown if partial]
    assert texts[0] == "when does"
    assert all(OPEN.startswith(text) for text in texts)
    assert all(partial == Partial(partial.text, 0) for partial in shown if partial)


def test_work_stays_in_proportion_to_a_long_turn() -> None:
    listener = Listener()
    stream = Rehearing(listener, every_s=0.2, in_pauses=False)
    for chunk in chunks(np.tile(said(OPEN), 40), [100] * 600):
        stream.accept(chunk)
    assert sum(listener.heard_s) < 6 * len(SHELF) * 56.0  # 56 s of speech; hearing all of it every 0.2 s were 7,840 s


def test_silence_is_not_heard_at_all() -> None:
    listener = Listener()
    stream = Rehearing(listener, every_s=0.2, in_pauses=True)
    assert stream.accept(np.zeros(RATE_HZ, np.float32)) is None
    assert stream.finish().text == ""
    assert listener.heard_s == []


@pytest.mark.parametrize(
    ("question", "tenant", "text", "citations", "handoff"),
    [
        (OPEN, "library", OPENS, ("hours#0",), False),
        (CARD, "library", "A card is free.", ("cards#0",), False),
        ("how much is a ticket", "transit", "A ticket costs two pounds.", ("fares#0",), False),
        ("how much is a ticket", "library", NO_ANSWER, (), True),  # another tenant's document
        (OPEN, "", NO_ANSWER, (), True),
        (OPEN, "nobody", NO_ANSWER, (), True),
        ("speak to a person", "library", TO_A_PERSON, (), True),
        ("", "library", NOT_HEARD, (), False),
    ],
    ids=["hours", "cards", "fares", "not theirs", "no tenant", "unknown tenant", "a person", "silence"],
)
def test_a_tenant_is_answered_from_its_own_documents(
    question: str, tenant: str, text: str, citations: tuple[str, ...], handoff: bool
) -> None:
    turn = assistant().turn(tenant)
    turn.accept(said(question, pause_s=0.3))
    reply = turn.reply()
    assert (reply.heard.text, reply.text, reply.citations, reply.handoff) == (question, text, citations, handoff)
    assert reply.grounded
    assert reply.index_age_s == (3600 if tenant in SHELF else None)
    assert turn.reply() is reply


def test_a_reply_that_does_not_stand_where_it_points_is_not_said() -> None:
    """The documents were cut anew and the index was not: what was `fares#1` is a part of `fares#0` now."""
    indexes = [build_index(documents_of(tenant), 1) for tenant in SHELF]
    served = [documents_of(tenant, size=2) for tenant in SHELF]
    model = assistant(served=served, indexes=indexes)
    found = [dialogue.ask(model, said(f"how much is a {what}"), "transit")[1] for what in ("ticket", "pass")]
    assert [(reply.text, reply.grounded) for reply in found] == [
        ("A ticket costs two pounds.", True),  # still within the passage of that name
        (NO_ANSWER, False),
    ]
    assert (found[1].citations, found[1].handoff) == ((), True)


class Inventor:
    """A language model that answers everything, and cites what it was given."""

    def draft(self, question: str, found: Sequence[Found], retriever: Retriever) -> Draft:
        del question, retriever
        cited = tuple(one.passage.id for one in found)
        return Draft((Statement("Everything is free for you today.", cited),), tokens=120)


def test_what_a_language_model_makes_up_is_handed_to_a_person() -> None:
    reply = dialogue.ask(assistant(responder=Inventor()), said(OPEN), "library")[1]
    assert (reply.text, reply.citations, reply.grounded, reply.handoff) == (NO_ANSWER, (), False, True)
    assert reply.tokens == 120


def test_speech_is_made_as_it_is_asked_for() -> None:
    voice = Hum()
    turn, reply = dialogue.ask(assistant(voice=voice), said("how much is a ticket to the library"), "library")
    assert reply.text == NO_ANSWER
    speech = iter(turn.speak())
    assert voice.made == []
    next(speech)
    assert voice.made == ["I have no answer to that."]


@given(first=st.sampled_from([OPEN, CARD, "speak to a person"]), second=Spoken)
@settings(deadline=None, max_examples=30)
def test_what_is_heard_after_a_barge_in_is_the_new_utterance_alone(first: str, second: str) -> None:
    model = assistant()
    alone = dialogue.ask(model, said(second), "library")[1]
    assert dialogue.speak_over(model, said(first), said(second), "library") == alone


def test_a_reply_that_stands_in_the_microphone_is_heard_as_the_failure_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an echo canceller the assistant hears itself: the measure must show it."""
    monkeypatch.setattr(dialogue, "RESIDUE_DB", 0.0)
    model = assistant()
    assert dialogue.speak_over(model, said(CARD), said(OPEN), "library").heard.text != OPEN


def test_speech_that_is_interrupted_is_not_made() -> None:
    voice = Hum()
    model = assistant(voice=voice)
    dialogue.speak_over(model, said("how much is a ticket to the library"), said(OPEN), "library")
    assert voice.made == ["I have no answer to that."]  # of two sentences


def test_nothing_of_a_turn_is_kept() -> None:
    model = assistant()
    turn = model.turn("library")
    assert isinstance(turn._hearing, Rehearing)
    turn.accept(said(OPEN))
    turn.reply()
    for _ in turn.speak():
        pass
    gone: list[Callable[[], object]] = [weakref.ref(one) for one in (turn, turn._hearing, turn._hearing._audio)]
    del turn
    gc.collect()
    assert [reference() for reference in gone] == [None, None, None]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    rows = []
    for name, text, tenant, over in (
        ("u0", OPEN, "library", ""),
        ("u1", "how much is a ticket", "transit", "u0.wav"),
        ("u2", "how much is a ticket", "library", ""),
    ):
        soundfile.write(tmp_path / f"{name}.wav", said(text, pause_s=0.3), RATE_HZ, subtype="FLOAT")
        end_s = said(text).size / RATE_HZ
        rows.append((name, f"{name}.wav", text, tenant, over, end_s))
    return pd.DataFrame(rows, columns=["utterance_id", "path", "text", "tenant", "interrupts", "speech_end_s"])


def test_a_pack_gives_a_row_a_turn(table: pd.DataFrame, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    given = dialogue.run_pack(assistant(), table, tmp_path, on_progress=lambda done, total: seen.append((done, total)))
    assert given["utterance_id"].tolist() == ["u0", "u1", "u2"]
    assert given["text"].tolist() == table["text"].tolist()
    assert given["citations"].tolist() == ["hours#0", "fares#0", ""]
    assert given["handoff"].tolist() == [0.0, 0.0, 1.0]
    assert given["grounded"].tolist() == [1.0, 1.0, 1.0]
    assert given["barged_in"].fillna(-1).tolist() == [-1.0, 1.0, -1.0]
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_turn_is_timed_from_the_end_of_the_user_s_speech(table: pd.DataFrame, tmp_path: Path) -> None:
    timed = dialogue.time_pack({"one": assistant(), "two": assistant()}, table, tmp_path)
    assert set(timed) == {"one", "two"}
    for rows in timed.values():
        assert (rows["first_audio_ms"] >= 300).all()  # the silence that tells that the turn is over
        assert (rows["first_audio_ms"] < 600).all()
        assert (rows["final_ms"] >= rows["first_audio_ms"]).all()
        assert (rows["first_partial_ms"] > 0).all()
        assert not rows["starved"].any()
        words = [len(text.split()) for text in (OPENS, "A ticket costs two pounds.", NO_ANSWER)]
        assert rows["audio_s"].tolist() == pytest.approx([VOICE_HZ // 10 * count / VOICE_HZ for count in words])


def test_a_golden_answer_is_what_was_heard_and_replied_and_cited(table: pd.DataFrame, tmp_path: Path) -> None:
    answer = dialogue.answer(assistant(), Prompt(tmp_path / "u0.wav", tenant="library"))
    assert (answer.text, answer.label) == (f"{OPEN}\n{OPENS}", "hours#0")


def test_warming_up_hears_and_speaks() -> None:
    listener, voice = Listener(), Hum()
    dialogue.warm(assistant(asr=listener, voice=voice))
    assert listener.heard_s
    assert voice.made
