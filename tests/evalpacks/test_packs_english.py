"""The packs english-human (from Debian packages, when they can be had) and english-synthetic."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from contracts.errors import Corrupt, DependencyFailed
from evalpacks import pack, slices
from evalpacks.normalize import normalize
from evalpacks.packs.english_human import build as human
from evalpacks.packs.english_human import debian
from evalpacks.packs.english_synthetic import build as synthetic

TRANSCRIPTS = """; Core Asterisk Sounds in English

activated: Activated.
beep: [this is a simple beep tone]
confbridge-join: <beep ascending>
dictate/enter_filename: Enter a numeric dictation filename followed by # or just # to exit
digits/1: one
gone: This recording is not in the package.
letters/dash: dash [-]
silence/2: (2 seconds of silence)
"""
CLIPS = ("activated", "beep", "confbridge-join", "dictate/enter_filename", "digits/1", "letters/dash", "silence/2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose cache holds small packages of the same form, already unpacked."""
    root = tmp_path / "home" / "cache" / "debian" / f"unpacked-{human.AUDIO_PACKAGE}-and-{human.TEXT_PACKAGE}"
    transcripts = root / human.TRANSCRIPTS
    transcripts.parent.mkdir(parents=True)
    transcripts.write_bytes(gzip.compress(TRANSCRIPTS.encode()))
    for number, clip in enumerate(CLIPS):
        file = root / human.AUDIO_FOLDER / f"{clip}.wav"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.full(4_000, number / 100), 8_000, subtype="PCM_16")
    return tmp_path / "home"


def test_a_pack_is_built_from_what_the_packages_hold(home: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    built = pack.load(
        human.build(
            tmp_path / "english-human",
            cache=home / "cache" / "debian",
            on_progress=lambda done, total: told.append((done, total)),
        )
    )
    table = built.utterances.set_index("utterance_id")
    assert dict(table["text"]) == {
        "activated": "Activated.",
        "dictate-enter_filename": "Enter a numeric dictation filename followed by pound or just pound to exit",
        "digits-1": "one",
        "letters-dash": "dash",
    }
    assert dict(table["length"]) == {
        "activated": "1-2",
        "dictate-enter_filename": "8plus",
        "digits-1": "1-2",
        "letters-dash": "1-2",
    }
    assert list(table["content"]) == ["prompt", "prompt", "number", "letter"]
    assert set(table["speaker"]) == {"allison-smith"}
    assert set(table["sample_rate_hz"]) == {8_000}
    assert set(table["duration_s"]) == {0.5}
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_audio_is_copied_byte_by_byte(home: Path, tmp_path: Path) -> None:
    out = human.build(tmp_path / "english-human", cache=tmp_path / "home" / "cache" / "debian")
    source = next((home / "cache" / "debian").iterdir()) / human.AUDIO_FOLDER
    assert (out / "audio" / "digits-1.wav").read_bytes() == (source / "digits" / "1.wav").read_bytes()


def test_law_the_same_packages_give_the_same_digest(home: Path, tmp_path: Path) -> None:
    first = pack.load(human.build(tmp_path / "one", cache=tmp_path / "home" / "cache" / "debian")).digest
    assert pack.load(human.build(tmp_path / "two", cache=tmp_path / "home" / "cache" / "debian")).digest == first
    assert pack.load(human.build(tmp_path / "one", cache=tmp_path / "home" / "cache" / "debian")).digest == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "one", "two"]


def test_a_recording_of_another_form_is_corrupt(home: Path, tmp_path: Path) -> None:
    source = next((home / "cache" / "debian").iterdir()) / human.AUDIO_FOLDER
    soundfile.write(source / "activated.wav", np.zeros((4_000, 2)), 8_000, subtype="PCM_16")
    with pytest.raises(Corrupt) as error:
        human.build(tmp_path / "out", cache=tmp_path / "home" / "cache" / "debian")
    assert error.value.diagnostics() == (
        "a recording is in another form\n  where: activated.wav\n"
        "  got: 2 channels, PCM_16\n  expected: 1 channel, PCM_16"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(b"\xff\xfe"), gzip.compress(b"cut off")[:-6]])
def test_transcripts_that_do_not_read_are_a_failed_dependency(home: Path, tmp_path: Path, content: bytes) -> None:
    (next((home / "cache" / "debian").iterdir()) / human.TRANSCRIPTS).write_bytes(content)
    with pytest.raises(DependencyFailed, match="no readable transcripts"):
        human.build(tmp_path / "out", cache=tmp_path / "home" / "cache" / "debian")


