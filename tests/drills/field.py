"""A family in the field: a trained model is stable, a gateway serves it, clients of many kinds come and go.

Traffic is played over the wire in seconds and laid over hours or weeks (timeshift.py); drift and incidents are then
judged on that telemetry by the operations that `soundcheck drift` and `soundcheck incident open` call.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import soundfile

from contracts.drift import DriftEvaluation
from contracts.incident import Incident
from operations.drift import drift
from operations.drift_windows import SETTLED_S
from operations.incident import open_incident
from operations.traffic import count_errors
from serving.client import start_gateway
from serving.traffic import Habits, play, sessions, utterances_of
from speech.runtimes import Samples
from speech.synthesis import speak_all
from tests.drills.timeshift import Recorded, put, spread, take
from tests.drills.visitors import impatient, play_visits
from tests.operations.gated_releases import FAMILY
from tests.operations.trained_family import TrainedFamily, processed

DAY_S = 86_400.0
WINDOW_H = 12
"""Of drift; an incident's window is WINDOW_S."""
WINDOW_S = 1800.0
REFERENCE_WEEKS, LATER_DAYS = 2, 5
DRIFT = {
    "window_h": WINDOW_H, "reference_weeks": REFERENCE_WEEKS, "min_sessions": 6, "slices": ["device", "language"],
    "min_pack_utterances": 1,
}  # fmt: skip
"""Of `drift` in params.yaml: as little traffic as a test can play, and a small pack."""
USUAL = Habits(stream=0.0, events={"correction": 0.03})
CONCURRENCY = 8
QUIETER, MICROPHONE_NOISE = 0.25, 0.012
"""What the broken firmware does: 12 dB less gain, and noise of -38 dBFS of its own."""
SPANISH = (
    "enciende la luz de la cocina", "apaga la radio", "abre la puerta del garaje", "sube el volumen", "pon la alarma",
    "cierra las ventanas", "baja la temperatura", "llama a la oficina", "para la música", "apaga el horno",
    "enciende el ventilador del dormitorio", "abre las cortinas",
)  # fmt: skip
SPANISH_VOICES = ("es", "es-419", "es+f3", "es-419+m3")


class Played(NamedTuple):
    """What clients play: utterances, and the folder that their paths are relative to."""

    utterances: pd.DataFrame
    root: Path


class Field:
    """The family `FAMILY` with `v1` promoted before the reference began; `base_url` is its gateway's address.

    Times are seconds since the epoch: drift's reference from `reference_s` to `later_s`, its later windows up to
    `until_s`, the last midnight by which everything has settled.
    """

    base_url = ""

    def __init__(self, root: Path) -> None:
        self.family = TrainedFamily(root)
        self.context = self.family.context
        self.context.settings.params["drift"] = {"defaults": DRIFT}
        self.until_s = (time.time() - SETTLED_S) // DAY_S * DAY_S
        self.later_s = self.until_s - LATER_DAYS * DAY_S
        self.reference_s = self.later_s - REFERENCE_WEEKS * 7 * DAY_S
        now = self.context.now
        self.context.now = lambda: datetime.fromtimestamp(self.reference_s - 3600, UTC)
        self.family.release("v1")
        self.context.now = now
        self.telemetry = self.family.home / "telemetry"

    @contextmanager
    def gateway(self) -> Iterator[Field]:
        """The gateway with its worker, until the block ends."""
        with start_gateway(self.family.home, families=(FAMILY,)) as gateway:
            self.base_url = gateway.base_url
            yield self

    # ---- what is played -----------------------------------------------------------------------------------------
    def usual(self) -> Played:
        """The pack's utterances."""
        return Played(self.family.pack.utterances, self.family.pack.root)

    def through_broken_firmware(self) -> Played:
        """The same as a microphone hears them whose gain is broken."""
        noise = np.random.default_rng(5)

        def heard(samples: Samples) -> Samples:
            hiss = noise.normal(0, MICROPHONE_NOISE, len(samples))
            return (samples * QUIETER + hiss).astype(np.float32)

        return self._made("firmware", heard)

    def longer(self, times: int) -> Played:
        """The same, each said so often in a row: what is sent grows, what is wanted does not."""
        return self._made("longer", lambda samples: np.tile(samples, times))

    def _made(self, name: str, change: Any) -> Played:
        folder = self.family.root / name
        return Played(processed(self.family.pack, folder, change), folder)

    def in_spanish(self) -> Played:
        """Commands of a region that the model was not trained for."""
        folder = self.family.root / "spanish"
        folder.mkdir()
        said = [(text, voice) for voice in SPANISH_VOICES for text in SPANISH]
        for number, samples in enumerate(speak_all(said, 16_000)):
            soundfile.write(folder / f"{number}.wav", samples, 16_000, subtype="PCM_16")
        rows = [{"path": f"{number}.wav", "text": text} for number, (text, _) in enumerate(said)]
        return Played(pd.DataFrame(rows), folder)

    # ---- playing ------------------------------------------------------------------------------------------------
    def play(self, what: Played, requests: int, *, seed: int, habits: Habits = USUAL, language: str = "en") -> Recorded:
        """Play so many requests of sessions; what the gateway wrote about them."""
        done = play(
            self.base_url, family=FAMILY, utterances=what.utterances, root=what.root, api_key=self.family.api_key,
            count_errors=count_errors("none"), requests=requests, concurrency=CONCURRENCY, cadence=0.0, probe=False,
            habits=replace(habits, languages=(language,)), seed=seed,
        )  # fmt: skip
        assert done.failures == {}
        return take(self.telemetry, FAMILY, rows=done.requests, events=sum(done.events.values()))

    def play_impatient(self, what: Played, visits: int, *, seed: int, asked: int) -> Recorded:
        """Sessions of clients whose retry timer is too short: each recording is sent so often, and answered."""
        drawn = sessions(utterances_of(what.utterances, what.root), seed=seed, habits=replace(USUAL, languages=("en",)))
        made = play_visits(
            self.base_url, islice(drawn, visits), impatient(asked), family=FAMILY, api_key=self.family.api_key,
            concurrency=CONCURRENCY,
        )  # fmt: skip
        return take(self.telemetry, FAMILY, rows=made, events=0)

    # ---- judging ------------------------------------------------------------------------------------------------
    def drift(self, reference: Sequence[Recorded], later: Sequence[Recorded]) -> DriftEvaluation:
        """`soundcheck drift` on this telemetry alone."""
        with self._alone():
            for recorded in reference:
                put(self.telemetry, FAMILY, spread(recorded, since_s=self.reference_s, until_s=self.later_s))
            for recorded in later:
                put(self.telemetry, FAMILY, spread(recorded, since_s=self.later_s, until_s=self.until_s))
            return drift(self.context, FAMILY)

    def incident(self, baseline: Recorded, window: Recorded) -> Incident:
        """`soundcheck incident open --since 30m` on this telemetry alone, its baseline the two hours before."""
        with self._alone():
            now_s = time.time()
            put(self.telemetry, FAMILY, spread(baseline, since_s=now_s - 5 * WINDOW_S, until_s=now_s - WINDOW_S))
            put(self.telemetry, FAMILY, spread(window, since_s=now_s - WINDOW_S, until_s=now_s))
            return open_incident(self.context, FAMILY, since_s=WINDOW_S, with_replay=False).incident

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nothing of another drill is there, and nothing is left for the next."""
        try:
            yield
        finally:
            for folder in (self.telemetry, self.family.home / "drift"):
                shutil.rmtree(folder, ignore_errors=True)
