"""Each new worker process hears its bundle's golden fixtures; the gateway says what came of it (B5, R6.1)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from contracts.bundle import Golden, GoldenFixture
from contracts.digest import Digest
from registry.bundle import assemble, freeze
from serving.client import RunningGateway
from serving.presence import followers, wait_for_version
from speech.sketch import sketch
from tests.serving.conftest import Home, StartGateway, silence, wav
from tests.serving.test_switching import eventually
from tests.serving.tiny_tasks import VOICE_RATE_HZ, TinyEmbedder, tone

FAMILY = "proved"


def with_golden(home: Home, name: str, *expected: str) -> Digest:
    """A bundle that says `good morning`, with a second of silence and what it should say to that, once each."""
    folder = home.folder(name, "good morning")
    fixtures = tuple(
        GoldenFixture(fixture_id=f"f{place}", audio=f"f{place}.wav", text=text) for place, text in enumerate(expected)
    )
    (folder / "golden").mkdir()
    for fixture in fixtures:
        (folder / "golden" / fixture.audio).write_bytes(wav(silence(1.0)))
    (folder / "golden" / "golden.json").write_bytes(Golden(max_word_edits=0, fixtures=fixtures).canonical())
    return freeze(home.store, folder, assemble(folder, family=FAMILY, version=name))


@pytest.fixture(scope="module")
def gateway(home: Home, start_tiny: StartGateway) -> Iterator[RunningGateway]:
    with start_tiny(home.root, families=[FAMILY], options=("--poll-s", "0.05")) as running:
        yield running


def proved(home: Home, gateway: RunningGateway) -> dict[Digest, dict[str, Any]]:
    said: dict[Digest, dict[str, Any]] = followers(home.root, FAMILY)[gateway.pid]["proved"]
    return said


def test_stable_and_warm_workers_are_proved_and_announced(gateway: RunningGateway, home: Home) -> None:
    stable = with_golden(home, "stable", "good morning", "good morning")
    warm = with_golden(home, "warm", "good morning", "good evening")
    table = home.point(FAMILY, stable, warm=(warm,))
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    said = eventually(lambda: found if len(found := proved(home, gateway)) == 2 else None)
    assert {bundle: (one["equal"], one["expected"], one["erased"]) for bundle, one in said.items()} == {
        stable: (2, 2, 0),
        warm: (1, 2, 0),
    }
    assert gateway.status()["families"][FAMILY]["proved"] == said


def test_a_proof_ends_with_its_process(gateway: RunningGateway, home: Home) -> None:
    bundle = with_golden(home, "restarted", "good morning")
    table = home.point(FAMILY, bundle)
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    first = eventually(lambda: proved(home, gateway).get(bundle))
    worker = gateway.status()["families"][FAMILY]["workers"][bundle]
    os.kill(worker["pid"], signal.SIGKILL)
    eventually(lambda: proved(home, gateway).get(bundle) != first)
    second = eventually(lambda: proved(home, gateway).get(bundle))
    assert second["at"] > first["at"]
    assert gateway.status()["families"][FAMILY]["workers"][bundle]["pid"] != worker["pid"]


def test_a_bundle_without_fixtures_is_served_unproved(gateway: RunningGateway, home: Home) -> None:
    bundle = home.bundle("bare", "good morning", FAMILY)
    proven = with_golden(home, "beside", "good morning")
    table = home.point(FAMILY, bundle, warm=(proven,))
    wait_for_version(home.root, FAMILY, table.version, timeout_s=20)
    said = eventually(lambda: proved(home, gateway))
    assert set(said) == {proven}
    workers = gateway.status()["families"][FAMILY]["workers"]
    assert (workers[bundle]["state"], set(workers)) == ("ready", {bundle, proven})


FIXTURES: dict[str, GoldenFixture] = {
    "synthesis": GoldenFixture(
        fixture_id="f", audio="", text="", prompt="one two. three.",
        vector=sketch(np.concatenate([tone(0, 2), tone(1, 1)]), VOICE_RATE_HZ),
    ),
    "embedding": GoldenFixture(
        fixture_id="f", audio="f.wav", text="", label="levels-1",
        vector=tuple(float(value) for value in TinyEmbedder().embed(silence(1.0))),
    ),
    "classification": GoldenFixture(fixture_id="f", audio="f.wav", text="", label="quiet", vector=(0.25, 0.75)),
    "dialogue": GoldenFixture(
        fixture_id="f", audio="f.wav", text="good morning\nmorning. good. for acme.", label="doc-1,doc-2",
        slices={"tenant": "acme"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", sorted(FIXTURES))
def test_workers_of_every_task_are_proved(home: Home, start_tiny: StartGateway, task: str) -> None:
    folder = home.folder(f"golden-{task}", "good morning", task=task)
    (folder / "golden").mkdir()
    (folder / "golden" / "f.wav").write_bytes(wav(silence(1.0)))
    right = FIXTURES[task]
    wrong = right.model_copy(update={"fixture_id": "wrong", "label": right.label + "x"})
    golden = Golden(max_word_edits=0, max_distance=1e-4, fixtures=(right, wrong))
    (folder / "golden" / "golden.json").write_bytes(golden.canonical())
    bundle = freeze(home.store, folder, assemble(folder, family=task, version="1"))
    home.point(task, bundle)
    with start_tiny(home.root, families=[task], options=("--poll-s", "0.05")) as gateway:
        said = eventually(lambda: gateway.status()["families"][task]["proved"].get(bundle))
    assert (said["equal"], said["expected"]) == (1, 2)
