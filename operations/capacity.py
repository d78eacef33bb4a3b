"""The capacity plan of a spoken assistant: measured alone on this machine, drawn as a page.

Boundary: runs one payload in a process of its own; writes HOME/capacity/FAMILY/index.html.
Invariants: what is measured is what is served: the stable bundle's payload, or the candidate that is named.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from contracts.bundle import BundleManifest
from contracts.capacity import Assumed, CapacityPlan
from contracts.errors import Refused, WrongCall
from monitoring.capacity import plan, turns_of
from operations import candidate as candidates
from operations import compute, pointer
from operations.context import Context
from operations.packs import required_packs
from operations.payload import materialise
from registry.documents import get_document

if TYPE_CHECKING:
    import pandas as pd

BUDGET_MS = 700.0
"""A first response that feels like one (coverage row 40)."""


def capacity(
    context: Context, family: str, *, assumed: Assumed, candidate: str | None = None, budget_ms: float = BUDGET_MS
) -> CapacityPlan:
    """Time the stages of a sample of the family's pack, and plan.

    Raises WrongCall for a family of another task, Refused without a stable bundle where no candidate is named, and for
    an engine that has no stages to be timed one by one.
    """
    from speech.runtimes.assistant import part_digest

    policy = context.settings.policy(family)
    if policy.task != "dialogue":
        raise WrongCall(
            "a capacity plan for a first response is one of a dialogue", where=family, got=policy.task,
            expected="task: dialogue", next_step=f"soundcheck status {family} names the timings of its release",
        )  # fmt: skip
    folder, version = _payload(context, family, candidate)
    pack = required_packs(context, family)[0]
    count = min(policy.statistics.timed_utterances, len(pack.utterances))
    sample = pack.utterances.sample(count, random_state=policy.statistics.seed)
    context.progress("stages of a turn", 0, 1)
    table = compute.alone(_time, folder, sample, pack.root, policy.statistics.chunk_ms)
    context.progress("stages of a turn", 1, 1)
    made = plan(
        turns_of({name: table[name].to_numpy() for name in table.columns}),
        assumed,
        family=family,
        version=version,
        payload_digest=part_digest(folder),
        budget_ms=budget_ms,
    )
    _show(context, made)
    return made


def page_path(context: Context, family: str) -> Path:
    """Where the newest page of a family lies."""
    return context.home / "capacity" / family / "index.html"


def _payload(context: Context, family: str, candidate: str | None) -> tuple[Path, str]:
    """The folder of the payload, and its version."""
    if candidate is not None:
        folder = candidates.find(context.settings, family, candidate)
        return folder / "payload", candidates.read(folder, family).version
    bundle = pointer.current(context, family).stable
    if bundle is None:
        raise Refused(
            "the family has no stable bundle", where=family,
            next_step=f"soundcheck release {family}, or name a candidate: soundcheck capacity {family} --candidate DIR",
        )  # fmt: skip
    manifest = get_document(context.store, BundleManifest, bundle)
    return materialise(context, manifest), manifest.version


def _time(payload: Path, sample: pd.DataFrame, root: Path, chunk_ms: int) -> pd.DataFrame:
    from speech.assistant.stages import time_stages
    from speech.runtimes.assistant import AssistantModel

    model = compute.model(payload)
    if not isinstance(model, AssistantModel):
        raise Refused(
            "the engine of this dialogue is no cascade, so that its stages cannot be timed one by one",
            where="runtime.json of the payload", got=type(model).__module__,
            expected="an engine that loads by speech.runtimes.assistant.load",
            next_step="take the first audio of whole turns from the release's page, or release the model as a cascade",
        )  # fmt: skip
    return time_stages(model, sample, root, chunk_ms=chunk_ms)


def _show(context: Context, made: CapacityPlan) -> None:
    from pages.capacity import render

    path = page_path(context, made.family)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(made), encoding="utf-8")
