"""After a rollback every gateway is asked as users ask it (B5); what is wrong is recorded and a person is paged."""

from __future__ import annotations

import json
import logging
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from contracts.bundle import GoldenAnswer
from contracts.digest import short
from operations import pointer
from operations.rollback import rollback
from serving.asking import Asked, Door
from serving.client import start_gateway
from serving.presence import announce, followers, withdraw
from speech.kinds import Prompt
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import GATEWAY, OPERATOR, TinyFamily
from tests.servers.loopback import Handler, listening
from tests.serving.test_switching import eventually


@pytest.fixture
def family(tmp_path: Path) -> TinyFamily:
    made = TinyFamily(tmp_path / "project")
    made.promote("v1", "one")
    made.promote("v2", "two")
    return made


def outcome(family: TinyFamily) -> dict[str, Any]:
    events = family.context.ledger(FAMILY).events()
    return dict(next(event for event in reversed(events) if event.step == "rollback").data)


def test_a_real_gateway_answers_by_the_target_as_soon_as_the_rollback_is_done(family: TinyFamily) -> None:
    """The target is warm and proved: no fresh process is needed, and users' own way was tried."""
    with start_gateway(family.home, families=[FAMILY], command=GATEWAY) as gateway:
        eventually(lambda: len(followers(family.home, FAMILY)[gateway.pid]["proved"]) == 2, 30)
        done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v2 mishears")
    assert (done.target, done.proved_by, done.wrong) == (family.bundles["v1"], "warm workers", ())
    assert (outcome(family)["gateways_asked"], outcome(family)["gateways_wrong"]) == (1, [])


def pretender(status: int, body: dict[str, Any], **headers: str) -> AbstractContextManager[str]:
    """A gateway that says that it serves everything, and answers like this."""

    class Pretending(Handler):
        def respond(self) -> None:
            self.answer(status, json.dumps(body).encode(), headers)

    return listening(Pretending)


def _proved(family: TinyFamily, url: str) -> None:
    proof = {"equal": 1, "expected": 1, "erased": 0, "at": "now"}
    said = {"version": 10**6, "bundles": [], "proved": dict.fromkeys(family.bundles.values(), proof)}
    announce(family.home, url, {FAMILY: said})


def test_another_bundle_s_answer_is_told_to_a_person(family: TinyFamily, caplog: pytest.LogCaptureFixture) -> None:
    other = family.bundles["v2"]
    version = len(family.bundles) * 2 + 1  # each promotion moves the pointer twice
    headers = {"X-Soundcheck-Bundle": other, "X-Request-Id": "1" * 32, "X-Soundcheck-Route": str(version)}
    with pretender(200, {"text": "two two"}, **headers) as url, caplog.at_level(logging.ERROR):
        _proved(family, url)
        done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v2 mishears")
        withdraw(family.home)
    (wrong,) = done.wrong
    assert wrong.endswith(f": bundle {short(other)} answered under version {version}")
    assert outcome(family)["gateways_wrong"] == [wrong]
    assert [record.message for record in caplog.records] == [f"PAGE: {FAMILY}: after the rollback, {wrong}"]


def test_a_gateway_that_refuses_or_is_away_is_told_and_the_rollback_stands(family: TinyFamily) -> None:
    error = {"error": {"code": "overloaded", "message": "try again", "type": "x", "param": None}}
    with pretender(429, error) as url:
        _proved(family, url)
        done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v2 mishears")
    assert done.wrong[0].endswith("it refused the verification query with overloaded")
    again = rollback(family.context, FAMILY, key_name=OPERATOR, reason="and back", to="v2")
    withdraw(family.home)
    assert again.wrong[0].endswith("it did not answer the verification query (ConnectError)")
    assert family.context.ledger(FAMILY).state().current == family.bundles["v2"]


def test_a_family_of_another_task_is_asked_as_its_users_ask(
    family: TinyFamily, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A route of another task would refuse the query, and every rollback would page somebody."""
    asked: list[tuple[str, Prompt]] = []

    class Asking:
        def __init__(self, task: str) -> None:
            self.task = task

        async def ask(self, door: Door, prompt: Prompt, *, client: object) -> Asked:
            del client
            asked.append((f"{self.task} of {door.family}", prompt))
            stable = pointer.current(family.context, FAMILY)
            assert stable.table is not None
            said = stable.stable or ""
            return Asked(GoldenAnswer(), said, frozenset({said}), "1" * 32, 1.0, route_version=stable.table.version)

    monkeypatch.setattr("serving.asking.asker", Asking)
    monkeypatch.setitem(family.context.settings.params["families"][FAMILY], "task", "classification")
    with pretender(500, {}) as url:
        _proved(family, url)
        done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v2 mishears")
        withdraw(family.home)
    assert done.wrong == ()
    ((task, prompt),) = asked
    assert task == f"classification of {FAMILY}"
    assert prompt.path is not None
