"""Cost per audio hour, from a price table.

Boundary: pure.
Invariants: what is dear by compute is paid while it computes, what is dear by size is paid while the audio lasts.
"""

from __future__ import annotations


def cost_usd_per_audio_hour(
    *, rtf: float, cpu_cores: float, peak_memory_mb: float, usd_per_core_hour: float, usd_per_gb_hour: float
) -> float:
    """US dollars that an hour of audio costs.

    cost = rtf * cpu_cores * usd_per_core_hour + peak_memory_mb / 1000 * usd_per_gb_hour

    `rtf` is compute seconds per audio second on `cpu_cores` cores at once, so rtf * cpu_cores are the core hours of an
    audio hour. Memory (1 GB is 1000 MB) is held as long as the audio lasts, for a stream keeps its model loaded.

    >>> cost_usd_per_audio_hour(rtf=0.1, cpu_cores=2, peak_memory_mb=500, usd_per_core_hour=0.04, usd_per_gb_hour=0.006)
    0.011
    """
    return rtf * cpu_cores * usd_per_core_hour + peak_memory_mb / 1000 * usd_per_gb_hour
