"""Train the candidates of asr-commands: `python -m speech.ctc.train [--candidate v1]`.

Purpose: the DVC stage `train`. Features are made once; candidates are trained two at a time, one thread each, because
two small models side by side use two cores better than one model does.
Boundary: reads params.yaml and the training corpus below data/, writes candidates/asr-commands/.
Invariants: a candidate does not depend on which others are trained beside it, nor in what order.
"""

from __future__ import annotations

import argparse
import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from contracts.errors import WrongCall
from speech.corpus import WORDS
from speech.ctc.augment import Example, load_examples
from speech.ctc.export import BLANK, FAMILY, Provenance, export
from speech.ctc.learn import train
from speech.ctc.model import ModelConfig
from speech.ctc.recipe import Recipe
from speech.front_end import FrontEndConfig

CORPUS = Path("data/corpus/commands")
TARGET = Path("candidates") / FAMILY
PROCESSES = 2
REPORT_STEPS = 10
TOKENS = (BLANK, *WORDS)

_examples: list[Example] = []
_steps_done: SimpleQueue[int] | None = None


def recipes(params: dict[str, Any]) -> dict[str, Recipe]:
    """The section `candidates` of params.yaml; WrongCall names a wrong key."""
    found = {}
    for version, value in params["candidates"].items():
        try:
            found[version] = Recipe.model_validate(value)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            path = ".".join(str(part) for part in first["loc"])
            raise WrongCall(
                "a recipe does not parse", where=f"params.yaml, candidates.{version}.{path}", got=first["msg"]
            ) from None
    return found


def train_and_export(version: str, recipe: Recipe, front_end: FrontEndConfig, provenance: Provenance) -> str:
    """Train one candidate from the shared examples and write its folder; returns the version."""
    import pandas
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)

    def told(step: int, _loss: float) -> None:
        if _steps_done is not None and (step % REPORT_STEPS == 0 or step == recipe.steps):
            _steps_done.put(REPORT_STEPS if step % REPORT_STEPS == 0 else recipe.steps % REPORT_STEPS)

    config = ModelConfig(
        mels=front_end.mels,
        channels=recipe.channels,
        hidden=recipe.hidden,
        layers=recipe.layers,
        vocabulary_size=len(TOKENS),
    )
    model = train(_examples, config, recipe, on_step=told)
    manifest = pandas.read_parquet(CORPUS / "manifest.parquet")
    export(TARGET / version, model, recipe, front_end, TOKENS, manifest, provenance)
    return version


def train_all(chosen: dict[str, Recipe], front_end: FrontEndConfig, provenances: dict[str, Provenance]) -> None:
    """Train the candidates in worker processes forked from this one, the longest first, with one progress bar."""
    global _steps_done  # noqa: PLW0603 - what forked workers inherit
    from speech.progress import progress

    context = multiprocessing.get_context("fork")
    _steps_done = context.SimpleQueue()
    order = sorted(chosen, key=lambda version: -chosen[version].steps * chosen[version].hidden)
    total = sum(recipe.steps for recipe in chosen.values())
    with (
        context.Pool(min(PROCESSES, len(chosen)), maxtasksperchild=1) as pool,
        progress("training " + ", ".join(chosen), total) as advance,
    ):
        jobs = [(version, chosen[version], front_end, provenances[version]) for version in order]
        pending = pool.starmap_async(train_and_export, jobs, chunksize=1)
        while not pending.ready() or not _steps_done.empty():
            if _steps_done.empty():
                pending.wait(0.2)
            else:
                advance(_steps_done.get())
        pending.get()


def main(arguments: Sequence[str]) -> int:
    """Train what is asked for: every candidate, or those named by `--candidate`."""
    global _examples  # noqa: PLW0603 - what forked workers inherit
    import torch

    parser = argparse.ArgumentParser(prog="python -m speech.ctc.train", description="Train candidates of asr-commands.")
    parser.add_argument(
        "--candidate", action="append", help="a version of params.yaml, may be given again; all when left out"
    )
    options = parser.parse_args(arguments)
    params = yaml.safe_load(Path("params.yaml").read_text())
    known = recipes(params)
    unknown = sorted(set(options.candidate or ()) - known.keys())
    if unknown:
        raise WrongCall(
            "no such candidate", where="params.yaml, candidates", got=", ".join(unknown), expected=", ".join(known)
        )
    chosen = {version: recipe for version, recipe in known.items() if version in (options.candidate or known)}
    torch.set_num_threads(1)
    front_end = FrontEndConfig(sample_rate_hz=params["corpus"]["sample_rate_hz"])
    _examples = load_examples(CORPUS, front_end, TOKENS, params["corpus"]["seed"])
    sha = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    seed = params["corpus"]["seed"]
    train_all(chosen, front_end, {version: Provenance(version, sha, seed) for version in chosen})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
