"""The drills of a spoken assistant: an ingestion change, a stale index, a client that stopped passing barge-ins on.

The first two run the real candidates over recorded questions and the release's own judges; the third plays clients
against a gateway over the wire, and what it wrote is judged by the operation behind `soundcheck incident open`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pytest

from contracts.incident import Incident
from contracts.policy import FamilyPolicy
from contracts.reports import ScoreReport
from contracts.verdict import Value, Verdict
from evalpacks import pack
from evalpacks.gates import quality_gate
from evalpacks.metrics import Outputs
from evalpacks.pack import Pack
from evalpacks.packs.assistant_questions import build as questions
from evalpacks.packs.making import read_card
from evalpacks.packs.synthetic import cast, record_pack
from evalpacks.scoring import score_report
from operations import candidate as candidates
from operations import keys
from operations.context import Context
from operations.incident import open_incident
from operations.safety import dialogue as dialogue_safety
from operations.settings import Settings
from registry.store.memory import MemoryStore
from serving.client import RunningGateway, next_said, start_gateway
from speech.assistant import make
from speech.kinds import dialogue
from speech.runtimes import load_model
from speech.runtimes.assistant import AssistantModel
from speech.studio import Studio
from tests.drills.drill import scenarios
from tests.drills.timeshift import Recorded, by_turns, put, spread, take
from tests.serving.conftest import TINY_GATEWAY, Home
from tests.serving.test_dialogue import BARGE_IN, END, SECOND, until
from tests.serving.test_dialogue import dialogue as talk

pytestmark = pytest.mark.timeout(600)  # a machine that may be busy; a quiet one takes a tenth

FAMILY = "assistant"
ROOT = Path(__file__).parents[2]
SCENARIOS = scenarios()
UNGROUNDED = SCENARIOS["12-ungrounded-answers"]
STALE = SCENARIOS["13-stale-index"]
BROKEN_CLIENT = SCENARIOS["14-barge-in-broken-by-a-client"]
SPEAKERS = 24
WINDOW_S = 1800.0
SESSIONS = int(BROKEN_CLIENT.traffic["sessions"])
ROUNDS = 6
TURNS = 3


class Assessed(NamedTuple):
    """What the release's judges said of a version beside v2."""

    score: ScoreReport
    quality: Verdict


class Bench:
    """Questions that were recorded once, and the payloads of every version."""

    def __init__(self, root: Path) -> None:
        self.root = root
        policy = Settings(ROOT, root / "home").policy(FAMILY)
        smaller = {"min_speakers": 8, "min_support": 8}
        self.policy: FamilyPolicy = policy.model_copy(
            update={"quality": tuple(gate.model_copy(update=smaller) for gate in policy.quality)}
        )
        generator = np.random.default_rng(questions.SEED)
        studio = Studio()
        speakers = [one for one in cast(studio, ("us", "rp"), generator) if one.variant in questions.VARIANTS]
        said = questions.plan(speakers[:SPEAKERS], generator)
        record_pack(root / "assistant-questions", read_card(questions.__file__), said, studio)
        self.pack: Pack = pack.load(root / "assistant-questions")
        self._outputs: dict[str, Outputs] = {}

    def payload(self, version: str) -> Path:
        folder = self.root / version
        return (folder if folder.is_dir() else make.build(version, folder)) / "payload"

    def outputs(self, version: str) -> Outputs:
        if version not in self._outputs:
            model = load_model(self.payload(version))
            assert isinstance(model, AssistantModel)
            self._outputs[version] = Outputs(dialogue.run_pack(model, self.pack.utterances, self.pack.root))
        return self._outputs[version]

    def assess(self, version: str) -> Assessed:
        score = score_report(
            family=FAMILY, version=version, payload_digest="a" * 64, stable_payload="b" * 64, packs=[self.pack],
            candidate={self.pack.name: self.outputs(version)}, stable={self.pack.name: self.outputs("v2")},
            policy=self.policy,
        )  # fmt: skip
        return Assessed(score, quality_gate(score, self.policy, score.comparisons, {}).judge())


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("assistant"))


def test_answers_that_lost_their_ground_to_an_ingestion_change_stop_the_release(bench: Bench) -> None:
    found = bench.assess(UNGROUNDED.candidate["version"])
    assert found.quality.value == Value.FAIL
    failed = {row.metric for row in found.score.comparisons if row.verdict.value == Value.FAIL}
    assert UNGROUNDED.expect.metric in failed
    whole = next(row for row in found.score.comparisons if (row.metric, row.slice) == ("groundedness", "overall"))
    assert whole.candidate.rate is not None
    assert whole.candidate.rate < 0.7
    assert whole.stable is not None
    assert whole.stable.rate == 1.0


def test_nothing_that_lost_its_ground_was_said(bench: Bench) -> None:
    texts = bench.outputs(UNGROUNDED.candidate["version"]).texts
    lost = texts.loc[texts["grounded"] == 0]
    assert len(lost) > 10
    assert set(lost["handoff"]) == {1.0}
    assert set(lost["citations"]) == {""}


