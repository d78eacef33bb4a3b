"""Conditions: each changes what it says, by how much it says, and neither delays nor cuts speech."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.errors import WrongCall
from speech.conditions import (
    BABBLE_SNR_DB,
    CLIPPED_AT_DB,
    CONDITIONS,
    DIRECT_TO_REVERBERANT_DB,
    FIRST_ECHO_S,
    REVERBERATION_S,
    room_response,
)
from speech.noise import Signal, rms

RATE_HZ = 16_000


def speech(seed: int = 1) -> Signal:
    """Bursts of noise with silence between them, two seconds."""
    generator = np.random.default_rng(seed)
    loud = np.repeat(generator.uniform(0, 0.3, 20) * (np.arange(20) % 3 > 0), RATE_HZ // 10)
    return (loud * generator.standard_normal(loud.size)).clip(-1, 1).astype(np.float32)


def heard(condition: str, signal: Signal, seed: int = 7) -> Signal:
    return CONDITIONS[condition](signal, RATE_HZ, np.random.default_rng(seed), speech(2))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_law_a_condition_keeps_length_bounds_and_is_the_same_each_time(condition: str) -> None:
    signal = speech()
    first = heard(condition, signal)
    assert first.shape == signal.shape
    assert first.dtype == np.float32
    assert float(np.abs(first).max()) <= 1.0
    assert np.array_equal(first, heard(condition, signal))


@pytest.mark.parametrize("condition", CONDITIONS)
def test_law_speech_is_not_delayed(condition: str) -> None:
    signal = speech()
    spectrum = np.fft.rfft(heard(condition, signal), 2 * signal.size) * np.conj(np.fft.rfft(signal, 2 * signal.size))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    assert min(lag, 2 * signal.size - lag) <= 1


def test_clean_is_as_it_was_spoken() -> None:
    assert np.array_equal(heard("clean", speech()), speech())


@pytest.mark.parametrize(("condition", "edge_hz"), [("12khz", 6_000), ("mulaw-8khz", 4_000)])
def test_what_lies_above_the_band_is_gone(condition: str, edge_hz: int) -> None:
    def above(signal: Signal) -> float:
        power = np.abs(np.fft.rfft(signal)) ** 2
        return float(power[np.fft.rfftfreq(signal.size, 1 / RATE_HZ) > edge_hz * 1.05].sum() / power.sum())

    assert above(speech()) > 0.2
    assert above(heard(condition, speech())) < 0.01


def test_clipping_cuts_peaks_and_nothing_else() -> None:
    signal = speech()
    cut = heard("clipped", signal)
    limit = np.abs(signal).max() * 10 ** (CLIPPED_AT_DB / 20)
    assert float(np.abs(cut).max()) == pytest.approx(float(limit), rel=1e-6)
    quiet = np.abs(signal) < limit
    assert np.array_equal(cut[quiet], signal[quiet])
    assert 0.05 < 1 - quiet.mean() < 0.9


def test_babble_has_the_ratio_it_states() -> None:
    signal = speech() * np.float32(0.2)
    assert 20 * np.log10(rms(signal) / rms(heard("babble", signal) - signal)) == pytest.approx(BABBLE_SNR_DB, abs=0.01)


def test_babble_without_other_voices_is_refused() -> None:
    with pytest.raises(WrongCall) as error:
        CONDITIONS["babble"](speech(), RATE_HZ, np.random.default_rng(1), np.zeros(2 * RATE_HZ, np.float32))
    assert error.value.diagnostics() == (
        "babble needs other voices\n  got: silence\n  expected: background lines of the utterance"
    )


def test_the_room_decays_by_60_db_in_its_reverberation_time() -> None:
    responses = [room_response(RATE_HZ, np.random.default_rng(seed)) for seed in range(50)]
    power = np.mean([np.square(response[1:], dtype=np.float64) for response in responses], axis=0)
    seconds = np.arange(1, power.size + 1) / RATE_HZ
    echo = seconds > FIRST_ECHO_S
    slope_db_s = np.polyfit(seconds[echo], 10 * np.log10(power[echo]), 1)[0]
    assert slope_db_s == pytest.approx(-60 / REVERBERATION_S, rel=0.02)
    for response in responses:
        ratio_db = 10 * np.log10(response[0] ** 2 / np.sum(response[1:] ** 2))
        assert ratio_db == pytest.approx(DIRECT_TO_REVERBERANT_DB, abs=1e-3)


def test_far_field_keeps_the_level_and_fills_pauses() -> None:
    signal = speech()
    far = heard("far-field", signal)
    assert rms(far) == pytest.approx(rms(signal), rel=1e-3)
    pause = signal == 0
    assert pause.sum() > RATE_HZ // 2
    assert rms(far[pause]) > 0.1 * rms(far)
