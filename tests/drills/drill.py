"""One drill: a real gateway with real workers, traffic over the wire, a canary that is watched, a fault in the middle.

The engine is the tests' own and says words by the level of the audio; everything between the client's socket and the
route table is the product's. A scenario (scenarios/*.yaml) says what goes wrong and what must come of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml

from contracts.digest import Digest
from contracts.document import Part
from contracts.policy import CanaryMetric, CanaryPlan, FamilyPolicy
from contracts.reports import CanaryReport, SliceEvidence
from contracts.routing import RouteTable
from operations import canary, pointer
from operations.context import put
from operations.gate import Stopped
from operations.traffic import count_errors
from registry.documents import get_document
from serving.client import RunningGateway, start_gateway
from serving.telemetry import read
from serving.traffic import Habits, TrafficSummary, play
from serving.traffic.sessions import DEVICES
from tests.operations.gated_releases import FAMILY
from tests.operations.packaged import Packaged
from tests.operations.tiny_family import GATEWAY, TinyFamily
from tests.serving.conftest import RATE_HZ, wav

SCENARIOS = Path(__file__).with_name("scenarios")
ACCENTS = ("us", "british", "scottish", "caribbean", "rp", "lancashire")
KINDS = tuple(f"{accent} {noise}" for accent in ACCENTS for noise in ("clean", "5db"))
"""Kinds of utterances: the Nth is N hundredths loud, and the engine says its word."""
SPANISH = "spanish"
SOUNDS = (*KINDS, SPANISH)
"""All that the engine tells apart: the kinds, and a word of another language, which no kind has."""
WORDS = tuple(f"word{number}" for number in range(len(SOUNDS)))
WORDS_SAID = 3
WORD_S = 0.5
DEADLINE_S = 400
"""Of a stage: on quiet cores each ends in a tenth of it, beside other work later, and in the same decision."""
AFTER_S = 3.0
"""How long there is traffic after the canary has ended."""
LOOK_S = 0.5
"""Between two looks whether the fault can be planted."""


class Expected(Part):
    """What must come of a drill: the decision of the canary, of staging, of drift (its outcome) or of an incident (its
    first action), the slices that were found worse, and by which metric or signal.

    `cause`: whose change drift says that it is; of an incident, words of the cause that it names.
    """

    decision: Literal[
        "promote", "partial_rollback", "rollback", "stopped", "nothing", "propose_pack", "page", "pause", "degrade"
    ]
    slices: tuple[str, ...] = ()
    metric: str = ""
    within: str = ""
    clause: str = ""
    refusal: str = ""
    cause: str = ""


class Scenario(Part):
    """A drill as an on-call engineer reads it, and how it is run.

    `found_by` is what must find it: the release's gates, staging, the canary step, `soundcheck drift`, or
    `soundcheck incident open`. `traffic` is what clients do wrong. `covers` are the rows of the coverage list that it
    shows, beside the one for drills (docs/drills.md).
    """

    name: str
    covers: tuple[int, ...]
    found_by: Literal["canary", "gate", "staging", "drift", "incident"] = "canary"
    symptom: str
    look_at: tuple[str, ...]
    mitigation: str
    trigger: str
    prevention: str
    plant: tuple[dict[str, Any], ...] = ()
    runtime: dict[str, Any] = {}
    candidate: dict[str, Any] = {}
    traffic: dict[str, Any] = {}
    stages: tuple[Literal["shadow", "cohort", "wide"], ...] = ("wide",)
    streams: float = 1.0
    metrics: dict[str, CanaryMetric] = {}
    slices: tuple[str, ...] = ()
    expect: Expected


def scenarios() -> dict[str, Scenario]:
    """Every scenario, by the name of its file."""
    return {path.stem: Scenario.model_validate(yaml.safe_load(path.read_text())) for path in SCENARIOS.glob("*.yaml")}


def write_pack(root: Path) -> pd.DataFrame:
    """An utterance of each kind, labelled."""
    rows = []
    for number, kind in enumerate(KINDS):
        accent, noise = kind.split()
        spoken = write_utterance(root / f"{number}.wav", [number] * WORDS_SAID)
        rows.append({**spoken, "accent": accent, "noise": noise})
    return pd.DataFrame(rows)


def write_utterance(path: Path, sounds: Sequence[int]) -> dict[str, str]:
    """An utterance of these SOUNDS, by number: its row of a pack."""
    level = np.repeat(np.array(sounds, dtype=np.float32) / 100, int(WORD_S * RATE_HZ))
    path.write_bytes(wav(level))
    return {"path": path.name, "text": " ".join(WORDS[number] for number in sounds)}


def worse_slices(rows: tuple[SliceEvidence, ...], metric: str) -> set[str]:
    """Slices that were found worse by a metric."""
    return {row.slice for row in rows if row.state == "worse" and row.metric == metric}


class Drill:
    """A family with a stable bundle and a candidate that is staged, a gateway, and traffic.

    Attributes:
        summary: what the traffic came to, once the drill is over.
        ended_s: when the canary step ended (seconds since the epoch).
    """

    def __init__(self, root: Path, scenario: Scenario) -> None:
        self.scenario = scenario
        self.family = TinyFamily(root)
        self.context = self.family.context
        runtime: dict[str, Any] = {"by_level": True, **scenario.runtime}
        stable = self._package("v1", runtime)
        stable.promote()
        self.stable = stable.bundle
        self.candidate = self._package("v2", runtime | scenario.candidate)
        self.pack = write_pack(root)
        self.plan = CanaryPlan(
            metrics=scenario.metrics, slices=scenario.slices, deadline_s=DEADLINE_S, min_sessions=12, stale_after_s=30,
            routable=("device", "codec", "language", "tenant"), stages=scenario.stages,
            weights={"wide": 0.5, "shadow": 1.0}, caps={"utterances": 5, "words": 40},
        )  # fmt: skip
        self.summary = TrafficSummary()
        self.ended_s = 0.0
        self._over = threading.Event()

    def _package(self, version: str, runtime: dict[str, Any]) -> Packaged:
        """A bundle with this runtime; `deaf_to` is the sound whose word it mumbles."""
        engine = dict(runtime)
        deaf_to = engine.pop("deaf_to", "")
        words = ["mumble" if sound == deaf_to else word for sound, word in zip(SOUNDS, WORDS, strict=True)]
        return self.family.package(version, " ".join(words), runtime=engine)

    @contextmanager
    def gateway(self) -> Iterator[RunningGateway]:
        """The gateway, which would plant what `faults.yaml` says."""
        options = ("--plant", str(self.family.root / "faults.yaml"))
        with start_gateway(self.family.home, families=(FAMILY,), command=GATEWAY, options=options) as gateway:
            yield gateway

    def canary(self) -> CanaryReport:
        """The canary step, as a release runs it, with its fault planted while it runs; the report that it wrote."""
        with self.gateway() as gateway:
            playing = threading.Thread(target=self._play, args=(gateway.base_url,))
            planting = threading.Thread(target=self._plant_in_health)
            playing.start()
            planting.start()
            try:
                report = self._step()
                self.ended_s = time.time()
                time.sleep(AFTER_S)
            finally:
                self._over.set()
                planting.join()
                playing.join()
        return report

    def _step(self) -> CanaryReport:
        base, policy = self.context.settings.policy(FAMILY), self.policy()
        digest, replayed = put(self.context, policy, base)
        ledger, release = self.context.ledger(FAMILY), self.candidate.release
        for step, outputs in (("capture", {"policy": digest}), ("stage", {"replay_report": replayed})):
            ledger.append(step, "complete", at=self.context.timestamp(), release=release, outputs=outputs)
        with suppress(Stopped):
            canary.canary(
                self.context, FAMILY, {"policy": digest, "release": release}, {"bundle": self.candidate.bundle},
                {"replay_report": replayed},
            )  # fmt: skip
        event = [event for event in ledger.events() if event.step == "canary" and event.outputs][-1]
        return get_document(self.context.store, CanaryReport, event.outputs["canary_report"])

    def policy(self) -> FamilyPolicy:
        """The family's, with the canary plan of the scenario."""
        base = self.context.settings.policy(FAMILY)
        return base.model_copy(update={"canary": self.plan, "high_risk_slices": ()})

    def _plant_in_health(self) -> None:
        """Plant once the judge has its minimum of healthy sessions, in both arms, of those who will be hurt.

        Sessions are waited for, not seconds: on a busy machine a fault that came first would be seen on the whole
        before any slice could be asked, and the whole would be rolled back.
        """
        while self.scenario.plant and not self._over.wait(LOOK_S):
            rows = read(self.family.home / "telemetry", FAMILY)
            if all(self._enough(rows, fault.get("labels", {})) for fault in self.scenario.plant):
                self._plant()
                return

    def _enough(self, rows: pd.DataFrame, labels: dict[str, str]) -> bool:
        for label, value in labels.items():
            rows = rows[rows[label] == value]
        sessions = rows.groupby("arm")["session_id"].nunique()
        return len(sessions) > 1 and int(sessions.min()) >= self.plan.min_sessions

    def _plant(self) -> None:
        faults = [{"bundle": self.candidate.bundle, **fault} for fault in self.scenario.plant]
        fresh = self.family.root / "faults.new"
        fresh.write_text(yaml.safe_dump(faults))
        os.replace(fresh, self.family.root / "faults.yaml")

    def _play(self, url: str) -> None:
        self.summary = play(
            url, family=FAMILY, utterances=self.pack, root=self.family.root, api_key=self.family.api_key,
            count_errors=count_errors("none"), concurrency=8, cadence=3.0, seed=11, stop=self._over,
            habits=Habits(stream=self.scenario.streams, retries=3, languages=("en",),
                          devices=self.scenario.traffic.get("devices", DEVICES)),
        )  # fmt: skip

    # ---- what came of it ----------------------------------------------------------------------------------------
    @property
    def table(self) -> RouteTable:
        """The route table now."""
        table = pointer.current(self.context, FAMILY).table
        assert table is not None
        return table

    def routed_back(self) -> tuple[str, ...]:
        """Slices that went back to stable while the canary went on."""
        events = [event for event in self.context.ledger(FAMILY).events() if event.step == "canary_slices"]
        return tuple(str(name) for event in events for name in event.data["slices"])  # type: ignore[union-attr]

    def cost_per_answer(self) -> tuple[float, float]:
        """US dollars of compute an answer: of those that were copied, with their copies, and of those afterwards.

        A busy gateway drops copies; what was not copied says nothing about what a copy costs.
        """
        rows = read(self.family.home / "telemetry", FAMILY)
        copied = rows["request_id"].isin(set(rows.loc[rows["arm"] == "shadow", "request_id"]))
        after = rows["route_version"] == self.table.version
        costs = [part["cost_usd"].sum() / (part["arm"] != "shadow").sum() for part in (rows[copied], rows[after])]
        return float(costs[0]), float(costs[1])

    def answered_after(self) -> set[Digest]:
        """Bundles that did any work, for users or as copies, once the gateway served what the step had decided."""
        rows = read(self.family.home / "telemetry", FAMILY, self.ended_s)
        settled = rows[rows["route_version"] == self.table.version]
        return set(settled["bundle"])

    def nobody_noticed(self) -> None:
        """Assert that no request failed over it, that no session met two bundles at a time, and who serves in the end.

        That is stable, which serves what the canary had; after a drill of nothing it is stable beside the canary.
        """
        assert self.summary.failures == {}
        assert self.summary.answered == self.summary.requests > 50
        assert self.summary.mixed_sessions == 0
        assert self.table.stable == self.stable
        if self.scenario.expect.decision != "promote":
            assert self.table.canary is None
            assert self.table.slice_rules == ()
            assert self.answered_after() == {self.stable}
