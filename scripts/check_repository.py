"""Checks of the repository itself: the lock fits pyproject.toml and names no registry, no secret or audio is in git.

Boundary: reads files that git tracks; prints what is wrong to stderr and exits with 1.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECRETS = {
    "a private key": re.compile(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\n[A-Za-z0-9+/=]"),
    "an API key": re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    "an AWS key": re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
    "a token": re.compile(r"\b(?:ghp|gho|xox[abp])[_-][A-Za-z0-9-]{20,}"),
}
PRIVATE_KINDS = {".wav", ".flac", ".mp3", ".ogg", ".key", ".pem", ".safetensors", ".pt", ".pkl", ".onnx", ".ort"}
LARGEST_BYTES = 1_000_000


def requirements() -> list[str]:
    """What pyproject.toml asks for, development tools included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]


def lock_faults() -> list[str]:
    """Requirements without a pin in the lock, and addresses in it."""
    text = (ROOT / "requirements.lock").read_text()
    pinned = {line.split("==")[0].lower() for line in text.splitlines() if "==" in line}
    names = [re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-") for requirement in requirements()]
    faults = [f"requirements.lock: {name} is not pinned; next step: make lock" for name in names if name not in pinned]
    return faults + (["requirements.lock: names an address; next step: make lock"] if "://" in text else [])


def tracked() -> list[Path]:
    """Files that git tracks or would track."""
    answer = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in answer.stdout.splitlines() if (ROOT / name).is_file()]


def file_faults(path: Path) -> list[str]:
    """Secrets, private kinds of files, and files that are too large."""
    name = path.relative_to(ROOT)
    if path.suffix in PRIVATE_KINDS:
        return [f"{name}: audio, weights and keys do not belong into git"]
    if path.stat().st_size > LARGEST_BYTES:
        return [f"{name}: over {LARGEST_BYTES} bytes"]
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return []
    return [f"{name}: looks like {kind}" for kind, pattern in SECRETS.items() if pattern.search(text)]


def main(arguments: list[str]) -> int:
    """0 when clean."""
    if "--print-requirements" in arguments:
        sys.stdout.write("\n".join(requirements()) + "\n")
        return 0
    faults = lock_faults() + [fault for path in tracked() for fault in file_faults(path)]
    sys.stderr.writelines(f"{fault}\n" for fault in faults)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
