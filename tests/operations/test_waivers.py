"""Waivers: an Inconclusive comparison accepted by name goes on, nothing else does (R4.2)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from contracts.approval import SignedWaiver
from contracts.errors import Refused, SoundcheckError, WrongCall
from contracts.reports import GateReport
from contracts.verdict import Value
from flows.cli import soundcheck
from flows.commands import shared
from operations import keys
from operations.context import Context
from operations.gate import Stopped
from operations.view import release_view
from operations.waive import Subject, holding, known_waivers, waiting, waive
from registry.documents import get_document
from registry.signing import WAIVER_TYPE, sign
from tests.flows.release_project import REPOSITORY
from tests.operations.gated_releases import FAMILY, WELSH, GatedRelease

MISSING = Subject("commands", "accent=welsh", "wer")
COMMAND = (
    "soundcheck waive asr-commands --key KEY --pack commands --slice 'accent=scottish&noise=welsh' "
    "--metric wer --reason TEXT"
)
REASON = "three Welsh speakers are all there are"


@pytest.fixture
def stopped(context: Context) -> GatedRelease:
    """A release that stopped because the pack has no Welsh speaker."""
    release = GatedRelease(context, quality=[WELSH])
    with pytest.raises(Stopped) as stop:
        release.gate()
    assert stop.value.verdict.value == Value.INCONCLUSIVE
    return release


def report_of(release: GatedRelease) -> GateReport:
    return get_document(release.context.store, GateReport, release.gate()["gate_report"])


def test_a_signed_waiver_lets_the_release_go_on_and_is_in_the_evidence(context: Context, stopped: GatedRelease) -> None:
    waiver = waive(context, FAMILY, MISSING, key_name="anna", reason=f"  {REASON}\n")
    assert (waiver.approver, waiver.reason, waiver.payload_digest) == ("anna", REASON, stopped.payload)
    report = report_of(stopped)
    assert report.verdict.value == report.quality.value == Value.PASS
    sentence = f"commands/accent=welsh: the pack has nothing in this slice; waived by anna: {REASON}"
    assert sentence in report.quality.reasons
    assert [get_document(context.store, SignedWaiver, digest) for digest in report.waivers] == [waiver]
    event = next(event for event in context.ledger(FAMILY).events() if event.step == "waive")
    assert (event.release, event.data["approver"]) == (stopped.captured["release"], "anna")
    assert REASON not in event.to_bytes().decode()


def test_people_see_the_waiver_and_that_the_release_goes_on(context: Context, stopped: GatedRelease) -> None:
    before = release_view(context, FAMILY, stopped.captured["release"])
    assert (before.outcome, before.stopped_at, before.waivers) == ("stopped", "gate", ())
    waiver = waive(context, FAMILY, MISSING, key_name="anna", reason=REASON)
    stopped.gate()
    after = release_view(context, FAMILY, stopped.captured["release"])
    assert (after.outcome, after.stopped_at, after.waivers) == ("waiting", None, (waiver,))


def test_a_stopped_release_names_the_command_of_each_inconclusive_comparison(context: Context) -> None:
    gates = [WELSH | {"slices": ["accent=scottish&noise=welsh"]}, WELSH]
    release = GatedRelease(context, quality=gates)
    with pytest.raises(Stopped) as stop:
        release.gate()
    lines = [line.strip() for line in stop.value.next_step.splitlines()]
    assert lines[1:] == ["or let an approver sign for each:", COMMAND, waiting(context, FAMILY)[1]]
    assert "\n  ".join(["inconclusive; an approver may let it go on:", *lines[2:]]) in release.announced
    waive(context, FAMILY, Subject("commands", "accent=scottish&noise=welsh", "wer"), key_name="anna", reason=REASON)
    assert waiting(context, FAMILY) == [lines[3]]
    with pytest.raises(Stopped) as stop:
        release.gate()
    assert COMMAND not in stop.value.next_step


def test_a_failed_release_names_no_waiver(context: Context) -> None:
    release = GatedRelease(context, harm=0.3, quality=[WELSH])
    with pytest.raises(Stopped) as stop:
        release.gate()
    assert stop.value.verdict.value == Value.FAIL
    assert "waive" not in stop.value.next_step
    assert release.announced == []


@pytest.mark.parametrize(
    ("harm", "subject", "got"),
    [
        (0.3, Subject("commands", "overall", "wer"), "fail"),
        (0.0, Subject("commands", "overall", "wer"), "no comparison that stops the release"),  # it passes
        (0.0, Subject("commands", "accent=martian", "wer"), "no comparison that stops the release"),
        (0.0, Subject("entities", "accent=welsh", "wer"), "no comparison that stops the release"),
        (0.0, Subject("commands", "accent=welsh", "cer"), "no comparison that stops the release"),
        (0.0, Subject("commands", "accent=welsh", "wer", "parent"), "no comparison that stops the release"),
    ],
)
def test_only_an_inconclusive_comparison_can_be_waived(
    context: Context, harm: float, subject: Subject, got: str
) -> None:
    release = GatedRelease(context, harm=harm, quality=[WELSH])
    with pytest.raises(Stopped):
        release.gate()
    before = len(context.ledger(FAMILY).events())
    with pytest.raises(Refused) as refused:
        waive(context, FAMILY, subject, key_name="anna", reason=REASON)
    assert refused.value.diagnostics() == (
        "only an inconclusive comparison can be waived\n"
        f"  where: asr-commands v2, {subject}\n"
        f"  got: {got}\n"
        "  expected: wer on commands/accent=welsh\n"
        "  next step: soundcheck waive asr-commands --list"
    )
    assert len(context.ledger(FAMILY).events()) == before


@pytest.mark.parametrize(
    ("arguments", "kind", "what"),
    [
        ({"reason": "  \n"}, WrongCall, "a waiver gives no reason"),
        ({"key_name": "bert"}, Refused, "the key 'bert' may not act as approver"),
        ({"key_name": "nobody"}, WrongCall, "no such key"),
        ({"key_name": "builder"}, Refused, "the key 'builder' may not act as approver"),
        ({"release": "v9"}, WrongCall, "no such release came to its gates"),
    ],
)
def test_a_waiver_that_cannot_be_is_refused(
    context: Context, stopped: GatedRelease, arguments: dict[str, Any], kind: type[SoundcheckError], what: str
) -> None:
    with pytest.raises(kind) as refused:
        waive(context, FAMILY, MISSING, **{"key_name": "anna", "reason": REASON} | arguments)
    assert refused.value.what == what
    with pytest.raises(Stopped):
        stopped.gate()


def test_a_release_that_did_not_stop_has_nothing_to_waive(context: Context) -> None:
    with pytest.raises(WrongCall, match="no release of this family stopped at its gates"):
        waive(context, FAMILY, MISSING, key_name="anna", reason=REASON)
    GatedRelease(context).gate()
    with pytest.raises(Refused, match="the release did not stop at its gates"):
        waive(context, FAMILY, MISSING, key_name="anna", reason=REASON)
    assert waiting(context, FAMILY) == []


@pytest.mark.parametrize("other", [{"payload": "c" * 64}, {"bake_time_s": 5}], ids=["payload", "policy"])
def test_a_waiver_is_for_one_payload_under_one_policy(
    context: Context, stopped: GatedRelease, other: dict[str, Any]
) -> None:
    waive(context, FAMILY, MISSING, key_name="anna", reason=REASON)
    stopped.gate()
    with pytest.raises(Stopped):
        GatedRelease(context, quality=[WELSH], **other).gate()


def test_an_earlier_release_is_named_by_its_version(context: Context, stopped: GatedRelease) -> None:
    GatedRelease(context, version="v3", payload="c" * 64).gate()
    waive(context, FAMILY, MISSING, key_name="anna", reason=REASON, release="v2")
    assert report_of(stopped).verdict.value == Value.PASS


def test_a_revoked_key_ends_its_waivers(context: Context, stopped: GatedRelease) -> None:
    waive(context, FAMILY, MISSING, key_name="anna", reason=REASON)
    stopped.gate()
    keys.revoke(context, "anna")
    with pytest.raises(Stopped):
        stopped.gate()
    (known,) = known_waivers(context, FAMILY)
    assert known.fault == "a signature is by a revoked key"


def test_the_builder_alone_waives_nothing(context: Context, stopped: GatedRelease) -> None:
    builder = keys.ring(context).active(keys.BUILDER)
    assert builder is not None
    keys.enrol(context, builder, ("approver",))
    waive(context, FAMILY, MISSING, key_name=keys.BUILDER, reason=REASON)
    with pytest.raises(Stopped):
        stopped.gate()
    assert known_waivers(context, FAMILY)[0].fault == "builder built this payload and cannot be the only one to waive"
    waive(context, FAMILY, MISSING, key_name="cleo", reason="agreed")
    report = report_of(stopped)
    assert len(report.waivers) == 2
    assert any(text.endswith(f"waived by builder: {REASON}; waived by cleo: agreed") for text in report.quality.reasons)


def _forged(context: Context, release: GatedRelease, **changes: Any) -> None:
    """A waive event that somebody wrote by hand, signed by bert, who is no approver, or about something else."""
    anna = keys.load(context, changes.pop("signer", "anna"))
    honest = SignedWaiver(
        family=FAMILY, payload_digest=release.payload, policy=release.captured["policy"], pack="commands",
        slice="accent=welsh", metric="wer", reason=REASON, approver="anna", key_id=anna.key_id, at="2026",
    )  # fmt: skip
    signed = honest.model_copy(update=changes)
    envelope = sign(signed, {FAMILY: release.payload}, WAIVER_TYPE, anna)
    outputs = {
        "waiver": context.store.put_blob(honest.canonical()),
        "signature": context.store.put_blob(envelope),
    }
    context.ledger(FAMILY).append(
        "waive", "complete", at="2026", release=release.captured["release"], outputs=outputs, data={"version": "v2"}
    )


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"signer": "bert"}, "bert may not sign as approver"),
        ({"approver": "cleo"}, "a waiver names another approver than its signature"),
        ({"slice": "accent=us"}, "its signature is of another waiver"),
        ({"payload_digest": "c" * 64}, "a waiver is for another payload"),
        ({"policy": "c" * 64}, "a waiver is for another policy"),
    ],
)
def test_a_waiver_holds_only_as_it_was_signed(
    context: Context, stopped: GatedRelease, changes: dict[str, Any], fault: str
) -> None:
    _forged(context, stopped, **changes)
    assert [known.fault for known in known_waivers(context, FAMILY)] == [fault]
    held = holding(context, FAMILY, payload=stopped.payload, policy=stopped.captured["policy"])
    assert bool(held) == (fault == "")


@pytest.fixture
def typed(context: Context, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`soundcheck waive asr-commands WORDS` in this installation."""
    shutil.copyfile(REPOSITORY / "params.yaml", context.settings.root / "params.yaml")
    monkeypatch.setattr(shared, "light_context", lambda: context)
    return lambda *words: CliRunner().invoke(soundcheck, ["waive", FAMILY, *words])


