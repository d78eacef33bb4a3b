"""The router of a cascade, fitted on speech that neither part was trained on: `python -m speech.router`.

Purpose: the DVC stage `router` writes that speech; speech/cascade.py fits on it, and says on the model card what a
threshold costs there. The eval packs are never looked at.
Boundary: `main` reads params.yaml and writes data/corpus/router/VERSION; the rest takes tables, audio and models.
Invariants: the speakers have voices of the training corpus at other pitches and say other sentences, each voice in
every noise alike; sureness on held-out speech is cross-fitted by voice, so that no figure is of speech that a
regression was fitted on; equal inputs give an equal router.
Source: penalised logistic regression, Hastie, Tibshirani and Friedman 2009, section 4.4; cross-fitting by voice as
statistics U1 has it. Features: speech/runtimes/cascade_router.py.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt

from contracts.document import Document
from contracts.errors import Refused
from speech.corpus import TRAIN_VARIANTS, Utterance, plan_training, render
from speech.run import read_audio
from speech.runtimes import Runtime
from speech.runtimes.cascade_routed import TellingRuntime
from speech.runtimes.cascade_router import Features, Floats, Outputs, Router, Sureness, Watch

if TYPE_CHECKING:
    import pandas as pd

SPEECH = Path("data/corpus/router")
LEVELS = ("clean", "20db", "10db", "5db")
TELEPHONE = 0.15
"""Share of the utterances with little noise that come through a telephone, as in the eval pack."""
FOLDS = 8
PENALTY = 0.01
"""Weight of the squared coefficients of standardised features beside the mean log loss."""
BOUNDS = (0.8, 0.85, 0.9, 0.95)
"""Thresholds that the model card compares, beside the chosen one."""


class RouterSpeech(Document):
    """The held-out speech: seed, utterances of each accent."""

    KIND: ClassVar[str] = "router_speech"

    seed: int
    per_accent: PositiveInt


class HeldOut(NamedTuple):
    """What both parts made of the held-out speech, one entry or row an utterance.

    Attributes:
        rows: the manifest, with `accent` and `noise`.
        outputs: how unsure the small part's outputs were.
        small_errors, large_errors, words: word errors of each part, words of the reference, (utterances,).
    """

    rows: pd.DataFrame
    outputs: list[Outputs]
    small_errors: Floats
    large_errors: Floats
    words: Floats


def plan_speech(wanted: RouterSpeech) -> list[Utterance]:
    """The utterances: the training voices in turn, each round of them in the next noise."""
    plans = []
    for number, plan in enumerate(plan_training(wanted.seed, wanted.per_accent)):
        noise = LEVELS[number % wanted.per_accent // len(TRAIN_VARIANTS) % len(LEVELS)]
        far = noise in ("clean", "20db") and np.random.default_rng(plan.seed).random() < TELEPHONE
        name = plan.utterance_id.replace("train-", "router-", 1)
        plans.append(plan._replace(utterance_id=name, noise=noise, codec="mulaw8k" if far else "pcm"))
    return plans


def write_speech(folder: Path, wanted: RouterSpeech, rate_hz: int) -> None:
    """audio/*.wav and manifest.parquet, whose paths are from the project's folder."""
    import pandas

    table = pandas.DataFrame(render(plan_speech(wanted), folder, rate_hz, label="speech for routers"))
    table["path"] = [f"{folder.as_posix()}/{path}" for path in table["path"]]
    table.drop(columns=["codec", "word_ends_s"]).to_parquet(folder / "manifest.parquet", index=False)


def listen(small: TellingRuntime, large: Runtime, rows: pd.DataFrame) -> HeldOut:
    """Let both parts hear the held-out speech."""
    outputs, small_errors, large_errors = [], [], []
    for path, text in zip(rows["path"], rows["text"], strict=True):
        audio = read_audio(Path(path), small.sample_rate_hz)
        first, told = small.listen(audio)
        outputs.append(told)
        small_errors.append(_word_errors(text, first.text))
        large_errors.append(_word_errors(text, large.transcribe(audio).text))
    words = [len(text.split()) for text in rows["text"]]
    return HeldOut(rows, outputs, np.array(small_errors, float), np.array(large_errors, float), np.array(words, float))


def _word_errors(reference: str, hypothesis: str) -> int:
    import jiwer

    measured = jiwer.process_words(reference, hypothesis)
    return int(measured.substitutions + measured.deletions + measured.insertions)


def fit(table: Floats, right: npt.NDArray[np.bool_]) -> Router:
    """The regression of `right`, (utterances,), on the Features of each utterance, (utterances, 3).

    Raises Refused where every answer is right, or none is.
    """
    from scipy.optimize import minimize

    if right.all() or not right.any():
        raise Refused(
            "a router cannot be fitted",
            where="held-out speech",
            got=f"{int(right.sum())} of {right.size} answers are right",
            expected="answers of both kinds",
            next_step="make more held-out speech, or take another small part",
        )
    middle, spread = table.mean(axis=0), table.std(axis=0) + 1e-9
    scaled = np.column_stack([np.ones(len(table)), (table - middle) / spread])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Floats) -> tuple[float, Floats]:
        margins = signs * (scaled @ weights)
        slope = -(signs / (1.0 + np.exp(np.minimum(margins, 500.0)))) @ scaled / len(table)
        penalised = np.concatenate([[0.0], weights[1:]])
        value = np.logaddexp(0.0, -margins).mean() + 0.5 * PENALTY * float(penalised @ penalised)
        return float(value), slope + PENALTY * penalised

    found = minimize(loss, np.zeros(scaled.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[1:] / spread
    named = dict(zip(Features._fields, (round(float(weight), 4) for weight in weights), strict=True))
    return Router(intercept=round(float(found[0] - weights @ middle), 4), **named)


def fit_on(heard: HeldOut) -> tuple[Router, Floats]:
    """The router of all held-out speech, and the sureness of each answer by a regression that never saw its voice."""
    table, right = np.array([_features(told) for told in heard.outputs]), heard.small_errors == 0
    voices = np.array([TRAIN_VARIANTS.index(name) for name in _variants(heard.rows)])
    sureness = np.empty(len(table))
    for fold in range(FOLDS):
        own = np.flatnonzero(voices % FOLDS == fold)
        others = voices % FOLDS != fold
        router = fit(table[others], right[others])
        sureness[own] = [_least(router, heard.outputs[place]) for place in own]
    return fit(table, right), sureness


def _features(outputs: Outputs) -> Features:
    watch = Watch()
    for entropy, blank in outputs.tolist():
        watch.hear(entropy, blank)
    return watch.features()


def _least(router: Router, outputs: Outputs) -> float:
    sureness = Sureness(router)
    sureness.hear(outputs)
    return sureness.end()


def _variants(rows: pd.DataFrame) -> list[str]:
    """The espeak-ng variant of each row, of speakers named accent-variant-pitch."""
    spelled = {name.lower(): name for name in TRAIN_VARIANTS}
    return [spelled[speaker.split("-")[1]] for speaker in rows["speaker"]]


def threshold_table(heard: HeldOut, sureness: Floats, chosen: float) -> list[str]:
    """Markdown: what each threshold sends on, the WER, and the accent in noise that loses most against the large."""
    lines = ["| below | sent on | WER | most lost against the large part alone |", "|---|---|---|---|"]
    for below in sorted({*BOUNDS, chosen}):
        sent = ~(sureness >= below)
        errors = np.where(sent, heard.large_errors, heard.small_errors)
        wer = errors.sum() / heard.words.sum()
        name, lost = _most_lost(heard, errors)
        lines.append(f"| {below:g} | {sent.mean():.0%} | {wer:.1%} | {name} {lost * 100:+.1f} points |")
    return lines


def _most_lost(heard: HeldOut, errors: Floats) -> tuple[str, float]:
    """The accent in noise whose WER is most above the large part's, and by how much."""
    slices = (heard.rows["accent"] + " " + heard.rows["noise"]).to_numpy()
    more = errors - heard.large_errors
    lost = {name: float(more[slices == name].sum() / heard.words[slices == name].sum()) for name in np.unique(slices)}
    worst = max(lost, key=lambda name: lost[name])
    return str(worst), lost[worst]


def main() -> int:
    """Write the held-out speech of every cascade of params.yaml that has a router."""
    import yaml

    from speech.cascade import plans

    params = yaml.safe_load(Path("params.yaml").read_text())
    for version, plan in plans(params).items():
        if plan.router is not None:
            write_speech(SPEECH / version, plan.router, params["corpus"]["sample_rate_hz"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
