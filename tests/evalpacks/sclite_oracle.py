"""NIST sclite's alignment, written anew and simply: what S, D and I of the product are compared with.

    python -m tests.evalpacks.sclite_oracle       100,000 noisy pairs: product, this file and, where it is installed,
                                                  sclite itself (Debian: package sctk)

Boundary: pure, but for `sclite_counts`, which runs the program.
Invariants: nothing is shared with the product.
Method: sclite takes the alignment with the least sum of weights, 4 for a substitution and 3 for an insertion or a
deletion. Three substitutions weigh as much as two insertions and two deletions; which of two such alignments it takes
depends on its path. The rule here, found by comparing with the program (0 of 3,000 unrelated pairs differ): going back
from the end, a pair of words before an insertion, an insertion before a deletion.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.transcripts import make_pairs
from evalpacks.metrics.words import edit_counts

Edits = tuple[int, int, int]
"""S, D, I."""

_SUBSTITUTION, _GAP = 4, 3
_DEBIAN = "/usr/lib/sctk/bin"


def oracle_counts(references: Sequence[str], hypotheses: Sequence[str]) -> list[Edits]:
    """S, D and I of each pair."""
    return [_count(said.split(), heard.split()) for said, heard in zip(references, hypotheses, strict=True)]


def product_counts(references: Sequence[str], hypotheses: Sequence[str]) -> list[Edits]:
    """The same by the product."""
    edits = edit_counts(references, hypotheses)
    table = np.stack([edits.substitutions, edits.deletions, edits.insertions], axis=1)
    return [(int(s), int(d), int(i)) for s, d, i in table]


def find_sclite() -> str | None:
    """Where the program is, by SCLITE, by the path, or where Debian puts it."""
    return os.environ.get("SCLITE") or shutil.which("sclite") or shutil.which("sclite", path=_DEBIAN)


def sclite_counts(references: Sequence[str], hypotheses: Sequence[str], program: str) -> list[Edits]:
    """The same by sclite itself; words are plain letters."""
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name in ("ref.trn", "hyp.trn")]
        for path, texts in zip(paths, (references, hypotheses), strict=True):
            path.write_text("".join(f"{text} (s_{number})\n" for number, text in enumerate(texts)))
        files = ["-r", str(paths[0]), "trn", "-h", str(paths[1]), "trn"]
        command = [program, *files, "-i", "rm", "-s", "-o", "sgml", "stdout"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    paths_of = re.findall(r'<PATH id="\(s_(\d+)\)"[^>]*>\n(.*)\n</PATH>', printed)
    found = {int(number): re.findall(r"(?:^|:)([SDI]),", aligned) for number, aligned in paths_of}
    return [(kinds.count("S"), kinds.count("D"), kinds.count("I")) for _, kinds in sorted(found.items())]


def _count(said: list[str], heard: list[str]) -> Edits:
    weights = _weights(said, heard)
    row, column = len(said), len(heard)
    substitutions = deletions = insertions = 0
    while row or column:
        weight = weights[row][column]
        wrong = bool(row and column and said[row - 1] != heard[column - 1])
        if row and column and weight == weights[row - 1][column - 1] + _SUBSTITUTION * wrong:
            substitutions += wrong
            row, column = row - 1, column - 1
        elif column and weight == weights[row][column - 1] + _GAP:
            insertions += 1
            column -= 1
        else:
            deletions += 1
            row -= 1
    return substitutions, deletions, insertions


def _weights(said: list[str], heard: list[str]) -> list[list[int]]:
    """The least weight of aligning the first words of both, shape (said + 1, heard + 1)."""
    weights = [[_GAP * column for column in range(len(heard) + 1)]]
    for row, word in enumerate(said, start=1):
        above = weights[-1]
        current = [_GAP * row]
        for column, other in enumerate(heard, start=1):
            paired = above[column - 1] + (0 if word == other else _SUBSTITUTION)
            current.append(min(paired, above[column] + _GAP, current[-1] + _GAP))
        weights.append(current)
    return weights


def main(pairs: int = 100_000) -> None:
    """Compare on noisy pairs and say how many are equal."""
    references, hypotheses = make_pairs(pairs, seed=5)
    ours = product_counts(references, hypotheses)
    others = {"oracle": oracle_counts(references, hypotheses)}
    program = find_sclite()
    if program is not None:
        others["sclite"] = sclite_counts(references, hypotheses, program)
    for name, theirs in others.items():
        equal = sum(mine == other for mine, other in zip(ours, theirs, strict=True))
        sys.stdout.write(f"{name}: {equal:,} of {pairs:,} pairs have the same S, D and I\n")
    if program is None:
        sys.stdout.write("sclite is not installed (Debian: apt-get install sctk; or SCLITE=PATH)\n")


if __name__ == "__main__":
    main()
