"""A bundle as an MLflow model answers a table in its task's shape."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from contracts.errors import Refused, WrongCall
from serving.bundles import given
from serving.pyfunc import BundleModel
from speech import runtimes
from tests.serving import tiny_engine
from tests.serving.conftest import Home, silence, wav
from tests.serving.tiny_tasks import TinyEmbedder, tone


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "load_model", tiny_engine.load)


def model(home: Home, name: str, **more: Any) -> BundleModel:
    folder = home.folder(f"pyfunc-{name}", "alpha bravo", **more)
    return BundleModel(folder / "payload", given(folder, "tiny").payload)


def test_recordings_become_what_the_task_says(home: Home, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(silence(1.0)))
    table = pd.DataFrame({"audio": [wav(silence(1.0)), str(tmp_path / "a.wav")]}, index=[7, 9])
    said = model(home, "words").predict(table)
    assert (list(said.columns), list(said.index)) == (["text", "confidence"], [7, 9])
    assert list(said["text"]) == ["alpha bravo"] * 2
    vectors = model(home, "vectors", task="embedding").predict(table)
    np.testing.assert_allclose(vectors["embedding"][7], TinyEmbedder().embed(silence(1.0)), rtol=1e-6)
    assert list(vectors["space"]) == ["levels-1"] * 2
    classes = model(home, "classes", task="classification").predict(table)
    assert (classes["label"][9], classes["scores"][9]) == ("quiet", {"loud": 0.25, "quiet": 0.75})


def test_texts_become_recordings(home: Home) -> None:
    said = model(home, "voice", task="synthesis").predict(pd.DataFrame({"text": ["one two. three."]}))
    samples, rate_hz = soundfile.read(io.BytesIO(said["audio"][0]), dtype="float32")
    assert rate_hz == 22_050
    np.testing.assert_allclose(samples, np.concatenate([tone(0, 2), tone(1, 1)]), atol=1e-4)


def test_an_assistant_is_refused(home: Home) -> None:
    with pytest.raises(Refused, match="an assistant cannot be asked by a table"):
        model(home, "assistant", task="dialogue")


@pytest.mark.parametrize(
    ("more", "table", "message"),
    [
        ({}, {"text": ["a"]}, "the input has no audio"),
        ({"task": "synthesis"}, {"audio": ["a"]}, "the input has no text"),
        ({}, {"audio": [b"nonsense"]}, "the model cannot hear this"),
        ({}, {"audio": ["/nowhere.wav"]}, "the audio cannot be read"),
    ],
)
def test_a_table_that_is_none(home: Home, more: dict[str, str], table: dict[str, list[Any]], message: str) -> None:
    bundle = model(home, f"{message.replace(' ', '-')}", **more)
    with pytest.raises(WrongCall, match=message):
        bundle.predict(pd.DataFrame(table))
