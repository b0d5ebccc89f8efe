"""
From pieces of text to answers that passed the checks, by as many calls as it takes.

Owns the ladder for an answer that did not pass: the same once more with its faults listed, then in halves, then one
by one, then a long text alone in parts. A text that never passes ends the item. The rule that keeps it correct:
what passed is kept before the next call is made, so whoever continues after a crash pays again for at most the
one call that was under way.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from worker import errors
from worker.handlers.glossary import Glossary
from worker.text import checks, chunks, protect
from worker.text.plan import Piece
from worker.text.protect import Protected
from worker.translators.base import TooLong, TranslationAnswer, TranslationRequest, Translator

_FAULTS_MAX: Final = 10
_FAULTS_SHOWN: Final = 3
_PART_CHARS_MIN: Final = 200  # a text this short is not made easier by cutting it

Keep = Callable[[Mapping[str, str]], Awaitable[None]]
_Rung = tuple[Sequence[Piece], tuple[str, ...]]  # what to ask for, and what was wrong with its last answer


@dataclass(slots=True)
class Heard:
    """What the answers so far said beside their texts."""

    source_language: str | None
    providers: dict[str, None] = field(default_factory=dict)
    formality_ignored: bool = False


class Ladder:
    """All calls for one item."""

    def __init__(self, translator: Translator, request: TranslationRequest, glossary: Glossary) -> None:
        """*request*: what all calls have in common; its texts are filled in."""
        self._translator = translator
        self._request = request
        self._glossary = glossary
        self.heard = Heard(request.source_language)

    @property
    def pair(self) -> checks.Pair:
        return checks.Pair(
            self.heard.source_language,
            self._request.target_language,
            self._translator.simulated,
            unspoken=self._translator.unspoken,
        )

    async def translate(self, pieces: Sequence[Piece], keep: Keep) -> None:
        """
        Have *pieces* translated and kept: *keep* takes piece names → texts. It is not ours to hold: whoever keeps
        holds us, and the two would outlive their item until a collector comes.

        Raises:
            ItemError: bad_output, a text alone did not pass either; or what the translator raised.
        """
        ladder: list[_Rung] = [(pieces, ())]
        while ladder:
            ladder.extend(reversed(await self._climb(*ladder.pop(), keep)))

    async def once_more(
        self, translator: Translator, pieces: Sequence[Piece], faults: Sequence[str]
    ) -> Mapping[str, str]:
        """
        Ask *translator* once for *pieces* whose translations passed but have *faults* a reader would see. Returns
        what passed the checks and keeps nothing; a translator that wants less at once gets halves.
        """
        try:
            answer = await self._ask(translator, pieces, tuple(faults))
        except TooLong:
            if len(pieces) == 1:
                return {}
            better: dict[str, str] = {}
            for half in _halves(pieces):
                better |= await self.once_more(translator, half, faults)
            return better
        passed, _, _ = self._judge(pieces, answer, is_repeat=True)
        return passed

    async def _climb(self, pieces: Sequence[Piece], told: tuple[str, ...], keep: Keep) -> list[_Rung]:
        """One call for *pieces*; what has to follow it."""
        try:
            answer = await self._ask(self._translator, pieces, told)
        except TooLong as failure:
            if len(pieces) > 1:
                return [(half, told) for half in _halves(pieces)]
            await self._last_resort(pieces[0], failure, keep)
            return []
        passed, refused, faults = self._judge(pieces, answer, is_repeat=bool(told))
        if passed:
            await keep(passed)
        if not refused:
            return []
        if not told:
            return [(refused, faults)]
        if len(pieces) > 1:
            return [(half, faults) for half in _halves(refused)]
        await self._last_resort(refused[0], _bad_output(faults), keep)
        return []

    async def _last_resort(self, piece: Piece, failure: errors.ItemError, keep: Keep) -> None:
        """A text that alone did not pass either: in parts if it is long, left out if that is no harm."""
        parts = list(chunks.cut(piece.protected, max(_PART_CHARS_MIN, len(piece.protected.text) // 3)))
        if len(parts) > 1:
            await keep({piece.name: "".join([await self._part(piece, part) for part in parts])})
        elif not piece.optional:
            raise failure

    async def _part(self, whole: Piece, part: Protected) -> str:
        text = part.text
        start, end = len(text) - len(text.lstrip()), len(text.rstrip())
        core = part.slice(start, max(start, end))
        if not core.is_translatable:
            return part.source
        piece = replace(whole, protected=core, lead="", trail="")
        faults: tuple[str, ...] = ()
        for told in (False, True):
            answer = await self._ask(self._translator, [piece], faults)
            passed, _, faults = self._judge([piece], answer, is_repeat=told)
            if passed:
                return f"{text[:start]}{passed[piece.name]}{text[end:]}"
        raise _bad_output(faults)

    async def _ask(self, translator: Translator, pieces: Sequence[Piece], told: tuple[str, ...]) -> TranslationAnswer:
        request = replace(
            self._request,
            texts=tuple(piece.protected.text for piece in pieces),
            context="\n".join(filter(None, (pieces[0].heading, pieces[0].before))),
            faults=told,
            glossary=self._glossary.pairs_in_any(piece.protected.text for piece in pieces),
        )
        answer = await translator.translate(request)
        heard = self.heard
        heard.source_language = heard.source_language or answer.detected_source
        heard.providers[answer.provider or translator.name] = None
        follows = translator.follows_formality if answer.follows_formality is None else answer.follows_formality
        heard.formality_ignored |= not follows and request.formality != "default"
        return answer

    def _judge(
        self, pieces: Sequence[Piece], answer: TranslationAnswer, *, is_repeat: bool
    ) -> tuple[dict[str, str], list[Piece], tuple[str, ...]]:
        """What passes, the pieces that do not, and all their faults."""
        if len(answer.texts) != len(pieces):
            return {}, list(pieces), (f"{len(pieces)} texts were asked for, {len(answer.texts)} came",)
        pair = self.pair
        passed: dict[str, str] = {}
        refused: list[Piece] = []
        faults: dict[str, None] = {}
        for piece, text in zip(pieces, answer.texts, strict=True):
            try:
                passed[piece.name] = checks.accept(piece.protected, text, pair, is_repeat=is_repeat)
            except protect.Damaged as damaged:
                refused.append(piece)
                faults |= dict.fromkeys(damaged.faults)
        return passed, refused, tuple(faults)[:_FAULTS_MAX]


def _halves(pieces: Sequence[Piece]) -> list[Sequence[Piece]]:
    middle = (len(pieces) + 1) // 2
    return [half for half in (pieces[:middle], pieces[middle:]) if half]


def _bad_output(faults: Sequence[str]) -> errors.ItemError:
    shown = "; ".join(faults[:_FAULTS_SHOWN])
    return errors.ItemError("bad_output", f"The translator's answer failed the checks: {shown}.")
