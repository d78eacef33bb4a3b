"""Drift of a family's traffic, judged from sums of telemetry (coverage rows 13, 36, 37).

Boundary: pure. signals.py says what is watched, windows.py sums sessions, detection.py finds what moved, population.py
says whose change it is, coverage.py compares traffic with packs, quality.py estimates quality without labels,
outcome.py says what to do, take_back.py whether drift may start a rollback itself.
"""
