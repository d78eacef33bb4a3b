"""Files of Debian packages without root: `apt-get download`, then `dpkg-deb -x`, into a cache of our own.

Boundary: runs apt-get and dpkg-deb; writes below the cache folder alone. SOUNDCHECK_NO_APT=1 forbids it.
Invariants: apt checks packages against the signed lists of the machine's own sources; a package that is in the cache
is not fetched again; a failure names what is missing and what serves instead.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from contracts.errors import DependencyFailed

FETCH_TIMEOUT_S = 300
POLL_S = 0.2
MEGABYTE = 1_000_000

Fetching = Callable[[str, int, int], None]
"""Called with (package, MB here, MB in all) while a package is fetched."""


def unpack(packages: Sequence[str], cache: Path, on_fetch: Fetching | None = None) -> Path:
    """The folder that holds the files of all packages, by their absolute paths without the leading slash.

    Raises:
        DependencyFailed: no apt, no network, no such package, or a damaged one.
    """
    if os.environ.get("SOUNDCHECK_NO_APT") == "1":
        raise _failed(packages, "SOUNDCHECK_NO_APT=1 forbids it")
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / ("unpacked-" + "-and-".join(packages))
    if root.is_dir():
        return root
    partial = root.with_name(root.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    for name in packages:
        file = _fetched(name, cache) or _fetch(packages, name, cache, on_fetch)
        try:
            _run(["dpkg-deb", "-x", str(file), str(partial)], cache)
        except _CommandFailed as failure:
            file.unlink()
            raise _failed(packages, f"{file.name} is damaged and was removed ({failure})") from None
    partial.rename(root)
    return root


class _CommandFailed(Exception):
    """A command that is missing, failed or took too long; the text is its last line."""


def _fetched(name: str, cache: Path) -> Path | None:
    return next(iter(sorted(cache.glob(f"{name}_*.deb"))), None)


def _fetch(packages: Sequence[str], name: str, cache: Path, on_fetch: Fetching | None) -> Path:
    """Download one package: with the machine's package lists, or with lists of our own where it has none."""
    lists = cache / "apt"
    machine = ["-oAPT::Sandbox::User=", "-oAcquire::http::Timeout=20"]
    own = [f"-oDir::State::Lists={lists}/lists", f"-oDir::Cache={lists}/cache", "-oAcquire::Retries=2", *machine]
    try:
        try:
            _download(machine, name, cache, on_fetch)
        except _CommandFailed:
            for folder in ("lists/partial", "cache/archives/partial"):
                (lists / folder).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(_CommandFailed):  # one source that is away does not matter, if it is another
                _run(["apt-get", *own, "update"], cache)
            _download(own, name, cache, on_fetch)
    except _CommandFailed as failure:
        raise _failed(packages, str(failure)) from None
    file = _fetched(name, cache)
    if file is None:
        raise _failed(packages, f"apt-get left no {name}_*.deb")
    return file


def _download(options: list[str], name: str, cache: Path, on_fetch: Fetching | None) -> None:
    """`apt-get download` of one package, into a folder of its own, so that no half file is taken for a whole one."""
    listed = _run(["apt-get", *options, "download", "--print-uris", name], cache).split()
    total = int(listed[2]) // MEGABYTE if len(listed) > 2 and listed[2].isdigit() else 0
    folder = cache / f"fetching-{name}"
    folder.mkdir(exist_ok=True)

    def tell() -> None:
        if on_fetch is not None:
            on_fetch(name, sum(file.stat().st_size for file in folder.iterdir()) // MEGABYTE, total)

    try:
        _run(["apt-get", *options, "download", name], folder, meanwhile=tell)
        tell()
        for file in folder.glob("*.deb"):
            file.replace(cache / file.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: list[str], folder: Path, meanwhile: Callable[[], None] = lambda: None) -> str:
    """What a command prints; `meanwhile` is called a few times a second until it ends."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    try:
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            while True:
                try:
                    out, err = process.communicate(timeout=POLL_S)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() > deadline:
                        process.kill()
                        raise _CommandFailed(f"{command[0]} took over {FETCH_TIMEOUT_S} s") from None
                    meanwhile()
    except FileNotFoundError:
        raise _CommandFailed(f"{command[0]} is not on this machine") from None
    if process.returncode:
        lines = [line for line in err.splitlines() if line.strip()]
        raise _CommandFailed(lines[-1] if lines else f"{command[0]} ended with {process.returncode}")
    return out


def _failed(packages: Sequence[str], got: str) -> DependencyFailed:
    return DependencyFailed(
        "recorded speech cannot be had here",
        where="Debian packages " + ", ".join(packages),
        got=got,
        expected="a Debian machine with apt-get, dpkg-deb and its package mirror, or the packages in the cache",
        next_step="put the .deb files into cache/debian of the home folder, or use a synthetic pack, which needs "
        "nothing, like english-synthetic",
    )
