"""Text of documents as HTML: sentences whose digests copy whole, model cards without images.

Boundary: no I/O. Source: pages.md (every digest is shown short and copies whole).
Invariants: every text is escaped; nothing that it names is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from contracts.digest import Digest, short
from pages.figures import plain, typographic
from pages.view import ReleaseView

if TYPE_CHECKING:
    from markdown_it.token import Token
    from markupsafe import Markup


def card(markdown: str) -> Markup:
    """A model card as HTML: its own tags are escaped, images are left out, headings go below the page's own."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup, escape

    def image(_: object, tokens: Sequence[Token], index: int, *_rest: object) -> str:
        return f"[image left out: {escape(tokens[index].content)}]"

    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    reader.add_render_rule("image", image)
    tokens = reader.parse(markdown)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}))  # noqa: S704 - html is off, text is escaped


def digests(view: ReleaseView) -> frozenset[Digest]:
    """Every digest that the view's ledger events, bundle and release name."""
    named = {digest for event in view.events for digest in (*event.inputs.values(), *event.outputs.values())}
    return frozenset(named | {one for one in (view.release, view.bundle, view.stable_bundle) if one})


def prose(known: frozenset[Digest]) -> Callable[[str], Markup]:
    """A writer of sentences: escaped, with true signs; digests, whole or short, are drawn short and copy whole."""
    from markupsafe import Markup, escape

    whole = {short(one): one for one in known}
    draw = Markup('<code class="digest" title="{0}" data-digest="{0}">{1}<span class="tail">{2}</span></code>')

    def write(text: str) -> Markup:
        parts = re.split(r"\b([0-9a-f]{64}|[0-9a-f]{12})\b", plain(text))
        drawn = [escape(typographic(part)) for part in parts]
        for number, part in list(enumerate(parts))[1::2]:
            digest = whole.get(part, part if len(part) == 64 else "")
            drawn[number] = draw.format(digest, short(digest), digest[len(short(digest)) :]) if digest else escape(part)
        return Markup("").join(drawn)

    return write
