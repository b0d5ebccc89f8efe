"""
Splits HTML into tags, comments and what lies between, by their places in the source.

Written here because nothing else gives places that put together again are the source, byte for byte:
`html.parser` counts lines and columns, changed its mind about comments and scripts between patch releases of
one Python, and takes quadratic time on some input; tree builders repair what they read. It follows the
tokenizer of the HTML standard as far as finding texts needs it. Two rules keep it safe: every token ends where
the next begins, and no search starts again where another one already went to the end.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# An attribute's value may hold ">" when it is quoted. A quote that never ends is an ordinary character.
_TAG = re.compile(r"""</?([a-zA-Z][^\s/>]*+)((?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+)>""")
_MARKUP = re.compile(r"<(?=[a-zA-Z/!?])")
_COMMENT_END = re.compile(r"--!?>")

# They have no closing tag.
VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"}
)
# Their content is no markup: it ends at their own closing tag and nowhere else.
_RAW = frozenset({"script", "style", "textarea", "xmp", "iframe", "noembed", "noframes"})


@dataclass(slots=True)
class Token:
    """A piece of the source. `name` is of a tag, in small letters; empty for a comment or declaration."""

    start: int
    end: int
    name: str = ""
    closes: bool = False
    attributes: tuple[int, int] = (0, 0)
    """Where the attributes of an opening tag stand."""


def tokens(source: str) -> Iterator[Token]:
    """Tags, comments and declarations of *source* in order; what is between two of them is text."""
    position = 0
    while markup := _MARKUP.search(source, position):
        start = markup.start()
        following = source[start + 1]
        if following in "!?" or (following == "/" and not source[start + 2 : start + 3].isalpha()):
            position = _end_of_declaration(source, start)
            yield Token(start, position)
            continue
        tag = _TAG.match(source, start)
        if not tag:
            yield Token(start, len(source))  # a tag that is never closed: browsers show nothing from here on
            return
        position = tag.end()
        name = tag[1].lower()
        yield Token(start, position, name, following == "/", tag.span(2))
        if name in _RAW and following != "/":
            ending = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(source, position)
            if not ending:
                yield Token(position, len(source))
                return
            if ending.start() > position:
                yield Token(position, ending.start())
            position = ending.start()


def first(source: str) -> Token | None:
    """The first tag, comment or declaration; None when there is none."""
    return next(tokens(source), None)


def _end_of_declaration(source: str, start: int) -> int:
    if source.startswith("<!--", start):
        if source.startswith((">", "->"), start + 4):
            return source.index(">", start) + 1
        ending = _COMMENT_END.search(source, start + 4)
        return ending.end() if ending else len(source)
    if source.startswith("<![CDATA[", start):
        at = source.find("]]>", start)
        return at + 3 if at >= 0 else len(source)
    at = source.find(">", start)
    return at + 1 if at >= 0 else len(source)
