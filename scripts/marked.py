"""A part of a document that a script writes: what stands between two markers."""

from pathlib import Path


def write(document: Path, text: str, *, begin: str, end: str) -> None:
    """Put *text*, markers included, in the place of what stands between the markers. Raises ValueError without them."""
    before, begins, rest = document.read_text(encoding="utf-8").partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"{document.name} has no {begin} … {end}.")
    document.write_text(before + text + after, encoding="utf-8")
