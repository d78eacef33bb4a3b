"""Prefect flows and the command line: wiring, no arithmetic. Floor 6."""
