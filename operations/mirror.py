"""What MLflow shows of a family, made from the ledger: followed step by step, compared, rebuilt from nothing.

Boundary: reads the store, the ledger and the pointer; writes MLflow alone, through the mirror it is handed.
Invariants: everything shown comes from documents that the ledger names, so that a mirror that was lost comes back equal
(S4); a release that cannot be shown now is shown by the next step that reaches MLflow (fault 34); the pointer decides
what is stable and what is a canary, whatever MLflow says (fault 35); only a release that has ended is shown whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from contracts.digest import Digest, sha256_bytes
from contracts.document import Document
from contracts.errors import DependencyFailed, SoundcheckError
from contracts.ledger_event import LedgerEvent
from contracts.registry_entry import RegistryEntry
from contracts.reports import Comparison
from operations import pointer
from operations.context import Context, MirrorLike
from operations.view import release_view
from pages.view import ReleaseView
from registry.mirrored import (
    ALIASES,
    BUNDLE_TAG,
    OURS,
    FamilyView,
    Version,
    contract_tags,
    differences,
    metric_name,
    milliseconds,
    model_files,
)

MARK = "ledger"
"""Tag that says up to which event of the ledger a release is shown: the digest of its last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    """A registered release: its version's number, when it was registered, its last event."""

    number: int
    release: Digest
    at: str
    last: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What MLflow shall show of a release; tags without the prefix of ours."""

    entry: RegistryEntry
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    artifacts: Mapping[str, bytes]
    ended: bool


def follow(context: Context, family: str) -> None:
    """Let MLflow show what the ledger says now: versions that it lacks, what ended releases found, the aliases."""
    context.mirrored(lambda mirror: _follow(context, mirror, family))


def check(context: Context, family: str) -> list[str]:
    """Every field in which MLflow differs from the ledger, in sentences; empty when they are equal."""
    mirror = _mirror(context)
    wanted = _wanted(context, family)
    label = f"compare {family}"
    return differences(family, wanted, mirror.read(family, lambda done, total: context.progress(label, done, total)))


def mirror_faults(context: Context, family: str) -> list[str]:
    """What `soundcheck verify` says of the mirror: every difference, or that MLflow cannot be asked."""
    if context.mirror is None:
        return []
    try:
        return check(context, family)
    except SoundcheckError as error:
        return [f"MLflow cannot be asked: {error.what}"]


def rebuild(context: Context, family: str) -> tuple[int, list[str]]:
    """Make MLflow show the family as the ledger has it; the number of versions, and what could not be repaired.

    What is equal is left alone. What can be written over is; a number that is taken, a metric or a file too many
    cannot, and then the family's model and runs are deleted and written anew.
    """
    mirror = _mirror(context)
    releases = _releases(context, family)
    found = check(context, family)
    if found:
        _write(context, mirror, family, releases)
        found = check(context, family)
    if found:
        mirror.forget(family)
        _write(context, mirror, family, releases)
        found = check(context, family)
    return len(releases), found


def _mirror(context: Context) -> MirrorLike:
    if context.mirror is None:
        raise DependencyFailed(
            "MLflow does not run here",
            where=str(context.home),
            expected="an MLflow server that `soundcheck up` started",
            next_step="soundcheck up --part mlflow",
        )
    return context.mirror


def _follow(context: Context, mirror: MirrorLike, family: str) -> None:
    shown = mirror.tags(family)
    for one in _releases(context, family):
        tags = shown.get(one.release)
        if tags is None or tags.get(OURS + MARK) != one.last:
            _show(context, mirror, family, one, tags or {})
    _point(context, mirror, family)


def _write(context: Context, mirror: MirrorLike, family: str, releases: list[_Release]) -> None:
    for done, one in enumerate(releases):
        context.progress(f"write {family}", done, len(releases))
        _show(context, mirror, family, one, {})
    context.progress(f"write {family}", len(releases), len(releases))
    _point(context, mirror, family)


def _show(context: Context, mirror: MirrorLike, family: str, one: _Release, shown: Mapping[str, str]) -> None:
    """Write one release; what a release under way has already shown is not written again."""
    content = _content(context, family, one)
    mirror.register(content.entry, family=family, release=one.release, at=one.at)
    if content.ended or content.tags.get("bundle") != shown.get(BUNDLE_TAG):
        mirror.record(one.release, metrics=content.metrics, tags=content.tags, artifacts=content.artifacts)


def _point(context: Context, mirror: MirrorLike, family: str) -> None:
    for alias, release in _aliases(context, family).items():
        mirror.point(family, alias, release)


def _wanted(context: Context, family: str) -> FamilyView:
    versions, under_way, numbers = {}, set(), {}
    for one in _releases(context, family):
        content = _content(context, family, one)
        versions[one.number] = _version(context, family, one, content)
        numbers[one.release] = one.number
        if not content.ended:
            under_way.add(one.number)
    aliases = {alias: numbers[release] for alias, release in _aliases(context, family).items() if release}
    return FamilyView(versions=versions, aliases=aliases, under_way=frozenset(under_way))


def _version(context: Context, family: str, one: _Release, content: _Content) -> Version:
    tags = contract_tags(content.entry, family, one.release)
    tags |= {OURS + name: value for name, value in content.tags.items()}
    files = dict(content.artifacts)
    if bundle := content.tags.get("bundle"):
        files |= model_files(
            bundle=bundle,
            family=family,
            number=one.number,
            store_url=context.settings.store.url,
            created_ms=milliseconds(one.at),
        )
    return Version(
        tags=tags,
        metrics={metric_name(name): value for name, value in content.metrics.items()},
        artifacts={path: sha256_bytes(data) for path, data in files.items()},
    )


def _releases(context: Context, family: str) -> list[_Release]:
    """The registered releases in the order of their registration, which numbers their versions."""
    first: dict[Digest, LedgerEvent] = {}
    last: dict[Digest, LedgerEvent] = {}
    for event in context.ledger(family).events():
        last[event.release] = event
        if event.step == "register" and event.outcome == "complete":
            first.setdefault(event.release, event)
    return [
        _Release(number=number, release=release, at=event.at, last=last[release].digest())
        for number, (release, event) in enumerate(first.items(), start=1)
    ]


def _aliases(context: Context, family: str) -> dict[str, Digest | None]:
    """Where each alias belongs: `candidate` is the release registered last, `canary` and `stable` are the pointer's.

    `previous` is what was stable before it, by the ledger's moves.
    """
    ledger, table = context.ledger(family), pointer.current(context, family).table
    by_bundle: dict[Digest, Digest] = {}
    for event in ledger.events():
        if event.step in ("package", "promote") and event.outcome == "complete" and event.release:
            by_bundle[event.outputs["bundle"]] = event.release
    registered = {one.release: one for one in _releases(context, family)}
    stable = table.stable if table else None
    earlier = [move.bundle for move in ledger.state().history if move.bundle != stable]
    wanted = {
        "candidate": next(reversed(registered), None),
        "canary": table.canary.release if table and table.canary else None,
        "stable": by_bundle.get(stable or ""),
        "previous": by_bundle.get(earlier[-1]) if earlier else None,
    }
    return {alias: wanted[alias] if wanted[alias] in registered else None for alias in ALIASES}


def _content(context: Context, family: str, one: _Release) -> _Content:
    """A release as MLflow shows it. The report is written as of the last event, with no link to this machine."""
    view = release_view(context, family, one.release)
    assert view.entry is not None
    tags = {"bundle": view.bundle} if view.bundle else {}
    if view.outcome == "waiting":
        return _Content(entry=view.entry, tags=tags, metrics={}, artifacts={}, ended=False)
    tags |= {"outcome": view.outcome + (f" at {view.stopped_at}" if view.stopped_at else ""), MARK: one.last}
    return _Content(entry=view.entry, tags=tags, metrics=figures(view), artifacts=_artifacts(view), ended=True)


def _artifacts(view: ReleaseView) -> dict[str, bytes]:
    """The report and the documents it was made from, by path; no audio, and text only as the pack's consent allows."""
    from pages.release import render

    documents: dict[str, Document | None] = {
        "quality": view.score,
        "timing": view.timing,
        "safety": view.safety,
        "gate": view.gate,
        "replay": view.replay,
        "canary": view.canary,
        "evidence": view.evidence,
    }
    files = {f"reports/{name}.json": document.canonical() for name, document in documents.items() if document}
    # As the store has them: an event that this process wrote keeps the order in which its fields were given.
    events = tuple(LedgerEvent.from_bytes(event.to_bytes()) for event in view.events)
    files["report.html"] = render(replace(view, events=events, now=events[-1].at, links={})).encode()
    files["MODEL_CARD.md"] = view.model_card.encode()
    return files


