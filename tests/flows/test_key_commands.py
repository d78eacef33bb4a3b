"""`soundcheck keys` and `soundcheck lineage`, as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from contracts.errors import WrongCall
from flows import wiring
from flows.cli import soundcheck
from flows.commands import lineage as lineage_commands
from flows.commands import shared
from operations import keys
from operations.context import Context
from operations.settings import Settings
from registry.lineage_transport import Forwarder
from registry.signing import new_key
from registry.store.memory import MemoryStore

REPOSITORY = Path(__file__).resolve().parents[2]
FAMILY = "asr-commands"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "params.yaml").write_bytes((REPOSITORY / "params.yaml").read_bytes())
    settings = Settings(tmp_path, tmp_path / "home")
    return Context(settings, MemoryStore(), lambda: datetime(2026, 11, 20, tzinfo=UTC))


@pytest.fixture
def typed(context: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`soundcheck WORDS` in this installation."""
    for module in (shared, lineage_commands):
        monkeypatch.setattr(module, "light_context", lambda: context)
    return lambda *words: CliRunner().invoke(soundcheck, list(words))


def test_the_life_of_a_key(typed: Callable[..., Result], context: Context) -> None:
    first = typed("keys", "new", "anna").output
    assert first.startswith("anna: key ")
    assert first.endswith("with the roles approver, operator\n")
    assert typed("keys", "rotate", "anna").output.endswith("takes the place of the old one\n")
    assert typed("keys", "revoke", "anna", "--reason", "retired").output == "anna is revoked\n"
    lines = typed("keys", "list").output.splitlines()
    assert lines[0] == f"key ring version 3, {keys.ring(context).digest()[:12]}; quorums: root 1, approver 1"
    assert [line.split()[0] for line in lines[1:]] == ["root", "anna", "anna"]
    assert lines[2].endswith("revoked: superseded, 2026-11-20T00:00:00.000Z")
    assert lines[3].endswith("revoked: retired, 2026-11-20T00:00:00.000Z")
    told = json.loads(typed("keys", "list", "--json").output)
    assert (told["version"], told["digest"]) == (3, keys.ring(context).digest())


def test_quorums_and_a_second_machine(typed: Callable[..., Result], context: Context, tmp_path: Path) -> None:
    new_key("second", tmp_path, "2026")
    answer = typed("keys", "enrol", str(tmp_path / "second.pub"), "--role", "root")
    assert answer.output == "second is enrolled; the key ring is at version 1\n"
    said = "quorums: root 1, approver 2; earlier decisions of a compromised key: keep_earlier\n"
    assert typed("keys", "policy", "--approver", "2", "--compromised", "keep_earlier").output == said
    assert typed("keys", "policy").output == said
    assert keys.ring(context).version == 2, "to look changes nothing"
    assert "'asr' is not FAMILY=SEQUENCE" in typed("keys", "revoke", "second", "--since", "asr").output
    assert typed("keys", "revoke", "second", "--since", "asr=4").exit_code == 0
    revoked = keys.ring(context).keys[1].revoked
    assert revoked is not None
    assert revoked.since == {"asr": 4}


def test_lineage_is_sent_for_each_family(
    typed: Callable[..., Result], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def forwarder(_settings: Settings, store: MemoryStore) -> Forwarder:
        return Forwarder(store, context.home / "lineage", lambda event: sent.append(event.job.name))

    monkeypatch.setattr(wiring, "lineage_forwarder", forwarder)
    context.ledger(FAMILY).append("capture", "complete", at="2026-11-20T00:00:00Z")
    context.ledger(FAMILY).append("register", "complete", at="2026-11-20T00:00:00Z")
    others = dict.fromkeys(context.settings.families, 0)
    assert json.loads(typed("lineage", "send", "--json").stdout) == others | {FAMILY: 2}
    assert typed("lineage", "send", FAMILY).stdout == f"{FAMILY}: 0 events sent\n"
    assert sent == ["capture", "register"]


def test_without_a_collector_lineage_says_where_to_name_one(
    typed: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    answer = typed("lineage", "send")
    assert isinstance(answer.exception, WrongCall)
    assert answer.exception.next_step == "lineage: {url: http://localhost:5000} in params.yaml"


def test_the_environment_names_the_collector_over_params(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    assert wiring.lineage_forwarder(context.settings, context.store) is None
    monkeypatch.setenv("OPENLINEAGE_URL", "marquez")
    with pytest.raises(WrongCall, match="not the address of an OpenLineage collector"):
        wiring.lineage_forwarder(context.settings, context.store)
    monkeypatch.setenv("OPENLINEAGE_URL", "http://127.0.0.1:9")
    assert wiring.lineage_forwarder(context.settings, context.store) is not None
