"""Cutting loses nothing and never cuts what belongs together."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.text import chunks
from worker.text.document import Segment
from worker.text.protect import SENTINEL, Protected, protect

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


# Scripts without spaces between words

SENTENCES = {
    "bo": "བོད་ཀྱི་སྐད་ཡིག་ནི་བོད་མི་རིགས་ཀྱི་སྐད་ཡིག་ཡིན། །དེ་ནི་ཧི་མ་ལ་ཡའི་ས་ཁུལ་དུ་བེད་སྤྱོད་བྱེད། བོད་ཡིག་གི་གསལ་བྱེད་སུམ་ཅུ་ཡོད༎ ",
    "th": "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอน และคนไทยส่วนใหญ่ใช้ภาษานี้ในชีวิตประจำวัน ",
    "km": "ភាសាខ្មែរគឺជាភាសាកំណើតរបស់ជនជាតិខ្មែរ។ វាជាភាសាផ្លូវការរបស់ប្រទេសកម្ពុជា។ ",
    "lo": "ພາສາລາວເປັນພາສາທາງການຂອງປະເທດລາວ ແລະຍັງໃຊ້ໃນພາກຕາເວັນອອກສຽງເໜືອຂອງໄທ ",
    "my": "မြန်မာဘာသာစကားသည် မြန်မာနိုင်ငံ၏ ရုံးသုံးဘာသာစကား ဖြစ်သည်။ လူအများစုက ပြောကြသည်။ ",
    "ja": "日本語は主に日本で使われている言語です。文字には漢字と仮名があります。",
    "zh": "中文是世界上使用人数最多的语言之一。它的书写系统使用汉字。",
    "ar": "اللغة العربية من أكثر اللغات انتشارا في العالم. يتحدثها أكثر من أربعمئة مليون نسمة. ",
    "hi": "हिन्दी विश्व की एक प्रमुख भाषा है। यह भारत की राजभाषा है और करोड़ों लोग इसे बोलते हैं। ",
    "ko": "한국어는 한국에서 쓰이는 언어이다. 한글로 적으며 띄어쓰기를 한다. ",
}
STOPS = {
    "bo": "།༎",
    "th": " ",
    "km": "។",
    "lo": " ",
    "my": "။",
    "ja": "。",
    "zh": "。",
    "ar": ".",
    "hi": "।",
    "ko": ".",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_long_text_is_cut_behind_the_stops_of_its_script(language: str) -> None:
    text = SENTENCES[language] * (20_000 // len(SENTENCES[language]))
    pieces = [piece.text for piece in chunks.cut(protect(Segment(text)))]

    assert "".join(pieces) == text
    assert all(len(piece) <= chunks.CHUNK_CHARS for piece in pieces)
    assert all(len(piece) > chunks.CHUNK_CHARS // 2 for piece in pieces[:-1])
    assert all(piece[-1] in STOPS[language] or piece.rstrip()[-1] in STOPS[language] for piece in pieces)


def test_tibetan_without_a_shad_is_cut_between_syllables() -> None:
    pieces = [piece.text for piece in chunks.cut(protect(Segment("བཀྲ་ཤིས་བདེ་ལེགས་" * 500)))]

    assert len(pieces) > 4
    assert all(piece.endswith("་") for piece in pieces)


def test_a_double_shad_with_a_space_in_it_is_not_taken_apart() -> None:
    pieces = [piece.text for piece in chunks.cut(protect(Segment("བོད་ཡིག་ཡིན། །" * 400)))]

    assert all(piece.endswith("། །") for piece in pieces)


LETTERS = ["a", "e\u0301", "👩‍👩‍👧", "👍🏽", "🇪🇸", "क्षि", "ខ្មែ", "กำ", "แม่", "한", "ཀྲ", "\r\n", "ဂ္ဂ"]


@given(st.lists(st.sampled_from(LETTERS), min_size=20, max_size=400), st.integers(16, 60))
def test_no_cut_goes_through_a_letter_and_its_marks(letters: list[str], chars_max: int) -> None:
    text = "".join(letters)
    starts = {0, *itertools.accumulate(map(len, letters))}
    pieces = [piece.text for piece in chunks.cut(Protected(text, ()), chars_max)]

    assert "".join(pieces) == text
    assert {0, *itertools.accumulate(map(len, pieces))} <= starts


def test_a_text_without_any_place_to_cut_is_cut_all_the_same() -> None:
    for letter in ("a", "ཀ", "ก", "字", "e\u0301"):
        pieces = [piece.text for piece in chunks.cut(protect(Segment(letter * 100_000)))]

        assert "".join(pieces) == letter * 100_000
        assert all(len(piece) <= chunks.CHUNK_CHARS for piece in pieces)


@given(st.lists(st.integers(1, 3000), max_size=100))
def test_batches_keep_the_order_and_their_bounds(sizes: list[int]) -> None:
    batches = list(chunks.batches(sizes, lambda size: size))

    assert [size for batch in batches for size in batch] == sizes
    for batch in batches:
        assert len(batch) <= chunks.CHUNK_SEGMENTS_MAX
        assert sum(batch) <= chunks.CHUNK_CHARS or len(batch) == 1
