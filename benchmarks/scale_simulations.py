"""How long a pointer change takes to reach every gateway, and on how many hosts the workers of all bundles fit.

Boundary: pure; numbers and a seed in, numbers out.
Invariants: the gateway's loop is simulated as it is written (look, switch, sleep `poll_s`: serving/router.py
`Family.follow`), so its period is poll_s and a store's answer; equal seeds give equal numbers.
Source: first-fit decreasing, Johnson 1973 (at most 11/9 of the best in one dimension, here with two).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class StoreLatency:
    """How long a small read takes: lognormal, and a share that is tried again after a time-out; seconds."""

    median_s: float = 0.02
    p99_s: float = 0.12
    retried: float = 0.0005
    retry_s: float = 2.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Seconds of as many reads."""
        spread = np.log(self.p99_s / self.median_s) / 2.326347874
        found: Array = self.median_s * np.exp(spread * random.standard_normal(shape))
        return found + self.retry_s * (random.random(shape) < self.retried)


class Reach(NamedTuple):
    """Seconds from a pointer's move until gateways serve it: each one's, and the last one's of each move."""

    each_s: Array
    last_s: Array


def propagation(
    *, gateways: int, poll_s: float, moves: int, latency: StoreLatency, random: np.random.Generator
) -> Reach:
    """Moves of the pointer at moments that know nothing of the gateways' clocks; the target's workers are warm.

    A gateway whose look had already been answered when the pointer moved finds it at its next look.
    """
    shape = (moves, gateways)
    period = poll_s + latency.draw(random, shape)
    waits = random.random(shape) * period
    each: Array = waits + latency.draw(random, shape)
    return Reach(each.ravel(), each.max(axis=1))


class Worker(NamedTuple):
    """What a worker process needs of its host: cores, gigabytes."""

    cores: float
    memory_gb: float


class Host(NamedTuple):
    """What a host has."""

    cores: float = 16.0
    memory_gb: float = 64.0


class Fleet(NamedTuple):
    """Workers of all families: those that answer, the canaries' and those that are kept warm."""

    stable: tuple[Worker, ...]
    canary: tuple[Worker, ...]
    warm: tuple[Worker, ...]

    @property
    def workers(self) -> tuple[Worker, ...]:
        """All of them."""
        return self.stable + self.canary + self.warm


def fleet(
    *, families: int, peak_per_s: float, infer_s: float, busy: float, canary: float, random: np.random.Generator
) -> Fleet:
    """Workers of families whose traffic falls off as 1/rank and whose models take 0.3 to some 4 GB.

    Each family has workers for its peak at `busy` of their time, as many for its canary's share, and one warm worker
    of the bundle before (R7.5), which costs memory and next to no time.
    """
    shares = 1 / np.arange(1, families + 1)
    rates = peak_per_s * shares / shares.sum()
    memory = np.clip(np.exp(random.normal(-0.2, 0.7, families)), 0.3, 8.0)
    found: tuple[list[Worker], list[Worker], list[Worker]] = ([], [], [])
    for rate, size in zip(rates, memory, strict=True):
        needed = rate * infer_s / busy
        found[0].extend([Worker(1.0, float(size))] * max(int(np.ceil(needed)), 2))
        found[1].extend([Worker(1.0, float(size))] * max(int(np.ceil(canary * needed)), 1))
        found[2].append(Worker(0.05, float(size)))
    return Fleet(*map(tuple, found))


def hosts_needed(workers: Sequence[Worker], host: Host) -> int:
    """By first-fit decreasing on the scarcer of both resources."""
    free: list[list[float]] = []
    size = sorted(workers, key=lambda one: -max(one.cores / host.cores, one.memory_gb / host.memory_gb))
    for worker in size:
        for room in free:
            if room[0] >= worker.cores - 1e-9 and room[1] >= worker.memory_gb - 1e-9:
                break
        else:
            room = [host.cores, host.memory_gb]
            free.append(room)
        room[0] -= worker.cores
        room[1] -= worker.memory_gb
    return len(free)


def fewest_hosts(workers: Sequence[Worker], host: Host) -> int:
    """Below this no placement goes: what all need over what a host has."""
    cores, memory = sum(one.cores for one in workers), sum(one.memory_gb for one in workers)
    return int(np.ceil(max(cores / host.cores, memory / host.memory_gb) - 1e-9))
