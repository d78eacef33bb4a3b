"""A working family of each task, copied by `soundcheck family new`: small, trained in seconds, on sounds it makes.

Its code does not name the family: that is the name of the folder which it is copied to. `NAME` stands for it in prose
and in params.yaml, the section of the project's params.yaml that the family needs.
"""
