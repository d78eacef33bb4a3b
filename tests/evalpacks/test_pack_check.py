"""What a check of a pack measures and says: laws of the measurements, figures of the slices, the report."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import WrongCall
from evalpacks import pack as packs
from evalpacks.checks import audio, labels, support, transcripts
from evalpacks.checks.findings import RULES, finding, grouped
from evalpacks.pack_check import PackReport, check
from tests.evalpacks.evaluation_samples import make_pack, make_table
from tests.evalpacks.pack_folders import PLANTED, RATE_HZ, change_card, change_table, make_folder, noise, setting, wav

REPOSITORY = Path(__file__).resolve().parents[2]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_law_any_bytes_are_measured_or_named(content: bytes) -> None:
    facts = audio.measure(content)
    assert facts.fault in RULES or facts.duration_s > 0


@settings(deadline=None)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_law_silence_around_a_recording_leaves_its_sound(before: int, after: int) -> None:
    quiet = [np.zeros(length, np.int16) for length in (before, after)]
    longer = audio.measure(wav(np.concatenate([quiet[0], noise(1, 0.2), quiet[1]])))
    bare = audio.measure(wav(noise(1, 0.2)))
    assert longer.sound == bare.sound
    assert longer.duration_s == pytest.approx(bare.duration_s + (before + after) / RATE_HZ)


def test_the_same_samples_at_another_rate_are_another_sound() -> None:
    assert audio.measure(wav(noise(1))).sound != audio.measure(wav(noise(1), rate_hz=16_000)).sound


@pytest.mark.parametrize(
    ("samples", "silent", "clipped", "offset"),
    [
        (np.zeros(800, np.int16), 1.0, 0.0, 0.0),
        (np.full(800, 32_767, np.int16), 0.0, 1.0, 32_767 / 32_768),
        (np.full(800, -32_768, np.int16), 0.0, 1.0, 1.0),
        (np.repeat(np.array([0, 20_000], np.int16), 320), 0.5, 0.0, 0.0),
        (np.tile(np.array([32_767, -32_768], np.int16), 400), 0.0, 1.0, 0.0),
        (np.tile(np.array([32_767, 0], np.int16), 400), 0.0, 0.0, 0.5),
        (np.array([100], np.int16), 0.0, 0.0, 100 / 32_768),
    ],
    ids=["zeros", "top", "bottom", "half", "both rails", "peaks", "one sample"],
)
def test_facts_of_known_recordings(samples: audio.Samples, silent: float, clipped: float, offset: float) -> None:
    facts = audio.measure(wav(samples))
    assert facts.silent == pytest.approx(silent)
    assert facts.clipped == pytest.approx(clipped)
    assert facts.offset == pytest.approx(offset, abs=1e-3)


def test_of_a_recording_with_another_digest_nothing_else_is_said() -> None:
    facts = audio.measure(b"no audio")
    assert list(audio.faults(facts, sha256="0" * 64, rate_hz=RATE_HZ, duration_s=1.0)) == ["audio_digest"]


@pytest.mark.parametrize(
    ("text", "language", "seconds", "codes"),
    [
        ("turn the light on", "en", 2.0, []),
        ("caf\u00e9 na\u00efve \u00e0 la carte", "en", 2.0, []),
        ("\u0432\u043a\u043b\u044e\u0447\u0438 \u0441\u0432\u0435\u0442", "ru", 2.0, []),
        ("\u0432\u043a\u043b\u044e\u0447\u0438 ok", "ru", 2.0, ["foreign_letters"]),
        ("\u0432\u043a\u043b\u044e\u0447\u0438 ok", "ru-en", 2.0, []),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "hi", 2.0, []),
        ("\u4eca\u65e5\u306f", "ja", 2.0, []),
        ("\u4eca\u65e5\u306f", "zh", 2.0, ["foreign_letters"]),
        ("what is that language", "tlh", 2.0, []),
        ("at 12:30 o'clock", "en", 2.0, ["digits"]),
        ("12:30.5 hello", "en", 2.0, ["timestamps"]),
        ("<b>hello</b> 1", "en", 2.0, ["markup"]),
        ("rock &amp; roll", "en", 2.0, ["markup"]),
        ("less < more", "en", 2.0, []),
        ("one\ttwo", "en", 2.0, ["broken_text"]),
        ("?!", "en", 2.0, ["no_words"]),
        ("hi", "en", 2.9, []),
        ("hi", "en", 60.0, ["too_slow"]),
        ("a" * 71, "en", 2.0, ["too_fast"]),
        ("a" * 70, "en", 2.0, []),
    ],
)
def test_texts_are_suspected_by_what_they_hold(text: str, language: str, seconds: float, codes: list[str]) -> None:
    assert list(transcripts.faults(text, language=language, duration_s=seconds, says_numbers=False)) == codes


def test_digits_are_fine_where_the_normaliser_says_numbers() -> None:
    assert list(transcripts.faults("36 degrees", language="en", duration_s=2.0, says_numbers=True)) == []


@pytest.mark.parametrize(
    ("entities", "codes"),
    [
        ("[]", []),
        ("", []),
        (None, []),
        ('[{"type": "name", "text": "Jo"}, {"type": "name", "text": "Al"}]', []),
        ('[{"type": "name", "text": "Al"}, {"type": "name", "text": "Jo"}]', ["entity_not_in_text"]),
        ('[{"type": "name", "text": "Jo"}, {"type": "name", "text": "Jo"}]', ["entity_not_in_text"]),
        ('[{"type": "name", "text": " "}]', ["malformed_entities"]),
        ('[{"text": "Jo"}]', ["malformed_entities"]),
        ('["Jo"]', ["malformed_entities"]),
        ("Jo", ["malformed_entities"]),
    ],
)
def test_entities_are_parts_of_the_text_in_order(entities: str | None, codes: list[str]) -> None:
    table = pd.DataFrame({"utterance_id": ["u1"], "text": ["call Jo and Al"], "entities": [entities]})
    assert [one.code for one in labels.findings(table, {}, ["none"])] == codes


def test_intents_are_matched_after_the_normaliser() -> None:
    table = pd.DataFrame({"utterance_id": ["u1"], "text": ["Call Jo!"]})
    assert [one.code for one in labels.findings(table, {"call": "call jo"}, ["none"])] == ["no_intent", "idle_intent"]
    assert labels.findings(table, {"call": "call jo"}, ["basic"]) == []


def test_support_counts_what_a_slice_holds() -> None:
    pack = make_pack(make_table(speakers=6, per_speaker=4))
    held = support.supports(pack, ["overall", "accent=us", "accent=us&noise=5db", "accent=welsh"])
    assert held["overall"] == support.Support(24, 6, 192, 0.8)
    assert held["accent=us"] == support.Support(12, 3, 96, 0.4)
    assert held["accent=us&noise=5db"] == support.Support(6, 3, 48, 0.2)
    assert held["accent=welsh"] == support.Support(0, 0, 0, 0.0)


def test_a_slice_shows_less_the_smaller_it_is_and_nothing_under_ten_speakers() -> None:
    def power(speakers: int) -> support.Power:
        held = support.Support(speakers, speakers, 30 * speakers, 1.0)
        return support.power_of(held, comparisons=20, effect=0.03, power=0.95)

    large, small, tiny = (power(speakers) for speakers in (400, 40, 9))
    assert large.effect is not None
    assert small.effect is not None
    assert large.effect < 0.03 < small.effect
    assert (large.more_speakers, tiny.effect) == (0, None)
    assert small.more_speakers + 40 == tiny.more_speakers + 9
    assert power(40 + small.more_speakers).more_speakers == 0


def test_a_slice_without_utterances_needs_all_its_speakers() -> None:
    power = support.power_of(support.Support(0, 0, 0, 0.0), comparisons=2, effect=0.03, power=0.95)
    assert power.effect is None
    assert power.more_speakers > 0


def test_findings_of_one_kind_are_one_and_name_the_first_few() -> None:
    (one,) = grouped((f"u{number:02d}", "digits") for number in range(30))
    assert one.message.endswith(": 30 utterances (u00, u01, u02, ...)")
    assert (one.count, len(one.names)) == (30, 20)
    assert finding("no_protected_slice").message == "pack.yaml protects no slice"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> PackReport:
    """Of a pack with a warning and two errors."""
    root = make_folder(tmp_path_factory.mktemp("check") / "tiny")
    change_card(root, languages=["en", "fr"])
    change_table(root, setting("text", "36 lamps", "[noise]"))
    change_table(root, setting("language", "es"))
    seen: list[tuple[int, int]] = []
    found = check(root, manifests={}, effect=0.03, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 40) for done in range(1, 41)]
    return found


def test_errors_come_before_warnings(report: PackReport) -> None:
    codes = [(one.severity, one.code) for one in report.findings]
    assert codes == [
        ("error", "markup"), ("error", "undeclared_language"), ("warning", "digits"), ("warning", "idle_language")
    ]  # fmt: skip
    assert (report.count("error"), report.count("warning")) == (2, 2)


def test_the_report_for_programs_is_whole_and_holds_no_text(report: PackReport) -> None:
    value = report.as_json()
    assert {name: value[name] for name in ("pack", "errors", "warnings", "comparisons", "effect", "power")} == {
        "pack": "tiny", "errors": 2, "warnings": 2, "comparisons": 3, "effect": 0.03, "power": 0.95
    }  # fmt: skip
    slices = value["slices"]
    assert isinstance(slices, dict)
    assert list(slices) == ["overall", "accent=us", "accent=scottish"]
    overall = slices["overall"]
    assert isinstance(overall, dict)
    assert (overall["utterances"], overall["speakers"], overall["words"]) == (40, 20, 155)
    assert isinstance(overall["minimum_detectable_effect"], float)
    assert PLANTED not in str(value)


def test_an_effect_within_the_margin_is_a_wrong_call(tmp_path: Path) -> None:
    root = make_folder(tmp_path / "tiny")
    with pytest.raises(WrongCall, match="a harm within the margin is never a Fail"):
        check(root, manifests={}, effect=0.01)


@pytest.mark.parametrize("module", [packs, transcripts])
def test_docstring_examples(module: ModuleType) -> None:
    failures, examples = doctest.testmod(module)
    assert (failures, examples > 0) == (0, True)


def test_the_documentation_lists_every_finding_with_its_severity() -> None:
    text = (REPOSITORY / "docs" / "packs.md").read_text()
    listed = dict(re.findall(r"^\| `([a-z_]+)` \| (error|warning) \|", text, flags=re.MULTILINE))
    assert listed == {code: rule.severity for code, rule in RULES.items()}
