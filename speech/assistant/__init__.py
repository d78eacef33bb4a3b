"""Speech to speech over documents: ingestion, index, retrieval, response, grounding, hearing in turns.

Boundary: nothing here keeps what a user said or was told.
"""
