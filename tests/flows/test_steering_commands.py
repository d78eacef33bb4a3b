"""`soundcheck degrade`, `cascade` and `bake` as a person on call types them: no Prefect, no MLflow, no gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from contracts.digest import short
from serving.presence import announce, withdraw
from tests.flows.release_project import soundcheck
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import OPERATOR, TinyFamily

WHO = ("--key", OPERATOR, "--reason", "calls pile up")


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyFamily]:
    made = TinyFamily(tmp_path_factory.mktemp("steering") / "project")
    made.promote("v1", "one", weights=10)
    made.promote("v2", "two", weights=1000)
    proof = {"equal": 1, "expected": 1, "erased": 0, "at": "now"}
    said = {"version": 10**6, "bundles": [], "proved": dict.fromkeys(made.bundles.values(), proof)}
    announce(made.home, "http://127.0.0.1:9", {FAMILY: said})
    yield made
    withdraw(made.home)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("degrade", FAMILY), "say either --mode MODE or --off"),
        (("degrade", FAMILY, "--mode", "no_partials", "--off"), "say either --mode MODE or --off"),
        (("degrade", FAMILY, "--mode", "no_partials", "--bundle", "v1"), "--bundle belongs to --mode smaller"),
        (("cascade", FAMILY), "say either --small BUNDLE or --off"),
        (("cascade", FAMILY, "--small", "v1", "--off"), "say either --small BUNDLE or --off"),
    ],
)
def test_a_wrong_call_says_how_it_is_right(family: TinyFamily, words: tuple[str, ...], said: str) -> None:
    answer = soundcheck(family.root, *words, *WHO)
    assert answer.returncode == 2
    assert said in answer.stderr


def test_what_was_changed_is_said_and_stands_in_the_status(family: TinyFamily) -> None:
    small = short(family.bundles["v1"])
    answer = soundcheck(family.root, "degrade", FAMILY, "--mode", "smaller", *WHO)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith(f"{FAMILY}: degraded: the smaller bundle {small} answers; route version ")
    again = soundcheck(family.root, "degrade", FAMILY, "--mode", "smaller", *WHO)
    assert again.stdout.endswith("it was so already\n")

    done = soundcheck(family.root, "cascade", FAMILY, "--small", "v1", "--below", "0.6", *WHO, "--json")
    assert json.loads(done.stdout)["change"] == f"cascade: {small} answers from a confidence of 0.6 on"
    status = json.loads(soundcheck(family.root, "status", FAMILY, "--json").stdout)
    assert status["served"] == [
        f"degraded: the smaller bundle {small} answers",
        f"cascade: {small} answers from a confidence of 0.6 on",
    ]

    assert ": not degraded; route version" in soundcheck(family.root, "degrade", FAMILY, "--off", *WHO).stdout
    assert ": no cascade; route version" in soundcheck(family.root, "cascade", FAMILY, "--off", *WHO).stdout
    assert json.loads(soundcheck(family.root, "status", FAMILY, "--json").stdout)["served"] == []


def test_a_refusal_exits_with_1(family: TinyFamily) -> None:
    answer = soundcheck(family.root, "cascade", FAMILY, "--small", "v2", *WHO)
    assert answer.returncode == 1
    assert "this bundle may not answer beside the stable one" in answer.stderr
    assert "it is the stable one" in answer.stderr


def test_a_family_without_a_bake_time_is_good_at_once(family: TinyFamily) -> None:
    answer = soundcheck(family.root, "bake", FAMILY, "--key", OPERATOR)
    assert (answer.returncode, answer.stdout.partition(" after ")[0]) == (0, f"{FAMILY}: good")
