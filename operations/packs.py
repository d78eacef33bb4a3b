"""The eval packs that a family's policy requires, loaded and built.

Boundary: reads pack folders; `build` writes one.
Invariants: a required pack that is not there is an error with the command that makes it, never an empty result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts.errors import WrongCall
from operations.context import Context

if TYPE_CHECKING:
    from evalpacks.pack import Pack


def required_packs(context: Context, family: str) -> list[Pack]:
    """Every pack that a gate of the family names, in the order of params.yaml."""
    from evalpacks.pack import load

    names = dict.fromkeys(gate.pack for gate in context.settings.policy(family).quality)
    packs = []
    for name in names:
        folder = context.settings.pack(name)
        if not folder.is_dir():
            raise WrongCall(
                f"the eval pack {name!r} is not built",
                where=str(folder),
                expected="pack.yaml, utterances.parquet and audio/",
                next_step=f"soundcheck pack build {name}",
            )
        packs.append(load(folder))
    return packs
