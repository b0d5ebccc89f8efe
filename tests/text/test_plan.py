"""One plan serves every language, sends each text once and puts it back wherever it stands."""

from collections.abc import Sequence

from tests.text.pipeline import sent
from worker import text
from worker.text.plan import Plan
from worker.text.protect import Term

CONTENT = "# Save\n\nSave\n\nAcme saves it.\n\n- `code`\n- 12\n"


def shouted(plan: Plan) -> dict[str, str]:
    return {name: piece.source.upper() for name, piece in plan.wanted("es").items()}


def names(content: str, terms: Sequence[Term | str] = ()) -> list[str]:
    return list(Plan(text.parse(content, "markdown"), terms).wanted("es"))


def test_equal_texts_are_wanted_once_and_counted_in_all_their_places() -> None:
    plan = Plan(text.parse(CONTENT, "markdown"))

    assert sent(CONTENT, "markdown") == ["Save", "Acme saves it."]
    assert list(plan.chars.values()) == [8, 14]
    assert plan.total_chars == 22
    assert plan.assemble(shouted(plan), "es") == "# SAVE\n\nSAVE\n\nACME SAVES IT.\n\n- `code`\n- 12\n"


def test_all_languages_want_the_same_pieces_by_the_same_names() -> None:
    plan = Plan(text.parse(CONTENT, "markdown"))

    assert plan.wanted("es") == plan.wanted("ru") == plan.wanted("bo")


def test_a_term_renames_only_the_pieces_it_stands_in() -> None:
    assert names(CONTENT)[0] == names(CONTENT, ["Acme"])[0]
    assert names(CONTENT)[1] != names(CONTENT, ["Acme"])[1]
    assert names(CONTENT) == names(CONTENT, ["Other"])


def test_a_term_may_be_found_whatever_its_case() -> None:
    def protected(terms: Sequence[Term | str]) -> list[str]:
        plan = Plan(text.parse("The ACME cloud and acmes", "text"), terms)
        return [piece.protected.text for piece in plan.wanted("es").values()]

    assert protected([Term("Acme")]) == ["The ACME cloud and acmes"]
    assert protected([Term("Acme", case_sensitive=False)]) == ["The ⟦0⟧ cloud and acmes"]


def test_a_long_text_travels_in_pieces_and_comes_back_as_one() -> None:
    content = "".join(f"This is sentence {number} with {{name}} in it.  " for number in range(200))
    plan = Plan(text.parse(content, "text"))

    assert len(plan.wanted("es")) == 4
    assert plan.assemble({name: piece.source for name, piece in plan.wanted("es").items()}, "es") == content
    assert plan.total_chars == len(content.strip()) - 2 * (len(plan.wanted("es")) - 1)


def test_a_piece_knows_what_stood_before_it() -> None:
    pieces = list(Plan(text.parse("First.\n\nSecond.", "text")).wanted("es").values())

    assert [piece.before for piece in pieces] == ["", "First."]
