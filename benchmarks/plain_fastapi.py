"""What one writes in an afternoon: a FastAPI endpoint around the same runtime. A peer of the serving benchmark.

    PAYLOAD=DIR python -m uvicorn benchmarks.plain_fastapi:application --factory

Boundary: no queue, no deadline, no telemetry, no redaction, no routing. The model is called on the event loop, which
measures faster than a thread of FastAPI's pool, because a request is answered without being handed over.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile
from fastapi import FastAPI, UploadFile

from speech.runtimes import load


def application() -> FastAPI:
    """The application, its model loaded and warm."""
    runtime = load(Path(os.environ["PAYLOAD"]), threads=1)
    app = FastAPI()

    async def transcribe(file: UploadFile) -> dict[str, str]:
        samples, _ = soundfile.read(io.BytesIO(await file.read()), dtype="float32")
        return {"text": runtime.transcribe(samples).text}

    # Added by call: FastAPI reads the annotations where the function stands, and both are known here.
    app.add_api_route("/transcribe", transcribe, methods=["POST"])
    return app
