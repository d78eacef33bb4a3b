"""docs/adr/README.md lists every decision by number and title."""

from __future__ import annotations

from pathlib import Path

RECORDS = Path(__file__).parents[1] / "docs" / "adr"


def test_the_index_has_one_line_a_record_in_order() -> None:
    wanted = []
    for path in sorted(RECORDS.glob("[0-9]*.md")):
        number, title = path.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert path.name.startswith(f"{int(number):04}-"), f"docs/adr/{path.name} says that it is number {number}"
        wanted.append(f"| [{number}]({path.name}) | {title} |")
    listed = [line for line in (RECORDS / "README.md").read_text().splitlines() if line.startswith("| [")]
    assert listed == wanted, "write the record's line into docs/adr/README.md"
