"""Cost per audio hour: what is paid by compute and what by size."""

from __future__ import annotations

import pytest

from evalpacks.metrics.cost import cost_usd_per_audio_hour


@pytest.mark.parametrize(
    ("rtf", "cores", "memory_mb", "core_hour", "gb_hour", "usd"),
    [
        (0.0, 1, 0, 1.0, 1.0, 0.0),
        (1.0, 1, 0, 0.04, 0.005, 0.04),  # as slow as speech: a core hour
        (0.5, 2, 0, 0.04, 0.005, 0.04),  # half as long on two cores: the same
        (0.0, 1, 2000, 0.04, 0.005, 0.01),  # 2 GB for an hour
        (0.1, 1, 500, 0.04, 0.005, 0.0065),  # 0.1 * 0.04 + 0.5 * 0.005
    ],
)
def test_named_prices(rtf: float, cores: float, memory_mb: float, core_hour: float, gb_hour: float, usd: float) -> None:
    cost = cost_usd_per_audio_hour(
        rtf=rtf, cpu_cores=cores, peak_memory_mb=memory_mb, usd_per_core_hour=core_hour, usd_per_gb_hour=gb_hour
    )
    assert cost == pytest.approx(usd)
