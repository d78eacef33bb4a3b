"""A cascade with a router: who answers follows from the small part's outputs alone, however audio is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import Refused
from speech.cascade import Cascaded, write_candidate
from speech.corpus import TRAIN_VARIANTS
from speech.honesty import check_causal
from speech.router import LEVELS, RouterSpeech, fit, plan_speech
from speech.run import hear
from speech.runtimes import BatchRuntime, Samples, load
from speech.runtimes.cascade_routed import RoutedRuntime, TellingRuntime
from speech.runtimes.cascade_router import Features, Outputs, Router, Sureness, Watch
from tests.speech.ctc_samples import babbling, shelf_of_two

ROUTER = Router(intercept=4.0, mean_entropy=-4.0, greatest_entropy=0.0, blank_share=-1.0)


def outputs_like(count: int, seed: int) -> Outputs:
    generator = np.random.default_rng(seed)
    return np.column_stack([generator.uniform(0, 3, count), generator.uniform(0, 1, count)])


@given(st.integers(0, 40), st.integers(0, 1000), st.lists(st.integers(0, 40), max_size=4))
def test_sureness_does_not_depend_on_how_outputs_are_cut(count: int, seed: int, cuts: list[int]) -> None:
    outputs = outputs_like(count, seed)
    whole, pieces = Sureness(ROUTER), Sureness(ROUTER)
    whole.hear(outputs)
    for piece in np.split(outputs, sorted(min(cut, count) for cut in cuts)):
        pieces.hear(piece)
    assert (pieces.is_judged, pieces.least) == (whole.is_judged, whole.least)
    assert pieces.end() == whole.end()


@given(st.integers(1, 40), st.integers(0, 1000))
def test_sureness_only_falls(count: int, seed: int) -> None:
    sureness = Sureness(ROUTER)
    fallen = [sureness.hear(one[None]) for one in outputs_like(count, seed)]
    assert fallen == sorted(fallen, reverse=True)
    assert sureness.end() <= fallen[-1]


def test_features_are_of_all_that_was_heard_and_are_judged_once_a_word_has_begun() -> None:
    watch = Watch()
    assert watch.features() == Features(0.0, 0.0, 0.0)
    seen = []
    for entropy, blank in ((0.5, 0.9), (1.5, 0.2), (1.0, 0.8), (0.0, 0.7)):
        watch.hear(entropy, blank)
        seen.append((*watch.features(), watch.is_settled))
    assert seen == [
        (0.5, 0.5, 1.0, False),
        (1.0, 1.5, 1 / 2, False),  # here the first word begins
        (1.0, 1.5, 2 / 3, True),
        (0.75, 1.5, 3 / 4, True),
    ]


def test_a_fit_finds_what_tells_right_answers_from_wrong_ones() -> None:
    generator = np.random.default_rng(1)
    table = generator.uniform(0, 1, (400, 3))
    right = generator.uniform(size=400) < 1 / (1 + np.exp(8 * (table[:, 0] - 0.5)))
    router = fit(table, right)
    sureness = np.array([router.sureness(Features(*row)) for row in table])
    assert router.mean_entropy < -4
    assert abs(router.blank_share) < 1
    assert sureness[right].mean() > sureness[~right].mean() + 0.3
    assert sureness.mean() == pytest.approx(right.mean(), abs=0.01)  # calibrated in the large


def test_answers_of_one_kind_fit_no_router() -> None:
    with pytest.raises(Refused, match="a router cannot be fitted") as raised:
        fit(np.ones((4, 3)), np.ones(4, np.bool_))
    assert "4 of 4 answers are right" in raised.value.diagnostics()


def test_every_voice_of_the_held_out_speech_is_in_every_noise_alike() -> None:
    plans = plan_speech(RouterSpeech(seed=5, per_accent=208))
    columns = ["accent", "variant", "noise", "codec", "utterance_id"]
    heard = pd.DataFrame([[getattr(plan, name) for name in columns] for plan in plans], columns=columns)
    assert (heard[["accent", "variant", "noise"]].value_counts() == 1).all()
    assert set(heard["noise"]) == set(LEVELS)
    assert set(heard[heard["noise"].isin(["10db", "5db"])]["codec"]) == {"pcm"}
    assert heard["utterance_id"].is_unique
    assert len(heard) == 6 * 4 * len(TRAIN_VARIANTS)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two candidates of untrained models."""

    def heard(_seed: int, name: str) -> pd.DataFrame:
        return pd.DataFrame({"utterance_id": [name], "path": [f"audio/{name}.wav"]})

    return shelf_of_two(tmp_path_factory.mktemp("candidates"), heard)


