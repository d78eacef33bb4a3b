"""The serving benchmark on six utterances and two streams, against the real servers."""

from __future__ import annotations

import math

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from benchmarks import serving
from benchmarks.lean_client import frame
from benchmarks.serving_peers import empty
from speech.runtimes import load

MUST = {
    "added_p50_ms": ("lower", 3),
    "added_p99_ms": ("lower", 10),
    "throughput_over_mlflow_serve": ("higher", 1),
    "throughput_over_fastapi": ("higher", 1),
}


@pytest.mark.slow
def test_every_figure_of_the_design_is_measured() -> None:
    said: list[str] = []
    result = serving.measure(said.append, serving.QUICK)
    figures = result.figures
    asked = {name: (figure.better, figure.must) for name, figure in figures.items() if figure.must is not None}
    assert asked == MUST
    assert all(len(figures[name].runs) == 5 for name in MUST)
    assert all(figure.value > 0 for name, figure in figures.items() if not name.startswith(("added", "realtime")))
    first = result.settings["realtime_curve"][0]
    assert first["streams"] == 1
    assert first["partial_p50_ms"] > 0
    assert figures["realtime_streams"].value in (0, 1, 2)
    assert said


def test_no_figure_of_a_server_that_says_something_else(tmp_path_factory: pytest.TempPathFactory) -> None:
    spoken = serving.utterances(load(serving.PAYLOAD), 3)
    assert len(spoken.wavs) == len(spoken.samples) == 3
    assert all(spoken.texts)
    with empty(tmp_path_factory.mktemp("home")) as silent:
        serving.refuse_other_words("a silent server", silent, spoken._replace(texts=["", "", ""]))
        with pytest.raises(AssertionError, match="a silent server says other words than the runtime in 3 of 3"):
            serving.refuse_other_words("a silent server", silent, spoken)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0, 1.0, 2.0], 0.5, 2.0), (list(range(100)), 0.99, 99), (list(range(200)), 0.99, 198), ([5.0], 0.99, 5.0)],
)
def test_percentiles(values: list[float], share: float, expected: float) -> None:
    assert serving.percentile(values, share) == expected
    assert math.isnan(serving.percentile([], share))


@pytest.mark.parametrize("size", [0, 125, 126, 3_200, 65_535, 65_536])
def test_a_clients_frame_is_what_a_websocket_library_reads(size: int) -> None:
    payload = bytes(index % 251 for index in range(size))
    reader = StreamReader()
    reader.feed_data(frame(2, payload))
    with pytest.raises(StopIteration) as returned:
        next(Frame.parse(reader.read_exact, mask=True))
    found = returned.value.value
    assert (found.opcode, found.data, found.fin) == (Opcode.BINARY, payload, True)
