"""Telemetry: one row a request into Parquet segments, without private content (contracts/telemetry.py).

Boundary: segments.py says what lies on disk, recorder.py writes it, reading.py reads it, keeping.py makes it fewer
files and forgets what is too old. Source: release-algorithm R7.8.
"""

from serving.telemetry.keeping import Tidied, tidy
from serving.telemetry.reading import COLUMNS, EVENT_COUNTS, contract_columns, read
from serving.telemetry.recorder import MAX_WAITING_ROWS, Recorder
from serving.telemetry.segments import UNKNOWN_FAMILY

__all__ = [
    "COLUMNS",
    "EVENT_COUNTS",
    "MAX_WAITING_ROWS",
    "UNKNOWN_FAMILY",
    "Recorder",
    "Tidied",
    "contract_columns",
    "read",
    "tidy",
]
