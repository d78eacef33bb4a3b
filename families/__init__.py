"""Families of your own: a folder each, with an engine, how its candidates are made, and how its pack is made.

`soundcheck family new NAME --task TASK` writes a first one; docs/bring-your-own.md goes through it. A payload whose
`runtime.json` names the engine `families.NAME` is run by families/NAME/engine.py, on this machine and wherever the
gateway runs: the code is part of the serving image, the bundle holds what it reads.
"""
