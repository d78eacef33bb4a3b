"""Packs made from somebody's recordings: what is taken, what is refused and in which words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from contracts.errors import AlreadyExists, Refused, SoundcheckError, WrongCall
from evalpacks.pack import load
from evalpacks.pack_check import check
from evalpacks.pack_new import Made, create
from evalpacks.tables import read_table
from tests.evalpacks.pack_folders import CARD, PLANTED, RATE_HZ, noise, wav

MADE_CARD = {name: value for name, value in CARD.items() if name not in ("languages", "sample_rate_hz")}
NAMES = [f"u{number:02d}" for number in range(24)]


def rows(**columns: Any) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "utterance_id": NAMES,
            "text": [f"{PLANTED} on the lamp" for _ in NAMES],
            "speaker": [f"s{number % 24}" for number in range(24)],
            "accent": [("us", "scottish")[number % 2] for number in range(24)],
            "noise": [("clean", "5db")[number // 2 % 2] for number in range(24)],
        }
    )
    return table.assign(**columns)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of recordings and utterances.csv."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        (folder / f"{name}.wav").write_bytes(wav(noise(number)))
    rows().to_csv(folder / "utterances.csv", index=False)
    return folder


def make(source: Path, *, language: str | None = "en", table: Path | None = None, **card: Any) -> Made:
    return create(
        source.parent / "packs" / "tiny",
        source=source,
        table=table,
        card=MADE_CARD | card,
        language=language,
        on_progress=lambda _done, _total: None,
    )


def test_recordings_and_a_table_make_a_pack_that_passes_its_check(source: Path) -> None:
    made = make(source)
    assert (made.decoded, made.unnamed, made.unused) == (0, (), ())
    assert (made.pack.meta.languages, made.pack.meta.sample_rate_hz) == (("en",), (RATE_HZ,))
    first = made.pack.utterances.iloc[0]
    content = (source / "u00.wav").read_bytes()
    assert (made.pack.root / first["path"]).read_bytes() == content
    assert (first["sha256"], first["duration_s"]) == (hashlib.sha256(content).hexdigest(), 1.0)
    assert check(made.pack.root, manifests={}, effect=0.03).findings == ()
    assert json.loads((made.pack.root / "expectations" / "suite.json").read_text())["name"] == "utterances"


def as_jsonl(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "utterances.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))
    return path


def as_parquet(table: pd.DataFrame, folder: Path) -> Path:
    path = folder / "utterances.parquet"
    table.to_parquet(path)
    return path


@pytest.mark.parametrize("save", [as_jsonl, as_parquet])
def test_the_form_of_the_table_does_not_matter(source: Path, save: Callable[[pd.DataFrame, Path], Path]) -> None:
    before = make(source).pack
    before.root.rename(source.parent / "packs" / "first")
    (source / "utterances.csv").unlink()
    save(rows(), source)
    assert make(source).pack.digest == before.digest


def test_flac_is_decoded_without_loss(source: Path) -> None:
    before = make(source).pack
    before.root.rename(source.parent / "packs" / "first")
    for number in (3, 4):
        (source / f"u{number:02d}.wav").unlink()
        soundfile.write(source / f"u{number:02d}.flac", noise(number), RATE_HZ, subtype="PCM_16")
    made = make(source)
    assert made.decoded == 2
    kept, _ = soundfile.read(made.pack.root / "audio" / "u03.wav", dtype="int16")
    assert np.array_equal(kept, noise(3))
    assert made.pack.utterances.drop(columns="sha256").equals(before.utterances.drop(columns="sha256"))


def test_paths_of_a_tree_become_ids(source: Path) -> None:
    (source / "ann").mkdir()
    (source / "u00.wav").rename(source / "ann" / "1.wav")
    paths = ["ann/1.wav", *(f"{name}.wav" for name in NAMES[1:])]
    rows(path=paths).drop(columns="utterance_id").to_csv(source / "utterances.csv", index=False)
    assert make(source).pack.utterances["utterance_id"][0] == "ann-1"


def test_what_is_not_taken_is_named(source: Path) -> None:
    (source / "spare.wav").write_bytes(wav(noise(99)))
    rows(room="kitchen", duration_s=9.0).to_csv(source / "utterances.csv", index=False)
    made = make(source)
    assert (made.unnamed, made.unused) == (("spare.wav",), ("room", "duration_s"))
    assert made.pack.utterances["duration_s"][0] == 1.0


def test_optional_columns_are_taken(source: Path) -> None:
    table = rows(speech_end_s=0.75, language="en", entities=[[{"type": "place", "text": PLANTED}] for _ in NAMES])
    made = make(source, language=None, table=as_jsonl(table, source))
    first = made.pack.utterances.iloc[0]
    assert (first["speech_end_s"], json.loads(first["entities"])) == (0.75, [{"type": "place", "text": PLANTED}])
    assert check(made.pack.root, manifests={}, effect=0.03).findings == ()


def save_audio(content: bytes, name: str = "u05.wav") -> Callable[[Path], object]:
    return lambda source: (source / name).write_bytes(content)


def save_flac(samples: np.ndarray[Any, Any], subtype: str) -> Callable[[Path], object]:
    def change(source: Path) -> None:
        (source / "u05.wav").unlink()
        soundfile.write(source / "u05.flac", samples, RATE_HZ, subtype=subtype)

    return change


def save_table(**columns: Any) -> Callable[[Path], object]:
    return lambda source: rows(**columns).to_csv(source / "utterances.csv", index=False)


def without(column: str) -> Callable[[Path], object]:
    return lambda source: rows().drop(columns=column).to_csv(source / "utterances.csv", index=False)


WRITE_WAV = "write mono 16-bit PCM WAV, e.g. ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav, and make the pack again"
ONE = "1 utterance (u05)"


@pytest.mark.parametrize(
    ("change", "kind", "what", "got", "next_step"),
    [
        (save_audio(wav(noise(1), channels=2)), Refused,
         "the pack is not made: audio has more than one channel", ONE, WRITE_WAV),
        (save_audio(wav(noise(1), width=1)), Refused,
         "the pack is not made: audio is not 16-bit PCM", ONE, WRITE_WAV),
        (save_audio(b"OggS"), Refused, "the pack is not made: audio is not a WAV file", ONE, WRITE_WAV),
        (save_flac(np.zeros((800, 2), np.int16), "PCM_16"), Refused,
         "the pack is not made: audio has more than one channel", ONE, WRITE_WAV),
        (save_flac(noise(1), "PCM_24"), Refused,
         "the pack is not made: audio is not 16-bit PCM", ONE, WRITE_WAV),
        (lambda source: (source / "u05.wav").unlink(), Refused,
         "the pack is not made: recordings are not there", ONE, "correct the table or the folder"),
        (save_table(utterance_id=[f"u {number}" for number in range(24)],
                    path=[f"{name}.wav" for name in NAMES]), Refused,
         "the pack is not made: ids are no file names", "24 utterances (u 0, u 1, u 2, ...)",
         "correct the table or the folder"),
        (save_table(speech_end_s="soon"), Refused, "the pack is not made: speech_end_s is no number",
         "1 utterance (u00)", "correct the table or the folder"),
        (save_table(accent="US"), Refused, "the utterance table of pack 'tiny' has a malformed slice value in accent",
         "24 rows (u00, u01, u02, ...)", "build the pack again, or correct the table"),
        (without("text"), WrongCall, "the table of utterances lacks columns", "missing: text",
         "correct the file, or name another"),
        (without("utterance_id"), WrongCall, "the table of utterances names no recordings", "",
         "add one of them"),
        (without("accent"), Refused, "the utterance table of pack 'tiny' lacks columns", "missing: accent",
         "build the pack again, or correct the table"),
        (lambda source: (source / "utterances.csv").unlink(), WrongCall, "there is no table of what is said", "",
         "name the table with --table"),
        (lambda source: as_jsonl(rows(), source), WrongCall, "there are several tables of what is said",
         "utterances.csv, utterances.jsonl", "name the table with --table"),
    ],
)  # fmt: skip
def test_what_is_refused_leaves_nothing_behind(
    source: Path, change: Callable[[Path], object], kind: type[SoundcheckError], what: str, got: str, next_step: str
) -> None:
    change(source)
    with pytest.raises(kind) as error:
        make(source)
    assert (error.value.what, error.value.got, error.value.next_step) == (what, got, next_step)
    assert PLANTED not in str(error.value)
    assert list((source.parent / "packs").glob("*")) == []


def test_no_language_is_a_wrong_call(source: Path) -> None:
    with pytest.raises(WrongCall, match=r"no language is given\n.*\n  next step: add --language en"):
        make(source, language=None)


def test_a_pack_that_is_there_is_not_replaced(source: Path) -> None:
    digest = make(source).pack.digest
    with pytest.raises(AlreadyExists, match="the pack 'tiny' is already there"):
        make(source)
    assert load(source.parent / "packs" / "tiny").digest == digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"", "the table is of an unknown format\n  where: .*\n  got: .xlsx"),
        ("t.jsonl", b"{", "the table cannot be read\n  where: .*\n  got: JSONDecodeError"),
        ("t.jsonl", b"[1]", "the table cannot be read\n  where: .*\n  got: ValueError"),
        ("t.csv", b"\xff\xfe", "the table cannot be read\n  where: .*\n  got: UnicodeDecodeError"),
        ("t.parquet", b"a,b", "the table cannot be read\n  where: .*\n  got: ArrowInvalid"),
        ("t.csv", b"a,b\n1,2\n", "the table lacks columns\n  where: .*\n  got: missing: c\n  expected: a, c"),
    ],
)
def test_tables_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WrongCall, match=message):
        read_table(tmp_path / name, columns=("a", "c"), what="the table")
    with pytest.raises(WrongCall, match="the table does not exist"):
        read_table(tmp_path / "nowhere.csv", columns=(), what="the table")
