"""Terms put in place around a provider that has no glossary."""

import pytest

from tests.translators.conftest import asked
from worker.translators.base import TranslationAnswer
from worker.translators.glossary import bind, restore

TERMS = (
    ("ferry", "transbordador"),
    ("fast ferry", "ferri rápido"),
    ("ferry port", "puerto"),
    ("船", "barco"),
    ("C++", "C++"),
)


@pytest.mark.parametrize(
    ("text", "bound", "restored"),
    [
        ("The ferry leaves.", "The ⟦0⟧ leaves.", "The transbordador leaves."),
        ("Ferry to ⟦0⟧ and ⟦3⟧", "⟦4⟧ to ⟦0⟧ and ⟦3⟧", "Transbordador to ⟦0⟧ and ⟦3⟧"),
        ("A fast ferry, a ferry", "A ⟦0⟧, a ⟦1⟧", "A ferri rápido, a transbordador"),
        ("The ferry port", "The ⟦0⟧", "The puerto"),
        ("ferryman", "ferryman", "ferryman"),
        ("新船来了", "新⟦0⟧来了", "新barco来了"),
        ("In C++ only", "In ⟦0⟧ only", "In C++ only"),
    ],
)
def test_a_term_leaves_and_its_translation_comes_back(text: str, bound: str, restored: str) -> None:
    request = asked(text, glossary=TERMS)

    assert bind(request).texts == (bound,)
    assert restore(request, TranslationAnswer((bound,))).texts == (restored,)


def test_the_order_may_change_and_a_lost_term_is_left_to_the_checks() -> None:
    request = asked("A ferry is no fast ferry.", glossary=TERMS)

    assert restore(request, TranslationAnswer(("⟦1⟧ ⟦0⟧",))).texts == ("ferri rápido transbordador",)
    assert restore(request, TranslationAnswer(("nothing",))).texts == ("nothing",)


def test_an_answer_of_another_length_is_left_alone() -> None:
    request = asked("A ferry", "Two", glossary=TERMS)

    assert restore(request, TranslationAnswer(("⟦0⟧",))).texts == ("⟦0⟧",)


def test_an_empty_term_matches_nothing() -> None:
    assert bind(asked("abc", glossary=(("", "x"), (" ", "y")))).texts == ("abc",)
