"""The pack english-human, from Debian packages when they can be had, and its 16 kHz twin."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from contracts.errors import Corrupt, DependencyFailed
from evalpacks import pack
from evalpacks.normalize import normalize
from evalpacks.packs import asterisk
from evalpacks.packs.english_human import build as human
from speech.g722 import decode

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
SOUNDS = f"{asterisk.SOUNDS}/{asterisk.ENGLISH.folder}"
CLIPS = ("activated", "beep", "confbridge-join", "dictate/enter_filename", "digits/1", "letters/dash", "silence/2")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home folder whose cache holds small packages of the same form, already unpacked."""
    text_package = asterisk.ENGLISH.text_package
    root = tmp_path / "home" / "cache" / "debian" / f"unpacked-{text_package}-wav-and-{text_package}"
    transcripts = root / asterisk.ENGLISH.transcripts_file
    transcripts.parent.mkdir(parents=True)
    transcripts.write_bytes(gzip.compress(TRANSCRIPTS.encode()))
    for number, clip in enumerate(CLIPS):
        file = root / SOUNDS / f"{clip}.wav"
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
    source = next((home / "cache" / "debian").iterdir()) / SOUNDS
    assert (out / "audio" / "digits-1.wav").read_bytes() == (source / "digits" / "1.wav").read_bytes()


def test_the_wideband_pack_holds_the_same_clips_as_decoded(home: Path, tmp_path: Path) -> None:
    cache = home / "cache" / "debian"
    narrow = next(cache.iterdir())
    wide = cache / narrow.name.replace("-wav-", "-g722-")
    shutil.copytree(narrow / "usr" / "share" / "doc", wide / "usr" / "share" / "doc")
    for recording in sorted((narrow / SOUNDS).rglob("*.wav")):
        target = (wide / SOUNDS / recording.relative_to(narrow / SOUNDS)).with_suffix(".g722")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(bytes(4_000))
    eight = pack.load(human.build(tmp_path / "eight", cache=cache))
    sixteen = pack.load(
        human.build_wideband(
            tmp_path / "sixteen", cache=cache, decode=lambda encoded: np.full(2 * len(encoded), 7, np.int16)
        )
    )
    same = ["utterance_id", "text", "speaker", "language", "length", "content", "duration_s"]
    assert sixteen.utterances[same].equals(eight.utterances[same])
    assert (sixteen.name, set(sixteen.utterances["sample_rate_hz"])) == ("english-human-16k", {16_000})
    assert sixteen.meta.licence == eight.meta.licence
    samples, _ = soundfile.read(tmp_path / "sixteen" / "audio" / "digits-1.wav", dtype="int16")
    assert set(samples) == {7}


def test_law_the_same_packages_give_the_same_digest(home: Path, tmp_path: Path) -> None:
    first = pack.load(human.build(tmp_path / "one", cache=tmp_path / "home" / "cache" / "debian")).digest
    assert pack.load(human.build(tmp_path / "two", cache=tmp_path / "home" / "cache" / "debian")).digest == first
    assert pack.load(human.build(tmp_path / "one", cache=tmp_path / "home" / "cache" / "debian")).digest == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "one", "two"]


def test_a_recording_of_another_form_is_corrupt(home: Path, tmp_path: Path) -> None:
    source = next((home / "cache" / "debian").iterdir()) / SOUNDS
    soundfile.write(source / "activated.wav", np.zeros((4_000, 2)), 8_000, subtype="PCM_16")
    with pytest.raises(Corrupt) as error:
        human.build(tmp_path / "out", cache=tmp_path / "home" / "cache" / "debian")
    assert error.value.diagnostics() == (
        "a recording is in another form\n  where: audio/activated.wav\n"
        "  got: 2 channels, PCM_16\n  expected: 1 channel, PCM_16"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"\xff\xfe"), gzip.compress(b"cut off")[:-6]],
    ids=["no gzip", "no text", "cut off"],
)
def test_transcripts_that_do_not_read_are_a_failed_dependency(home: Path, tmp_path: Path, content: bytes) -> None:
    (next((home / "cache" / "debian").iterdir()) / asterisk.ENGLISH.transcripts_file).write_bytes(content)
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
        "recorded speech cannot be had here\n"
        "  where: Debian packages asterisk-core-sounds-en-wav, asterisk-core-sounds-en\n"
        "  got: SOUNDCHECK_NO_APT=1 forbids it\n"
        "  expected: a Debian machine with apt-get, dpkg-deb and its package mirror, or the packages in the cache\n"
        "  next step: put the .deb files into cache/debian of the home folder, or use a synthetic pack, which "
        "needs nothing, like english-synthetic"
    )
    assert not (tmp_path / "out").exists()


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


def log_spectrogram(samples: npt.NDArray[np.float64], window: int) -> npt.NDArray[np.float64]:
    """The band from 125 to 3,125 Hz where a window lasts 32 ms, (windows * 96,)."""
    frames = samples[: samples.size // window * window].reshape(-1, window) * np.hanning(window)
    levels: npt.NDArray[np.float64] = np.log10(np.abs(np.fft.rfft(frames))[:, 4:100] + 10).ravel()
    return levels


def test_wideband_recordings_are_the_takes_of_the_narrow_ones(recorded: pack.Pack) -> None:
    """One prompt of the real packages: our G.722 decoder against the 8 kHz recording."""
    found = asterisk.prompts(asterisk.ENGLISH, "g722", recorded.root.parent / "debian")
    wide = decode(found.recording("vm-intro").read_bytes()).astype(np.float64)
    narrow, _ = soundfile.read(recorded.root / "audio" / "vm-intro.wav")
    assert wide.size == 2 * narrow.size
    assert np.corrcoef(log_spectrogram(wide, 512), log_spectrogram(narrow * 32_768, 256))[0, 1] > 0.97
    power = np.abs(np.fft.rfft(wide)) ** 2
    assert power[power.size // 2 :].sum() > 0.0005 * power.sum()
