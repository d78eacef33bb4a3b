"""The eval packs that a family's policy requires, loaded and built.

Boundary: reads pack folders; `build` writes one.
Invariants: a required pack that is not there is an error with the command that makes it, never an empty result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import WrongCall
from operations.context import Context

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from evalpacks.pack import Pack

PACK_RATE_HZ = 16_000
"""Rate of the synthetic packs."""
BUILDERS = ("english-human", "english-synthetic")
"""Packs that `build` makes; `commands` is made with its training data, by `make train`."""


def required_packs(context: Context, family: str) -> list[Pack]:
    """Every pack that a gate of the family names, in the order of params.yaml."""
    names = dict.fromkeys(gate.pack for gate in context.settings.policy(family).quality)
    return [built(context, name) for name in names]


def built(context: Context, name: str) -> Pack:
    """A pack that is there; WrongCall with the command that makes it."""
    from evalpacks.pack import load

    folder = context.settings.pack(name)
    if not folder.is_dir():
        raise WrongCall(
            f"the eval pack {name!r} is not built",
            where=str(folder),
            expected="pack.yaml, utterances.parquet and audio/",
            next_step=f"soundcheck pack build {name}",
        )
    return load(folder)


def fixture_paths(context: Context, name: str) -> list[Path]:
    """The recordings of a pack, in the order of its table."""
    pack = built(context, name)
    return [pack.root / str(path) for path in pack.utterances["path"]]


def build(context: Context, name: str) -> Pack:
    """Make or fetch a pack into data/packs/NAME; WrongCall for one that has no builder."""
    from evalpacks.pack import load

    def on_progress(done: int, total: int) -> None:
        context.progress(f"pack {name}", done, total)

    folder = context.settings.pack(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if name == "english-human":
        from evalpacks.packs.english_human.build import build as fetch

        fetch(folder, cache=(context.home / "cache" / "debian").resolve(), on_progress=on_progress)
    elif name == "english-synthetic":
        from evalpacks.packs.english_synthetic.build import build as speak

        speak(folder, synthesise=_synthesiser(), on_progress=on_progress)
    else:
        raise WrongCall(
            "there is no builder for this pack",
            got=name,
            expected=" or ".join(BUILDERS),
            next_step="make train (it builds the pack commands)",
        )
    return load(folder)


def _synthesiser() -> Callable[[str, str, int], npt.NDArray[np.float32]]:
    import soxr

    from speech.synthesis import Synthesizer

    synthesizer = Synthesizer()

    def synthesise(text: str, voice: str, seed: int) -> npt.NDArray[np.float32]:
        spoken = synthesizer.say(text, voice=voice, seed=seed).samples
        return soxr.resample(spoken, synthesizer.sample_rate_hz, PACK_RATE_HZ, quality="HQ")  # type: ignore[no-any-return]

    return synthesise
