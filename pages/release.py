"""The release report: one self-contained HTML page, verdict first, then reasons, numbers, pictures and detail.

Boundary: no I/O beyond this room's own templates; documents in, text out. What stands where is computed in plots.py and
lineage.py, how it looks is templates/release.html.j2 and release.css.
Invariants: every text of a document is escaped; nothing outside the page is loaded (a content policy forbids it); a
section without its document says "not reached".
Source: pages.md (Release report).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.digest import Digest, short
from contracts.verdict import Value, Verdict
from pages import lineage, plots
from pages.figures import duration, many, milliseconds, moment, plain, size, typographic
from pages.reading import (
    NOT_REACHED,
    Row,
    bundle_bytes,
    bundle_row,
    canary_row,
    commands,
    headline,
    privacy_row,
    provenance_row,
    quality_row,
    rollback_row,
    safety_row,
    serving_row,
    signature,
    target,
)
from pages.stops import stop_of
from pages.view import ReleaseView

if TYPE_CHECKING:
    from jinja2 import Template
    from markdown_it.token import Token
    from markupsafe import Markup

_OUTCOMES = {
    "promoted": ("Promoted", "pass"),
    "waiting": ("Waiting", "inconclusive"),
    "held": ("Held", "inconclusive"),
    "stopped": ("Stopped", "fail"),
    "rejected": ("Rejected", "fail"),
}


class Fact(NamedTuple):
    """A labelled value of a table; `digest` values are drawn short and copy whole."""

    label: str
    text: str
    digest: bool = False


def render(view: ReleaseView) -> str:
    """The page of one release as a whole HTML document."""
    word, kind = _OUTCOMES[view.outcome]
    shown, more = plots.error_bars(view.score.words, view.score.stable_words) if view.score else ((), ())
    page: dict[str, Any] = {
        "view": view,
        "word": word,
        "kind": kind,
        "headline": headline(view),
        "answers": [] if view.outcome == "promoted" else stop_of(view).answers(),
        "facts": _header_facts(view),
        "reasons": _reasons(view),
        "tiles": tiles(view),
        "not_reached": NOT_REACHED,
        "commands": commands(view),
        "forests": plots.forests(view.score.comparisons) if view.score else (),
        "latencies": plots.latencies(view.timing, view.replay, view.policy.serving),
        "costs": _costs(view),
        "bars": shown,
        "more_bars": more,
        "stages": _stages(view),
        "graph": lineage.graph(view.events),
        "contract": _contract(view),
        "bundle_size": size(bundle_bytes(view)),
        "model_card": card(view.model_card),
        "packet": flat(view.rollback_packet),
        "target": target(view),
        "policy_digest": view.policy.digest(),
        "evidence_digest": view.evidence.digest() if view.evidence else None,
        "signature": signature,
    }
    return _template().render(page, prose=prose(digests(view)))


def _reasons(view: ReleaseView) -> list[tuple[str, Value, str]]:
    """(gate, verdict, sentence) of everything the gates and the replay had to say, worst first."""
    found: list[tuple[str, Verdict | None]] = []
    if view.gate:
        gate = view.gate
        found += [("quality", gate.quality), ("serving", gate.serving), ("safety", gate.safety)]
        found.append(("provenance", gate.provenance))
    judged = [(name, one.value, reason) for name, one in found if one for reason in one.reasons]
    return sorted(judged, key=lambda one: -one[1].severity)


class Tile(NamedTuple):
    """A summary tile: its verdict, its most telling part large, the rest small."""

    label: str
    word: str
    kind: str
    lead: str
    rest: tuple[str, ...]


def tiles(view: ReleaseView) -> list[Tile]:
    """The summary: quality, serving, safety, provenance, privacy, rollback, canary, bundle."""
    judged = [
        quality_row(view),
        serving_row(view),
        safety_row(view),
        provenance_row(view),
        privacy_row(view),
        rollback_row(view),
        canary_row(view),
        bundle_row(view)._replace(parts=bundle_row(view).parts[:2]),
    ]
    return [_tile(row) for row in judged]


def _tile(row: Row) -> Tile:
    lead, *rest = row.parts
    word = NOT_REACHED.upper() if lead == NOT_REACHED else row.word
    return Tile(row.label, word, row.value or "none", lead, tuple(rest))


class Stage(NamedTuple):
    """A canary stage: who took part (widths in percent of the largest stage), what was decided, on what."""

    name: str
    decision: str
    kind: str
    facts: str
    stable: int
    canary: int
    stable_width: float
    canary_width: float
    reasons: tuple[str, ...]
    forests: tuple[plots.Forest, ...]


_DECISIONS = {"promote": Value.PASS, "continue": Value.INCONCLUSIVE, "hold": Value.INCONCLUSIVE}


def _stages(view: ReleaseView) -> tuple[Stage, ...]:
    stages = view.canary.stages if view.canary else ()
    top = max([max(stage.stable_sessions, stage.canary_sessions) for stage in stages] or [1]) or 1
    return tuple(
        Stage(
            name=stage.stage,
            decision=stage.decision.replace("_", " "),
            kind=_DECISIONS.get(stage.decision, Value.FAIL),
            facts=f"began {moment(stage.started_at)}, took {duration(stage.duration_s)}, table {stage.route_version}",
            stable=stage.stable_sessions,
            canary=stage.canary_sessions,
            stable_width=round(100 * stage.stable_sessions / top, 3),
            canary_width=round(100 * stage.canary_sessions / top, 3),
            reasons=stage.reasons,
            forests=plots.stage_forests(stage.evidence, view.policy.canary),
        )
        for stage in stages
    )


def _header_facts(view: ReleaseView) -> tuple[Fact, ...]:
    facts = [
        Fact("bundle", view.bundle, True) if view.bundle else Fact("bundle", "not reached"),
        Fact("evidence", view.evidence.digest(), True) if view.evidence else Fact("evidence", "not reached"),
        Fact("release", view.release, True),
        Fact("instead of", plain(view.stable_version or "nothing: first release")),
        Fact("written", moment(view.now)),
    ]
    return (*facts, Fact("took", duration(view.took_s))) if view.took_s is not None else tuple(facts)


class Cost(NamedTuple):
    """A figure of speed or size: stable, candidate, what it is held to."""

    label: str
    stable: str
    candidate: str
    budget: str
    over: bool


def _costs(view: ReleaseView) -> tuple[Cost, ...]:
    timing, budget = view.timing, view.policy.serving
    if timing is None:
        return ()
    stable_rtf = "none" if timing.stable_rtf is None else f"{timing.stable_rtf:.3f}"
    memory, cost = timing.peak_memory_mb, timing.cost_usd_per_audio_hour
    found = [
        Cost("real-time factor", stable_rtf, f"{timing.rtf:.3f}", f"{budget.rtf:.3f}", timing.rtf > budget.rtf),
        Cost("peak memory, MB", "", f"{memory:.0f}", f"{budget.peak_memory_mb:.0f}", memory > budget.peak_memory_mb),
        Cost(
            "cost, USD an audio hour",
            "",
            f"{cost:.4f}",
            f"{budget.cost_usd_per_audio_hour:.4f}",
            cost > budget.cost_usd_per_audio_hour,
        ),
    ]
    if view.replay:
        found.append(Cost("cold start, ms", "", milliseconds(view.replay.cold_start_ms).removesuffix(" ms"), "", False))
    return tuple(found)


def _contract(view: ReleaseView) -> tuple[Fact, ...]:
    if view.entry is None:
        return ()
    fields = view.entry.model_dump(mode="json")
    envelope = fields.pop("resource_envelope")
    return flat({**fields, "resource envelope": envelope})


def flat(value: dict[str, Any], path: str = "") -> tuple[Fact, ...]:
    """A JSON object as labelled values, nested names joined."""
    facts: list[Fact] = []
    for name, below in value.items():
        label = f"{path}{plain(name).replace('_', ' ')}"
        if isinstance(below, dict):
            facts += flat(below, f"{label}, ")
        elif isinstance(below, list | tuple):
            facts.append(Fact(label, ", ".join(plain(one) for one in below) or "none"))
        else:
            said = "none" if below is None else ("yes" if below else "no") if isinstance(below, bool) else below
            facts.append(Fact(label, plain(said), is_digest(said)))
    return tuple(facts)


def is_digest(value: object) -> bool:
    """Whether a value is a whole SHA-256, or a git commit, that is drawn short."""
    return isinstance(value, str) and len(value) in (40, 64) and not set(value) - set("0123456789abcdef")


def card(markdown: str) -> Markup:
    """A model card as HTML: its own tags are escaped, images are left out, headings go below the page's own."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup, escape

    def image(_: object, tokens: Sequence[Token], index: int, *_rest: object) -> str:
        return f"[image left out: {escape(tokens[index].content)}]"

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("image", image)
    tokens = reader.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 - html is off, text is escaped


