"""What the tests of shards are made of: a small pack with real audio, payloads, an engine that counts what it hears."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from contracts.bundle import payload_digest
from contracts.digest import Digest, sha256_file
from contracts.train_manifest import FileEntry
from evalpacks.pack import Pack, write
from operations import shards
from operations.payload import payload_folder
from operations.settings import Settings
from operations.shards import Shard
from speech.runtimes import Partial, Samples, Transcript

RATE_HZ = 8000
UTTERANCES = 24
SPEAKERS = 6
META = {
    "name": "tiny", "title": "Tiny", "source": "tests", "licence": "CC0-1.0", "consent": "not needed: noise",
    "languages": ["en"], "sample_rate_hz": RATE_HZ, "slices": ["accent", "noise"],
    "protected": ["accent=us", "noise=5db"],
}  # fmt: skip


def make_pack(root: Path, *, text: str = "turn the light on") -> Pack:
    """A pack of short noises: speakers s0 to s5, two accents, every fourth utterance noisy."""
    (root / "audio").mkdir(parents=True)
    random = np.random.default_rng(1)
    rows = []
    for number in range(UTTERANCES):
        path = root / "audio" / f"{number:03d}.wav"
        soundfile.write(path, random.normal(0, 0.1, RATE_HZ // 4).astype(np.float32), RATE_HZ, subtype="PCM_16")
        rows.append(
            {
                "utterance_id": f"u{number:03d}", "path": f"audio/{path.name}", "text": text,
                "speaker": f"s{number % SPEAKERS}", "duration_s": 0.25, "sample_rate_hz": RATE_HZ,
                "sha256": sha256_file(path), "language": "en",
                "accent": "us" if number % SPEAKERS < 2 else "uk", "noise": "5db" if number % 4 == 0 else "clean",
            }
        )  # fmt: skip
    return write(root, META, pd.DataFrame(rows))


def payload_files(name: str) -> tuple[bytes, dict[str, FileEntry]]:
    """A payload's only file, and its entry."""
    content = json.dumps({"engine": name}).encode()
    return content, {"runtime.json": FileEntry(sha256=hashlib.sha256(content).hexdigest(), size=len(content))}


def make_payload(home: Path, name: str) -> Digest:
    """A payload where workers look for it."""
    content, files = payload_files(name)
    digest = payload_digest(files)
    folder = payload_folder(home, digest)
    folder.mkdir(parents=True)
    (folder / "runtime.json").write_bytes(content)
    return digest


class CountingRuntime:
    """Says two words, the second made of the audio's bytes; counts how often it heard each of them."""

    sample_rate_hz = RATE_HZ

    def __init__(self, *, streaming: bool = True) -> None:
        self.streaming = streaming
        self.heard: Counter[str] = Counter()

    def transcribe(self, audio: Samples) -> Transcript:
        word = hashlib.sha256(audio.tobytes()).hexdigest()[:6]
        self.heard[word] += 1
        return Transcript(f"heard {word}", confidence=None if word < "8" else 0.123456789012345)

    def stream(self) -> CountingStream:
        return CountingStream(self)


class CountingStream:
    """Shows how many chunks it heard; the final is the transcript of all of them."""

    def __init__(self, runtime: CountingRuntime) -> None:
        self._runtime = runtime
        self._chunks: list[Samples] = []

    def accept(self, chunk: Samples) -> Partial | None:
        self._chunks.append(chunk)
        return Partial(f"chunk {len(self._chunks)}", 1)

    def finish(self) -> Transcript:
        return self._runtime.transcribe(np.concatenate(self._chunks))


class Installation:
    """A root with one pack, a home with two payloads, and the plan of hearing all of it."""

    def __init__(self, root: Path) -> None:
        self.settings = Settings(root, root / "home")
        self.pack = make_pack(self.settings.pack("tiny"))
        self.payloads = [make_payload(self.settings.home, name) for name in ("one", "two")]
        (root / "requirements.lock").write_text("numpy==2\n")

    def plan(self, size: int) -> list[Shard]:
        """Both payloads over the whole pack, and the first one streamed over a part of it."""
        name, digest = self.pack.name, self.pack.digest
        wanted = [shards.Wanted(payload, name, digest, "batch", range(UTTERANCES)) for payload in self.payloads]
        wanted.append(shards.Wanted(self.payloads[0], name, digest, "stream", range(0, UTTERANCES, 3), 100))
        return shards.plan(wanted, size=size, lock=shards.runtime_lock(self.settings))
