"""Apertium's pipes: with programs of ours that misbehave on cue, and with the real ones where they are installed."""

import asyncio
import os
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.waiting import until
from tests.translators.conftest import asked
from worker import errors
from worker.translators.apertium import MODES, Apertium, flushing, installed
from worker.translators.apertium_pipe import Pipe

# A program of a pipeline: upper case is its idea of a translation, and some words are orders.
PROGRAM = f"""#!{sys.executable}
import os, sys, time
name = sys.argv[-1]
while True:
    text = b""
    while not text.endswith(b"\\0"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit()
        text += byte
    if b"sleep" in text:
        time.sleep(60)
    if b"die" in text:
        sys.exit(1)
    os.write(1, text.replace(b"one", name.encode()).upper() if name != "plain" else text)
"""


@pytest.fixture
def modes(tmp_path: Path) -> Path:
    """Pairs en-es, es-pt and eo-en, each one program."""
    program = tmp_path / "lt-proc"
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    folder = tmp_path / "modes"
    folder.mkdir()
    for pair in ("eng-spa", "es-pt_BR", "epo-eng"):
        (folder / f"{pair}.mode").write_text(f"{program} $1 '{pair}' | {program} plain")
    return folder


@pytest.fixture
async def apertium(modes: Path) -> AsyncIterator[Apertium]:
    translator = Apertium(modes, answer_seconds=0.5)
    yield translator
    await translator.close()


async def failure(apertium: Apertium, *texts: str, **more: str | None) -> errors.ItemError:
    with pytest.raises(errors.ItemError) as failed:
        await apertium.translate(asked(*texts, **more))  # type: ignore[arg-type]
    return failed.value


async def test_pairs_are_found_and_at_most_one_language_lies_between(apertium: Apertium) -> None:
    assert {("en", "es"), ("es", "pt-BR"), ("es", "pt"), ("eo", "en"), ("en", "pt-BR"), ("eo", "es")} <= set(
        apertium.languages
    )
    assert not {("eo", "pt-BR"), ("es", "en"), ("en", "en")} & set(apertium.languages)


async def test_a_text_goes_line_by_line_and_the_space_around_stays(apertium: Apertium) -> None:
    answer = await apertium.translate(asked("  One ⟦0⟧\r\n\n  [two] {three}^$@/<b>\\ ~\t", "", " \n "))

    assert answer.texts == ("  ONE ⟦0⟧\r\n\n  [TWO] {THREE}^$@/<B>\\ ~\t", "", " \n ")


async def test_the_way_over_another_language_is_two_steps(apertium: Apertium) -> None:
    answer = await apertium.translate(asked("one", target="pt"))

    assert answer.texts == ("ENG-SPA",)


@pytest.mark.parametrize(("source", "target"), [("en", "de"), ("de", "es"), ("eo", "pt"), (None, "es"), ("en", "und")])
async def test_other_languages_are_refused(apertium: Apertium, source: str | None, target: str) -> None:
    assert (await failure(apertium, source=source, target=target)).error_class == "unsupported_language"


@pytest.mark.parametrize("order", ["sleep", "die"])
async def test_a_pipe_that_does_not_answer_is_ended_and_the_next_question_starts_another(
    apertium: Apertium, order: str
) -> None:
    await apertium.translate(asked("warm"))  # the start has time of its own
    assert (await failure(apertium, order)).error_class == "overloaded"

    assert (await apertium.translate(asked("two"))).texts == ("TWO",)


async def test_a_cancelled_question_leaves_no_answer_for_the_next_one(apertium: Apertium) -> None:
    asking = asyncio.create_task(apertium.translate(asked("sleep")))
    await until(lambda: any(pipe.busy for pipe in apertium._pipes.values()), "the pipe is asked")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert (await apertium.translate(asked("two"))).texts == ("TWO",)


async def test_questions_at_once_do_not_get_each_others_answers(apertium: Apertium) -> None:
    texts = [f"text {number}" for number in range(50)]
    answers = await asyncio.gather(*(apertium.translate(asked(text)) for text in texts))

    assert [answer.texts[0] for answer in answers] == [text.upper() for text in texts]


