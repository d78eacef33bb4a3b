"""An eval pack checked as the installation uses it: against the training data of its families, by their normalisers.

Boundary: finds packs, candidates and policies of one installation and reads their files; writes nothing. Outside a
project a pack is checked alone.
Invariants: training data that was named must be there; a family that is judged by the pack must share nothing with it
(R1.2), and where no family is, no training data of the project may.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import WrongCall
from evalpacks.pack import PACK_NAME
from evalpacks.tables import read_table
from operations.settings import Settings, find_settings

if TYPE_CHECKING:
    import pandas as pd

    from evalpacks.pack_check import PackReport

MANIFEST_COLUMNS = ("sha256", "speaker")


def pack_folder(name: str) -> Path:
    """The folder of a pack: the project's pack of that name, else the folder; WrongCall where neither is there."""
    settings = _settings()
    if settings is not None and "/" not in name and settings.pack(name).is_dir():
        return settings.pack(name)
    if Path(name).is_dir():
        return Path(name)
    raise WrongCall(
        "there is no such eval pack",
        where=name if settings is None else str(settings.root / "data" / "packs"),
        got=name,
        expected="the name of a pack, or a folder with pack.yaml, utterances.parquet and audio/",
        next_step=f"soundcheck pack build {name}, or soundcheck pack new {name} --from FOLDER",
    )


def new_folder(name: str) -> Path:
    """Where a new pack of the project goes; WrongCall outside of a project, or for a name that is none."""
    if not re.fullmatch(PACK_NAME, name):
        raise WrongCall("this is no name of a pack", got=name, expected="lower-case letters, digits and hyphens")
    return find_settings().pack(name)


def audit(
    name: str,
    *,
    against: Sequence[Path] = (),
    normalizer: str | None = None,
    effect: float,
    on_progress: Callable[[int, int], None],
) -> PackReport:
    """Check a pack.

    Args:
        name: of a pack of the project, or its folder.
        against: training data manifests to compare it with; none: those of the project.
        normalizer: that scores it; None: those of the families that it judges.
        effect: rise of WER, a fraction, that it should find.
        on_progress: called with (recordings read, recordings in all).

    Raises:
        WrongCall: the pack or a manifest is not there.
        Refused: as `evalpacks.pack_check.check`.
    """
    from evalpacks.pack_check import check

    folder = pack_folder(name)
    settings = _settings()
    judged = _judged(settings, folder.resolve().name) if settings else []
    manifests = {str(path): path for path in against} or (_trained(settings, judged) if settings else {})
    normalizers = [normalizer] if normalizer else sorted({_normalizer(settings, family) for family in judged})
    return check(
        folder,
        manifests={label: _manifest(path) for label, path in manifests.items()},
        normalizers=normalizers or ["none"],
        effect=effect,
        on_progress=on_progress,
    )


def _settings() -> Settings | None:
    try:
        return find_settings()
    except WrongCall:
        return None


def _judged(settings: Settings, pack: str) -> list[str]:
    """Families that have a gate on the pack."""
    return [
        family for family in settings.families if any(gate.pack == pack for gate in settings.policy(family).quality)
    ]


def _normalizer(settings: Settings | None, family: str) -> str:
    assert settings is not None
    return settings.policy(family).normalizer


def _trained(settings: Settings, families: Sequence[str]) -> dict[str, Path]:
    """Label -> data manifest of every candidate of these families, of every family where none is given."""
    folders = [settings.root / "candidates" / family for family in families or settings.families]
    paths = [path for folder in folders for path in sorted(folder.glob("*/data_manifest.parquet"))]
    return {f"{path.parts[-3]}/{path.parts[-2]}": path for path in paths}


def _manifest(path: Path) -> pd.DataFrame:
    return read_table(path, columns=MANIFEST_COLUMNS, what="a training data manifest")
