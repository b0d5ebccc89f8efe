"""
Translates one language of a job.

Owns the order of the steps: segment, protect, recall, call, check, restore, remember, assemble; and the
ladder for answers that do not pass. Never talks to a provider except through `repeats`, never writes
results: it returns them. The rule that keeps it correct: what a call brought is stored before the next
call is made, so whoever continues after a crash pays a provider again for at most the one call that was
under way.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

from worker import errors, models, text
from worker.handlers.base import ItemContext
from worker.text import checks, chunks, languages, protect
from worker.text.memory_key import KeyMaker
from worker.text.plan import Piece, Plan
from worker.translators import repeats
from worker.translators.base import TranslationAnswer, TranslationRequest, Translator

P = ParamSpec("P")
R = TypeVar("R")

# Parsing this much takes some milliseconds; above it, a thread keeps heartbeats and progress going.
_INLINE_CHARS_MAX = 20_000
_FAULTS_MAX = 10


class TranslationHandler:
    """The handler of the job type `translation`. Its items are language tags."""

    def __init__(self, translator: Translator, *, sleep: repeats.Sleep = asyncio.sleep) -> None:
        self._translator = translator
        self._sleep = sleep

    async def __call__(self, ctx: ItemContext) -> models.ItemResult:
        source, target = ctx.job.source_language, ctx.item.name
        if source and languages.same(source, target):
            return await self._copy(ctx)
        return await _Translation(ctx, self._translator, self._sleep).run()

    async def _copy(self, ctx: ItemContext) -> models.ItemResult:
        return models.ItemResult(
            content=await ctx.content(),
            provider=self._translator.name,
            simulated=self._translator.simulated,
            source_language=ctx.job.source_language,
            billed_chars=0,
            total_chars=ctx.job.content_chars,
        )


class _Translation:
    """One run for one language: what is known so far, and what it cost."""

    def __init__(self, ctx: ItemContext, translator: Translator, sleep: repeats.Sleep) -> None:
        self._ctx = ctx
        self._translator = translator
        self._sleep = sleep
        self._target = ctx.item.name
        self._source = ctx.job.source_language
        self._known: dict[str, str] = {}
        self._done_chars = self._cached_chars = 0
        self._chunks_done = self._chunks_total = 0

    async def run(self) -> models.ItemResult:
        plan = await self._aside(self._make_plan, await self._ctx.content())
        recalled = await self._recall(plan)
        missing = [piece for key, piece in plan.wanted.items() if key not in self._known]
        batches = list(chunks.batches(missing, lambda piece: len(piece.source)))
        self._chunks_total = len(batches)
        self._progress(plan)
        for batch in batches:
            await self._translate(plan, batch)
            self._chunks_done += 1
            self._progress(plan)
        content, warnings = await self._aside(self._finish, plan)
        # A hit that is not free was produced by an item nobody paid for. This one may be, if it gets recorded.
        if unpaid := {key: hit.target for key, hit in recalled.items() if not hit.free}:
            await self._ctx.remember(unpaid)
        free_chars = sum(plan.chars[key] for key, hit in recalled.items() if hit.free)
        return models.ItemResult(
            content=content,
            provider=self._translator.name,
            simulated=self._translator.simulated,
            cached_chars=self._cached_chars,
            source_language=self._source,
            warnings=warnings,
            billed_chars=plan.total_chars - free_chars,
            total_chars=plan.total_chars,
            chunks=self._chunks_total,
        )

    async def _aside(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function that only computes; in a thread when the content is large."""
        if self._ctx.job.content_chars <= _INLINE_CHARS_MAX:
            return function(*args, **kwargs)
        return await asyncio.to_thread(function, *args, **kwargs)

    def _make_plan(self, content: Any) -> Plan:
        job = self._ctx.job
        pointers, terms = _do_not_translate(job.options, job.content_kind)
        keys = KeyMaker(
            source_language=self._source,
            target_language=self._target,
            provider=self._translator.name,
            version=self._translator.version,
            formality=_formality(job.options),
            terms=terms,
        )
        return Plan(text.parse(content, job.content_kind, pointers), keys, terms)

    async def _recall(self, plan: Plan) -> Mapping[str, models.Recalled]:
        """What the memory knows and still fits; counted as done."""
        hits = await self._ctx.recall(list(plan.wanted)) if plan.wanted else {}
        usable = {
            key: hit
            for key, hit in hits.items()
            if key in plan.wanted and protect.holds_originals(plan.wanted[key].protected, hit.target)
        }
        self._known.update({key: hit.target for key, hit in usable.items()})
        self._cached_chars = self._done_chars = sum(plan.chars[key] for key in usable)
        return usable

    async def _translate(self, plan: Plan, batch: Sequence[Piece]) -> None:
        """
        Translate *batch*, keeping every text whose answer passes. The ladder for the others: once more, told
        what was wrong; then in halves; then one by one.

        Raises:
            ItemError: bad_output, a text alone did not pass either; or what the provider raised.
        """
        ladder: list[tuple[Sequence[Piece], tuple[str, ...]]] = [(batch, ())]
        while ladder:
            pieces, told = ladder.pop()
            request = self._request(pieces, told)
            answer = await repeats.translate(self._translator, request, sleep=self._sleep)
            refused, faults = await self._keep(plan, pieces, answer, is_repeat=bool(told))
            if not refused:
                continue
            if not told:
                ladder.append((refused, faults))
            elif len(pieces) == 1:
                raise errors.ItemError(
                    "bad_output", f"The translator's answer failed the checks: {'; '.join(faults[:3])}."
                )
            else:
                middle = (len(refused) + 1) // 2
                halves = (refused[:middle], refused[middle:])
                ladder.extend((half, faults) for half in reversed(halves) if half)

    def _request(self, pieces: Sequence[Piece], told: tuple[str, ...]) -> TranslationRequest:
        return TranslationRequest(
            texts=tuple(piece.protected.text for piece in pieces),
            source_language=self._ctx.job.source_language,
            target_language=self._target,
            content_kind=self._ctx.job.content_kind,
            context="\n".join(filter(None, (pieces[0].heading, pieces[0].before))),
            attempt=self._ctx.attempt,
            options=self._ctx.job.options,
            faults=told,
        )

    async def _keep(
        self, plan: Plan, pieces: Sequence[Piece], answer: TranslationAnswer, *, is_repeat: bool
    ) -> tuple[list[Piece], tuple[str, ...]]:
        """Check *answer* and store what passes. Returns the pieces that did not, and all their faults."""
        self._source = self._source or answer.detected_source
        if len(answer.texts) != len(pieces):
            return list(pieces), (f"{len(pieces)} texts were asked for, {len(answer.texts)} came",)
        kept: dict[str, str] = {}
        refused: list[Piece] = []
        faults: dict[str, None] = {}
        for piece, translation in zip(pieces, answer.texts, strict=True):
            try:
                kept[piece.key] = checks.accept(piece.protected, translation, self._pair, is_repeat=is_repeat)
            except protect.Damaged as exc:
                refused.append(piece)
                faults |= dict.fromkeys(exc.faults)
        if kept:
            await self._ctx.remember(kept)
            self._known.update(kept)
            self._done_chars += sum(plan.chars[key] for key in kept)
        return refused, tuple(faults)[:_FAULTS_MAX]

    @property
    def _pair(self) -> checks.Pair:
        return checks.Pair(self._source, self._target, self._translator.simulated)

    def _finish(self, plan: Plan) -> tuple[Any, tuple[Mapping[str, str], ...]]:
        content = plan.assemble(self._known)
        found = Counter(
            code
            for key, piece in plan.wanted.items()
            for code in checks.warnings(piece.source, self._known[key], self._pair)
        )
        if _formality(self._ctx.job.options) != "default" and not self._translator.follows_formality:
            found["formality_ignored"] = 1
        return content, tuple(_warnings(found))

    def _progress(self, plan: Plan) -> None:
        self._ctx.progress(
            done_chars=self._done_chars,
            total_chars=plan.total_chars,
            cached_chars=self._cached_chars,
            chunks_done=self._chunks_done,
            chunks_total=self._chunks_total,
        )


def _warnings(found: Mapping[str, int]) -> Iterator[Mapping[str, str]]:
    """One warning for each code, however many segments have it: a long text must not drown its reader."""
    for code, count in sorted(found.items()):
        where = f" in {count} segments" if count > 1 else ""
        yield {"code": code, "message": f"{checks.WARNINGS[code]}{where}."}


def _do_not_translate(options: Mapping[str, Any], kind: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The pointers (in JSON, what begins with a slash) and the terms of the option `do_not_translate`."""
    listed = options.get("do_not_translate") or []
    if not isinstance(listed, list) or not all(isinstance(entry, str) for entry in listed):
        raise errors.ItemError("bad_request", "The option do_not_translate must be a list of strings.")
    pointers = tuple(entry for entry in listed if kind == "json" and entry.startswith("/"))
    return pointers, tuple(entry for entry in listed if entry.strip() and entry not in pointers)


def _formality(options: Mapping[str, Any]) -> str:
    return str(options.get("formality") or "default")
