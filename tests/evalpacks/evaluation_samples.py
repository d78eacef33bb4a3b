"""Packs, policies and outputs that the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from contracts.policy import FamilyPolicy
from evalpacks import pack as packs

WORDS = (
    "lights",
    "on",
    "off",
    "kitchen",
    "lamp",
    "red",
    "blue",
    "stop",
    "start",
    "play",
    "pause",
    "volume",
    "up",
    "down",
)
META: dict[str, Any] = {
    "name": "commands",
    "title": "Spoken commands",
    "source": "synthetic",
    "licence": "Apache-2.0",
    "consent": "synthetic voices: nobody to ask",
    "languages": ["en"],
    "sample_rate_hz": 16000,
    "slices": ["accent", "noise"],
    "protected": ["accent=us", "accent=scottish", "accent=scottish&noise=5db"],
    "high_risk": ["accent=scottish"],
}


def make_table(speakers: int = 24, per_speaker: int = 12, seed: int = 3) -> pd.DataFrame:
    """Utterances of speakers with two accents, each in two noises."""
    generator = np.random.default_rng(seed)
    rows = []
    for speaker in range(speakers):
        for take in range(per_speaker):
            number = speaker * per_speaker + take
            rows.append(
                {
                    "utterance_id": f"u{number:05d}",
                    "path": f"audio/u{number:05d}.wav",
                    "text": " ".join(generator.choice(WORDS, size=8)),
                    "speaker": f"s{speaker:03d}",
                    "duration_s": 2.0,
                    "sample_rate_hz": 16000,
                    "sha256": f"{number:064x}",
                    "language": "en",
                    "accent": ("us", "scottish")[speaker % 2],
                    "noise": ("clean", "5db")[take % 2],
                }
            )
    return pd.DataFrame(rows)


def make_pack(table: pd.DataFrame | None = None, **changes: Any) -> packs.Pack:
    """A pack in memory."""
    table = make_table() if table is None else table
    meta = packs.PackMeta.model_validate(META | changes)
    return packs.assemble(Path("nowhere"), meta, table, has_audio=bool)


def outputs(table: pd.DataFrame, share: float | Callable[[pd.Series[Any]], float], seed: int = 5) -> pd.DataFrame:
    """Hypotheses in which each word is replaced with the probability `share`, which may depend on the row."""
    generator = np.random.default_rng(seed)
    texts = []
    for _, row in table.iterrows():
        wrong = share(row) if callable(share) else share
        texts.append(" ".join("zzz" if generator.random() < wrong else word for word in row["text"].split()))
    return pd.DataFrame({"utterance_id": table["utterance_id"], "text": texts})


def make_policy(**changes: Any) -> FamilyPolicy:
    """A family's policy with small gates."""
    gate = {"pack": "commands", "metric": "wer", "limit": 0.35, "min_speakers": 10, "min_support": 100}
    fields: dict[str, Any] = {
        "family": "asr-commands",
        "registry": {},
        "normalizer": "none",
        "quality": [
            gate | {"slices": "overall", "margin": 0.01},
            gate | {"slices": "protected", "margin": 0.03},
        ],
        "serving": {
            "first_partial_p95_ms": 900,
            "final_p95_ms": 400,
            "rtf": 0.3,
            "peak_memory_mb": 1500,
            "cost_usd_per_audio_hour": 0.1,
        },
        "safety": {"max_hallucinating_clips": 0.25, "max_redaction_leaks": 0},
        "statistics": {"alpha": 0.05, "replicates": 400, "seed": 7},
        "staging": {"requests": 1, "golden_fixtures": 1, "golden_max_word_edits": 0, "timeout_s": 1},
        "canary": {"metrics": {}, "deadline_s": 1},
        "approvals": {"mode": "ui", "quorum": 1, "timeout_s": 1},
        "envelope": {
            "concurrency": 1,
            "peak_memory_mb": 1,
            "cpu_cores": 1,
            "price_usd_per_core_hour": 1,
            "capacity_sign_off": "nobody",
        },
        "bake_time_s": 0,
    }
    return FamilyPolicy.model_validate(fields | changes)
