"""Debian packages without root: the cache, damaged packages, progress, and machines that have no apt."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from contracts.errors import DependencyFailed
from evalpacks.packs import debian


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyFailed) as error:
        debian.unpack(["some-package"], tmp_path / "cache")
    assert error.value.got == "apt-get is not on this machine"


def small_package(folder: Path, name: str) -> Path:
    """A Debian package with one file, made with dpkg-deb."""
    tree = folder / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: small\n"
    )
    (tree / "hello.txt").write_text("hello")
    file = folder / f"{name}_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(tree), str(file)], check=True, capture_output=True)
    shutil.rmtree(tree)
    return file


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_in_the_cache_are_not_fetched(tmp_path: Path) -> None:
    small_package(tmp_path, "small")
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"
    assert (debian.unpack(["small"], tmp_path) / "hello.txt").read_text() == "hello"


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_damaged_package_is_removed_and_named(tmp_path: Path) -> None:
    file = small_package(tmp_path, "small")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DependencyFailed, match=r"small_1_all\.deb is damaged and was removed"):
        debian.unpack(["small"], tmp_path)
    assert not file.exists()
    assert not (tmp_path / "unpacked-small").exists()


APT = """#!/bin/sh
case "$*" in
    *--print-uris*) echo "'http://mirror/big_1_all.deb' big_1_all.deb 5000000 SHA256:0" ;;
    *) head -c 2000000 /dev/zero > big_1_all.deb; sleep 0.6; head -c 3000000 /dev/zero >> big_1_all.deb ;;
esac
"""


def test_a_large_package_tells_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, script in {"apt-get": APT, "dpkg-deb": '#!/bin/sh\nmkdir -p "$3"\n'}.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    told: list[tuple[str, int, int]] = []
    debian.unpack(["big"], tmp_path / "cache", lambda name, here, total: told.append((name, here, total)))
    assert ("big", 2, 5) in told
    assert told[-1] == ("big", 5, 5)
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["big_1_all.deb", "unpacked-big"]
