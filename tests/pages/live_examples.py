"""Live reports in every state: a first release, a canary that runs, a burning budget, nobody home, a dead worker."""

from __future__ import annotations

from typing import Literal

from contracts.digest import Digest
from contracts.live import (
    AlertRule,
    Burn,
    BurnAlarm,
    CanaryProgress,
    LiveFamily,
    LiveReport,
    Move,
    Promise,
    Window,
)
from contracts.reports import Quantiles
from contracts.routing import CanaryRoute, Cascade, Degradation, RouteTable, SliceRule
from tests.pages.release_documents import evidence_rows, looks, name_of, wave

AT_S = 1_795_183_351.0
STABLE, CANARY, SMALL, OLD = (name_of(f"bundle {name}") for name in ("v2", "v3", "v2-int8", "v1"))
VERSIONS = {STABLE: "v2", CANARY: "v3", SMALL: "v2-int8", OLD: "v1"}
SLICES = ("overall", "device=phone", "device=web", "device=kiosk", "language=en-us", "language=en-gb", "codec=opus")
ALARMS = (
    BurnAlarm(action="page", short_s=300, long_s=3600, rate=14.4),
    BurnAlarm(action="ticket", short_s=1800, long_s=21600, rate=6.0),
)
PROMISES = (
    Promise(objective="availability", share=0.999),
    Promise(objective="latency", share=0.95, latency_ms=400),
    Promise(objective="privacy", share=1.0),
)
RULES = (
    AlertRule(name="SoundcheckBudgetBurnsFast", action="page", says="an error budget burns 14.4 times too fast"),
    AlertRule(name="SoundcheckWorkerDown", action="page", says="a bundle that users are routed to has no worker"),
    AlertRule(name="SoundcheckTelemetryLost", action="ticket", says="telemetry rows were lost"),
)
UNDECIDED = "6 of 7 (metric, slice) pairs are within their margins; latency_ms on overall needs about 60 more sessions"
WORSE = "wer on accent=scottish is worse by 13.1 points, lower bound 8.1, margin 5.0"

Arm = Literal["stable", "canary", "shadow"]


def quantiles(p95: float, n: int) -> Quantiles:
    """A right-skewed distribution with this p95."""
    return Quantiles(n=n, p50=p95 * 0.55, p95=p95, p99=p95 * 1.35, maximum=p95 * 1.8)


def window(
    minute: int, name: str, arm: Arm, *, requests: int, p95: float, failures: int = 0, churn: float = 0.06,
    bundle: Digest | None = None, first: bool = True, audio: float | None = None,
) -> Window:  # fmt: skip
    """One minute of one arm on one slice; `minute` 0 is the last; `audio` is the first audio's p95."""
    until = AT_S - 60 * minute
    words = 40 * requests if first or audio is None else 0
    return Window(
        since_s=until - 60,
        until_s=until,
        bundle=bundle or (STABLE if arm == "stable" else CANARY),
        arm=arm,
        slice=name,
        requests=requests,
        failures=failures,
        latency_ms=quantiles(p95, requests),
        first_partial_ms=quantiles(p95 * 0.4, requests) if first else None,
        first_audio_ms=None if audio is None else quantiles(audio, requests),
        queue_ms=quantiles(p95 * 0.1, requests),
        partial_words=words,
        unstable_words=round(words * churn),
        privacy_errors=0,
        corrections=round(requests * wave(minute, 0.01, 0.04)),
        underruns=0 if audio is None else round(requests * wave(minute, 0.0, 0.02)),
        cost_usd=0.0001 * requests,
        audio_s=3.0 * requests,
    )


