"""Numbers as they are said in English, for sentences that a synthesiser speaks and a reference writes alike.

Boundary: pure.

>>> cardinal(0), cardinal(342), cardinal(1_905), cardinal(60_017)
('zero', 'three hundred forty two', 'one thousand nine hundred five', 'sixty thousand seventeen')
>>> ordinal(1), ordinal(12), ordinal(20), ordinal(31)
('first', 'twelfth', 'twentieth', 'thirty first')
"""

from __future__ import annotations

SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
IRREGULAR = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def cardinal(value: int) -> str:
    """A whole number from 0 to 999,999 in words."""
    if value < 20:
        return SMALL[value]
    if value < 100:
        return TENS[value // 10] + (f" {SMALL[value % 10]}" if value % 10 else "")
    size, name = (1_000, "thousand") if value >= 1_000 else (100, "hundred")
    rest = value % size
    return f"{cardinal(value // size)} {name}" + (f" {cardinal(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """A place from 1 to 999,999 in words."""
    before, _, last = cardinal(value).rpartition(" ")
    if last in IRREGULAR:
        place = IRREGULAR[last]
    else:
        place = last.removesuffix("y") + "ieth" if last.endswith("y") else f"{last}th"
    return f"{before} {place}".strip()
