"""What telemetry says of an incident: who is hurt, what got worse, where on the path, what it costs, what to do first.

Boundary: pure; tables, thresholds and the time come in. Source: coverage rows 27, 38, 39, 41 to 44.
"""
