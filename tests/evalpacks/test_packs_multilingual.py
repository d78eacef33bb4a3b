"""The pack multilingual-human, of small packages of the same form: which clips, whose voices, under which licence."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from contracts.errors import DependencyFailed
from evalpacks import pack
from evalpacks.packs import asterisk, tuxpaint
from evalpacks.packs.multilingual_human import build as multilingual

TRANSCRIPTS = {
    "es": "gracias: Gracias\nvm-press: Marque 1 para\nbeep: un tono\nletters/a: a",
    "fr": "activated: activé\nfor: Pour (emphase)",
    "it": "\ufeff; Elenco\nthanks: Grazie.\ntime: il tempo sar? esattamente\nfolder: Quale cartella?",
    "ru": "thanks: Спасибо.\nsilence/1: одна секунда тишины",
}
"""Language -> its transcripts; the Italian file begins with a byte order mark, as the real one does."""
STAMPS = {
    "animals/cat": "A cat.\nes.utf8=Un gato.\nfr.utf8=Un chat (noir).\nru.utf8=Кошка.",
    "animals/dog": "A dog.\nfr.utf8=Un chien.",
    "symbols/numbers/1": "One.\nes.utf8=Uno.",
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache that holds small packages, already unpacked."""
    folder = tmp_path / "debian"
    for edition in multilingual.EDITIONS:
        root = folder / f"unpacked-{edition.text_package}-g722-and-{edition.text_package}"
        _write(root / edition.transcripts_file, gzip.compress(TRANSCRIPTS[edition.language].encode()))
        for line in TRANSCRIPTS[edition.language].splitlines():
            clip = line.partition(":")[0]
            _write(root / asterisk.SOUNDS / edition.folder / f"{clip}.g722", bytes([len(clip)]) * 4_000)
    stamps = folder / f"unpacked-{tuxpaint.PACKAGE}" / "usr/share/tuxpaint/stamps"
    for stamp, text in STAMPS.items():
        _write(stamps / f"{stamp}.txt", text.encode())
        for language in tuxpaint.LANGUAGES:
            two_channels = np.random.default_rng(len(text)).uniform(-0.1, 0.1, (22_050, 2))
            soundfile.write(stamps / f"{stamp}_desc_{language}.ogg", two_channels, 44_100, format="OGG")
    return folder


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def held(encoded: bytes) -> npt.NDArray[np.int16]:
    """A decoder that keeps the first byte."""
    return np.full(2 * len(encoded), encoded[0], np.int16)


def build(out: Path, cache: Path) -> pack.Pack:
    return pack.load(multilingual.build(out, cache=cache, decode=held))


def test_clips_whose_transcript_says_what_is_spoken_are_used(cache: Path, tmp_path: Path) -> None:
    table = build(tmp_path / "pack", cache).utterances.set_index("utterance_id")
    assert dict(table["text"]) == {
        "es-asterisk-gracias": "Gracias",
        "es-tuxpaint-animals-cat": "Un gato.",
        "fr-asterisk-activated": "activé",
        "fr-tuxpaint-animals-dog": "Un chien.",
        "it-asterisk-folder": "Quale cartella?",
        "it-asterisk-thanks": "Grazie.",
        "ru-asterisk-thanks": "Спасибо.",
        "ru-tuxpaint-animals-cat": "Кошка.",
    }


def test_every_utterance_has_its_speaker_and_licence(cache: Path, tmp_path: Path) -> None:
    table = build(tmp_path / "pack", cache).utterances.set_index("utterance_id")
    assert dict(table["speaker"].drop_duplicates()) == {
        "es-asterisk-gracias": "allison-smith",
        "es-tuxpaint-animals-cat": "tuxpaint-es",
        "fr-asterisk-activated": "june-wallack",
        "fr-tuxpaint-animals-dog": "tuxpaint-fr",
        "it-asterisk-folder": "carlo-flora",
        "ru-asterisk-thanks": "ivrvoice-ru",
        "ru-tuxpaint-animals-cat": "tuxpaint-ru",
    }
    assert table.loc["it-asterisk-thanks", "licence"] == "CC-BY-3.0"
    assert table.loc["es-asterisk-gracias", "licence"] == "CC-BY-SA-3.0"
    assert table.loc["ru-tuxpaint-animals-cat", "licence"] == "GPL-2"


def test_all_audio_is_mono_at_16_khz(cache: Path, tmp_path: Path) -> None:
    made = build(tmp_path / "pack", cache)
    assert set(made.utterances["sample_rate_hz"]) == {16_000}
    assert set(made.utterances["duration_s"].round(3)) == {0.5}


def test_law_the_same_packages_give_the_same_digest(cache: Path, tmp_path: Path) -> None:
    assert build(tmp_path / "one", cache).digest == build(tmp_path / "two", cache).digest


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", ""),
        ("es", "..."),
        ("es", "Marque 1"),
        ("fr", "Pour (emphase)"),
        ("it", "[quello]"),
        ("it", "sar? esattamente"),
        ("it", "La conferenza ? piena"),
        ("it", "pi\ufffd"),
        ("fr", "oui / non"),
        ("fr", "$"),
        ("ru", "Asterisk включен"),
        ("es", "мир"),
    ],
)
def test_transcripts_that_need_a_reader_are_left_out(language: str, text: str) -> None:
    assert not multilingual.says_what_is_spoken(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("it", "Grazie."),
        ("es", "Buzon?"),
        ("es", "¿Dónde está?"),
        ("ru", "Голосовая почта? Номер абонента?"),
        ("fr", "L'été, déjà !"),
    ],
)
def test_transcripts_in_letters_are_used(language: str, text: str) -> None:
    assert multilingual.says_what_is_spoken(text, language)


def test_a_recording_of_several_stamps_is_there_once(cache: Path) -> None:
    package = cache / f"unpacked-{tuxpaint.PACKAGE}"
    cats = package / "usr/share/tuxpaint/stamps/animals"
    for twin, text in {"cat-1": "fr.utf8=Un chien.\nes.utf8=Un gato.", "cat-2": "es.utf8=Un gato."}.items():
        _write(cats / f"{twin}.txt", text.encode())
        for language in ("es", "fr"):
            shutil.copyfile(cats / f"cat_desc_{language}.ogg", cats / f"{twin}_desc_{language}.ogg")
    assert [stamp.name for stamp in tuxpaint.stamps(package, "es")] == ["animals-cat-1"]
    assert [stamp.name for stamp in tuxpaint.stamps(package, "fr")] == ["animals-dog"]


def test_a_loud_recording_is_made_quieter_instead_of_clipped(tmp_path: Path) -> None:
    tone = np.sin(2 * np.pi * 200 * np.arange(22_050) / 44_100)
    soundfile.write(tmp_path / "loud.wav", 1.4 * tone, 44_100, subtype="FLOAT")
    tuxpaint.store(tmp_path / "loud.wav", tmp_path / "out.wav", 16_000)
    samples, _ = soundfile.read(tmp_path / "out.wav")
    assert np.abs(samples).max() == pytest.approx(tuxpaint.PEAK, abs=1e-3)
    assert (np.abs(samples) > 0.98).mean() < 0.2


def test_without_apt_one_error_names_the_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOUNDCHECK_NO_APT", "1")
    with pytest.raises(DependencyFailed) as error:
        build(tmp_path / "pack", tmp_path / "debian")
    assert error.value.where == "Debian packages asterisk-core-sounds-es-g722, asterisk-core-sounds-es"
    assert not (tmp_path / "pack").exists()