SAID = ("--key", "anna", "--pack", "commands", "--slice", "accent=welsh", "--metric", "wer", "--reason", REASON)


def test_the_command_waives_and_lists(typed: Callable[..., Result], stopped: GatedRelease) -> None:
    command = f"inconclusive: {waiting(stopped.context, FAMILY)[0]}\n"
    assert typed("--list").output == f"nothing of asr-commands was waived\n{command}"
    answer = typed(*SAID)
    assert answer.output == "wer on commands/accent=welsh is waived by anna and in the ledger of asr-commands\n"
    stopped.gate()
    (known,) = known_waivers(stopped.context, FAMILY)
    line = f"{known.waiver.at}  v2: wer on commands/accent=welsh, by anna: {REASON}"
    assert typed("--list").output == f"{line}  (holds)\n"
    keys.revoke(stopped.context, "anna")
    assert typed("--list").output == f"{line}  (does not hold: a signature is by a revoked key)\n"


def test_the_command_says_what_is_still_inconclusive(typed: Callable[..., Result], context: Context) -> None:
    release = GatedRelease(context, quality=[WELSH, WELSH | {"slices": ["accent=manx"]}])
    with pytest.raises(Stopped):
        release.gate()
    first = typed(*SAID).output
    assert "still inconclusive: soundcheck waive asr-commands --key KEY --pack commands --slice accent=manx" in first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "missing --key, --pack, --slice, --metric, --reason; or --list alone"),
        (SAID[:-2], "missing --reason; or --list alone"),
        ((*SAID, "--baseline", "nobody"), "'nobody' is not one of 'stable', 'parent'"),
    ],
)
def test_a_wrong_call_of_the_command_says_what_is_missing(
    typed: Callable[..., Result], words: tuple[str, ...], said: str
) -> None:
    answer = typed(*words)
    assert answer.exit_code == 2
    assert said in answer.output
