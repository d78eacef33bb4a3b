"""Coverage row 15, B4: moving a family of embeddings to another vector space, and going back.

Purpose: vectors of two spaces cannot be compared, so a bundle of another space needs an index of its own before anybody
is answered by it. A candidate brings a plan (`migration.yaml`, contracts/migration.py) or is refused (`planning`); the
flow fills the new index from the kept enrolment audio, checks it and fits the shim before the canary (`moving`); from
then on everything that is enrolled is written to every index of the family (`voiceprints`), so that B4 may let the old
bundle return (`planning.index_fault`).
Boundary: the store and the ledger; indexes below HOME/indexes/FAMILY; models run in processes of operations/compute.py.
Invariants: as registry/vector_index.py; an index is a view that can be filled again from audio, never the only place
where something is known.
"""
