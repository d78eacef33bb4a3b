"""The studio: the same bytes each time and in any company, levels, pauses, and the end of speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from contracts.digest import sha256_file
from evalpacks.packs.synthetic import Line, Utterance
from speech.noise import rms, set_level
from speech.studio import LEVEL_DB, RATE_HZ, Studio, perform
from speech.synthesis import Synthesizer


def utterance(name: str, *lines: Line, condition: str = "clean", background: tuple[Line, ...] = ()) -> Utterance:
    return Utterance(
        utterance_id=name,
        speaker="us-alex-p40",
        text=" ".join(line.text for line in lines),
        lines=lines,
        columns={},
        seed=5,
        condition=condition,
        background=background,
    )


def line(text: str, variant: str = "Alex", voice: str = "en-us", pause_s: float = 0.0) -> Line:
    return Line(text, f"{voice}+{variant}", 175, 40, pause_s)


SCRIPTS = [
    utterance("plain", line("good morning to all of you")),
    utterance("mixed", line("she said"), line("muchas gracias por todo", voice="es-419"), line("and left")),
    utterance("babble", line("where is it"), condition="babble", background=(line("I would like tea", "linda"),)),
    utterance("far", line("where is it"), condition="far-field"),
]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("studio")
    return folder, Studio().record(SCRIPTS, folder)


def test_law_the_same_scripts_give_the_same_bytes(recorded: tuple[Path, dict[str, float]], tmp_path: Path) -> None:
    folder, ends_s = recorded
    told: list[tuple[int, int]] = []
    assert Studio().record(SCRIPTS, tmp_path, lambda done, total: told.append((done, total))) == ends_s
    for script in SCRIPTS:
        path = f"audio/{script.utterance_id}.wav"
        assert sha256_file(tmp_path / path) == sha256_file(folder / path), script.utterance_id
    assert told[-1] == (4, 4)


def test_silence_stands_around_speech_and_its_end_is_known(recorded: tuple[Path, dict[str, float]]) -> None:
    folder, ends_s = recorded
    samples, rate_hz = soundfile.read(folder / "audio" / "plain.wav")
    assert rate_hz == RATE_HZ
    assert ends_s["plain"] == pytest.approx(samples.size / RATE_HZ - 0.3)
    loud = np.flatnonzero(np.abs(samples) > 0.005) / RATE_HZ
    assert loud[0] == pytest.approx(0.25, abs=0.03)
    assert loud[-1] == pytest.approx(ends_s["plain"], abs=0.03)


def test_lines_are_equally_loud_and_follow_without_a_gap(recorded: tuple[Path, dict[str, float]]) -> None:
    folder, ends_s = recorded
    samples, _ = soundfile.read(folder / "audio" / "mixed.wav", dtype="float32")
    spoken = samples[round(0.25 * RATE_HZ) : round(ends_s["mixed"] * RATE_HZ)]
    assert rms(spoken) == pytest.approx(10 ** (LEVEL_DB / 20), rel=0.02)
    still = np.abs(spoken) < 0.002
    longest = max(len(run) for run in "".join("s" if quiet else "." for quiet in still).split("."))
    assert longest / RATE_HZ < 0.12


def test_a_pause_is_as_long_as_it_is_asked_for() -> None:
    synthesizer = Synthesizer()
    together = perform(synthesizer, utterance("one", line("stop here"), line("go on")))
    apart = perform(synthesizer, utterance("two", line("stop here", pause_s=0.8), line("go on", pause_s=9.0)))
    assert apart.speech_end_s - together.speech_end_s == pytest.approx(0.8, abs=0.05)


def test_babble_is_heard_where_the_speaker_is_silent(recorded: tuple[Path, dict[str, float]]) -> None:
    folder, _ = recorded
    samples, _ = soundfile.read(folder / "audio" / "babble.wav", dtype="float32")
    assert rms(samples[: round(0.2 * RATE_HZ)]) > 0.05 * rms(set_level(samples, LEVEL_DB))
