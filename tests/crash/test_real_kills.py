"""Processes that are killed with SIGKILL, on a folder and on a bucket: the same command goes on to the same bundle (1).

Before every write that is asked of the store, and at random instants again and again until the release is through.
Between two writes the store does not change, so a kill before each is a kill everywhere, as far as the store can tell.
"""

from __future__ import annotations

import itertools
import random
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from operations.context import Context
from registry.store import Store
from registry.store.local import LocalStore
from registry.store.s3 import S3Store
from tests.crash.conftest import AMOUNTS, Told, tell_at_end
from tests.crash.rehearsal import KILLED, Chapter, ending
from tests.crash.runner import PATIENCE_S, Attempt, Outcome, Runner
from tests.flows.release_project import FAMILY
from tests.servers.seaweed import S3Server

pytestmark = pytest.mark.timeout(3600)

ATTEMPTS = 40
"""A release that was killed so often is let through at last."""


class Place(NamedTuple):
    """A new store and home folder at the beginning of a chapter."""

    chapter: Chapter
    home: Path
    store: Store
    url: str


class Bench:
    """Where attempts are made: runners, and new places on one kind of store."""

    def __init__(
        self, kind: str, story: Told, folder: Path, bucket: S3Store | None, environment: dict[str, str]
    ) -> None:
        self.kind, self.story = kind, story
        self._folder, self._bucket = folder, bucket
        self._numbers = itertools.count()
        self.runners = [Runner(story.project, story.answers, environment) for _ in range(AMOUNTS.processes)]

    def place(self, chapter: str) -> Place:
        """A new one."""
        home = self._folder / f"{next(self._numbers)}"
        if self._bucket is None:
            store: Store = LocalStore(self._folder / f"{home.name}.store")
            url = f"file://{self._folder / home.name}.store"
        else:
            prefix = secrets.token_hex(8)
            store = S3Store(self._bucket.client, self._bucket.bucket, prefix)
            url = f"s3://{self._bucket.bucket}/{prefix}"
        self.story.chapters[chapter].begin(self.story.project, home, store)
        return Place(self.story.chapters[chapter], home, store, url)

    def clear(self, place: Place) -> None:
        """Remove what is on this disk."""
        shutil.rmtree(place.home)
        shutil.rmtree(self._folder / f"{place.home.name}.store", ignore_errors=True)

    def each(self, work: Callable[[Runner, int], None]) -> None:
        """Have every runner do its part; `work` is told which one it is."""
        with ThreadPoolExecutor(len(self.runners)) as pool:
            list(pool.map(work, self.runners, range(len(self.runners))))


@pytest.fixture(scope="module", params=["local", "s3"])
def bench(request: pytest.FixtureRequest, story: Told, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A folder, or a bucket of a real S3 server."""
    folder = tmp_path_factory.mktemp(request.param)
    bucket, environment = None, {}
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        bucket, environment = request.getfixturevalue("bucket"), server.environment()
    made = Bench(request.param, story, folder, bucket, environment)
    yield made
    for runner in made.runners:
        runner.close()


class Left:
    """What a kill has left, to be found again in the end: every key, and the ledger so far."""

    def __init__(self, bench: Bench, place: Place) -> None:
        self._bench, self._place = bench, place
        self._keys = set(place.store.list(""))
        self._events = self._context().ledger(FAMILY).events()

    def _context(self) -> Context:
        return self._place.chapter.context(self._bench.story.project, self._place.home, self._place.store)

    def is_whole_in_the_end(self, said: str) -> None:
        context = self._context()
        assert ending(context) == self._place.chapter.ending, said
        assert self._keys <= set(self._place.store.list("")), said
        assert context.ledger(FAMILY).events()[: len(self._events)] == self._events, said


def _through(outcome: Outcome, said: str) -> None:
    assert outcome.status == 0, f"{said}: status {outcome.status}\n{outcome.error}"


@pytest.mark.parametrize("name", KILLED)
def test_killed_before_any_write_the_same_command_ends_as_if_nobody_had(name: str, bench: Bench) -> None:
    ends = time.monotonic() + AMOUNTS.minutes * 60 / len(KILLED)
    place = bench.place(name)
    writes = bench.runners[0].run(Attempt(place.url, str(place.home), name)).writes
    bench.clear(place)
    order = random.Random(0).sample(range(1, writes + 1), writes)
    done: list[int] = []

    def work(runner: Runner, first: int) -> None:
        for at in order[first :: len(bench.runners)]:
            if time.monotonic() > ends:
                return
            said = f"{bench.kind}, {name}, killed before write {at} of {writes}"
            place = bench.place(name)
            job = Attempt(place.url, str(place.home), name, at_write=at)
            assert runner.run(job).killed, said
            left = Left(bench, place)
            _through(runner.run(job._replace(at_write=None)), said)
            left.is_whole_in_the_end(said)
            bench.clear(place)
            done.append(at)

    bench.each(work)
    assert done
    tell_at_end(f"{bench.kind}, {name}: SIGKILL before {len(done)} of {writes} writes, each went on to the same bundle")


def _seconds(bench: Bench) -> float:
    """How long a release takes here when nobody kills it; the first one, which opens everything, does not count."""
    took = 0.0
    for _ in range(2):
        place = bench.place("v2")
        outcome = bench.runners[0].run(Attempt(place.url, str(place.home), "v2"))
        _through(outcome, bench.kind)
        bench.clear(place)
        took = outcome.seconds
    return took


def test_killed_at_random_instants_the_same_command_ends_as_if_nobody_had(bench: Bench) -> None:
    whole_s = _seconds(bench)
    lock, kills, releases = threading.Lock(), [0], [0]

    def work(runner: Runner, first: int) -> None:
        instants = random.Random(first)
        while kills[0] < AMOUNTS.instants:
            place = bench.place("v2")
            job = Attempt(place.url, str(place.home), "v2")
            lefts, outcome = [], None
            for attempt in range(ATTEMPTS):
                after_s = instants.uniform(0, whole_s) if attempt < ATTEMPTS - 1 else PATIENCE_S
                outcome = runner.run(job._replace(after_s=after_s))
                if not outcome.killed:
                    break
                lefts.append(Left(bench, place))
                with lock:
                    kills[0] += 1
            said = f"{bench.kind}, after {len(lefts)} kills"
            assert outcome is not None
            _through(outcome, said)
            for left in lefts:
                left.is_whole_in_the_end(said)
            bench.clear(place)
            with lock:
                releases[0] += 1

    bench.each(work)
    tell_at_end(f"{bench.kind}: {kills[0]} kills at random instants of {releases[0]} releases, each to the same bundle")
