"""Cutting loses nothing and never cuts what belongs together."""

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.text import chunks
from worker.text.document import Segment
from worker.text.protect import SENTINEL, protect

PROPERTY = settings(max_examples=200, deadline=None)

WORDS = st.sampled_from(
    [
        "Some words. ",
        "{name}",
        "e\u0301",
        "👩‍👩‍👧 ",
        "日本語です。",
        "हिन्दी ",
        "https://x.example/y ",
        "\n\n",
        "a",
        "⟦",
        " ",
    ]
)
TEXTS = st.lists(WORDS, max_size=200).map("".join)


@PROPERTY
@given(TEXTS, st.integers(20, 200))
def test_the_pieces_joined_are_the_text(text: str, chars_max: int) -> None:
    protected = protect(Segment(text))
    pieces = list(chunks.cut(protected, chars_max))

    assert "".join(piece.source for piece in pieces) == text
    assert sum(len(piece.originals) for piece in pieces) == len(protected.originals)
    for piece in pieces:
        assert len(SENTINEL.findall(piece.text)) == len(piece.originals)
        assert not piece.text.startswith(("\u0301", "\u200d"))


def test_long_prose_is_cut_between_sentences() -> None:
    sentence = "This is a sentence of about fifty characters here. "
    pieces = list(chunks.cut(protect(Segment(sentence * 200))))

    assert all(len(piece.text) <= chunks.CHUNK_CHARS for piece in pieces)
    assert all(piece.source.startswith("This") for piece in pieces)
    assert len(pieces) == 6


@PROPERTY
@given(st.lists(st.integers(1, 3000), max_size=100))
def test_batches_keep_the_order_and_their_bounds(sizes: list[int]) -> None:
    batches = list(chunks.batches(sizes, lambda size: size))

    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert len(batch) <= chunks.CHUNK_SEGMENTS_MAX
        assert sum(batch) <= chunks.CHUNK_CHARS or len(batch) == 1
