"""
Writes a translated text into the lines that its source had.

Owns line ends, the prefixes of quotes and lists, hard breaks, and the characters that would mean something
where they land. Never looks at the document around it.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from worker.text.document import Forms, Render

# A line end and what stands before the text of the next line. No text begins with ">": it would be a quote.
LINE_BREAK = re.compile(r"(?:\r\n|\r|\n)[ \t>]*")

_BREAK = re.compile(r"\r\n|\r|\n")
BLANK_LINES = re.compile(r"(?:[ \t]*(?:\r\n|\r|\n)){2,}")
_BLOCK_START = re.compile(
    r"""\#{1,6}(?=\s|$) | > | [-+*](?=\s|$) | (\d{1,9})[.)](?=\s|$) | ``` | ~~~
      | (?:=+|-+|[*_]{3,})\s*$ | \[(?=.*\]:|[^\]]*$) | \|""",
    re.VERBOSE,
)
_BAR = re.compile(r"(?<!\\)\|")


@dataclass(slots=True)
class Writer:
    """The render of a Markdown slot. `text`: of the source, its lines joined by line feeds."""

    text: str
    breaks: Sequence[str]
    in_table: bool

    def __call__(self, translations: Sequence[str], forms: Forms) -> str:
        """The one translation in *translations*, as the slot's new text."""
        translation = translations[0]
        if self.breaks:
            return "".join(self._interleaved(translation))
        if "\n" in translation or "\r" in translation:
            translation = " ".join(filter(None, map(str.strip, _BREAK.split(translation))))
        if self.in_table:
            return _BAR.sub(r"\\|", translation) if "|" in translation else translation
        return _guarded(translation, self.text)

    def _interleaved(self, translation: str) -> Iterator[str]:
        lines = self.text.split("\n")
        new = lines if translation == self.text else list(self._lines(translation))
        for number, (line, source) in enumerate(zip_longest(new, lines[: len(new)], fillvalue="")):
            if number:
                yield self.breaks[min(number, len(self.breaks)) - 1]
            yield _guarded(line, source)

    def _lines(self, translation: str) -> Iterator[str]:
        has_hard = "  \n" in self.text
        for line in _BREAK.split(translation):
            if line.strip():
                yield line.strip() + "  " * (has_hard and line.endswith("  "))


def without_blank_lines(render: Render | None) -> Render:
    """*render* for a block that a blank line would end."""

    def write(translations: Sequence[str], forms: Forms) -> str:
        written = render(translations, forms) if render else translations[0]
        return BLANK_LINES.sub("\n", written) if "\n" in written or "\r" in written else written

    return write


def _guarded(line: str, source: str) -> str:
    """Escape what would begin a block, unless *source* began so too: "1. Mai" is a date, not a list."""
    start = _BLOCK_START.match(line)
    if not start or line == source:
        return line
    if source.startswith(start[0]) and source.removeprefix(start[0]).strip():
        return line  # a lone "*" began nothing where it stood, but with words behind it, it would
    at = start.end(1) if start[1] else 0
    return f"{line[:at]}\\{line[at:]}"