@pytest.fixture(scope="module")
def speech(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Held-out babble, of which every second text is what the small model hears."""
    folder = tmp_path_factory.mktemp("speech")
    small = load(shelf / "tiny" / "payload")
    rows = []
    for number in range(32):
        path = folder / f"{number}.wav"
        soundfile.write(path, babbling(0.6, number), 16_000, subtype="FLOAT")
        text = small.transcribe(babbling(0.6, number)).text if number % 2 else "nobody said that"
        voice = TRAIN_VARIANTS[number % len(TRAIN_VARIANTS)].lower()
        rows.append((f"router-us-{number}", str(path), text or "silence", f"us-{voice}-p50", "us", "clean"))
    (folder / "both").mkdir()
    table = pd.DataFrame(rows, columns=["utterance_id", "path", "text", "speaker", "accent", "noise"])
    table.to_parquet(folder / "both" / "manifest.parquet")
    return folder


@pytest.fixture(scope="module")
def candidate(shelf: Path, speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("cascade") / "both"
    plan = Cascaded(
        small="tiny", large="big", below=0.5, router=RouterSpeech(seed=9, per_accent=1), description="A test."
    )
    write_candidate(shelf, target, "both", plan, speech=speech)
    return target


def test_a_candidate_says_what_its_router_was_fitted_on(candidate: Path) -> None:
    card = (candidate / "MODEL_CARD.md").read_text()
    assert "on 32 utterances of the training voices that no part was trained on, and 0.5 is the lowest" in card
    assert "| 0.5 | " in card
    described = yaml.safe_load((candidate / "candidate.yaml").read_text())
    assert described["seeds"] == {"small_training": 0, "large_training": 1, "router": 9}
    manifest = pd.read_parquet(candidate / "data_manifest.parquet")
    assert manifest.columns.tolist() == ["utterance_id", "path"]
    assert len(manifest) == 34


@pytest.fixture(scope="module")
def cascade(candidate: Path) -> RoutedRuntime:
    """The cascade with the threshold at which it hands over half of the babble."""
    found = load(candidate / "payload")
    assert isinstance(found, RoutedRuntime)
    least = []
    for audio in AUDIO:
        sureness = Sureness(found.router)
        sureness.hear(found.small.listen(audio)[1])
        least.append(sureness.end())
    least.sort()
    found.below = (least[3] + least[4]) / 2
    return found


AUDIO: list[Samples] = [babbling(1.0, seed) for seed in range(40, 48)]


@pytest.mark.parametrize("chunk_ms", [30, 100, 1000])
def test_a_stream_ends_with_what_the_file_says_however_it_is_cut(cascade: RoutedRuntime, chunk_ms: int) -> None:
    alone = [cascade.transcribe(audio) for audio in AUDIO]
    assert [one.route for one in alone].count("small") == 4
    for audio, expected in zip(AUDIO, alone, strict=True):
        stream = cascade.stream()
        for start in range(0, audio.size, 16 * chunk_ms):
            stream.accept(audio[start : start + 16 * chunk_ms])
        final = stream.finish()
        assert (final.text, final.route) == (expected.text, expected.route)


def test_a_stream_commits_nothing_and_hears_no_future(cascade: RoutedRuntime) -> None:
    for audio in AUDIO[:2]:
        assert check_causal(cascade, audio, chunk_ms=100) == ()
        assert {event.committed for event in hear(cascade, audio).events if not event.final} <= {0}


def test_what_was_handed_over_is_shown_as_the_large_part_hears_it(cascade: RoutedRuntime) -> None:
    surest = cascade.below
    cascade.below = 1.0  # nothing is sure: handed over at the first judgement
    try:
        for audio in AUDIO:
            shown = [(event.heard_s, event.text) for event in hear(cascade, audio).events]
            of_large = [(event.heard_s, event.text) for event in hear(cascade.large, audio).events]
            first_s = shown[0][0]
            assert [one for one in shown if one[0] > first_s] == _changes(of_large, after_s=first_s)
    finally:
        cascade.below = surest


def _changes(events: list[tuple[float, str]], *, after_s: float) -> list[tuple[float, str]]:
    """The changes of the text after a moment, and the final."""
    changed = [one for before, one in zip([(0.0, ""), *events], events, strict=False) if one[1] != before[1]]
    return [one for one in changed if one[0] > after_s] + ([] if changed[-1] == events[-1] else [events[-1]])


def test_a_buffer_that_its_owner_uses_again_is_not_heard_again(cascade: RoutedRuntime) -> None:
    audio = AUDIO[0]
    stream, buffer = cascade.stream(), np.empty(1600, np.float32)
    for start in range(0, audio.size, 1600):
        buffer[:] = audio[start : start + 1600]
        stream.accept(buffer)
        buffer[:] = 0.0
    assert stream.finish().text == cascade.transcribe(audio).text


def test_a_routed_cascade_is_heard_one_utterance_at_a_time(cascade: RoutedRuntime) -> None:
    assert isinstance(cascade.small, TellingRuntime)
    assert not isinstance(cascade, BatchRuntime)
