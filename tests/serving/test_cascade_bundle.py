"""A cascade that is one bundle: files and streams are answered as its runtime does; telemetry says by which part."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from registry.bundle import assemble, freeze
from serving.client import start_gateway, stream, transcribe
from serving.telemetry import read
from speech.cascade import write_payload
from speech.runtimes import Samples, load
from speech.runtimes.cascade import CascadeConfig
from speech.runtimes.cascade_routed import TellingRuntime
from speech.runtimes.cascade_router import Router, Sureness
from tests.serving.conftest import Home, wav
from tests.speech.ctc_samples import babbling, random_payload

CLIPS = 4


def _by_confidence(payload: Path, audio: list[Samples]) -> None:
    """Half of the clips are sent on, by the small part's confidence."""
    config, small = _config(payload), load(payload / "parts" / "small")
    sure = sorted(small.transcribe(one).confidence or 0.0 for one in audio)
    _write(payload, config.model_copy(update={"below": (sure[1] + sure[2]) / 2}))


def _by_router(payload: Path, audio: list[Samples]) -> None:
    """Half of the clips are handed over, by a router."""
    small = load(payload / "parts" / "small")
    assert isinstance(small, TellingRuntime)
    router = Router(intercept=0.0, mean_entropy=-1.0, greatest_entropy=-1.0, blank_share=0.0)
    least = []
    for one in audio:
        sureness = Sureness(router)
        sureness.hear(small.listen(one)[1])
        least.append(sureness.end())
    least.sort()
    _write(payload, _config(payload).model_copy(update={"router": router, "below": (least[1] + least[2]) / 2}))


def _config(payload: Path) -> CascadeConfig:
    return CascadeConfig.parse((payload / "cascade.json").read_bytes(), where="cascade.json")


def _write(payload: Path, config: CascadeConfig) -> None:
    (payload / "cascade.json").write_bytes(config.canonical())


@pytest.mark.parametrize("routed", [_by_confidence, _by_router])
def test_telemetry_says_which_part_of_a_bundle_answered(
    routed: Callable[[Path, list[Samples]], None], home: Home, tmp_path: Path
) -> None:
    parts = [random_payload(tmp_path / name, seed) for seed, name in enumerate(("small", "large"))]
    pcm = [(babbling(1.0, seed) * 32767).clip(-32768, 32767).astype("<i2") for seed in range(CLIPS)]
    audio: list[Samples] = [one.astype(np.float32) * np.float32(1 / 32768) for one in pcm]
    folder = tmp_path / "bundle"
    write_payload(folder / "payload", parts[0], parts[1], 0.5)
    routed(folder / "payload", audio)
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
