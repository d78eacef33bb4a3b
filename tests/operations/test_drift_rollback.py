"""The rollback that drift recommends, on a family with a ledger: what refuses it, what it does where nothing does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.bundle import BundleManifest
from contracts.drift import DriftEvaluation
from contracts.errors import Refused
from contracts.routing import CanaryRoute, SliceRule
from flows import rollback as flow
from flows.parameters import Family
from operations import drift, keys, pointer
from operations import rollback as rollbacks
from operations.context import Context, put
from operations.drift_rollback import decide, require
from operations.settings import Settings
from registry.documents import get_document
from registry.store import open_store
from registry.store.keys import blob_key
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import OPERATOR, TinyFamily
from tests.pages import drift_examples as examples
from tests.serving.conftest import CONTRACT

SIGNER = "drift-watch"


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory) -> TinyFamily:
    """A family with v1 and then v2 promoted, and a key for drift."""
    family = TinyFamily(tmp_path_factory.mktemp("promoted") / "project")
    family.promote("v1", "one")
    family.promote("v2", "two")
    keys.new(family.context, SIGNER, ("operator",))
    return family


class World:
    """A copy of that family, whose params.yaml lets drift act, and drift that blames v2."""

    def __init__(self, promoted: TinyFamily, root: Path) -> None:
        shutil.copytree(promoted.root, root)
        self.family = copy(promoted)
        self.family.root, self.family.home = root, root / ".soundcheck"
        self.family.bundles = dict(promoted.bundles)
        self.later = timedelta(0)
        store = open_store("file://store", self.family.home)
        self.context = Context(Settings(root, self.family.home), store, lambda: datetime.now(UTC) + self.later)
        self.family.context = self.context
        self.context.settings.params["drift"]["defaults"]["rollback"] = "start"
        self.evaluation: DriftEvaluation = examples.own_doing().model_copy(
            update={"bundle": self.family.bundles["v2"], "at": self.context.timestamp(), "rollback": None}
        )
        (self.digest,) = put(self.context, self.evaluation)

    def move(self, *, canary: CanaryRoute | None = None, slice_rules: tuple[SliceRule, ...] = ()) -> None:
        seen = pointer.current(self.context, FAMILY)
        pointer.move(
            self.context, FAMILY, seen, stable=seen.stable, canary=canary, slice_rules=slice_rules, actor="anna",
            reason="x",
        )  # fmt: skip


@pytest.fixture
def world(promoted: TinyFamily, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Golden outputs are proved in tests of the operation, not here."""
    monkeypatch.setattr(rollbacks, "prove", lambda *_: SimpleNamespace(equal=1, expected=1, erased=0))
    return World(promoted, tmp_path / "project")


def _recommend_only(world: World) -> None:
    world.context.settings.params["drift"]["defaults"]["rollback"] = "recommend"


def _canary(world: World) -> None:
    world.move(canary=CanaryRoute(bundle=world.family.bundles["v1"], stage="wide", weight=0.5, release="r"))


def _slices(world: World) -> None:
    world.move(slice_rules=(SliceRule(label="device", value="phone", bundle=world.family.bundles["v1"]),))


def _frozen(world: World) -> None:
    world.context.ledger(FAMILY).append("freeze", "complete", at=world.context.timestamp())


def _promoted_meanwhile(world: World) -> None:
    world.family.promote("v3", "three")


def _taken_back_and_promoted(world: World) -> None:
    rollbacks.rollback(world.context, FAMILY, key_name=OPERATOR, reason="by hand", to="v1")
    world.family.promote("v3", "three")
    world.evaluation = world.evaluation.model_copy(update={"bundle": world.family.bundles["v3"]})


def _pinned(world: World) -> None:
    rollbacks.rollback(world.context, FAMILY, key_name=OPERATOR, reason="by hand", to="v1")
    world.evaluation = world.evaluation.model_copy(update={"bundle": world.family.bundles["v1"]})
    world.later = timedelta(days=30)
    world.evaluation = world.evaluation.model_copy(update={"at": world.context.timestamp()})


def _nowhere_to_go(world: World) -> None:
    rollbacks.condemn(world.context, FAMILY, world.family.bundles["v1"], reason="broken")


def _revoked(world: World) -> None:
    keys.revoke(world.context, SIGNER)


def _an_interrupted_move(world: World) -> None:
    outputs = {"bundle": world.family.bundles["v1"]}
    world.context.ledger(FAMILY).append("promote", "start", at=world.context.timestamp(), outputs=outputs)


def _a_day_later(world: World) -> None:
    world.later = timedelta(days=1)


