"""Which budgets burn: the worst of all gateways, pages first; a gateway that cannot be asked is never fine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from contracts.errors import DependencyFailed
from contracts.live import Burn, BurnAlarm, LiveFamily, LiveReport
from operations.burning import Burning, burning, worst
from operations.stack_parts import free_port
from serving.objectives import ALARMS
from serving.presence import announce

FAMILY = "asr-commands"
PAGE, TICKET = ALARMS


def burn(objective: str, slice_: str, action: str, rate: float) -> Burn:
    alarm = TICKET if action == "ticket" else PAGE
    return Burn.model_validate(
        {"objective": objective, "slice": slice_, "short_s": alarm.short_s, "long_s": alarm.long_s, "rate": rate,
         "left": 0.5, "action": action}
    )  # fmt: skip


def report(*burns: Burn, family: str = FAMILY) -> LiveReport:
    alarms = tuple(BurnAlarm.model_validate(alarm._asdict()) for alarm in ALARMS)
    return LiveReport(at_s=0.0, url="", alarms=alarms, families=(LiveFamily(family=family, table=None, burns=burns),))


def paged(objective: str, rate: float, slices: int = 1, family: str = FAMILY) -> Burning:
    return Burning(family, objective, "page", rate, PAGE.rate, PAGE.short_s, PAGE.long_s, slices)


def ticketed(objective: str, rate: float, slices: int = 1) -> Burning:
    return Burning(FAMILY, objective, "ticket", rate, TICKET.rate, TICKET.short_s, TICKET.long_s, slices)


FOUND: dict[str, tuple[list[LiveReport], list[Burning]]] = {
    "no gateway says anything": ([], []),
    "nothing burns": ([report(burn("availability", "overall", "none", 3.0))], []),
    "a ticket": ([report(burn("latency", "overall", "ticket", 7.0))], [ticketed("latency", 7.0)]),
    "pages come first": (
        [report(burn("availability", "overall", "ticket", 7.0), burn("latency", "overall", "page", 15.0))],
        [paged("latency", 15.0), ticketed("availability", 7.0)],
    ),
    "the worst of two gateways": (
        [report(burn("latency", "overall", "page", 15.0)), report(burn("latency", "overall", "page", 19.0))],
        [paged("latency", 19.0)],
    ),
    "slices of all gateways are counted once": (
        [
            report(burn("latency", "overall", "page", 15.0), burn("latency", "device=phone", "page", 18.0)),
            report(burn("latency", "device=phone", "page", 16.0), burn("latency", "codec=opus", "page", 15.0)),
        ],
        [paged("latency", 18.0, slices=3)],
    ),
    "families apart": (
        [
            report(burn("latency", "overall", "page", 15.0)),
            report(burn("latency", "overall", "page", 16.0), family="b"),
        ],
        [paged("latency", 15.0), paged("latency", 16.0, family="b")],
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_budgets_that_burn(name: str) -> None:
    reports, expected = FOUND[name]
    assert worst(reports) == expected


def test_without_a_gateway_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(DependencyFailed, match="no gateway lives: nobody knows") as raised:
        burning(tmp_path)
    assert "next step: soundcheck up" in raised.value.diagnostics()


def test_a_gateway_that_does_not_answer_is_not_fine(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    announce(tmp_path, address, {})
    with pytest.raises(DependencyFailed, match="a gateway does not say how fast") as raised:
        burning(tmp_path)
    assert (raised.value.where, raised.value.got) == (address, "ConnectError")
    assert (tmp_path / "run" / "gateways" / f"{os.getpid()}.json").is_file()
