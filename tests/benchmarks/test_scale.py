"""The scale benchmark: its simulations obey what can be said without them, and docs/scale.md says what it prints."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import scale
from benchmarks.frame import Figure
from benchmarks.scale_simulations import Host, StoreLatency, Worker, fewest_hosts, fleet, hosts_needed, propagation

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "scale.md"

workers = st.lists(st.builds(Worker, st.floats(0.05, 16), st.floats(0.1, 64)), min_size=1, max_size=60)


@cache
def figures() -> dict[str, Figure]:
    return scale.counted(scale.SIZE)


def test_the_page_has_what_the_command_prints() -> None:
    table = PAGE.read_text().partition("## Figures")[2]
    assert re.findall(r"^\| `.*$", table, flags=re.M) == scale.rows(figures())


@pytest.mark.parametrize(("poll", "row"), [("0.2", "| 0.2 s |"), ("1", "| 1 s |"), ("5", "| 5 s |")])
def test_the_page_quotes_the_simulation(poll: str, row: str) -> None:
    found = figures()
    names = (f"reach_one_p50_s_poll_{poll}s", f"reach_all_p50_s_poll_{poll}s", f"reach_all_p99_s_poll_{poll}s")
    quoted = " | ".join(f"{found[name].value:.2f} s" for name in names)
    assert f"{row} {quoted} |" in PAGE.read_text()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("row_bytes_as_flushed", "{:.0f} bytes as it is flushed"),
        ("row_bytes_in_hour_files", "{:.0f} bytes in an hour file"),
        ("telemetry_gb_a_day", "{:.0f} GB, thirty days"),
        ("telemetry_usd_a_month_kept", "{:.0f} USD a month on S3"),
        ("pointer_usd_a_day_poll_0.2s", "{:.0f} USD a day"),
        ("pointer_usd_a_day_if_all_follow_all", "{:.0f} USD a day"),
        ("pointer_gb_a_day_saved_by_conditional_reads", "{:.0f} GB a day"),
        ("family_requests_per_s", "{:.0f} requests a second"),
        ("judged_row_bytes", "{:.0f} bytes each"),
        ("new_rows_a_look", "{:.0f} rows a second"),
        ("snapshot_kb_a_family", "{:.0f} kB"),
        ("snapshot_bytes_each_further_bundle", "{:.0f} bytes a bundle"),
        ("snapshot_mb_all_bundles_in_one_family", "{:.1f} MB"),
        ("calls_cold_at_most", "{:.0f} calls"),
        ("workers", "{:,.0f} processes"),
        ("workers_stable", "{:.0f} workers for stable"),
        ("hosts", "on {:.0f} hosts"),
        ("hosts_if_every_bundle_were_warm", "{:.0f} hosts for nothing"),
    ],
)
def test_sentences_of_the_page_have_the_figures(name: str, said: str) -> None:
    page = " ".join(PAGE.read_text().split())
    assert said.format(figures()[name].value) in page


def reach(poll_s: float, gateways: int = 20, **latency: float) -> tuple[np.ndarray, np.ndarray]:
    found = propagation(
        gateways=gateways, poll_s=poll_s, moves=400, latency=StoreLatency(**latency), random=np.random.default_rng(1)
    )
    return found.each_s, found.last_s


def test_without_latency_a_gateway_waits_half_a_poll_and_the_last_nearly_a_whole_one() -> None:
    each, last = reach(1.0, gateways=50, median_s=1e-9, p99_s=2e-9, retried=0.0)
    assert np.mean(each) == pytest.approx(0.5, abs=0.02)
    assert np.median(last) == pytest.approx(0.5 ** (1 / 50), abs=0.01)
    assert np.max(last) <= 1.0


def test_the_last_gateway_is_never_before_another() -> None:
    each, last = reach(0.2)
    assert np.all(each.reshape(400, 20) <= last[:, None])


def test_slower_polling_and_a_slower_store_reach_later() -> None:
    assert np.median(reach(0.2)[1]) < np.median(reach(1.0)[1]) < np.median(reach(5.0)[1])
    assert np.median(reach(0.2)[1]) < np.median(reach(0.2, median_s=0.1, p99_s=0.6)[1])


def test_reads_have_the_quantiles_that_were_asked_for() -> None:
    drawn = StoreLatency(retried=0.0).draw(np.random.default_rng(3), (100_000,))
    assert np.quantile(drawn, [0.5, 0.99]) == pytest.approx([0.02, 0.12], rel=0.05)


@given(workers)
def test_no_host_is_overfull_and_none_is_needed_below_the_bound(found: list[Worker]) -> None:
    host = Host()
    needed = hosts_needed(found, host)
    assert fewest_hosts(found, host) <= needed <= len(found)


@given(workers, st.permutations(range(5)))
def test_the_order_of_workers_does_not_matter(found: list[Worker], order: list[int]) -> None:
    shuffled = [found[place % len(found)] for place in order]
    assert hosts_needed(shuffled, Host()) == hosts_needed(shuffled[::-1], Host())


@pytest.mark.parametrize(
    ("found", "hosts"),
    [
        ([Worker(8, 8)] * 4, 2), ([Worker(1, 32)] * 4, 2), ([Worker(16, 1), Worker(0.05, 63)], 2),
        ([Worker(1, 4)] * 16, 1), ([Worker(9, 1)] * 3, 3), ([Worker(10, 10), Worker(6, 54), Worker(6, 10)], 2),
    ],
)  # fmt: skip
def test_hosts_that_can_be_counted_by_hand(found: list[Worker], hosts: int) -> None:
    assert hosts_needed(found, Host()) == hosts


def test_every_family_has_two_workers_a_canary_and_a_warm_one() -> None:
    made = fleet(families=9, peak_per_s=1.0, infer_s=0.02, busy=0.7, canary=0.1, random=np.random.default_rng(1))
    assert (len(made.stable), len(made.canary), len(made.warm)) == (18, 9, 9)


def test_a_look_at_a_pointer_that_has_not_moved_is_one_read() -> None:
    assert figures()["reads_a_look"].value == 1


def test_a_cold_look_lists_and_reads_snapshot_anchor_tail_and_what_is_not_there() -> None:
    assert figures()["calls_cold_at_most"].value == 1 + 1 + 1 + 199 + 1
