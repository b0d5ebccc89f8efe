"""
Plain text: blocks between blank lines, each a segment, or an ICU message.

Owns where a text falls into blocks. Line breaks inside a block stay in its segment, because prose is often
wrapped by hand and half a sentence cannot be translated. White space between blocks is never touched.
"""

import re
from collections.abc import Iterator

from worker.text import icu
from worker.text.document import Document, Slot, Span

_BLANK_LINES = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*")

# An ICU message may hold a blank line. A text this short is tried as one message before it is cut into
# blocks; a longer one is prose that mentions a message, and one segment of it would be too long.
_MESSAGE_CHARS_MAX = 4000


def parse(content: str) -> Document:
    """Cut *content* into blocks; those that are ICU messages into their leaves."""
    if len(content) <= _MESSAGE_CHARS_MAX and icu.split(content):
        return Document(content, [icu.slot(0, len(content), content)])
    return Document(content, list(_slots(content)))


def _slots(content: str) -> Iterator[Slot]:
    for start, end in _blocks(content):
        if start < end:
            yield icu.slot(start, end, content[start:end])


def _blocks(content: str) -> Iterator[Span]:
    start = 0
    for gap in _BLANK_LINES.finditer(content):
        yield start, gap.start()
        start = gap.end()
    yield start, len(content)
