"""Packs on disk: what loads, what is refused and in which words, what the digest depends on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from contracts.errors import Refused, SoundcheckError, WrongCall
from evalpacks import pack as packs
from tests.evalpacks.evaluation_samples import META, make_pack, make_table

Change = Callable[[pd.DataFrame], pd.DataFrame]


def write_pack(root: Path, meta: dict[str, Any], table: pd.DataFrame) -> Path:
    folder = root / "commands"
    (folder / "audio").mkdir(parents=True)
    for name in table["path"]:
        if isinstance(name, str) and ".." not in name and not name.startswith("/") and name.strip():
            (folder / name).write_bytes(b"RIFF")
    (folder / "pack.yaml").write_text(yaml.safe_dump(meta))
    table.to_parquet(folder / "utterances.parquet")
    return folder


def setting(column: str, value: str | float | None, row: int = 2) -> Change:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        values = table[column].tolist()
        values[row] = value
        return table.assign(**{column: values})

    return change


SMALL = make_table(speakers=2, per_speaker=3)


def test_a_pack_that_is_whole_loads(tmp_path: Path) -> None:
    pack = packs.load(write_pack(tmp_path, META, SMALL))
    assert (pack.name, len(pack.utterances), pack.slices) == ("commands", 6, ("accent", "noise"))
    assert pack.protected == ("accent=us", "accent=scottish", "accent=scottish&noise=5db")
    assert pack.high_risk == ("accent=scottish",)
    assert pack.meta.sample_rate_hz == (16000,)
    assert pack.digest == make_pack(SMALL).digest


def test_write_then_load_is_the_same_pack(tmp_path: Path) -> None:
    folder = write_pack(tmp_path, META, SMALL)
    (folder / "pack.yaml").unlink()
    written = packs.write(folder, META, SMALL)
    assert written.digest == packs.load(folder).digest == make_pack(SMALL).digest


def test_write_refuses_before_it_writes(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="repeats an utterance_id"):
        packs.write(tmp_path, META, setting("utterance_id", "u00000")(SMALL.copy()))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "what", "got"),
    [
        (lambda t: t.drop(columns=["speaker", "noise"]), "lacks columns", "missing: speaker, noise"),
        (lambda t: t.iloc[:0], "is empty", "0 utterances"),
        (setting("utterance_id", "u00000"), "repeats an utterance_id", "2 rows (u00000, u00000)"),
        (setting("text", ""), "has an empty text", "1 row (u00002)"),
        (setting("text", " \t "), "has an empty text", "1 row (u00002)"),
        (setting("text", None), "has an empty text", "1 row (u00002)"),
        (setting("speaker", None), "has an empty speaker", "1 row (u00002)"),
        (setting("accent", None), "has an empty accent", "1 row (u00002)"),
        (setting("sample_rate_hz", 12000), "has undeclared sample rates", "12000 Hz in 1 row (u00002)"),
        (setting("duration_s", 0.0), "has a duration that is none", "1 row (u00002)"),
        (setting("duration_s", float("nan")), "has a duration that is none", "1 row (u00002)"),
        (setting("duration_s", float("inf")), "has a duration that is none", "1 row (u00002)"),
        (setting("sha256", "abc"), "has a malformed sha256", "1 row (u00002)"),
        (setting("path", "../secret.wav"), "names audio outside the pack", "1 row (u00002)"),
        (setting("path", "/etc/passwd"), "names audio outside the pack", "1 row (u00002)"),
        (setting("accent", "US English"), "has a malformed slice value in accent", "1 row (u00002)"),
    ],
)
def test_bad_tables_give_one_clear_message(tmp_path: Path, change: Change, what: str, got: str) -> None:
    folder = write_pack(tmp_path, META, change(SMALL.copy()))
    with pytest.raises(Refused) as error:
        packs.load(folder)
    assert error.value.what == f"the utterance table of pack 'commands' {what}"
    assert error.value.got == got
    assert error.value.expected
    assert error.value.next_step


def test_audio_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_pack(tmp_path, META, SMALL)
    for name in ("u00001", "u00004"):
        (folder / "audio" / f"{name}.wav").unlink()
    with pytest.raises(Refused, match=r"names audio that is not there\n.*\n  got: 2 rows \(u00001, u00004\)"):
        packs.load(folder)


@pytest.mark.parametrize(
    ("changes", "what", "got"),
    [
        ({"licence": None}, "pack.yaml does not describe a pack", "licence: Input should be a valid string"),
        ({"name": "No Name"}, "pack.yaml does not describe a pack", "name: String should match pattern"),
        ({"languages": []}, "pack.yaml does not describe a pack", "languages: Value should have at least 1 item"),
        ({"colour": "red"}, "pack.yaml does not describe a pack", "colour: Extra inputs are not permitted"),
        (
            {"protected": ["device=phone"]},
            "pack.yaml names a protected slice of a column that is no slice",
            "device=phone",
        ),
        (
            {"high_risk": ["device=phone"]},
            "pack.yaml names a high_risk slice of a column that is no slice",
            "device=phone",
        ),
        ({"protected": ["accent"]}, "a slice name is malformed", "'accent'"),
    ],
)
def test_bad_cards_give_one_clear_message(tmp_path: Path, changes: dict[str, Any], what: str, got: str) -> None:
    with pytest.raises(SoundcheckError) as error:
        packs.load(write_pack(tmp_path, META | changes, SMALL))
    assert error.value.what == what
    assert error.value.got.startswith(got)


def test_a_card_that_lacks_fields_names_all_of_them(tmp_path: Path) -> None:
    with pytest.raises(Refused) as error:
        packs.load(write_pack(tmp_path, {"name": "commands", "title": "t", "source": "s"}, SMALL))
    for field in ("licence", "consent", "languages", "sample_rate_hz"):
        assert f"{field}: Field required" in error.value.got


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("name: [", "pack.yaml does not parse"),
        ("- a\n", "pack.yaml is not a mapping"),
        ("", "pack.yaml is not a mapping"),
    ],
)
def test_a_card_that_is_no_card(tmp_path: Path, content: str, what: str) -> None:
    folder = write_pack(tmp_path, META, SMALL)
    (folder / "pack.yaml").write_text(content)
    with pytest.raises(Refused, match=what):
        packs.load(folder)


@pytest.mark.parametrize("name", ["pack.yaml", "utterances.parquet"])
def test_missing_files_are_a_wrong_call(tmp_path: Path, name: str) -> None:
    folder = write_pack(tmp_path, META, SMALL)
    (folder / name).unlink()
    with pytest.raises(WrongCall, match=f"an eval pack lacks {name}"):
        packs.load(folder)


def test_a_table_that_is_no_parquet(tmp_path: Path) -> None:
    folder = write_pack(tmp_path, META, SMALL)
    (folder / "utterances.parquet").write_bytes(b"not parquet")
    with pytest.raises(Refused, match="is not a Parquet table"):
        packs.load(folder)


def test_messages_hold_no_transcript(tmp_path: Path) -> None:
    planted = "my card number is 4111"
    table = setting("text", planted)(SMALL.copy())
    with pytest.raises(Refused) as error:
        packs.load(write_pack(tmp_path, META, setting("accent", "Not A Slice")(table)))
    assert planted not in str(error.value)


def test_row_order_and_layout_do_not_change_the_digest(tmp_path: Path) -> None:
    shuffled = SMALL.sample(frac=1, random_state=1)
    assert make_pack(shuffled).digest == make_pack(SMALL).digest
    folder = write_pack(tmp_path, META, SMALL)
    (folder / "pack.yaml").write_text("# a comment\n" + yaml.safe_dump(META, default_flow_style=True))
    assert packs.load(folder).digest == make_pack(SMALL).digest


@pytest.mark.parametrize("column", ["text", "speaker", "sha256", "accent"])
def test_meaning_changes_the_digest(column: str) -> None:
    value = "f" * 64 if column == "sha256" else "other"
    assert make_pack(setting(column, value)(SMALL.copy())).digest != make_pack(SMALL).digest


def test_the_card_changes_the_digest() -> None:
    assert make_pack(SMALL, protected=["accent=us"]).digest != make_pack(SMALL).digest


def test_overlap_names_shared_utterances_and_speakers() -> None:
    pack = make_pack(SMALL)
    trained = pd.DataFrame(
        {"utterance_id": ["t1", "t2"], "sha256": [f"{4:064x}", "f" * 64], "speaker": ["elsewhere", "s001"]}
    )
    assert packs.overlap(pack, trained) == [
        "utterance u00004 is in the training data",
        "speaker s001 is in the training data",
    ]
    assert packs.overlap(pack, trained.assign(sha256="f" * 64, speaker="elsewhere")) == []