def figures(view: ReleaseView) -> dict[str, float]:
    """The release's figures by name: every comparison, then what timing and replay measured.

    `METRIC/PACK/SLICE` is the candidate's rate; below it `stable` (or `parent`, where that is the baseline) is the
    baseline's, `stable/difference` candidate minus baseline, `stable/lower` and `stable/upper` its simultaneous bounds.
    """
    values: dict[str, float | None] = {}
    for row in view.score.comparisons if view.score else ():
        values.update(_compared(row))
    if timing := view.timing:
        values |= {
            "final_p95_ms": timing.final_ms.p95,
            "first_partial_p95_ms": timing.first_partial_ms.p95 if timing.first_partial_ms else None,
            "rtf": timing.rtf,
            "peak_memory_mb": timing.peak_memory_mb,
            "cost_usd_per_audio_hour": timing.cost_usd_per_audio_hour,
        }
    if replay := view.replay:
        values |= {
            "replay/cold_start_ms": replay.cold_start_ms,
            "replay/final_p95_ms": replay.warm.final_ms.p95,
            "replay/golden_equal": replay.golden_equal,
            "replay/golden_expected": replay.golden_expected,
        }
    return {name: float(value) for name, value in values.items() if value is not None}


def _compared(row: Comparison) -> Iterator[tuple[str, float | None]]:
    name = f"{row.metric}/{row.pack}/{row.slice}"
    against = f"{name}/{row.baseline}"
    yield name, row.candidate.rate
    yield against, row.stable.rate if row.stable else None
    yield f"{against}/difference", row.estimate
    yield f"{against}/lower", row.lower
    yield f"{against}/upper", row.upper