def digests(view: ReleaseView) -> frozenset[Digest]:
    """Every digest that the view's ledger events, bundle and release name."""
    named = {digest for event in view.events for digest in (*event.inputs.values(), *event.outputs.values())}
    return frozenset(named | {one for one in (view.release, view.bundle, view.stable_bundle) if one})


def prose(known: frozenset[Digest]) -> Callable[[str], Markup]:
    """A writer of sentences: escaped, with true signs; digests, whole or short, are drawn short and copy whole."""
    from markupsafe import Markup, escape

    whole = {short(one): one for one in known}
    draw = Markup('<code class="digest" title="{0}" data-digest="{0}">{1}<span class="tail">{2}</span></code>')

    def write(text: str) -> Markup:
        parts = re.split(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", plain(text))
        drawn = [escape(typographic(part)) for part in parts]
        for number, part in list(enumerate(parts))[1::2]:
            digest = whole.get(part, part if len(part) == 64 else "")
            drawn[number] = draw.format(digest, short(digest), digest[len(short(digest)) :]) if digest else escape(part)
        return Markup("").join(drawn)

    return write


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"typographic": typographic, "moment": moment, "bytes": size, "plain": plain}
    environment.globals |= {"many": many, "box": lineage.BOX}
    return environment.get_template("release.html.j2")
