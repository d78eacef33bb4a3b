"""The product's own command over a real engine: a small CTC payload, untrained, laid out as a candidate's."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch

from contracts.digest import Digest
from registry.bundle import assemble, freeze
from serving.client import start_gateway, stream, transcribe
from speech.ctc.export import write_payload
from speech.ctc.model import ModelConfig, Recogniser
from speech.ctc.recipe import Recipe
from speech.front_end import FrontEndConfig
from speech.runtimes import Samples, load
from tests.serving.conftest import Home, wav

WORDS = ("", "on", "off", "light", "door", "up", "down")


def frozen(home: Home, folder: Path) -> Digest:
    """A bundle whose untrained model says something to noise."""
    torch.manual_seed(3)
    recipe = Recipe(description="untrained", channels=16, hidden=16, steps=1, versions={"clean": 1.0})
    model = Recogniser(ModelConfig(mels=40, vocabulary_size=len(WORDS), channels=16, hidden=16, layers=1))
    with torch.no_grad():
        model.output.bias[0] -= 1.0  # an untrained model would say blank for ever
    (folder / "payload").mkdir(parents=True)
    write_payload(folder / "payload", model, recipe, FrontEndConfig(), WORDS)
    return freeze(home.store, folder, assemble(folder, family="ctc", version="v1"))


def test_a_stored_bundle_says_over_the_wire_what_its_runtime_says(home: Home, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    digest = frozen(home, folder)
    runtime = load(folder / "payload")
    noise = (np.random.default_rng(5).normal(0, 0.2, 32_000) * 32767).clip(-32768, 32767).astype("<i2")
    samples: Samples = noise.astype(np.float32) * np.float32(1 / 32768)
    with start_gateway(home.root, serve={"ctc": digest}, options=("--threads", "1")) as gateway:
        heard = transcribe(gateway.base_url, wav(noise), "ctc", home.key)
        assert heard.bundle == digest
        assert heard.text == runtime.transcribe(samples).text != ""
        listening = runtime.stream()
        for start in range(0, noise.size, 1_600):
            listening.accept(samples[start : start + 1_600])
        streamed = stream(gateway.base_url, noise.tobytes(), "ctc", home.key, rate_hz=16_000)
        assert streamed.text == listening.finish().text
        (worker,) = gateway.status()["families"]["ctc"]["workers"].values()
        assert 50 < worker["peak_memory_mb"] < 1_500

        # Killed outright, a gateway takes its workers with it.
        os.kill(gateway.pid, signal.SIGKILL)
        gateway.process.wait(10)
        ends = time.monotonic() + 5
        while Path(f"/proc/{worker['pid']}").exists():
            assert time.monotonic() < ends
            time.sleep(0.02)
