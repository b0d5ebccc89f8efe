"""
docs/testing.md, read and done as it says: its commands are run, its SQL is executed, its results are expected.

A `text` block is what the SQL above it must come to; it is waited for, as a reader would look again. The rule:
nothing here knows what a scenario is about.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support import processes
from tests.support.waiting import until

PAGE = processes.ROOT / "docs/testing.md"
COMMAND_SECONDS = 90.0
RESULT_SECONDS = 60.0

_LOOK_SECONDS = 0.1  # a reader's eye is no quicker; what is tried needs the processor

Editor = psycopg.Connection[tuple[object, ...]]
Table = list[dict[str, str]]

_SECTION = re.compile(r"^## (?:Scenario )?([^:\n]+).*?\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    language: str
    code: str


def sections() -> dict[str, str]:
    """The text of each section, by the scenario's number or the heading."""
    return dict(_SECTION.findall(PAGE.read_text()))


def blocks(section: str) -> list[Block]:
    return [Block(language, code) for _, language, code in _BLOCK.findall(sections()[section])]


def table(text: str) -> Table:
    """The rows of a result as `psql` prints it."""
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if not re.match(r"[-+ ]+$", line)]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


class Walk:
    """Somebody who follows one section, block by block."""

    def __init__(self, section: str, editor: Editor, environment: Mapping[str, str], home: Path) -> None:
        self._blocks = blocks(section)
        self._editor = editor
        self._environment = environment
        self._kept = home / "JOB"
        self._done = 0

    async def commands(self) -> None:
        """Go on until the next commands have been run."""
        while self._blocks[self._done].language != "sh":
            await self.step()
        await self.step()

    async def rest(self) -> Table:
        """Do all that is left; the last result."""
        result: Table = []
        while self._done < len(self._blocks):
            result = await self.step()
        return result

    async def step(self) -> Table:
        """Do the next block, and see that its result is the one below it, if there is one."""
        block, self._done = self._blocks[self._done], self._done + 1
        if block.language == "sh":
            await self._run(block.code)
            return []
        assert block.language == "sql", f"Nobody can do this: {block}"
        expected = self._expected()
        if expected is None:
            return await asyncio.to_thread(self._ask, block.code)
        seen: list[Table] = [[]]

        async def look() -> bool:
            await asyncio.sleep(_LOOK_SECONDS)
            seen[0] = await asyncio.to_thread(self._ask, block.code)
            return seen[0] == expected

        try:
            await until(look, "the result", seconds=RESULT_SECONDS)
        except AssertionError:
            assert seen[0] == expected, f"Not the result of:\n{block.code}"
        return seen[0]

    def _expected(self) -> Table | None:
        following = self._blocks[self._done : self._done + 1]
        if not following or following[0].language != "text":
            return None
        self._done += 1
        return table(following[0].code)

    async def _run(self, commands: str) -> None:
        """In a shell that remembers `JOB` from the blocks before."""
        job = self._kept.read_text() if self._kept.exists() else ""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", f'{commands}\nprintf %s "${{JOB-}}" >"$KEPT"'),
            env={
                **{name: value for name, value in os.environ.items() if name == processes.COUNTED},
                **{"PATH": path, "NO_COLOR": "1", "JOB": job, "KEPT": str(self._kept)},
                **self._environment,
            },
            cwd=processes.ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 0, f"{commands}\n{output.decode(errors='replace')}"

    def _ask(self, statements: str) -> Table:
        """What the last of *statements* gives, as text; no rows, if it gives none."""
        cursor = self._editor.execute(statements.encode())
        while cursor.nextset():
            pass
        return list(_shown(cursor))


def _shown(cursor: psycopg.Cursor[tuple[object, ...]]) -> Iterator[dict[str, str]]:
    if cursor.description is None:
        return
    names = [column.name for column in cursor.description]
    for row in cursor.fetchall():
        yield dict(zip(names, map(_text, row), strict=True))


def _text(value: object) -> str:
    """As `psql` shows it."""
    match value:
        case bool():
            return "t" if value else "f"
        case list():
            return "{" + ",".join(map(str, value)) + "}"
        case None:
            return ""
        case _:
            return str(value)