async def test_no_program_is_left_behind(modes: Path) -> None:
    apertium = Apertium(modes)
    await apertium.translate(asked("one"))
    (pipe,) = apertium._pipes.values()
    assert pipe._process
    group = pipe._process.pid
    await apertium.close()

    def gone() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    await until(gone, "all programs of the pipeline are gone")


async def test_programs_do_not_get_the_workers_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SUPABASE_SECRET_KEY", "SECRET")
    pipe = Pipe("env | tr '\\n' ' '; printf '[].[]\\0'; exec cat >/dev/null")
    seen = await pipe.ask("x")
    await pipe.close()

    assert "SECRET" not in seen
    assert "PATH" in seen


def test_a_mode_is_told_to_flush_and_to_show_unknown_words_as_they_are() -> None:
    mode = "lt-proc '/a b/x.bin' | apertium-tagger -g $2 y.prob |\n lt-proc $1 z.bin"
    assert flushing(mode) == "lt-proc -z '/a b/x.bin' | apertium-tagger -z -g y.prob | lt-proc -z -n z.bin"


def test_what_stands_in_a_mode_cannot_become_another_command() -> None:
    assert flushing("lt-proc a; rm -rf x $(b)") == "lt-proc -z 'a;' rm -rf x '$(b)'"


@pytest.mark.parametrize("mode", ["", "lt-proc a | python3 script.py"])
def test_a_mode_with_a_program_that_cannot_flush_is_not_offered(tmp_path: Path, mode: str) -> None:
    (tmp_path / "en-es.mode").write_text(mode)

    assert dict(installed(tmp_path)) == {}


def test_what_is_no_pair_of_languages_is_not_offered(tmp_path: Path) -> None:
    for name in ("en-es-tagger", "en", "x_y-en", "README"):
        (tmp_path / f"{name}.mode").write_text("lt-proc a")

    assert dict(installed(tmp_path)) == {}


# With the real programs.


@pytest.fixture
async def real() -> AsyncIterator[Apertium]:
    if not (MODES / "eng-spa.mode").exists() or not (MODES / "es-pt.mode").exists():
        pytest.skip(os.environ.get("WITHOUT_APERTIUM", "Apertium with eng-spa and es-pt is not installed"))
    translator = Apertium()
    yield translator
    await translator.close()


async def test_real_english_becomes_spanish_and_keeps_its_markers(real: Apertium) -> None:
    answer = await real.translate(asked("The house is big.", "Press ⟦0⟧ to open {the door} ~ <now> [x]\nThe end."))

    assert answer.texts[0] == "La casa es grande."
    first, second = answer.texts[1].split("\n")
    assert all(mark in first for mark in ("⟦0⟧", "{", "}", "~", "<", ">", "[", "]"))
    assert second == "El fin."


async def test_real_english_becomes_portuguese_over_spanish(real: Apertium) -> None:
    assert (await real.translate(asked("The house is big.", target="pt"))).texts == ("A casa é grande.",)


async def test_no_text_breaks_a_real_pipe(real: Apertium) -> None:
    texts = [
        "\\",
        "[].[]",
        "[[",
        "^a$",
        "a\0b",
        "😀",
        "*word #hash +plus",
        "‮rtl‬",
        "$$",
        "e.g. \\[x\\]",
        "~",
        "...",
        "⟦0⟧⟦1⟧",
    ]
    for text in texts:
        await real.translate(asked(text))

        assert (await real.translate(asked("The house is big."))).texts == ("La casa es grande.",), text


async def test_real_answers_at_once_are_not_mixed_up(real: Apertium) -> None:
    texts = [f"The house has {number} doors." for number in range(100)]
    answers = await asyncio.gather(*(real.translate(asked(text)) for text in texts))

    assert [answer.texts[0] for answer in answers] == [f"La casa tiene {number} puertas." for number in range(100)]
