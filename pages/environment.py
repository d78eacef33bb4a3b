"""The environment that every page's template is drawn in.

Boundary: reads the templates that ship with this package.
Invariants: a name that a template does not find is an error; what comes from documents is escaped.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from pages.figures import many, moment, plain, size, typographic

if TYPE_CHECKING:
    from jinja2 import Template


@cache
def template(name: str, **names: object) -> Template:
    """The template below `templates/`, with the filters of figures and `names` beside it."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"typographic": typographic, "moment": moment, "bytes": size, "plain": plain}
    environment.globals |= {"many": many, **names}
    return environment.get_template(name)