def minute_of(minute: int, *, canary: bool, hurt: bool) -> list[Window]:
    """Every slice of one minute."""
    found = []
    for place, name in enumerate(SLICES):
        busy = max(round((600 if place == 0 else 300 / place) * wave(minute + place, 0.8, 1.1)), 1)
        base = 210 + 14 * place + wave(3 * minute + place, -18, 18)
        bad = hurt and name in ("overall", "device=phone") and minute < 9
        late = (1.1 + 0.11 * (9 - minute)) if bad else 1.0
        failures = round(busy * 0.03) if bad else 0
        found.append(window(minute, name, "stable", requests=busy, p95=base * late, failures=failures))
        if canary and minute < 14:
            slow = name == "device=kiosk"
            p95, churn = base * (1.5 if slow else 0.9), 0.14 if slow else 0.05
            found.append(window(minute, name, "canary", requests=max(busy // 10, 1), p95=p95, churn=churn))
    return found


def traffic(*, canary: bool = False, hurt: bool = False) -> tuple[Window, ...]:
    """Half an hour, with four minutes in which nobody asked."""
    minutes = [minute for minute in range(29, -1, -1) if minute not in (20, 21, 22, 23)]
    return tuple(one for minute in minutes for one in minute_of(minute, canary=canary, hurt=hurt))


def burn(objective: str, rate: float, *, action: Literal["none", "ticket", "page"] = "none", left: float = 0.93,
         name: str = "overall", short_s: float = 300, long_s: float = 3600) -> Burn:  # fmt: skip
    """One error budget."""
    return Burn(objective=objective, slice=name, short_s=short_s, long_s=long_s, rate=rate, left=left, action=action)


CALM = (burn("availability", 0.2), burn("latency", 0.7, left=0.81), burn("privacy", 0, left=1, short_s=3600))


def worker(
    state: str = "ready", *, error: str = "", restarts: int = 0, memory: float | None = 412.0
) -> dict[str, object]:
    """What `/v1/status` says of a worker."""
    return {"state": state, "error": error, "restarts": restarts, "in_use": 2, "pid": 4711, "peak_memory_mb": memory}


def table(version: int, stable: Digest | None, **more: object) -> RouteTable:
    """A family's table."""
    return RouteTable.model_validate(
        {
            "family": "asr-commands", "version": version, "stable": stable, "ledger_sequence": 40,
            "ledger_head": "0" * 64, "moved_at": "2026-11-20T14:01:02Z", "actor": "release",
            "reason": "release v2", **more,
        }
    )  # fmt: skip


def moves() -> tuple[Move, ...]:
    """How the table came to be, oldest first."""
    return (
        _move(1, "2026-11-18T09:12:44Z", "r.manager", "release v1", OLD),
        _move(9, "2026-11-19T16:40:03Z", "r.manager", "release v2", STABLE),
        _move(10, "2026-11-20T13:45:20Z", "release", "canary: shadow", STABLE, CANARY),
        _move(11, "2026-11-20T13:55:02Z", "release", "canary: wide", STABLE, CANARY),
    )


def _move(version: int, at: str, actor: str, reason: str, stable: Digest | None, canary: Digest | None = None) -> Move:
    return Move(version=version, moved_at=at, actor=actor, reason=reason, stable=stable, canary=canary)


def progress(*, bad: bool = False) -> CanaryProgress:
    """A canary in its last stage."""
    return CanaryProgress(
        family="asr-commands", release="r" * 12, version="v3", bundle=CANARY, stable=STABLE, stage="wide",
        stages=("shadow", "cohort", "wide"), weight=0.1, started_at="2026-11-20T13:55:02Z",
        looked_at="2026-11-20T14:02:29Z", deadline_s=7200, alpha=0.05, decision="rollback" if bad else "continue",
        reasons=(WORSE if bad else UNDECIDED,),
        evidence=evidence_rows(200, "worse" if bad else "undecided"),
        looks=tuple(one.model_copy(update={"at_s": 22 * one.at_s}) for one in looks(200, bad=bad)),
    )  # fmt: skip


def family(**fields: object) -> LiveFamily:
    """A calm family without a canary, and what a state has of its own."""
    calm = {
        "family": "asr-commands", "versions": VERSIONS, "promises": PROMISES,
        "table": table(9, STABLE, warm=(OLD,)).model_dump(mode="json"),
        "workers": {STABLE: worker(), OLD: worker(memory=388.0)},
        "now": tuple(minute_of(0, canary=False, hurt=False)), "series": traffic(), "burns": CALM,
        "history": moves()[:2],
    }  # fmt: skip
    return LiveFamily.model_validate({**calm, **fields})


def report(*families: LiveFamily, **more: object) -> LiveReport:
    """A gateway that serves these."""
    return LiveReport.model_validate(
        {"at_s": AT_S, "url": "http://127.0.0.1:8080", "families": families, "alarms": ALARMS, "rules": RULES, **more}
    )


def calm() -> LiveReport:
    """One family, all well."""
    return report(family())


def canary() -> LiveReport:
    """A canary in its wide stage, slower and less steady on one slice; stable behind a cascade and a slice rule."""
    routes = table(
        11, STABLE, canary=CanaryRoute(bundle=CANARY, stage="wide", weight=0.1), warm=(OLD,),
        slice_rules=(SliceRule(label="device", value="legacy-kiosk", bundle=OLD),),
        cascade=Cascade(small=SMALL, below=0.8),
    )  # fmt: skip
    workers = {STABLE: worker(), CANARY: worker(memory=398.0), OLD: worker(memory=388.0), SMALL: worker(memory=122.0)}
    now = (
        *minute_of(0, canary=True, hurt=False),
        window(0, "overall", "stable", requests=38, p95=190, bundle=OLD),
        window(0, "overall", "stable", requests=214, p95=120, bundle=SMALL),
    )
    return report(
        family(
            table=routes.model_dump(mode="json"), workers=workers, now=now, series=traffic(canary=True),
            history=moves(), canary=progress(),
        )
    )  # fmt: skip


def burning() -> LiveReport:
    """Budgets burn, the canary's judge says rollback, the store is away, telemetry was lost, stable is degraded."""
    routes = table(
        12, STABLE, canary=CanaryRoute(bundle=CANARY, stage="shadow", weight=0.2),
        degradation=Degradation(mode="no_partials"), reason="degraded: streams send finals alone: callers wait",
    )  # fmt: skip
    burns = (
        burn("availability", 17.2, action="page", left=-0.31),
        burn("latency", 7.9, action="ticket", left=0.22, short_s=1800, long_s=21600),
        burn("availability", 41.0, action="page", left=-2.4, name="device=phone"),
        burn("privacy", 2, action="page", left=-2, short_s=3600),
    )
    dead = worker("failed", error="exit status 1", restarts=7, memory=None)
    return report(
        family(
            table=routes.model_dump(mode="json"), workers={STABLE: worker(), CANARY: dead},
            now=tuple(minute_of(0, canary=False, hurt=True)), series=traffic(hurt=True), burns=burns,
            history=(*moves(), _move(12, routes.moved_at, "ops", routes.reason, STABLE, CANARY)),
            canary=progress(bad=True), store_error="the store did not answer", preparing=13,
        ),
        telemetry_dropped=1420,
    )  # fmt: skip


def down() -> LiveReport:
    """Stable's worker dies again and again: nobody answers."""
    dead = worker("failed", error="killed by signal 9, as when memory runs out", restarts=5, memory=None)
    return report(family(workers={STABLE: dead, OLD: worker()}))


def first() -> LiveReport:
    """A first release is probed: there is no stable yet; and a family that has nothing at all."""
    routes = table(1, None, canary=CanaryRoute(bundle=CANARY, stage="probe", weight=1), reason="canary: probe")
    begun = progress().model_copy(
        update={"stage": "probe", "stages": ("probe",), "looks": (), "evidence": (), "reasons": ()}
    )
    probed = family(
        table=routes.model_dump(mode="json"), workers={CANARY: worker("starting", memory=None)}, now=(), series=(),
        burns=(), history=(), canary=begun,
    )  # fmt: skip
    bare = family(family="tts-voices", table=None, workers={}, now=(), series=(), burns=(), history=(), promises=())
    return report(probed, bare)


def quiet() -> LiveReport:
    """Nobody asks for anything."""
    return report(family(now=(), series=(), burns=(burn("availability", 0, left=1),)))


def _spoken(name: str, *, hears: bool, late: bool, limit_ms: float) -> LiveFamily:
    """A family that speaks, and perhaps hears; `late`: its first audio has come late for nine minutes."""
    slices = ("overall", "device=phone", "device=web")
    windows = tuple(
        window(
            minute, one, arm, requests=round(wave(minute + place, 40, 90)) // (6 if arm == "canary" else 1),
            p95=1_900 + 90 * place + wave(minute, -60, 60), first=hears,
            audio=(0.55 + 0.05 * place + wave(minute + place, -0.05, 0.05)) * limit_ms
            * (2.1 if late and arm == "canary" else 1.0),
        )
        for minute in range(29, -1, -1)
        for place, one in enumerate(slices)
        for arm in (("stable", "canary") if late and minute < 9 else ("stable",))
    )  # fmt: skip
    promises = (
        Promise(objective="availability", share=0.999),
        Promise(objective="first_audio", share=0.9, latency_ms=limit_ms),
    )
    burns = (
        burn("availability", 0.1),
        burn("first_audio", 6.4 if late else 0.3, action="ticket" if late else "none", short_s=1800, long_s=21600),
    )
    canary = CanaryRoute(bundle=CANARY, stage="wide", weight=0.15) if late else None
    return family(
        family=name, promises=promises, burns=burns, series=windows, now=windows[-len(slices) * (1 + late):],
        table=table(9, STABLE, canary=canary, moved_at="2026-11-20T14:02:00Z").model_dump(mode="json"),
        workers={STABLE: worker(), CANARY: worker()} if late else {STABLE: worker()},
        canary=progress().model_copy(update={"family": name}) if late else None,
    )  # fmt: skip


def speaking() -> LiveReport:
    """A voice whose canary begins too late, and an assistant that is well."""
    return report(
        _spoken("tts-en", hears=False, late=True, limit_ms=400.0),
        _spoken("assistant", hears=True, late=False, limit_ms=1_500.0),
    )


def empty() -> LiveReport:
    """A gateway without a family."""
    return report()


EXAMPLES = {
    "calm": calm, "canary": canary, "burning": burning, "down": down, "first": first, "quiet": quiet,
    "speaking": speaking, "empty": empty,
}  # fmt: skip