def test_a_stale_tenant_index_stops_the_release(bench: Bench) -> None:
    payload = bench.payload(STALE.candidate["version"])
    found = dialogue_safety.find(payload, candidates.feature_contract(payload), bench.policy)
    verdicts = [check.verdict() for check in found.checks]
    assert [verdict.reasons for verdict in verdicts if verdict.value == Value.FAIL] == [
        (f"{STALE.expect.metric}: {STALE.expect.slices[0]}: tickets (budget 0): build the index again",)
    ]


def test_nothing_is_wrong_and_nothing_stops(bench: Bench) -> None:
    assert bench.assess("v2").quality.value == Value.PASS


# ---- barge-in -------------------------------------------------------------------------------------------------------
class Callers:
    """Users who speak over the reply, through clients that pass it on and clients that do not."""

    def __init__(self, gateway: RunningGateway, home: Home) -> None:
        self._gateway, self._home = gateway, home

    def play(self, broken: frozenset[str], *, first: int) -> Recorded:
        """A round of sessions, by turns on phones and desktops; what the gateway wrote of them."""

        async def all_of_them() -> None:
            busy = asyncio.Semaphore(6)
            async with httpx.AsyncClient(base_url=self._gateway.base_url, trust_env=False) as client:

                async def one(number: int) -> None:
                    device = ("phone", "desktop")[number % 2]
                    async with busy:
                        await self._session(client, f"session-{first + number}", device, broken=device in broken)

                await asyncio.gather(*map(one, range(SESSIONS // ROUNDS)))

        asyncio.run(all_of_them())
        sessions = SESSIONS // ROUNDS
        return take(self._home.root / "telemetry", FAMILY, rows=sessions * TURNS, events=sessions * (TURNS - 1))

    async def _session(self, client: httpx.AsyncClient, session: str, device: str, *, broken: bool) -> None:
        headers = {"X-Soundcheck-Session": session, "X-Soundcheck-Device": device}
        interrupted = []
        async with talk(self._gateway, self._home.key, FAMILY, headers=headers) as (websocket, _):
            for _ in range(TURNS - 1):
                await websocket.send(SECOND)
                await websocket.send(END)
                reply, _, _ = await until(websocket, "reply")
                interrupted.append(reply["request_id"])
                assert isinstance(await next_said(websocket), bytes)  # the reply is being spoken ...
                if broken:
                    await websocket.send(SECOND)  # ... the user speaks, and nobody tells the server so
                    await until(websocket, "done")
                else:
                    await websocket.send(BARGE_IN)
                    await until(websocket, "restarted")
            await websocket.send(SECOND)
            await websocket.send(END)
            await until(websocket, "done")
        for request in interrupted:
            told = {"request_id": request, "kind": "interruption"}
            answer = await client.post("/v1/events", json=told, headers={"Authorization": f"Bearer {self._home.key}"})
            assert answer.status_code < 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("barge-in"))


@pytest.fixture(scope="module")
def callers(home: Home) -> Iterator[Callers]:
    folder = home.folder("talker", "alpha bravo charlie", task="dialogue", work_ms=30)
    with start_gateway(home.root, serve={FAMILY: folder}, command=TINY_GATEWAY) as gateway:
        yield Callers(gateway, home)


def judged(home: Home, baseline: Recorded, window: Recorded) -> Incident:
    """`soundcheck incident open assistant --since 30m` on this telemetry alone."""
    shutil.copyfile(ROOT / "params.yaml", home.root / "params.yaml")
    context = Context(Settings(home.root, home.root), MemoryStore(), lambda: datetime.now(UTC))
    keys.builder(context)
    now_s = datetime.now(UTC).timestamp()
    telemetry = home.root / "telemetry"
    try:
        put(telemetry, FAMILY, spread(baseline, since_s=now_s - 5 * WINDOW_S, until_s=now_s - WINDOW_S))
        put(telemetry, FAMILY, spread(window, since_s=now_s - WINDOW_S, until_s=now_s))
        return open_incident(context, FAMILY, since_s=WINDOW_S, with_replay=False).incident
    finally:
        shutil.rmtree(telemetry)


def test_a_client_that_no_longer_passes_barge_ins_on_is_found_by_its_device(callers: Callers, home: Home) -> None:
    broken = frozenset({BROKEN_CLIENT.traffic["broken"]})
    compared = by_turns(
        ROUNDS, lambda number: callers.play(frozenset(), first=100 * number),
        lambda number: callers.play(broken, first=1_000 + 100 * number),
    )  # fmt: skip
    found = judged(home, compared.baseline, compared.window)
    hurt = {one.slice for one in found.regressions if one.metric == BROKEN_CLIENT.expect.metric and one.confirmed}
    assert set(BROKEN_CLIENT.expect.slices) <= hurt
    assert "device=desktop" not in hurt
    assert found.recommendation.action == BROKEN_CLIENT.expect.decision, found.recommendation.reason
    assert "no release is to blame" in found.recommendation.reason
