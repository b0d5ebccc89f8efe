"""
Apertium, the rule-based translator that Debian packages (apt install apertium-eng-spa), offline.

Owns which language pairs are installed, the way over at most one language between, and the text that goes
through the pipes. Texts go in line by line, as plain text with sentinels: markup would land on the wrong words.
"""

import re
import shlex
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from worker import errors
from worker.translators import tags
from worker.translators.apertium_pipe import ANSWER_SECONDS, Pipe
from worker.translators.base import Pairs, Provider, TranslationAnswer, TranslationRequest

MODES: Final = Path("/usr/share/apertium/modes")

# Each is ten processes and some hundred megabytes: the least recently used one makes room.
_PIPES_MAX: Final = 4

# The languages that most pairs have on one side, best first.
_BETWEEN: Final = ("en", "es", "fr", "ca")

# What can be told to answer at once instead of at the end of its input.
_FLUSHES: Final = frozenset(
    {
        "lt-proc", "cg-proc", "hfst-proc", "lrx-proc", "lsx-proc", "rtx-proc", "apertium-tagger",
        "apertium-pretransfer", "apertium-posttransfer", "apertium-transfer", "apertium-interchunk",
        "apertium-postchunk", "apertium-anaphora", "apertium-wblank-attach", "apertium-wblank-detach",
        "apertium-wblank-mode",
    }
)  # fmt: skip

_LINE_END: Final = re.compile(r"(\s*(?:\r\n|[\n\r\u2028\u2029])\s*)")


class Apertium(Provider):
    name = "apertium"

    def __init__(self, modes: Path = MODES, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """
        *answer_seconds*: how long a line may take.

        Raises:
            ConfigurationError: no pairs of languages are installed there.
        """
        self._modes = dict(installed(modes))
        if not self._modes:
            raise errors.ConfigurationError(
                f"TRANSLATOR is 'apertium', but there are no language pairs in {modes}; install some, "
                "for example the Debian package apertium-eng-spa."
            )
        self._directory = tags.Directory(_reachable(self._modes))
        self._answer_seconds = answer_seconds
        self._pipes: OrderedDict[tuple[str, str], Pipe] = OrderedDict()

    @property
    def languages(self) -> Pairs:
        return self._directory.pairs

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        if request.source_language is None:
            raise errors.ItemError("unsupported_language", "Apertium must be told the source language.")
        source, target = self._directory.pair(request.source_language, request.target_language, "Apertium")
        steps = self._way(source or "", target)
        return TranslationAnswer(tuple([await self._text(text, steps) for text in request.texts]))

    async def close(self) -> None:
        for pipe in self._pipes.values():
            await pipe.close()
        self._pipes.clear()

    def _way(self, source: str, target: str) -> list[tuple[str, str]]:
        if (source, target) in self._modes:
            return [(source, target)]
        between = min(_between(self._modes, source, target), key=_preference)
        return [(source, between), (between, target)]

    async def _text(self, text: str, steps: list[tuple[str, str]]) -> str:
        for step in steps:
            # Every second part is the white space between two lines.
            parts = _LINE_END.split(text)
            parts[::2] = [await self._line(part, step) for part in parts[::2]]
            text = "".join(parts)
        return text

    async def _line(self, line: str, step: tuple[str, str]) -> str:
        words = line.strip()
        if not words:
            return line
        start = line.index(words)
        translated = await (await self._pipe(step)).ask(words)
        return line[:start] + translated.strip() + line[start + len(words) :]

    async def _pipe(self, step: tuple[str, str]) -> Pipe:
        pipe = self._pipes.get(step)
        if pipe is None:
            pipe = self._pipes[step] = Pipe(self._modes[step], answer_seconds=self._answer_seconds)
        self._pipes.move_to_end(step)
        running = [other for other in self._pipes.values() if other is not pipe and other.running]
        idle = [other for other in running if not other.busy]
        for other in idle[: max(0, len(running) + 1 - _PIPES_MAX)]:
            await other.close()  # stays in the list: asked again, it starts again
        return pipe


def installed(modes: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Each pair of tags for which there is a mode that can be kept open, and its command."""
    for path in sorted(modes.glob("*.mode")):
        names = path.stem.split("-")
        pair = [tags.canonical(name) for name in names]
        if len(pair) != 2 or not all(tag and tags.is_language(tag) for tag in pair):
            continue
        if command := flushing(path.read_text(encoding="utf-8", errors="replace")):
            yield (pair[0] or "", pair[1] or ""), command


def flushing(mode: str) -> str | None:
    """The pipeline of a mode, told to flush at every NUL; None when a part of it cannot."""
    commands = []
    for command in mode.strip().replace("\n", " ").split("|"):
        program, *words = shlex.split(command) or [""]
        if Path(program).name not in _FLUSHES:
            return None
        # $1: how words that nobody knows are shown (-n: as they are); $2: an option of the tagger for debugging.
        given = ["-n" if word == "$1" else word for word in words if word != "$2"]
        commands.append(shlex.join([program, "-z", *given]))
    return " | ".join(commands)


def _reachable(modes: Mapping[tuple[str, str], str]) -> dict[str, set[str]]:
    sources = {source for source, _ in modes}
    targets = {target for _, target in modes}
    return {
        source: {
            target
            for target in targets
            if (source, target) in modes or (_base(source) != _base(target) and any(_between(modes, source, target)))
        }
        for source in sources
    }


def _between(modes: Mapping[tuple[str, str], str], source: str, target: str) -> Iterator[str]:
    return (middle for start, middle in modes if start == source and (middle, target) in modes and middle != target)


def _base(tag: str) -> str:
    return tag.split("-")[0]


def _preference(tag: str) -> tuple[int, str]:
    return (_BETWEEN.index(tag) if tag in _BETWEEN else len(_BETWEEN), tag)
