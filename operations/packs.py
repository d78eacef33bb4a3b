"""The eval packs that a family's policy requires, loaded and built.

Boundary: reads pack folders; `build` writes one.
Invariants: a required pack that is not there is an error with the command that makes it, never an empty result.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from contracts.errors import WrongCall
from operations.context import Context

if TYPE_CHECKING:
    from evalpacks.pack import Pack


class Order(NamedTuple):
    """A pack to be built: where to, where Debian packages are kept, and whom to tell of progress."""

    out: Path
    context: Context

    @property
    def cache(self) -> Path:
        """Where Debian packages and what they hold are kept."""
        return (self.context.home / "cache" / "debian").resolve()

    def on_progress(self, done: int, total: int) -> None:
        """Utterances done and in all."""
        self.context.progress(f"pack {self.out.name}", done, total)

    def on_fetch(self, package: str, done: int, total: int) -> None:
        """Megabytes of a package here and in all."""
        self.context.progress(f"MB of {package}", done, total)


class Builder(NamedTuple):
    """How a pack is made, and what it is in one line."""

    about: str
    make: Callable[[Order], object]


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

    if name not in BUILDERS:
        raise WrongCall("there is no builder for this pack", got=name, expected=" or ".join(BUILDERS))
    folder = context.settings.pack(name)
    folder.parent.mkdir(parents=True, exist_ok=True)
    BUILDERS[name].make(Order(folder, context))
    return load(folder)


def _commands(order: Order) -> None:
    from speech.corpus import PACK_CARD, write_pack

    corpus = order.context.settings.params["corpus"]
    card = order.context.settings.root / PACK_CARD
    write_pack(order.out, card, corpus["seed"], corpus["pack_per_speaker"], corpus["sample_rate_hz"])


def _english_human(order: Order) -> None:
    from evalpacks.packs.english_human.build import build as fetch

    fetch(order.out, cache=order.cache, on_progress=order.on_progress, on_fetch=order.on_fetch)


def _english_human_16k(order: Order) -> None:
    from evalpacks.packs.english_human.build import build_wideband
    from speech.g722 import decode

    build_wideband(order.out, cache=order.cache, decode=decode, on_progress=order.on_progress, on_fetch=order.on_fetch)


def _multilingual_human(order: Order) -> None:
    from evalpacks.packs.multilingual_human.build import build as fetch
    from speech.g722 import decode

    fetch(order.out, cache=order.cache, decode=decode, on_progress=order.on_progress, on_fetch=order.on_fetch)


def _spoken(folder: str) -> Callable[[Order], object]:
    """The builder of a synthetic pack, by the folder that plans it."""

    def speak(order: Order) -> None:
        from importlib import import_module

        from speech.studio import Studio

        plans = import_module(f"evalpacks.packs.{folder}.build")
        plans.build(order.out, studio=Studio(), on_progress=order.on_progress)

    return speak


def _speech_or_not(order: Order) -> None:
    from speech.vad.clips import PACK_CARD, write_pack

    settings = order.context.settings
    write_pack(order.out, settings.root / PACK_CARD, settings.params["vad"]["clips"]["seed"], order.on_progress)


def _commands_robustness(order: Order) -> None:
    from evalpacks.packs.robustness.build import build_commands
    from speech.corpus import different_commands
    from speech.studio import Studio

    build_commands(order.out, studio=Studio(), choose=different_commands, on_progress=order.on_progress)


BUILDERS: dict[str, Builder] = {
    "commands": Builder("voice commands, synthetic: six accents, noise, codecs", _commands),
    "english-human": Builder("telephone prompts, one human voice, 8 kHz (Debian, 19 MB)", _english_human),
    "english-human-16k": Builder("the same prompts at 16 kHz (Debian, 11 MB)", _english_human_16k),
    "multilingual-human": Builder("es, fr, it, ru, seven human voices (Debian, 206 MB)", _multilingual_human),
    "english-synthetic": Builder("English sentences, synthetic, six accents", _spoken("english_synthetic")),
    "entities": Builder("numbers, amounts, names, addresses, dates, times", _spoken("entities")),
    "code-switching": Builder("English with Spanish or French in one sentence", _spoken("code_switching")),
    "long-form": Builder("dictation of half a minute to three minutes", _spoken("long_form")),
    "assistant-questions": Builder(
        "questions to the documents of three tenants, synthetic", _spoken("assistant_questions")
    ),
    "speaker-trials": Builder("who speaks: 96 synthetic speakers, enrolled and tried", _spoken("speaker_trials")),
    "speech-or-not": Builder("clips with and without speech, synthetic: sounds, noise, levels", _speech_or_not),
    "tts-prompts": Builder("texts for voices to say, with a reference voice", _spoken("tts_prompts")),
    "robustness": Builder("the same sentences under six conditions", _spoken("robustness")),
    "commands-robustness": Builder("the same voice commands under six conditions", _commands_robustness),
}
"""Name -> how it is made, for `soundcheck pack build`."""
