"""A user's language tag and the codes that providers have."""

import pytest

from worker import errors
from worker.translators.tags import Directory, closest, is_language

DEEPL = ("de", "en-GB", "en-US", "es-419", "fr", "nb", "pt-BR", "pt-PT", "zh-Hans", "zh-Hant", "sr", "id", "tl")


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("DE", "de"),
        ("en", "en-US"),
        ("en-AU", "en-GB"),
        ("es-MX", "es-419"),
        ("fr-CA", "fr"),
        ("no", "nb"),
        ("pt", "pt-BR"),
        ("fil", "tl"),
        ("zh", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh-TW", "zh-Hant"),
        ("zh-HK", "zh-Hant"),
    ],
)
def test_a_tag_finds_the_closest_code(wanted: str, tag: str) -> None:
    assert closest(wanted, DEEPL) == tag


@pytest.mark.parametrize(
    "wanted", ["nn", "jv", "sr-Latn", "ja", "und", "x-klingon", "en-x-private", "mul", "", "not a tag!"]
)
def test_what_is_only_near_or_no_language_finds_none(wanted: str) -> None:
    assert closest(wanted, DEEPL) is None


@pytest.mark.parametrize("tag", ["und", "x-klingon", "mul", "zxx", "", " ", "!!", "en-x-private"])
def test_private_use_and_undetermined_are_no_languages(tag: str) -> None:
    assert not is_language(tag)


def test_a_pair_is_answered_in_the_providers_codes() -> None:
    directory = Directory({"EN": ["DE", "PT-BR", "ZH-HANT"], "ZH": ["DE"]}, {"ZH": "zh-Hans", "ZH-HANT": "zh-Hant"})

    assert directory.pair("en-GB", "pt", "DeepL") == ("EN", "PT-BR")
    assert directory.pair("zh-CN", "de", "DeepL") == ("ZH", "DE")
    assert directory.pair(None, "zh-TW", "DeepL") == (None, "ZH-HANT")
    for source, target in (("zh", "pt"), ("ja", "de"), ("en", "zh"), (None, "ja")):
        with pytest.raises(errors.ItemError, match="DeepL does not offer"):
            directory.pair(source, target, "DeepL")


def test_the_usual_code_wins_over_the_old_one() -> None:
    directory = Directory({"en": ["iw", "he"]}, {"iw": "he"})

    assert directory.pair("en", "he", "Google") == ("en", "he")


def test_the_database_is_told_tags_and_their_other_spellings() -> None:
    directory = Directory({"EN": ["PT-BR", "ZH-HANT", "NB"]}, {})
    targets = {target for source, target in directory.pairs if source == "en"}

    assert targets == {"pt-BR", "pt", "zh-Hant", "zh-TW", "zh-HK", "nb", "no"}


def test_nothing_known_refuses_nothing_and_very_many_pairs_are_told_as_targets() -> None:
    assert Directory().pairs == (("*", "*"),)
    codes = [f"{a}{b}" for a in "abcdefghijklmnoprst" for b in "aelnorst"]
    pairs = Directory(dict.fromkeys(codes, codes)).pairs

    assert len(pairs) < 200
    assert {source for source, _ in pairs} == {"*"}
