"""Releases without Prefect, servers or models, so that hundreds can be killed: real steps, remembered answers.

Every step of operations/ runs as it is, with every store, ledger and pointer call it makes. What touches no store is
done once and remembered: what models hear, how long they take, statistics, the leakage check. The staged replay's wire
and the canary's traffic are stand-ins that always please; the pointers around them are moved for real.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self
from unittest.mock import patch

from contracts.digest import Digest, sha256_file
from contracts.policy import FamilyPolicy
from contracts.reports import Check, LoadFigures, Quantiles, TimingReport
from contracts.tombstone import OPTIONAL
from operations import keys, pointer
from operations.approve import evidence, outcome, record
from operations.canary import canary
from operations.canary_watch import Seen
from operations.capture import capture
from operations.collect import collect
from operations.context import Context
from operations.erase import erase
from operations.gate import gate
from operations.golden import Proof
from operations.package import package
from operations.promote import promote
from operations.register import register
from operations.release import already_released
from operations.replaying import Cold, check
from operations.restore import verify_family
from operations.rollback import rollback
from operations.score import score
from operations.settings import Settings
from operations.shards import here
from operations.stage import stage
from registry.bundle import load_manifest
from registry.documents import get_document
from registry.store import Store
from registry.store.keys import POINTERS, blob_of_key
from registry.store.memory import MemoryStore
from speech.kinds import Prompt
from tests.flows.release_project import FAMILY, make_project

APPROVER, OPERATOR = "anna", "bert"
EVERY = 24
"""One utterance in so many of the real pack is kept."""

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
"""The time, which stands: equal releases have equal bytes."""

Answers = dict[Hashable, Any]


def make_rehearsal_project(root: Path) -> Path:
    """A project with real candidates and a very small pack, whose approvals are signed."""
    approvals = {"mode": "signed", "quorum": 1, "mandatory": [], "timeout_s": 86400}
    make_project(root, every=EVERY, approvals=approvals)
    shelf = root / "candidates" / FAMILY
    shutil.copytree(shelf / "v2", shelf / "v4")
    described = (shelf / "v4" / "candidate.yaml").read_text()
    assert "version: v2" in described
    (shelf / "v4" / "candidate.yaml").write_text(described.replace("version: v2", "version: v4"))
    return root


def open_rehearsal(project: Path, home: Path, store: Store) -> Context:
    """An installation of the project."""
    return Context(Settings(project, home), store, lambda: AT)


def make_keys(context: Context) -> None:
    """The builder, an approver and an operator."""
    keys.builder(context)
    keys.new(context, APPROVER, ("approver",))
    keys.new(context, OPERATOR, ("operator",))


def run_release(context: Context, candidate: str) -> None:
    """`soundcheck release`, with a person who says yes; run again after a kill it goes on."""
    pointer.reconcile(context, FAMILY)
    captured = capture(context, FAMILY, candidate)
    if already_released(context, FAMILY, captured["release"]):
        return
    registered = register(context, FAMILY, captured)
    scored = score(context, FAMILY, captured, here(context.settings))
    gated = gate(context, FAMILY, captured, scored)
    packaged = package(context, FAMILY, captured, registered, scored, gated)
    staged = stage(context, FAMILY, captured, packaged)
    watched = canary(context, FAMILY, captured, packaged, staged)
    steps = {**scored, **gated, **packaged, **staged, **watched}
    shown = evidence(context, FAMILY, captured, steps, candidate)
    policy = get_document(context.store, FamilyPolicy, captured["policy"])
    if outcome(context, policy, shown) != "promote":
        record(context, FAMILY, shown, decision="promote", key_name=APPROVER)
    promote(context, FAMILY, captured, shown)


def run_rollback(context: Context) -> None:
    """`soundcheck rollback`; the same command, run again after a kill, moves once."""
    rollback(context, FAMILY, key_name=OPERATOR, reason="a rehearsal")


STORY: dict[str, Callable[[Context], None]] = {
    "v1": lambda context: run_release(context, "v1"),
    "v2": lambda context: run_release(context, "v2"),
    "v4": lambda context: run_release(context, "v4"),
    "back": run_rollback,
}
"""A first release, the next one, the same model again as a third, and the way back."""

ERASED_FOR = "consent withdrawn by a speaker"


def first_voice(context: Context) -> Digest:
    """A golden fixture of the stable bundle."""
    stable = pointer.current(context, FAMILY).stable
    assert stable is not None
    files = load_manifest(context.store, stable).files
    return files[min(path for path in files if path.startswith(OPTIONAL))].sha256


def run_collection(context: Context, days: float) -> None:
    """`soundcheck gc --delete`, so many days after everything was put."""
    later = Context(context.settings, context.store, lambda: datetime.now(UTC) + timedelta(days=days))
    collect(later, delete=True, grace_days=7, stopped_days=90)


UPKEEP: dict[str, Callable[[Context], None]] = {
    "erase": lambda context: erase(context, first_voice(context), key_name=OPERATOR, reason=ERASED_FOR) and None,
    "collect": lambda context: run_collection(context, 30),
    "collect after the lease": lambda context: run_collection(context, 31),
}
"""What is no part of the story and is killed by itself, at its end."""

KILLED = ("v1", "v2", "back")
"""Chapters that are killed; the third release does what the second does."""


class Ending(NamedTuple):
    """What a family has come to: every move with version and bundle, the stable bundle, intents left open, faults."""

    moves: tuple[tuple[str, str, Digest], ...]
    stable: Digest | None
    routed: Digest | None
    open_intents: int
    faults: tuple[str, ...]


def ending(context: Context) -> Ending:
    """The family as the ledger, the pointer and `soundcheck verify` have it."""
    state = context.ledger(FAMILY).state()
    return Ending(
        tuple((move.kind, move.version, move.bundle) for move in state.history),
        state.current,
        pointer.current(context, FAMILY).stable,
        len(state.open_intents),
        tuple(verify_family(context, FAMILY)),
    )


class Chapter(NamedTuple):
    """A part of the story: the store and the home folder before it, how many calls it makes, what it comes to."""

    name: str
    before: MemoryStore
    home: Path
    calls: int
    ending: Ending

    def begin(self, project: Path, home: Path, store: Store) -> Context:
        """An installation that stands where the chapter begins; `home` is a new folder, `store` empty."""
        shutil.copytree(self.home, home)
        carry(self.before, store)
        return self.context(project, home, store)

    @staticmethod
    def context(project: Path, home: Path, store: Store) -> Context:
        """The installation as a new process opens it."""
        return open_rehearsal(project, home, store)


def tell(project: Path, folder: Path) -> dict[str, Chapter]:
    """The story without a fault, in memory; `folder` keeps the home folder as it was before each chapter."""
    store, home = MemoryStore(), folder / "home"
    context = open_rehearsal(project, home, store)
    make_keys(context)
    chapters = {}
    for name, part in STORY.items():
        before = MemoryStore()
        carry(store, before)
        calls = store.calls
        shutil.copytree(home, folder / name)
        part(context)
        chapters[name] = Chapter(name, before, folder / name, store.calls - calls, ending(context))
    return chapters


def carry(source: MemoryStore, target: Store) -> None:
    """Copy everything that one store holds into another, an empty one."""
    for key, content in source.objects.items():
        if blob_of_key(key):
            target.put_blob(content)
        else:
            target.create(key, content)
    for key in source.list(POINTERS):
        name = key.removeprefix(POINTERS)
        said = source.pointer(name)
        assert said is not None
        target.swap(name, said.content, expected=None)


@contextmanager
def remembered(answers: Answers) -> Iterator[None]:
    """Answer from `answers` what was asked before; what was not is worked out and kept there."""
    with ExitStack() as patches:
        for target, key in _REMEMBERED.items():
            patches.enter_context(patch(target, _memo(target, key, answers)))
        patches.enter_context(patch("operations.score.timing_report", _timed))
        patches.enter_context(patch("operations.stage.start_gateway", _no_gateway))
        patches.enter_context(patch("operations.stage.Replay", _Replay))
        patches.enter_context(patch("operations.canary_watch.Watch.until_decided", _pleased))
        yield


def _memo(target: str, key: Callable[..., Hashable], answers: Answers) -> Callable[..., Any]:
    from pkgutil import resolve_name

    module, _, name = target.rpartition(".")
    real = getattr(resolve_name(module), name)

    def ask(*args: Any, **kwargs: Any) -> Any:
        question = (target, key(*args, **kwargs))
        if question not in answers:
            answers[question] = real(*args, **kwargs)
        return answers[question]

    return ask


def _clips(payload: Path, prompts: Sequence[Prompt]) -> Hashable:
    places = tuple(str(one.path.relative_to(one.path.parents[2])) for one in prompts if one.path)
    return sha256_file(payload / "weights.safetensors"), places


def _arms(*_: Any, payload_digest: Digest, stable_payload: Digest | None, **__: Any) -> Hashable:
    return payload_digest, stable_payload


def _timed(*_: Any, payload_digest: Digest, stable_payload: Digest | None, **__: Any) -> TimingReport:
    """Timings that are within every budget; they are no part of a bundle."""
    quantiles = Quantiles(n=60, p50=100, p95=200, p99=300, maximum=400)
    return TimingReport(
        family=FAMILY, payload_digest=payload_digest, stable_payload=stable_payload, final_ms=quantiles,
        first_partial_ms=quantiles, first_stable_ms=quantiles, rtf=0.04, peak_memory_mb=400,
        cost_usd_per_audio_hour=0.03, stable_final_ms=quantiles, stable_rtf=0.04, stable_peak_memory_mb=400,
        stable_cost_usd_per_audio_hour=0.03,
    )  # fmt: skip


_REMEMBERED: dict[str, Callable[..., Hashable]] = {
    "operations.capture._leakage": lambda *_, where, **__: where,
    "operations.compute.answers": _clips,
    "operations.score.streams_wanted": lambda _context, arms, *_: arms,
    "operations.score.hear_packs": lambda _context, _release, payloads, *_: tuple(payloads),
    "operations.score.safety_report": lambda _context, manifest, *_: manifest.payload_digest,
    "evalpacks.scoring.score_report": _arms,
}


@contextmanager
def _no_gateway(*_: Any, **__: Any) -> Iterator[Any]:
    yield SimpleNamespace(base_url="", cold_start_ms=1.0, peak_memory_mb=lambda: 1.0)


class _Replay:
    """A staged API that answers as it should, at once."""

    cost_usd_per_audio_hour = 0.01

    def __init__(self, *_: Any) -> None:
        self._proof = Proof(1, 1, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def planted(self) -> list[str]:
        return ["planted"]

    def planted_found(self) -> int:
        return 0

    def cold(self) -> Cold:
        return Cold(1.0, 1.0)

    def golden_of(self, _bundle: Digest) -> Proof:
        return self._proof

    def soak(self, _gateway: object) -> None:
        return

    def long(self) -> None:
        return

    def golden(self) -> Proof:
        return self._proof

    def load(self) -> LoadFigures:
        quantiles = Quantiles(n=1, p50=1, p95=1, p99=1, maximum=1)
        return LoadFigures(
            requests=1, failures=0, timeouts=0, retries=0, first_partial_ms=quantiles, final_ms=quantiles,
            queue_ms=quantiles, concurrency=1,
        )  # fmt: skip

    def contract_checks(self) -> list[Check]:
        return [check("a rehearsal", "R6.2", True, "no API was started")]

    def budget_checks(self, *_: Any) -> list[Check]:
        return []

    def seconds_until_served_by(self, _bundle: Digest) -> float:
        return 0.0


def _pleased(*_: Any) -> Seen:
    return Seen("promote", ("a rehearsal",), (), 12, 12)
