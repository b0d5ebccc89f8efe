"""
Translates one language of a job.

Owns the order of the steps: plan, recall, call, check, remember, review, assemble. Never talks to a provider except
through the ladder, never writes results: it returns them. The rule that keeps it correct: what passed the checks is
in the memory before the next call is made, so whoever continues after a crash asks for none of it again.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from worker import errors, models, text
from worker.handlers import options
from worker.handlers.base import ItemContext
from worker.handlers.flights import Flight, Flights
from worker.handlers.glossary import Glossary
from worker.handlers.ladder import Ladder
from worker.text import checks, chunks, languages, protect
from worker.text.memory_key import KeyMaker
from worker.text.plan import Piece, Plan
from worker.text.protect import Term
from worker.translators.base import TranslationRequest, Translator

P = ParamSpec("P")
R = TypeVar("R")

_WARNINGS: Final[Mapping[str, str]] = {
    **checks.WARNINGS,
    "nothing_to_translate": "There is nothing to translate, this is the source",
}

# Parsing this much takes some milliseconds; above it, a thread keeps heartbeats and progress going.
_INLINE_CHARS_MAX: Final = 20_000
# Asking a simulated translator again costs nothing, so its answers travel to the memory in larger portions.
_SIMULATED_PORTION: Final = 480  # and the last call of a portion brings twenty more


class TranslationHandler:
    """The handler of the job type `translation`. Its items are language tags."""

    def __init__(self, translator: Translator) -> None:
        self._translator = translator
        self._flights = Flights()

    async def __call__(self, ctx: ItemContext) -> models.ItemResult:
        source, target = ctx.job.source_language, ctx.item.name
        wishes = options.read(ctx.job.options, ctx.job.content_kind)
        second = self._second(wishes.second_provider)
        if source and languages.same(source, target):
            return await self._copy(ctx)
        glossary = Glossary(await ctx.glossary(), source, target)
        translation = _Translation(ctx, self._translator, second, wishes, glossary, self._flights)
        return await translation.run()

    def _second(self, name: str | None) -> Translator:
        """Who is asked again when there are too many warnings."""
        if name is None:
            return self._translator
        if second := self._translator.only(name):
            return second
        raise errors.ItemError("bad_request", f"This worker has no second_provider called {name[:40]!r}.")

    async def _copy(self, ctx: ItemContext) -> models.ItemResult:
        return models.ItemResult(
            content=await ctx.content(),
            provider=self._translator.name,
            simulated=self._translator.simulated,
            source_language=ctx.job.source_language,
            warnings=tuple(_warnings({"nothing_to_translate": 1})),
            billed_chars=0,
            total_chars=ctx.job.content_chars,
        )


class _Known:
    """The translations of an item so far, by piece name, and where they came from."""

    def __init__(self, chars: Mapping[str, int]) -> None:
        self._chars = chars
        self.total_chars = sum(chars.values())
        self.texts: dict[str, str] = {}
        self.hits: dict[str, models.Recalled] = {}
        """Those of `texts` that the memory gave."""
        self.done_chars = 0
        self.cached_chars = 0

    def recalled(self, hits: Mapping[str, models.Recalled]) -> None:
        self.hits.update(hits)
        self._take({name: hit.target for name, hit in hits.items()})
        self.cached_chars += self._sum(hits)

    def translated(self, texts: Mapping[str, str]) -> None:
        self.cached_chars -= self._sum(name for name in texts if self.hits.pop(name, None))
        self._take(texts)

    def _take(self, texts: Mapping[str, str]) -> None:
        self.done_chars += self._sum(name for name in texts if name not in self.texts)
        self.texts.update(texts)

    def _sum(self, names: Iterable[str]) -> int:
        return sum(self._chars[name] for name in names)


class _Translation:
    """One run for one language."""

    def __init__(
        self,
        ctx: ItemContext,
        translator: Translator,
        second: Translator,
        wishes: options.Wishes,
        glossary: Glossary,
        flights: Flights,
    ) -> None:
        self._ctx = ctx
        self._translator = translator
        self._second = second
        self._wishes = wishes
        self._glossary = glossary
        self._flights = flights
        self._target = ctx.item.name
        request = TranslationRequest(
            texts=(),
            source_language=ctx.job.source_language,
            target_language=self._target,
            content_kind=ctx.job.content_kind,
            attempt=ctx.attempt,
            options=ctx.job.options,
        )
        self._ladder = Ladder(translator, request, glossary)
        self._plan: Plan
        self._known: _Known
        self._wanted: Mapping[str, Piece] = {}
        self._keys: Mapping[str, str] = {}
        self._flight: Flight | None = None
        self._unstored: dict[str, str] = {}
        self._left_out: set[str] = set()
        self._chunks_done = self._chunks_total = 0

    async def run(self) -> models.ItemResult:
        self._plan = await self._shared_plan()
        self._known = _Known(self._plan.chars)
        self._wanted, self._keys = await self._aside(self._name_everything)
        await self._find_everything()
        found = await self._review()
        content = await self._aside(self._plan.assemble, self._known.texts, self._target)
        await self._take_over_unpaid()
        return self._result(content, found)

    # What is to be done

    async def _shared_plan(self) -> Plan:
        """Parsed once for all languages of the job that keep the same terms."""
        terms = (*map(Term, self._wishes.terms), *self._glossary.kept)
        return await self._ctx.shared(("plan", terms), partial(self._make_plan, terms))

    async def _make_plan(self, terms: Sequence[Term]) -> Plan:
        document = await self._ctx.shared("document", self._parse)
        return await self._aside(Plan, document, terms)

    async def _parse(self) -> text.Document:
        content = await self._ctx.content()
        return await self._aside(text.parse, content, self._ctx.job.content_kind, self._wishes.pointers)

    def _name_everything(self) -> tuple[Mapping[str, Piece], Mapping[str, str]]:
        keys = KeyMaker(
            source_language=self._ctx.job.source_language,
            target_language=self._target,
            provider=self._translator.name,
            version=self._translator.version,
            formality=self._wishes.formality,
        )
        wanted = self._plan.wanted(self._target)
        return wanted, {name: keys.key(name, self._pairs_in(piece)) for name, piece in wanted.items()}

    def _pairs_in(self, piece: Piece) -> tuple[tuple[str, str], ...]:
        return self._glossary.pairs_in(piece.protected.text)

    async def _aside(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that only computes; in a thread when the content is large."""
        if self._ctx.job.content_chars <= _INLINE_CHARS_MAX:
            return function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    # From the memory

    async def _recall(self, names: Iterable[str]) -> None:
        """Take what the memory knows of *names* and what still fits its text."""
        by_key = {self._keys[name]: name for name in names}
        if not by_key:
            return
        hits = await self._ctx.recall(list(by_key))
        self._known.recalled({by_key[key]: hit for key, hit in hits.items() if self._fits(by_key[key], hit.target)})
        if not self._missing():
            self._progress()  # else the next call tells

    def _fits(self, name: str, target: str) -> bool:
        return protect.holds_originals(self._wanted[name].protected, target)

    async def _take_over_unpaid(self) -> None:
        """A hit that is not free was brought by an item nobody paid for. This one will be, if it gets recorded."""
        unpaid = {self._keys[name]: hit.target for name, hit in self._known.hits.items() if not hit.free}
        if unpaid:
            await self._ctx.remember(unpaid)

    # From the translator

    async def _find_everything(self) -> None:
        """
        Look up or translate every piece; what somebody else is at is waited for and then looked up.

        A piece is taken on before it is looked up: whoever had it before us has stored it by then. The other way
        round, it could be stored and given up between our two steps, and would be asked for twice.
        """
        while missing := self._missing():
            ids = {self._id(name): name for name in missing}
            with self._flights.of(ids) as flight:
                self._flight = flight
                own = [ids[name] for name in flight.mine]
                await self._recall(own)
                flight.land(self._id(name) for name in own if name in self._known.texts)
                await self._translate([self._wanted[name] for name in own if name not in self._known.texts])
                self._flight = None
            self._left_out.update(name for name in own if name not in self._known.texts)  # optional, and no good
            await flight.others_landed()

    def _missing(self) -> list[str]:
        known = self._known.texts
        return [name for name in self._wanted if name not in known and name not in self._left_out]

    async def _translate(self, pieces: Sequence[Piece]) -> None:
        if not pieces:
            return
        batches = list(chunks.batches(pieces, lambda piece: len(piece.protected.text)))
        self._chunks_total += len(batches)
        self._progress()
        for batch in batches:
            await self._ladder.translate(batch, self._keep)
            self._chunks_done += 1
            self._progress()
            await asyncio.sleep(0)  # a translator that never waits must not hold everybody else up
        await self._store()

    def _id(self, name: str) -> tuple[str | None, str]:
        return self._ctx.job.user_id, self._keys[name]

    async def _keep(self, texts: Mapping[str, str]) -> None:
        """*texts* passed the checks: when this returns they survive the worker."""
        self._known.translated(texts)
        self._unstored.update(texts)
        if not self._translator.simulated or len(self._unstored) >= _SIMULATED_PORTION:
            await self._store()

    async def _store(self) -> None:
        if not self._unstored:
            return
        texts, self._unstored = self._unstored, {}
        await self._ctx.remember({self._keys[name]: target for name, target in texts.items()})
        if self._flight is not None:
            self._flight.land(self._id(name) for name in texts)

    # What a reader would find

    async def _review(self) -> Mapping[str, tuple[str, ...]]:
        """
        The warnings of each piece that has any; if they are more than the job allows, after one more try.

        Raises:
            ItemError: bad_output, there are still too many.
        """
        found = await self._aside(self._find_warnings, self._wanted)
        allowed = self._wishes.max_warnings
        if allowed is None or _count(found) <= allowed:
            return found
        await self._improve(found)
        found = await self._aside(self._find_warnings, self._wanted)
        if (count := _count(found)) > allowed:
            codes = ", ".join(sorted({code for codes in found.values() for code in codes}))
            raise errors.ItemError(
                "bad_output", f"The translation has {count} warnings and {allowed} are allowed: {codes}."
            )
        return found

    async def _improve(self, found: Mapping[str, tuple[str, ...]]) -> None:
        """Ask once more for the pieces that have warnings, and take what has fewer."""
        pieces = [self._wanted[name] for name in found]
        for batch in chunks.batches(pieces, lambda piece: len(piece.protected.text)):
            faults = sorted({checks.WARNINGS[code] for piece in batch for code in found[piece.name]})
            texts, pair = await self._ladder.once_more(self._second, batch, faults), self._ladder.pair
            better = {
                name: target
                for name, target in texts.items()
                if len(self._warnings_of(self._wanted[name], target, pair)) < len(found[name])
            }
            if better:
                await self._keep(better)
        await self._store()

    def _find_warnings(self, wanted: Mapping[str, Piece]) -> Mapping[str, tuple[str, ...]]:
        known, pair = self._known.texts, self._ladder.pair
        checked = (
            (name, self._warnings_of(piece, known[name], pair)) for name, piece in wanted.items() if name in known
        )
        return {name: codes for name, codes in checked if codes}

    def _warnings_of(self, piece: Piece, target: str, pair: checks.Pair) -> tuple[str, ...]:
        return tuple(checks.warnings(piece.source, target, pair, glossary=self._pairs_in(piece)))

    # What is said about it

    def _result(self, content: Any, found: Mapping[str, tuple[str, ...]]) -> models.ItemResult:
        plan, heard = self._plan, self._ladder.heard
        counts = Counter(code for codes in found.values() for code in codes)
        if heard.formality_ignored:
            counts["formality_ignored"] = 1
        if not self._wanted:
            counts["nothing_to_translate"] = 1
        free_chars = sum(plan.chars[name] for name, hit in self._known.hits.items() if hit.free)
        return models.ItemResult(
            content=content,
            provider=",".join(heard.providers) or self._translator.name,
            simulated=self._translator.simulated,
            cached_chars=self._known.cached_chars,
            source_language=heard.source_language,
            warnings=tuple(_warnings(counts)),
            billed_chars=plan.total_chars - free_chars,
            total_chars=plan.total_chars,
            chunks=self._chunks_total,
        )

    def _progress(self) -> None:
        self._ctx.progress(
            done_chars=self._known.done_chars,
            total_chars=self._known.total_chars,
            cached_chars=self._known.cached_chars,
            chunks_done=self._chunks_done,
            chunks_total=self._chunks_total,
        )


def _count(found: Mapping[str, Sequence[str]]) -> int:
    return sum(map(len, found.values()))


def _warnings(counts: Mapping[str, int]) -> Iterator[Mapping[str, Any]]:
    """One warning for each code, however many segments have it: a long text must not drown its reader."""
    for code, count in sorted(counts.items()):
        where = f" in {count} segments" if count > 1 else ""
        yield {"code": code, "message": f"{_WARNINGS[code]}{where}.", "count": count}
