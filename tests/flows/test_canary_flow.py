"""How the release and the canary flow are wired: which stages run, what is asked before users hear anything (R8.4)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from contracts.errors import DependencyFailed
from flows import canary as canary_flow
from flows import release as release_flow

FAMILY, RELEASE = "asr-commands", "a" * 64


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the release flow did, in order; its steps do nothing."""
    done: list[Any] = []

    def does(name: str, gives: Any) -> None:
        def run(*args: Any, **kwargs: Any) -> Any:
            done.append((name, kwargs.get("shadow_only")) if name == "canary" else name)
            return gives(*args, **kwargs) if callable(gives) else gives

        monkeypatch.setattr(release_flow, name, run)

    for name in ("register", "score", "gate", "package", "stage", "migrate", "require_routed"):
        does(name, {})

    @contextmanager
    def held(*_: Any) -> Iterator[str]:
        done.append("held")
        yield "check"
        done.append("over")

    monkeypatch.setattr(release_flow, "held", held)
    does("capture", {"release": RELEASE, "policy": "p"})
    does("canary", lambda **kwargs: "shadowed" if kwargs.get("shadow_only") else "watched")
    does("promote", lambda *args: done.append(args[-1]))
    does("_approved", lambda *args: f"evidence of {args[3]['canary_report']}")
    monkeypatch.setattr(release_flow, "already_released", lambda *_: False)
    monkeypatch.setattr(release_flow, "find", lambda *_: None)
    monkeypatch.setattr(release_flow, "finish", lambda *_: done.append("report"))
    return done


CONTEXT: Any = SimpleNamespace(
    ledger=lambda _: SimpleNamespace(state=lambda: SimpleNamespace(releases={RELEASE: SimpleNamespace(version="v2")}))
)


@pytest.mark.parametrize("risky", [False, True], ids=["low risk", "high risk"])
def test_high_risk_is_approved_before_the_cohort_and_again_before_promotion(
    wired: list[Any], monkeypatch: pytest.MonkeyPatch, risky: bool
) -> None:
    monkeypatch.setattr(release_flow, "must_be_approved_first", lambda _: risky)
    assert release_flow._run(CONTEXT, FAMILY, "v2") == (RELEASE, f"{FAMILY} v2 is stable")
    first = [("canary", True), "_approved"] if risky else []
    last = [
        ("canary", None), "held", "_approved", "require_routed", "promote", "evidence of watched", "over", "report",
    ]  # fmt: skip
    assert wired == ["capture", "register", "score", "gate", "package", "stage", "migrate", *first, *last]


def test_an_approval_that_is_refused_exposes_nobody(wired: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise DependencyFailed("nobody says yes")

    monkeypatch.setattr(release_flow, "must_be_approved_first", lambda _: True)
    monkeypatch.setattr(release_flow, "_approved", refuse)
    with pytest.raises(DependencyFailed):
        release_flow._run(CONTEXT, FAMILY, "v2")
    assert wired[-2:] == [("canary", True), "report"]


@pytest.mark.parametrize(
    ("shadow_only", "held", "ran"),
    [
        (False, ("shadow", "cohort", "wide"), ["shadow", "cohort", "wide", "conclude"]),
        (False, ("shadow",), ["shadow", "cohort", "conclude"]),
        (True, ("shadow", "cohort", "wide"), ["shadow"]),
        (True, (), ["shadow", "conclude"]),
    ],
    ids=["to its end", "stops where it fails", "before users", "fails before users"],
)
def test_which_stages_run(
    monkeypatch: pytest.MonkeyPatch, shadow_only: bool, held: tuple[str, ...], ran: list[str]
) -> None:
    done: list[str] = []
    settled: list[int] = []

    def stage(_context: object, _found: object, name: str) -> str:
        done.append(name)
        return name

    def conclude(*_: object) -> dict[str, str]:
        done.append("conclude")
        return {"canary_report": "settled"}

    monkeypatch.setattr(canary_flow, "tasks", SimpleNamespace(stage=stage, conclude=conclude))
    monkeypatch.setattr(
        canary_flow, "find", lambda *_: SimpleNamespace(stages=("shadow", "cohort", "wide"), version="v2")
    )
    monkeypatch.setattr(canary_flow, "events", SimpleNamespace(canary_settled=lambda *_: settled.append(1)))
    monkeypatch.setattr(canary_flow, "goes_on", lambda _, report: report in held)
    report = canary_flow._run(CONTEXT, FAMILY, RELEASE, shadow_only)
    assert done == ran
    assert report == ("settled" if "conclude" in ran else "shadow")
    assert bool(settled) == (report == "shadow")  # nobody need watch it while people are asked