REFUSED: dict[str, tuple[Callable[[World], None], str]] = {
    "the policy recommends": (_recommend_only, "T1: params.yaml says rollback: recommend"),
    "a canary runs": (_canary, "T5: a canary has traffic"),
    "a move is under way": (_an_interrupted_move, "T5: a promotion or rollback is under way"),
    "a person routed slices": (_slices, "T6: slices are routed by hand: 1"),
    "a person froze it": (_frozen, "T6: the family is frozen"),
    "a person pinned it": (_pinned, "T6: the newest move is no promotion but: rollback"),
    "a promotion came meanwhile": (_promoted_meanwhile, "T4: another bundle is stable now"),
    "it is old": (_a_day_later, "T4: the evaluation is 24.0 h old, at most 6 h"),
    "it was taken back this week": (_taken_back_and_promoted, "T7: the last rollback was 0.0 h ago, 168 h"),
    "nowhere to go": (_nowhere_to_go, "T8: there is no bundle to go back to"),
    "the key is revoked": (_revoked, f"T9: the key '{SIGNER}' may not act as operator"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(world: World, name: str) -> None:
    happens, says = REFUSED[name]
    happens(world)
    found = decide(world.context, world.evaluation)
    assert any(reason.startswith(says) for reason in found.refusals), found.refusals
    assert not found.starts
    (digest,) = put(world.context, world.evaluation)
    stable = pointer.current(world.context, FAMILY).stable
    with pytest.raises(Refused, match="drift may not take the family back") as caught:
        require(world.context, FAMILY, digest, key_name=SIGNER)
    assert says in str(caught.value.got)
    assert pointer.current(world.context, FAMILY).stable == stable


def test_it_goes_to_the_next_stable_that_verifies(world: World) -> None:
    found = decide(world.context, world.evaluation)
    assert (found.starts, found.refusals) == (True, ())
    assert (found.target, found.version, found.key) == (world.family.bundles["v1"], "v1", SIGNER)


def test_a_bundle_that_does_not_verify_is_passed_over(world: World) -> None:
    world.family.promote("v3", "three")
    evaluation = world.evaluation.model_copy(update={"bundle": world.family.bundles["v3"]})
    assert decide(world.context, evaluation).version == "v2"
    manifest = get_document(world.context.store, BundleManifest, world.family.bundles["v2"])
    (world.family.home / "store" / blob_key(manifest.files["payload/weights.safetensors"].sha256)).unlink()
    assert decide(world.context, evaluation).version == "v1"


def test_rates_that_stable_refuses_are_held_against_the_bundle_before(world: World) -> None:
    both = (16_000, 24_000)
    for version, rates in (("v3", both), ("v4", (16_000,))):
        contract = CONTRACT.model_copy(update={"accepted_rates_hz": rates}).canonical()
        packaged = world.family.package(version, version, payload={"feature_contract.json": contract})
        packaged.promote()
    manifest = get_document(world.context.store, BundleManifest, packaged.bundle)
    stable: Any = SimpleNamespace(manifest=manifest)
    for heard, fits in (({16_000: 90.0, 24_000: 10.0}, True), ({16_000: 90.0, 48_000: 10.0}, False)):
        assert drift._rates_fit_before(world.context, FAMILY, stable, (heard, 10.0)) is fits


@pytest.mark.parametrize(
    ("family", "key", "says"),
    [("asr-en", SIGNER, "the evaluation is of asr-commands"), (FAMILY, OPERATOR, "the key is not the one")],
)
def test_another_family_s_evaluation_and_another_key_are_refused(
    world: World, family: str, key: str, says: str
) -> None:
    with pytest.raises(Refused) as caught:
        require(world.context, family, world.digest, key_name=key)
    assert says in str(caught.value.got)


def test_the_deployment_takes_back_once_and_the_ledger_names_drift(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run as its automation runs it."""
    monkeypatch.setattr(flow, "open_context", lambda: world.context)

    def run() -> tuple[str, str]:
        reason = f"drift evaluation {world.digest[:12]}"
        state = flow.rollback.fn(Family(FAMILY), SIGNER, reason, drift=world.digest)
        return state.type.value, str(state.message)

    assert run()[0] == "COMPLETED"
    assert pointer.current(world.context, FAMILY).stable == world.family.bundles["v1"]
    newest = world.context.ledger(FAMILY).state().history[-1]
    assert (newest.kind, newest.actor, newest.version) == ("rollback", SIGNER, "v1")
    assert run() == ("FAILED", "drift may not take the family back")  # the same event once more
    assert world.context.ledger(FAMILY).state().history[-1] == newest