def test_without_apt_the_pack_says_what_is_missing_and_what_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUNDCHECK_NO_APT", "1")
    with pytest.raises(DependencyFailed) as error:
        human.build(tmp_path / "out", cache=tmp_path / "home" / "cache" / "debian")
    assert error.value.exit_status == 3
    assert error.value.diagnostics() == (
        "recorded English speech cannot be had here\n"
        "  where: Debian packages asterisk-core-sounds-en-wav, asterisk-core-sounds-en\n"
        "  got: SOUNDCHECK_NO_APT=1 forbids it\n"
        "  expected: a Debian machine with apt-get, dpkg-deb and its package mirror, or the packages in the cache\n"
        "  next step: put the two .deb files into cache/debian of the home folder, or score on the synthetic English "
        "pack english-synthetic, which needs nothing"
    )
    assert not (tmp_path / "out").exists()


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyFailed) as error:
        debian.unpack(["some-package"], tmp_path / "cache")
    assert error.value.got == "apt-get is not on this machine"


def small_package(folder: Path, name: str) -> Path:
    """A Debian package with one file, made with dpkg-deb."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: small\n"
    )
    (tree / "hello.txt").write_text("hello")
    file = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(file)], check=True, capture_output=True)
    shutil.rmtree(tree)
    return file


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_in_the_cache_are_not_fetched(tmp_path: Path) -> None:
    small_package(tmp_path, "small")
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_damaged_package_is_removed_and_named(tmp_path: Path) -> None:
    file = small_package(tmp_path, "small")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DependencyFailed, match=r"small_1_all\.deb is damaged and was removed"):
        debian.unpack(["small"], tmp_path)
    assert not file.exists()
    assert not (tmp_path / "unpacked-small").exists()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> pack.Pack:
    """The real pack; a machine without Debian packages fails here, with the words that say what is missing."""
    folder = tmp_path_factory.mktemp("recorded")
    return pack.load(human.build(folder / "english-human", cache=folder / "debian"))


def test_the_recorded_pack_is_what_its_card_says(recorded: pack.Pack) -> None:
    table = recorded.utterances
    assert len(table) == 551
    assert 24 < table["duration_s"].sum() / 60 < 25
    assert set(table["length"]) == {"1-2", "3-7", "8plus"}
    assert recorded.protected == ("length=1-2", "length=3-7", "length=8plus")
    assert recorded.meta.licence == "CC-BY-SA-3.0"
    assert all(normalize(text, "english").strip() for text in table["text"])
    assert not table["text"].str.contains(r"[\[\]()<>#*]").any()


def hum(text: str, voice: str, seed: int) -> npt.NDArray[np.float32]:
    """A synthesiser that hums: another sound for every text, voice and seed."""
    pitch_hz = 100 + zlib.crc32(f"{text} {voice} {seed}".encode()) % 1_000
    return (0.1 * np.sin(np.arange(1_600) * 2 * np.pi * pitch_hz / 16_000)).astype(np.float32)


def test_the_synthetic_pack_is_whole_and_has_its_support(tmp_path: Path) -> None:
    built = pack.load(synthetic.build(tmp_path / "english-synthetic", synthesise=hum))
    table = built.utterances
    assert len(table) == 30 * 12
    assert table["speaker"].nunique() == 30
    for name in built.protected:
        column, value = next(iter(slices.parse(name).items()))
        chosen = table[table[column] == value]
        words = sum(human.word_count(text) for text in chosen["text"])
        assert words >= built.meta.min_support["words"], name
        assert chosen["speaker"].nunique() >= built.meta.min_support["speakers"], name


def test_law_every_sentence_is_said_and_every_speaker_says_all_lengths(tmp_path: Path) -> None:
    sentences = (Path(synthetic.__file__).with_name("sentences.txt")).read_text().splitlines()
    plans = synthetic.plan_pack(sentences, seed=1)
    assert {plan.text for plan in plans} == set(sentences)
    lengths = {(plan.speaker, human.length_slice(human.word_count(plan.text))) for plan in plans}
    assert len(lengths) == 30 * 3
    assert len({plan.utterance_id for plan in plans}) == len(plans)


def test_law_the_same_synthesiser_gives_the_same_digest(tmp_path: Path) -> None:
    first = pack.load(synthetic.build(tmp_path / "one", synthesise=hum)).digest
    assert pack.load(synthetic.build(tmp_path / "two", synthesise=hum)).digest == first
    assert pack.load(synthetic.build(tmp_path / "three", synthesise=hum, seed=1)).digest != first
