"""What each bundle of a route table does, in words and as its part of the traffic.

Boundary: no I/O; a LiveFamily in.
Invariants: a bundle is named once for each thing that it does; shares come from what was measured, and only where there
was no traffic from what the table says. Source: pages.md ("who serves what"); contracts.routing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from contracts.digest import Digest, short
from contracts.live import LiveFamily
from contracts.routing import CanaryRoute, RouteTable
from pages.figures import many, plain
from pages.plots.sparklines import OVERALL

Kind = Literal["stable", "canary", "shadow", "slice", "small", "instead", "warm"]
_ANSWERING: tuple[Kind, ...] = ("stable", "canary", "slice", "small", "instead")


class Role(NamedTuple):
    """What one bundle does: `does` in words, its worker's state, what it answered in the last minute."""

    name: Kind
    bundle: Digest
    version: str
    does: str
    state: str
    down: bool
    facts: str
    requests: str
    share: str

    @property
    def routed(self) -> bool:
        """Whether users hear it."""
        return self.name in _ANSWERING

    @property
    def kind(self) -> str:
        """How its state is drawn."""
        if self.state == "ready":
            return "pass"
        if self.down:
            return "fail" if self.routed else "inconclusive"
        return "none"


class Part(NamedTuple):
    """A piece of the bar: where it begins and how wide it is, in percent."""

    arm: Literal["stable", "canary", "other"]
    x: float
    width: float
    version: str
    said: str


def table_of(live: LiveFamily) -> RouteTable | None:
    """The route table that is served."""
    if live.table is None:
        return None
    return RouteTable.model_validate({name: value for name, value in live.table.items() if name != "kind"})


def version_of(live: LiveFamily, bundle: Digest) -> str:
    """A bundle's version name, or the first characters of its digest."""
    return plain(live.versions.get(bundle) or short(bundle))


def roles(live: LiveFamily, table: RouteTable | None) -> tuple[Role, ...]:
    """Every role of the table, those that users hear first."""
    if table is None:
        return tuple(_role(live, "warm", bundle, "is being prepared") for bundle in live.workers)
    return tuple(_role(live, name, bundle, does) for name, bundle, does in _named(table))


def _named(table: RouteTable) -> list[tuple[Kind, Digest, str]]:
    canary, cascade, less = table.canary, table.cascade, table.degradation
    found: list[tuple[Kind, Digest, str]] = []
    if table.stable is not None:
        found.append(("stable", table.stable, _stable_does(table)))
    if canary is not None:
        found.append(("shadow" if canary.stage == "shadow" else "canary", canary.bundle, _canary_does(canary)))
    found += [("slice", rule.bundle, f"answers {plain(rule.label)}={plain(rule.value)}") for rule in table.slice_rules]
    if cascade is not None:
        does = f"answers first over HTTP, where it is surer than {cascade.below:g}"
        found.append(("small", cascade.small, does))
    if less is not None and less.bundle is not None:
        found.append(("instead", less.bundle, "answers instead of stable (degraded)"))
    named = {bundle for _, bundle, _ in found}
    return found + [("warm", one, "is kept warm, nothing is routed to it") for one in table.warm if one not in named]


def _canary_does(canary: CanaryRoute) -> str:
    share = f"{canary.weight:.0%}"
    cohort = " and ".join(f"{plain(name)} {' or '.join(map(plain, wanted))}" for name, wanted in canary.cohort.items())
    return {
        "probe": f"answers {share} of the labelled probes",
        "shadow": f"hears copies of {share} of the sessions, its answers reach nobody",
        "cohort": f"answers {share} of the cohort's sessions ({cohort or 'everybody'})",
        "wide": f"answers {share} of all sessions",
    }[canary.stage]


def _stable_does(table: RouteTable) -> str:
    less = table.degradation
    if less is not None and less.mode == "smaller":
        return "waits while a smaller bundle answers"
    rest = "the rest" if table.canary or table.slice_rules or table.cascade else "everybody"
    return f"answers {rest}" + (", streams without partials (degraded)" if less is not None else "")


def _role(live: LiveFamily, name: Kind, bundle: Digest, does: str) -> Role:
    worker = live.workers.get(bundle, {})
    state = str(worker.get("state") or "missing")
    restarts, memory = worker.get("restarts"), worker.get("peak_memory_mb")
    error = plain(worker.get("error") or "")
    waiting, streams = worker.get("waiting"), worker.get("streams")
    facts = [
        f"{waiting} waiting" if waiting else "",
        many(int(streams), "stream") if isinstance(streams, int) and streams else "",
        many(int(restarts), "restart") if isinstance(restarts, int) and restarts else "",
        f"{memory:.0f} MB" if isinstance(memory, (int, float)) else "",
        error if state != "ready" else "",
    ]
    answered, all_of_them = _answered(live, bundle, shadow=name == "shadow"), _answered(live)
    share = f"{answered / all_of_them:.0%}" if answered and all_of_them and name != "shadow" else ""
    return Role(
        name=name, bundle=bundle, version=version_of(live, bundle), does=does, state=state,
        down=state not in ("ready", "starting", "draining") or (state == "starting" and bool(restarts)),
        facts=", ".join(filter(None, facts)), requests=f"{answered:,}", share=share,
    )  # fmt: skip


def _answered(live: LiveFamily, bundle: Digest | None = None, *, shadow: bool = False) -> int:
    return sum(
        window.requests
        for window in live.now
        if window.slice == OVERALL and (window.arm == "shadow") == shadow and bundle in (None, window.bundle)
    )


def parts(live: LiveFamily, table: RouteTable | None) -> tuple[tuple[Part, ...], bool]:
    """The bar of who answers, and whether it is measured (else it is what the table says)."""
    if table is None:
        return (), False
    measured = [(bundle, _answered(live, bundle)) for bundle in dict.fromkeys(window.bundle for window in live.now)]
    total = sum(count for _, count in measured)
    shares = {bundle: count / total for bundle, count in measured if count} if total else _intended(table)
    found, x = [], 0.0
    for bundle in sorted(shares, key=lambda bundle: (_ARMS.index(_arm(table, bundle)), -shares[bundle])):
        width, version = 100 * shares[bundle], version_of(live, bundle)
        said = f"{_words(table, bundle)} {version} {width:.0f}%"
        found.append(Part(_arm(table, bundle), round(x, 3), round(width, 3), version, said))
        x += width
    return tuple(found), bool(total)


_ARMS = ("stable", "other", "canary")


def _arm(table: RouteTable, bundle: Digest) -> Literal["stable", "canary", "other"]:
    if bundle == table.stable:
        return "stable"
    return "canary" if table.canary is not None and bundle == table.canary.bundle else "other"


def _words(table: RouteTable, bundle: Digest) -> str:
    return next((name for name, one, _ in _named(table) if one == bundle), "before")


def _intended(table: RouteTable) -> dict[Digest, float]:
    """What the table says, as far as it says it in shares."""
    less, canary = table.degradation, table.canary
    stable = less.bundle if less is not None and less.bundle is not None else table.stable
    share = canary.weight if canary is not None and canary.stage == "wide" else 0.0
    named = {canary.bundle: share} if canary is not None and share else {}
    return {**({stable: 1 - share} if stable and share < 1 else {}), **named}
