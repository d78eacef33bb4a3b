"""Judges of synthetic speech: models that stand in for listeners, and say the same each time.

Purpose: naturalness (a MOS proxy), background noise, what a recogniser understands, and whether it is the same voice.
Boundary: weights come from installed packages, so that the runtime lock names them; no network, no file is kept.
Invariants: each judge is loaded once a process and uses one thread; it hears 16 kHz; none of them hears while anything
is timed (R3), and none is ever in the payload that it judges.
A proxy is no listener: it ranks what is like its training data. docs/synthesis.md says what each was seen to do.
"""

RATE_HZ = 16_000
"""What every judge hears."""
