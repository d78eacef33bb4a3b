"""Is a pack fit to judge a release? Everything that is wrong with it, and what it could show.

Boundary: reads the folder of one pack; what else must be known (training data, normalisers) comes in as arguments.
Invariants: what `evalpacks.pack.load` refuses is one error and ends the check; all else is found in one pass, each kind
of fault once; a finding names utterances, slices, speakers and files, never what was said. The standard suite always
runs, so a pack cannot be excused by a suite of its own; what its suite adds runs too.
Source: statistics U1, U4; release-algorithm R1.2.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from contracts.errors import Refused
from evalpacks import suites
from evalpacks.checks import audio, labels, support, transcripts
from evalpacks.checks.findings import RULES, Finding, finding
from evalpacks.pack import SUITE_FILE, Pack, load, shared, suite_of
from evalpacks.slices import OVERALL

if TYPE_CHECKING:
    import pandas as pd

POWER = 0.95
"""With which a difference is to be found."""
SAYS_NUMBERS = frozenset({"english"})
"""Normalisers that turn digits and words for numbers into one form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackReport:
    """What a check found.

    Attributes:
        findings: errors first, in the order of RULES.
        supports, powers: of overall and of each protected or high-risk slice.
        comparisons: slices that are judged together.
        effect: the rise of WER that `Power.more_speakers` is about, a fraction.
        normalizers: names of those that score the pack.
        manifests: names of the training data that the pack was compared with.
    """

    pack: Pack
    findings: tuple[Finding, ...]
    supports: Mapping[str, support.Support]
    powers: Mapping[str, support.Power]
    comparisons: int
    effect: float
    normalizers: tuple[str, ...]
    manifests: tuple[str, ...]

    def count(self, severity: str) -> int:
        """How many findings are that grave."""
        return sum(one.severity == severity for one in self.findings)

    def as_json(self) -> dict[str, JsonValue]:
        """For programs: `soundcheck pack check --json`."""
        return {
            "pack": self.pack.name,
            "digest": self.pack.digest,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "findings": [one.as_json() for one in self.findings],
            "comparisons": self.comparisons,
            "power": POWER,
            "effect": self.effect,
            "slices": {
                name: {
                    **held._asdict(),
                    "minimum_detectable_effect": self.powers[name].effect,
                    "more_speakers": self.powers[name].more_speakers,
                }
                for name, held in self.supports.items()
            },
            "normalizers": list(self.normalizers),
            "training_data": list(self.manifests),
        }


def check(
    root: Path,
    *,
    manifests: Mapping[str, pd.DataFrame],
    normalizers: Sequence[str] = ("none",),
    effect: float,
    on_progress: audio.Progress = lambda _done, _total: None,
) -> PackReport:
    """Check the pack in the folder `root`.

    Args:
        root: of the pack.
        manifests: name -> training data (columns sha256, speaker) that the pack must share nothing with.
        normalizers: names of those that score the pack.
        effect: rise of WER, a fraction, that the pack should find.
        on_progress: called with (recordings read, recordings in all).

    Raises:
        WrongCall, Refused: as `evalpacks.pack.load`; Refused also for a suite that cannot be read.
    """
    pack = load(root)
    paths = [str(path) for path in pack.utterances["path"]]
    found = [
        *audio.findings(pack.utterances, audio.measure_all(root, paths, on_progress)),
        *audio.stray(root, paths),
        *transcripts.findings(pack.utterances, says_numbers=SAYS_NUMBERS.issuperset(normalizers)),
        *labels.findings(pack.utterances, pack.meta.intents, normalizers),
        *support.findings(pack),
        *_leaks(pack, manifests),
        *_unmet_expectations(pack),
    ]
    order = list(RULES)
    supports = support.supports(pack, [OVERALL, *support.guarded(pack)])
    comparisons = len({OVERALL, *pack.protected})
    return PackReport(
        pack=pack,
        findings=tuple(sorted(found, key=lambda one: (one.severity, order.index(one.code)))),
        supports=supports,
        powers={
            name: support.power_of(held, comparisons=comparisons, effect=effect, power=POWER)
            for name, held in supports.items()
        },
        comparisons=comparisons,
        effect=effect,
        normalizers=tuple(normalizers),
        manifests=tuple(manifests),
    )


def _leaks(pack: Pack, manifests: Mapping[str, pd.DataFrame]) -> list[Finding]:
    found = []
    for name, manifest in manifests.items():
        both = shared(pack, manifest)
        if both.utterances:
            found.append(finding("leaked_audio", both.utterances, detail=name))
        if both.speakers:
            found.append(finding("leaked_speaker", both.speakers, detail=name))
    return found


def _unmet_expectations(pack: Pack) -> list[Finding]:
    from evalpacks.expectations import failed_expectations

    standard = suite_of(pack.meta, pack.utterances)
    own = suites.added(_stored_suite(pack, standard), standard)
    both = {**standard, "expectations": standard["expectations"] + own["expectations"]}
    return [
        finding("expectation", failed.utterances, count=failed.rows, detail=f"{failed.expectation} on {failed.column}")
        for failed in failed_expectations(pack.utterances, both, where=f"{SUITE_FILE} of {pack.name}")
    ]


def _stored_suite(pack: Pack, standard: suites.Suite) -> suites.Suite:
    """The suite kept with the pack; the standard one where none is kept."""
    path = pack.root / SUITE_FILE
    if not path.is_file():
        return standard
    try:
        suite = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        suite = None
    if not suites.is_suite(suite):
        raise Refused(
            "the suite of a pack does not parse",
            where=f"{SUITE_FILE} of {pack.name}",
            expected='JSON of a Great Expectations suite: {"name": ..., "expectations": [{"type", "kwargs"}]}',
            next_step="correct it, or remove it: the standard suite runs in any case",
        )
    return suites.Suite(suite)
