"""A cascade that is one bundle: files and streams are answered as its runtime does; telemetry says by which part."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from registry.bundle import assemble, freeze
from serving.client import start_gateway, stream, transcribe
from serving.telemetry import read
from speech.cascade import write_payload
from speech.runtimes import Samples, load
from tests.serving.conftest import Home, wav
from tests.speech.ctc_samples import babbling, random_payload

CLIPS = 4


def test_telemetry_says_which_part_of_a_bundle_answered(home: Home, tmp_path: Path) -> None:
    parts = [random_payload(tmp_path / name, seed) for seed, name in enumerate(("small", "large"))]
    pcm = [(babbling(1.0, seed) * 32767).clip(-32768, 32767).astype("<i2") for seed in range(CLIPS)]
    audio: list[Samples] = [one.astype(np.float32) * np.float32(1 / 32768) for one in pcm]
    small = load(parts[0])
    sure = sorted(small.transcribe(one).confidence or 0.0 for one in audio)
    folder = tmp_path / "bundle"
    write_payload(folder / "payload", parts[0], parts[1], (sure[1] + sure[2]) / 2)  # half of the clips are sent on
    digest = freeze(home.store, folder, assemble(folder, family="both", version="v1"))
    expected = [load(folder / "payload").transcribe(one) for one in audio]
    assert {one.route for one in expected} == {"small", "large"}
    began = time.time()
    with start_gateway(home.root, serve={"both": digest}, options=("--threads", "1")) as gateway:
        files = [transcribe(gateway.base_url, wav(one), "both", home.key) for one in pcm]
        streams = [stream(gateway.base_url, one.tobytes(), "both", home.key, rate_hz=16_000) for one in pcm]
        assert [one.text for one in files] == [one.text for one in streams] == [one.text for one in expected]
    told = read(home.root / "telemetry", "both", began).set_index("request_id")["cascade"]  # all is written at the end
    asked = [one.request_id for one in files] + [one.request_id for one in streams]
    assert told[asked].tolist() == [one.route for one in expected] * 2
