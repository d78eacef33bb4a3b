"""The recordings of a pack, measured: are they what the table says, and can they be used?

Boundary: `measure` and `faults` are pure (bytes and facts in); `measure_all` reads the files of one pack in threads,
each once.
Invariants: of a file whose digest is wrong nothing else is said, because all else follows from it; silence and clipping
are judged on the 16-bit samples as they are stored.
"""

from __future__ import annotations

import hashlib
import io
import os
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from evalpacks.checks.findings import Finding, finding, grouped

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[int, int], None]
"""Called with (files done, files in all)."""

SILENCE_FLOOR = 33
"""Of 32,768: -60 dB of full scale; what is never louder is silence."""
FULL_SCALE = 32_760
MOSTLY = 0.9
"""Share of 20 ms windows that may be silent."""
CLIPPED_SHARE = 0.001
"""Share of samples that may lie in flat tops, three samples or more at full scale."""
DC_SHARE = 0.02
"""Of full scale: what the samples may be off zero in every eighth of a recording (a low hum is, in some)."""
DURATION_TOLERANCE_S = 0.05

Samples = npt.NDArray[np.int16]


class AudioFacts(NamedTuple):
    """What one file is.

    Attributes:
        sha256: of its bytes.
        fault: the code of why it cannot be measured further, or empty.
        rate_hz, duration_s: of the samples that are there.
        silent, clipped: shares in [0, 1].
        offset: how far every eighth of the samples is off zero to the same side, as a share of full scale.
        sound: digest of the samples between the first and the last that are no silence; empty where all is silence.
    """

    sha256: str
    fault: str = ""
    rate_hz: int = 0
    duration_s: float = 0.0
    silent: float = 0.0
    clipped: float = 0.0
    offset: float = 0.0
    sound: str = ""


def measure(content: bytes) -> AudioFacts:
    """The facts of one WAV file."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        with wave.open(io.BytesIO(content)) as file:
            channels, width, rate_hz, frames = file.getparams()[:4]
            data = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        return AudioFacts(sha256, "wrong_encoding" if "unknown format" in str(error) else "unreadable_audio")
    if width != 2:
        return AudioFacts(sha256, "wrong_encoding")
    if channels != 1:
        return AudioFacts(sha256, "wrong_channels")
    if len(data) < frames * width:
        return AudioFacts(sha256, "truncated_audio")
    if not frames or not rate_hz:
        return AudioFacts(sha256, "no_samples")
    return _measured(sha256, np.frombuffer(data, dtype="<i2"), rate_hz)


def _measured(sha256: str, samples: Samples, rate_hz: int) -> AudioFacts:
    loud = (samples > SILENCE_FLOOR) | (samples < -SILENCE_FLOOR)
    full = (samples >= FULL_SCALE) | (samples <= -FULL_SCALE)
    window = max(rate_hz // 50, 1)
    whole = max(len(loud) // window, 1) * window
    windows = loud[:whole].reshape(-1, window) if len(loud) >= window else loud[np.newaxis]
    sound = ""
    if loud.any():
        kept = samples[int(loud.argmax()) : len(loud) - int(loud[::-1].argmax())]
        sound = hashlib.sha256(rate_hz.to_bytes(4, "little") + kept.tobytes()).hexdigest()
    return AudioFacts(
        sha256,
        rate_hz=rate_hz,
        duration_s=len(samples) / rate_hz,
        silent=float(1 - windows.any(axis=1).mean()) if sound else 1.0,
        clipped=float((full[2:] & full[1:-1] & full[:-2]).mean()) if len(full) > 2 else 0.0,
        offset=_offset(samples),
        sound=sound,
    )


def _offset(samples: Samples) -> float:
    means = np.array([part.mean(dtype=np.float64) for part in np.array_split(samples, min(8, len(samples)))])
    same_side = (means > 0).all() or (means < 0).all()
    return float(np.abs(means).min()) / 32_768 if same_side else 0.0


def measure_all(root: Path, paths: Sequence[str], on_progress: Progress) -> list[AudioFacts]:
    """`measure` of each file below `root`, in order; reading and hashing run beside each other."""
    facts = []
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as threads:
        for done, one in enumerate(threads.map(lambda path: measure((root / path).read_bytes()), paths), start=1):
            facts.append(one)
            on_progress(done, len(paths))
    return facts


def faults(facts: AudioFacts, *, sha256: str, rate_hz: int, duration_s: float) -> Iterator[str]:
    """Codes of what is wrong with one recording whose row of the table says this."""
    if facts.sha256 != sha256:
        yield "audio_digest"
        return
    if facts.fault:
        yield facts.fault
        return
    if facts.rate_hz != rate_hz:
        yield "wrong_rate"
    elif abs(facts.duration_s - duration_s) > DURATION_TOLERANCE_S:
        yield "wrong_duration"
    if not facts.sound:
        yield "silent_audio"
        return
    if facts.silent > MOSTLY:
        yield "mostly_silent"
    if facts.clipped > CLIPPED_SHARE:
        yield "clipped_audio"
    if facts.offset > DC_SHARE:
        yield "dc_offset"


def findings(table: pd.DataFrame, facts: Sequence[AudioFacts]) -> list[Finding]:
    """What is wrong with the recordings of a pack; `facts` in the order of its table."""
    rows = table[["utterance_id", "sha256", "sample_rate_hz", "duration_s"]].itertuples(index=False, name=None)
    single = (
        (str(name), code)
        for (name, sha256, rate_hz, duration_s), one in zip(rows, facts, strict=True)
        for code in faults(one, sha256=sha256, rate_hz=rate_hz, duration_s=duration_s)
    )
    return grouped(single) + _duplicates([str(name) for name in table["utterance_id"]], facts)


def _duplicates(names: Sequence[str], facts: Sequence[AudioFacts]) -> list[Finding]:
    same_file = _repeated(names, [one.sha256 for one in facts])
    known = set(same_file)
    same_sound = [name for name in _repeated(names, [one.sound for one in facts]) if name not in known]
    return [
        finding(code, found)
        for code, found in (("duplicate_audio", same_file), ("duplicate_recording", same_sound))
        if found
    ]


def _repeated(names: Sequence[str], digests: Sequence[str]) -> list[str]:
    """Names whose digest another one has too, equal ones side by side; no digest is like no other."""
    groups: dict[str, list[str]] = {}
    for name, digest in zip(names, digests, strict=True):
        if digest:
            groups.setdefault(digest, []).append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]


def stray(root: Path, paths: Sequence[str]) -> list[Finding]:
    """Files of audio/ that the table does not name."""
    named = set(paths)
    found = sorted(
        name
        for name in (path.relative_to(root).as_posix() for path in (root / "audio").rglob("*") if path.is_file())
        if name not in named
    )
    return [finding("stray_audio", found)] if found else []
