"""Parsing is lossless, and only what people read becomes a segment."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.text.pipeline import identical
from worker import errors, text

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**12), 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["Hello {name}", "a \\ b", "{n, plural, one {# day} other {# days}}"]),
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def texts(content: Any, kind: str, **options: Any) -> list[str]:
    return [segment.text for segment in text.parse(content, kind, **options).segments]


def shouted(content: Any, kind: str, **options: Any) -> Any:
    document = text.parse(content, kind, **options)
    return document.assemble([segment.text.upper() for segment in document.segments])


# Plain text


@given(st.text(alphabet="ab .\n\r\t{}'#\u2028", max_size=80))
def test_plain_text_comes_back_byte_for_byte(content: str) -> None:
    assert identical(content, "text") == content


def test_blank_lines_separate_segments_and_single_breaks_do_not() -> None:
    assert texts("One\nstill one\n\n \r\n  Two", "text") == ["One\nstill one", "Two"]


def test_white_space_between_blocks_stays() -> None:
    assert shouted("one\r\n\r\n\r\n two\n", "text") == "ONE\r\n\r\n\r\n TWO\n"


# JSON


@given(TREES)
def test_an_object_keeps_its_values_and_the_order_of_its_keys(tree: Any) -> None:
    assert json.dumps(identical(tree, "json") if not isinstance(tree, str) else tree) == json.dumps(tree)


@given(TREES, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_text_comes_back_byte_for_byte(tree: Any, indent: int | str | None, ascii_only: bool) -> None:
    content = json.dumps(tree, indent=indent, ensure_ascii=ascii_only)

    assert identical(content, "json") == content


@given(TREES)
def test_translating_json_changes_string_leaves_only(tree: Any) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [shape(inner) for inner in value]
        return "text" if isinstance(value, str) else value

    document = text.parse(json.dumps(tree), "json")
    translated = json.loads(document.assemble([f'"{n}\\\n' for n, _ in enumerate(document.segments)]))

    assert shape(translated) == shape(tree)


def test_json_text_keeps_everything_outside_the_leaves() -> None:
    content = '{ "b":1.10,\r\n "a" : ["x", 1e5,null , "\\u00e9\\/"],"b":"dup" }'

    assert shouted(content, "json") == '{ "b":1.10,\r\n "a" : ["X", 1e5,null , "\\u00c9/"],"b":"DUP" }'


def test_a_leaf_that_stays_keeps_its_own_spelling() -> None:
    content = '["a\\/b", "\\u0041 c", "\\u00e9"]'

    assert identical(content, "json") == content


def test_json_that_spells_letters_out_gets_letters_back() -> None:
    assert shouted('{"a": "é"}', "json") == '{"a": "É"}'


def test_pointers_protect_what_is_at_and_below_them() -> None:
    content = {"a": {"b": "x", "c/d": "y"}, "l": ["one", "two"], "m": "z"}

    assert texts(content, "json", untouched=["/a", "/l/1"]) == ["one", "z"]
    assert texts(content, "json", untouched=["/a/c~1d"]) == ["x", "one", "two", "z"]


def test_a_leaf_knows_its_pointer() -> None:
    assert [s.heading for s in text.parse({"a": [{"b~": "x"}]}, "json").segments] == ["/a/0/b~0"]


def test_leaves_that_no_database_takes_are_left_alone() -> None:
    content = '["a\\u0000b", "\\ud800", "ok"]'

    assert texts(content, "json") == ["ok"]


@pytest.mark.parametrize("content", ["{", '{"a": NaN}', "", "hello", "[" * 100_000])
def test_what_is_not_json_is_refused_with_a_sentence(content: str) -> None:
    with pytest.raises(errors.ItemError, match="JSON") as refused:
        text.parse(content, "json")

    assert refused.value.error_class == "bad_request"


def test_a_pointer_of_enormous_depth_costs_no_more_than_its_document() -> None:
    depth, leaves = 400, 20_000
    content = '{"' + "k" * 500 + '":'
    tree = content * depth + "[" + ",".join(['"x"'] * leaves) + "]" + "}" * depth

    assert len(texts(tree, "json")) == leaves


# Kinds


def test_kinds_we_do_not_translate_are_refused() -> None:
    for kind in ("docx", "pdf"):
        with pytest.raises(errors.ItemError, match=kind) as refused:
            text.parse("<p>x</p>", kind)
        assert refused.value.error_class == "bad_request"


def test_text_must_be_a_string() -> None:
    with pytest.raises(errors.ItemError, match="must be a string"):
        text.parse({"a": 1}, "markdown")
