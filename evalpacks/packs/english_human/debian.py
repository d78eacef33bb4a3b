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
from collections.abc import Sequence
from pathlib import Path

from contracts.errors import DependencyFailed

FETCH_TIMEOUT_S = 300


def unpack(packages: Sequence[str], cache: Path) -> Path:
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
        file = _fetched(name, cache) or _fetch(packages, name, cache)
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


def _fetch(packages: Sequence[str], name: str, cache: Path) -> Path:
    """Download one package: with the machine's package lists, or with lists of our own where it has none."""
    lists = cache / "apt"
    own = [
        f"-oDir::State::Lists={lists}/lists",
        f"-oDir::Cache={lists}/cache",
        "-oAPT::Sandbox::User=",
        "-oAcquire::Retries=2",
        "-oAcquire::http::Timeout=20",
    ]
    try:
        try:
            _run(["apt-get", "-oAPT::Sandbox::User=", "-oAcquire::http::Timeout=20", "download", name], cache)
        except _CommandFailed:
            for folder in ("lists/partial", "cache/archives/partial"):
                (lists / folder).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(_CommandFailed):  # one source that is away does not matter, if it is another
                _run(["apt-get", *own, "update"], cache)
            _run(["apt-get", *own, "download", name], cache)
    except _CommandFailed as failure:
        raise _failed(packages, str(failure)) from None
    file = _fetched(name, cache)
    if file is None:
        raise _failed(packages, f"apt-get left no {name}_*.deb")
    return file


def _run(command: list[str], folder: Path) -> None:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        raise _CommandFailed(f"{command[0]} is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise _CommandFailed(f"{command[0]} took over {FETCH_TIMEOUT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise _CommandFailed(lines[-1] if lines else f"{command[0]} ended with {done.returncode}")


def _failed(packages: Sequence[str], got: str) -> DependencyFailed:
    return DependencyFailed(
        "recorded English speech cannot be had here",
        where="Debian packages " + ", ".join(packages),
        got=got,
        expected="a Debian machine with apt-get, dpkg-deb and its package mirror, or the packages in the cache",
        next_step="put the two .deb files into cache/debian of the home folder, or score on the synthetic English pack "
        "english-synthetic, which needs nothing",
    )
