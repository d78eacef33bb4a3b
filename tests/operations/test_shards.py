"""Shards: the plan's laws, resuming after a kill, and what is not adopted."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.digest import Digest
from contracts.errors import Corrupt, DependencyFailed, Refused
from evalpacks.pack import Pack, PackMeta
from operations import compute, shards
from operations.payload import payload_folder
from operations.shards import Shard
from speech.run import run_pack, stream_pack
from tests.operations.shard_parts import META, UTTERANCES, CountingRuntime, Installation, make_pack

RUN = "1" * 64


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> CountingRuntime:
    counting = CountingRuntime()
    monkeypatch.setattr(compute, "model", lambda _payload: counting)
    return counting


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return Installation(tmp_path)


def in_this_process(place: Installation, *, dies_after: int | None = None) -> shards.RunShards:
    """Hears shards here; after `dies_after` of them the process is gone."""

    def run(name: str, pieces: Sequence[Shard]) -> Iterator[Digest]:
        for number, piece in enumerate(pieces):
            if number == dies_after:
                raise KeyboardInterrupt
            yield shards.hear(place.settings, name, piece)

    return run


def collect(
    place: Installation, plan: Sequence[Shard], run: shards.RunShards | None = None
) -> dict[Shard, pd.DataFrame]:
    return shards.collect(
        place.settings, RUN, plan, run or in_this_process(place), on_progress=lambda _done, _total: None
    )


def files(place: Installation) -> list[Path]:
    return sorted((place.settings.home / "shards").glob("*/*"))


# ---- the plan


wanted_rows = st.lists(st.integers(0, 10_000), min_size=1, max_size=60, unique=True).map(sorted)


@given(rows=wanted_rows, size=st.integers(1, 70))
def test_a_plan_has_every_row_once_and_in_order(rows: list[int], size: int) -> None:
    plan = shards.plan([shards.Wanted("a" * 64, "p", "b" * 64, "batch", rows)], size=size, lock="c" * 64)
    assert [row for shard in plan for row in shard.rows] == rows
    assert all(len(shard.rows) <= size for shard in plan)


@given(rows=wanted_rows, size=st.integers(1, 70))
def test_what_is_wanted_twice_is_heard_once(rows: list[int], size: int) -> None:
    wanted = shards.Wanted("a" * 64, "p", "b" * 64, "batch", rows)
    assert shards.plan([wanted, wanted], size=size, lock="c" * 64) == shards.plan([wanted], size=size, lock="c" * 64)


def test_payloads_take_turns_and_streams_come_last(installation: Installation) -> None:
    plan = installation.plan(10)
    said = [(shard.mode, shard.rows[0], installation.payloads.index(shard.payload)) for shard in plan]
    batch = [("batch", start, payload) for start in (0, 10, 20) for payload in (0, 1)]
    assert said == [*batch, ("stream", 0, 0)]


SHARD = Shard(
    payload="a" * 64, pack="p", pack_digest="b" * 64, mode="batch", rows=(0, 1), chunk_ms=None, runtime_lock="c" * 64
)


@pytest.mark.parametrize(
    "change",
    [
        {"payload": "d" * 64},
        {"pack": "q"},
        {"pack_digest": "d" * 64},
        {"mode": "stream"},
        {"rows": (0, 2)},
        {"chunk_ms": 50},
        {"runtime_lock": "d" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_shard_is_named_by_all_that_its_result_depends_on(change: dict[str, object]) -> None:
    assert SHARD.model_copy(update=change).digest() != SHARD.digest()


# ---- the sample that is streamed


def a_pack(speakers: Sequence[int], noisy: Sequence[bool]) -> Pack:
    """A pack in memory: its speakers, and which utterances are in its protected slice."""
    table = pd.DataFrame({"speaker": [f"s{n}" for n in speakers], "noise": ["5db" if n else "clean" for n in noisy]})
    meta = PackMeta.model_validate(META)
    return Pack(
        name="p", digest="a" * 64, root=Path(), meta=meta, utterances=table, slices=("noise",),
        protected=("noise=5db",), high_risk=(),
    )  # fmt: skip


utterances = st.lists(st.tuples(st.integers(0, 7), st.booleans()), min_size=1, max_size=80)


@given(rows=utterances, count=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_seeded_ascending_and_as_large_as_it_can_be(
    rows: list[tuple[int, bool]], count: int, seed: int
) -> None:
    pack = a_pack(*zip(*rows, strict=True))
    sample = shards.stream_sample(pack, count, seed)
    assert sample == shards.stream_sample(pack, count, seed)
    assert list(sample) == sorted(set(sample))
    assert len(sample) == min(count, len(rows))
    assert set(sample) <= set(range(len(rows)))


@given(rows=utterances, count=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_even_over_strata_as_far_as_they_reach(rows: list[tuple[int, bool]], count: int, seed: int) -> None:
    noisy = np.array([row[1] for row in rows])
    sample = list(shards.stream_sample(a_pack(*zip(*rows, strict=True)), count, seed))
    for own, other in ((noisy, ~noisy), (~noisy, noisy)):
        if own[sample].sum() < own.sum():  # this stratum was not used up, so the other one is not ahead of it
            assert other[sample].sum() <= own[sample].sum() + 1


@given(speakers=st.lists(st.integers(0, 7), min_size=1, max_size=80), count=st.integers(1, 100))
def test_a_sample_of_one_stratum_is_even_over_speakers_as_far_as_they_reach(speakers: list[int], count: int) -> None:
    sample = shards.stream_sample(a_pack(speakers, [True] * len(speakers)), count, seed=3)
    taken = np.bincount([speakers[row] for row in sample], minlength=8)
    there = np.bincount(speakers, minlength=8)
    assert taken.max() <= taken[taken < there].min(initial=taken.max()) + 1


def test_another_seed_draws_another_sample() -> None:
    pack = a_pack([n % 5 for n in range(100)], [n % 2 == 0 for n in range(100)])
    assert len({shards.stream_sample(pack, 20, seed) for seed in range(5)}) == 5


# ---- hearing, keeping, and finding again


def test_results_do_not_depend_on_the_size_of_shards(installation: Installation, runtime: CountingRuntime) -> None:
    whole = run_pack(runtime, installation.pack.utterances, installation.pack.root)
    part = installation.pack.utterances.iloc[::3]
    streamed = stream_pack(runtime, part, installation.pack.root, chunk_ms=100)
    for size in (1, 7, UTTERANCES):
        found = shards.tables(collect(installation, installation.plan(size)))
        for payload in installation.payloads:
            pd.testing.assert_frame_equal(found[payload, "tiny", "batch"], whole)
        pd.testing.assert_frame_equal(found[installation.payloads[0], "tiny", "stream"], streamed)


def test_after_a_kill_only_the_rest_is_heard(installation: Installation, runtime: CountingRuntime) -> None:
    plan = installation.plan(4)
    with pytest.raises(KeyboardInterrupt):
        collect(installation, plan, in_this_process(installation, dies_after=5))
    assert len(files(installation)) == 5
    before = runtime.heard.total()
    heard: list[Shard] = []
    progress: list[tuple[int, int]] = []

    def run(name: str, pieces: Sequence[Shard]) -> Iterator[Digest]:
        heard.extend(pieces)
        return in_this_process(installation)(name, pieces)

    resumed = shards.collect(
        installation.settings, RUN, plan, run, on_progress=lambda done, total: progress.append((done, total))
    )
    assert heard == plan[5:]
    assert runtime.heard.total() - before == sum(len(shard.rows) for shard in plan[5:])
    assert progress == [(done, len(plan)) for done in range(5, len(plan) + 1)]
    shards.remove(installation.settings, RUN)
    again = collect(installation, plan)
    for shard in plan:
        pd.testing.assert_frame_equal(resumed[shard], again[shard])


def test_a_run_that_is_whole_asks_no_worker(installation: Installation, runtime: CountingRuntime) -> None:
    plan = installation.plan(10)
    first = collect(installation, plan)
    count = runtime.heard.total()

    def nobody(_name: str, _pieces: Sequence[Shard]) -> Iterator[Digest]:
        raise AssertionError("a worker was asked")

    second = collect(installation, plan, nobody)
    assert runtime.heard.total() == count
    assert all(first[shard].equals(second[shard]) for shard in plan)


def test_a_shard_that_two_workers_are_given_is_heard_once(installation: Installation, runtime: CountingRuntime) -> None:
    (shard, *_) = installation.plan(10)
    first = shards.hear(installation.settings, RUN, shard)
    count = runtime.heard.total()
    assert shards.hear(installation.settings, RUN, shard) == first
    assert runtime.heard.total() == count


def test_private_text_is_for_its_owner_alone(installation: Installation, runtime: CountingRuntime) -> None:
    collect(installation, installation.plan(10))
    kept = files(installation)
    assert {stat.S_IMODE(path.stat().st_mode) for path in kept} == {0o600}
    assert stat.S_IMODE(kept[0].parent.stat().st_mode) == 0o700
    assert {path.suffix for path in kept} == {".parquet"}
    shards.remove(installation.settings, RUN)
    assert not kept[0].parent.exists()


def _torn(path: Path, _other: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _empty(path: Path, _other: Path) -> None:
    path.write_bytes(b"")


def _of_another_shard(path: Path, other: Path) -> None:
    path.write_bytes(other.read_bytes())


def _of_nobody(path: Path, _other: Path) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)


def _changed(path: Path, _other: Path) -> None:
    table = pq.read_table(path)
    rows = table.to_pandas().assign(text="something that nobody said")
    pq.write_table(table.from_pandas(rows, preserve_index=False).replace_schema_metadata(table.schema.metadata), path)


@pytest.mark.parametrize("damage", [_torn, _empty, _of_another_shard, _of_nobody, _changed])
def test_a_file_that_is_not_this_shard_s_is_heard_again(
    installation: Installation, runtime: CountingRuntime, damage: Callable[[Path, Path], None]
) -> None:
    plan = installation.plan(10)
    first = collect(installation, plan)
    path, other = (installation.settings.home / "shards" / RUN / f"{s.digest()}.parquet" for s in plan[:2])
    damage(path, other)
    assert shards.kept(installation.settings, RUN, plan[0]) is None
    count = runtime.heard.total()
    again = collect(installation, plan)
    assert runtime.heard.total() - count == len(plan[0].rows)
    assert again[plan[0]].equals(first[plan[0]])


# ---- a worker that does not see the same installation


def test_a_pack_that_changed_is_refused(installation: Installation, runtime: CountingRuntime) -> None:
    (shard, *_) = installation.plan(10)
    folder = installation.settings.pack("tiny")
    folder.rename(folder.with_name("old"))
    changed = make_pack(folder, text="turn the light off")
    with pytest.raises(Refused, match="an eval pack changed while it was scored") as refused:
        shards.hear(installation.settings, RUN, shard)
    assert (refused.value.got, refused.value.expected) == (changed.digest[:12], shard.pack_digest[:12])
    assert "light" not in str(refused.value)
    assert not files(installation)


@pytest.mark.parametrize(
    ("change", "got"), [("changed", "1 files, "), ("removed", "0 files, "), ("added", "2 files, ")]
)
def test_a_payload_that_is_not_the_planned_one_is_corrupt(
    installation: Installation, runtime: CountingRuntime, change: str, got: str
) -> None:
    (shard, *_) = installation.plan(10)
    file = payload_folder(installation.settings.home, shard.payload) / "runtime.json"
    if change == "removed":
        file.unlink()
    else:
        (file if change == "changed" else file.with_name("more.json")).write_text("{}")
    with pytest.raises(Corrupt, match="a payload is not what its digest says") as corrupt:
        shards.hear(installation.settings, RUN, shard)
    assert corrupt.value.got.startswith(got)
    assert corrupt.value.where == f"cache/payloads/{shard.payload[:12]} in the home folder"
    assert corrupt.value.next_step.endswith("every worker must see the same home folder")


def test_a_worker_with_a_home_of_its_own_is_found_out(
    installation: Installation, runtime: CountingRuntime, tmp_path: Path
) -> None:
    plan = installation.plan(10)

    def elsewhere(name: str, pieces: Sequence[Shard]) -> Iterator[Digest]:
        for piece in pieces:
            digest = shards.hear(installation.settings, name, piece)
            (installation.settings.home / "shards").rename(tmp_path / f"other-{piece.digest()[:6]}")
            yield digest

    with pytest.raises(DependencyFailed) as failed:
        collect(installation, plan, elsewhere)
    assert failed.value.what == "a shard was heard, and its result is not in the home folder"
    assert failed.value.where == plan[0].label()
    assert "the same SOUNDCHECK_HOME on a shared file system" in failed.value.next_step
