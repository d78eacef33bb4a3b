"""A model file run by ONNX Runtime, alike for every engine that needs one.

Boundary: reads one file; needs the package onnxruntime, which is imported when a file is loaded.
Invariants: one thread between operators and a fixed number within one, so that the same input gives the same output;
threads that wait sleep, because a worker shares its cores with others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any


def load_session(path: Path, *, threads: int = 1) -> Any:
    """The loaded model (onnxruntime.InferenceSession); raises ValueError for a file that is no model."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class of their own
        if not type(error).__module__.startswith("onnxruntime"):
            raise
        raise ValueError(f"{path.name}: {type(error).__name__}") from None
