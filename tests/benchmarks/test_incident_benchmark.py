"""The incident benchmark on little data: its figures, and that the packet it times finds what was planted."""

from __future__ import annotations

from benchmarks import incident


def test_the_packet_that_is_timed_finds_the_planted_slice() -> None:
    result = incident.quick(lambda _text: None)
    assert set(result.figures) == {"packet_s", "packet_processor_s", "rows_per_s", "planted_slice_found"}
    assert result.figures["planted_slice_found"].value == 1
    assert len(result.figures["packet_s"].runs) == 5
    assert result.settings["rows"] == 20_000
    assert result.settings["models"] == "the tests' engine"
