"""
What the pipeline costs beside the provider: in one process without any, and through the whole worker with `pseudo`.

The first part runs the real handler with everything on (segmenting, protecting, memory keys and look-ups, all checks,
assembling) against a translator that answers at once, and counts processor time. The bar is 2 MB/s of Markdown a core;
text and JSON are told beside it. The second part is a document of 1 MB in five languages, at most 10 s and 150 MB, and
in fifty, which is the largest job there can be: at most 100 s and 200 MB.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg

from scripts import local
from scripts.benches import worker_process
from scripts.benches.telling import Figures, spread, verdict
from worker import models
from worker.handlers.translation import TranslationHandler
from worker.translators import TranslationAnswer, TranslationRequest
from worker.translators.base import Provider

T = TypeVar("T")

LANGUAGES = ("es", "fr", "de", "it", "pt")
FIFTY = (
    *("es", "fr", "de", "it", "pt", "nl", "pl", "sv", "da", "nb", "fi", "et", "lv", "lt", "cs", "sk", "sl", "hr", "hu"),
    *("ro", "tr", "az", "ca", "gl", "eu", "cy", "ga", "is", "mt", "sq", "bs", "id", "ms", "vi", "tl", "sw", "af", "zu"),
    *("xh", "so", "uz", "eo", "la", "lb", "fo", "br", "oc", "ht", "mi", "sm"),
)
DOCUMENT_BYTES = 1_000_000
MEGABYTES_A_SECOND_MIN = 2.0
SECONDS_MAX = 10.0  # for five languages, and as many for each five of more
MEGABYTES_MAX = 150.0
MEGABYTES_OF_FIFTY_MAX = 200.0

SENTENCES = (
    "the a of and to in is it that was for on are with as his they at be this from have or by one had not but what",
    "all were when we there can an your which their said if do will each about how up out them then she many some so",
    "these would other into has more her two like him see time could no make than first been its who now people my",
    "made over did down only way find use may water long little very after words called just where most know harbour",
    "lantern keeper museum visitor storm letter drawer glass window evening captain island weather account settings",
)
WORDS = tuple(word for sentence in SENTENCES for word in sentence.split())


async def run(home: Path, args: Sequence[str]) -> Figures:
    """`pipeline [--runs 5] [--no-worker]`; `--only-worker` leaves out the first part."""
    parser = argparse.ArgumentParser(prog="scripts/bench pipeline")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-worker", action="store_true")
    parser.add_argument("--only-worker", action="store_true")
    wanted = parser.parse_args(args)
    figures: Figures = {}
    if not wanted.only_worker:
        for kind, content in contents().items():
            figures |= await overhead(kind, content, wanted.runs)
    if not wanted.no_worker:
        for name, languages in {"five": LANGUAGES, "fifty": FIFTY}.items():
            (home / name).mkdir()
            figures |= await through_the_worker(home / name, name, languages)
    return figures


# Without a worker


async def overhead(kind: str, content: str, runs: int) -> Figures:
    """MB/s of one language that is new, of one that the memory knows, and of five languages of one job."""
    size = len(content.encode()) / 1e6
    figures: Figures = {}
    for name, measure in {"new": _new, "known": _known, "five": _five}.items():
        speeds = [await measure(kind, content, size) for _ in range(runs)]
        median = figures[f"pipeline_{kind}_{name}_mb_per_second"] = statistics.median(speeds)
        held = kind != "markdown" or median >= MEGABYTES_A_SECOND_MIN
        print(f"{kind}, {NAMED[name]}: {spread(speeds, 'MB/s a core')}{verdict(held)}", flush=True)
    return figures


NAMED = {
    "new": "one language, all of it new",
    "known": "one language, all of it known",
    "five": "each of five languages",
}


async def _new(kind: str, content: str, size: float) -> float:
    return size / await _processor_seconds([Context(kind, content, "es")])


async def _known(kind: str, content: str, size: float) -> float:
    first = Context(kind, content, "es")
    await _processor_seconds([first])
    return size / await _processor_seconds([Context(kind, content, "es", memory=first.memory)])


async def _five(kind: str, content: str, size: float) -> float:
    made: dict[Hashable, Any] = {}
    return len(LANGUAGES) * size / await _processor_seconds([Context(kind, content, to, made=made) for to in LANGUAGES])


async def _processor_seconds(contexts: Sequence["Context"]) -> float:
    handle = TranslationHandler(AtOnce())
    started = time.process_time()
    for ctx in contexts:
        result = await handle(ctx)
        assert result.total_chars
    return time.process_time() - started


class AtOnce(Provider):
    """Answers without a moment's thought, and well enough to pass every check."""

    name = "at-once"

    async def translate(self, request: TranslationRequest) -> TranslationAnswer:
        return TranslationAnswer(tuple(f"{text} más" for text in request.texts))


class Context:
    """One item of one job, with a memory in this process."""

    cancelled = False
    attempt = 1

    def __init__(
        self,
        kind: str,
        content: str,
        target: str,
        *,
        memory: dict[str, models.Recalled] | None = None,
        made: dict[Hashable, Any] | None = None,
    ) -> None:
        self.memory = {} if memory is None else memory
        self._made = {} if made is None else made
        self._content = content
        self.job = models.Job.from_row(
            {
                "job_id": "00000000-0000-0000-0000-000000000001",
                "token": 1,
                "seq": 1,
                "job_type": "translation",
                "content_kind": kind,
                "content_chars": len(content),
                "source_language": "en",
                "lease_ms": 30_000,
                "item_timeout_ms": 60_000,
                "items": [{"item": target}],
            }
        )
        self.item = self.job.items[0]

    async def content(self) -> Any:
        return self._content

    async def signed_content(self, seconds: int = 3600) -> Any:
        raise NotImplementedError

    async def signed_url(self, bucket: str, path: str, seconds: int = 3600) -> str:
        raise NotImplementedError

    async def parents(self) -> Sequence[models.Parent]:
        return ()

    async def parent_result(self, parent_id: str, item: str) -> Any:
        raise NotImplementedError

    async def shared(self, name: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        if name not in self._made:
            self._made[name] = await make()
        value: T = self._made[name]
        return value

    async def glossary(self) -> Sequence[models.GlossaryTerm]:
        return ()

    async def recall(self, keys: Sequence[str]) -> Mapping[str, models.Recalled]:
        return {key: self.memory[key] for key in keys if key in self.memory}

    async def remember(self, segments: Mapping[str, str]) -> None:
        self.memory.update({key: models.Recalled(target, True) for key, target in segments.items()})

    def progress(self, **_: Any) -> None:
        pass


# With a worker


async def through_the_worker(home: Path, name: str, languages: Sequence[str]) -> Figures:
    """A document of 1 MB into *languages*: from the call that creates it to the end, and the worker's peak."""
    content = contents()["markdown"]
    async with local.stack(home) as env:
        settings = local.worker_environment(env, TRANSLATOR="pseudo")
        async with local.running("run", home=home, until="Realtime subscription active", environment=settings) as pid:
            pids = (pid, int(env["STACK_PID"]))
            with psycopg.connect(env["DATABASE_URL"], autocommit=True) as owner:
                started, before = time.monotonic(), [worker_process.cpu_seconds(one, of_children=True) for one in pids]
                status = await ended(owner, create(owner, content, languages))
                seconds = time.monotonic() - started
                spent = [worker_process.cpu_seconds(one, of_children=True) for one in pids]
            megabytes = peak_megabytes(pid)
    worker, stack = (now - then for now, then in zip(spent, before, strict=True))
    most = MEGABYTES_MAX if name == "five" else MEGABYTES_OF_FIFTY_MAX
    held = seconds <= SECONDS_MAX * len(languages) / len(LANGUAGES) and megabytes <= most
    told = f"{status} in {seconds:.1f} s, worker at most {megabytes:.0f} MB; bars {'held' if held else 'MISSED'}"
    print(f"1 MB of Markdown into {name} languages: {told}", flush=True)
    print(f"processor seconds for it: worker {worker:.1f}, stack and database {stack:.1f}", flush=True)
    figures = {
        "pipeline_document_seconds": seconds,
        "pipeline_document_megabytes": megabytes,
        "pipeline_document_worker_processor_seconds": worker,
        "pipeline_document_stack_processor_seconds": stack,
    }
    return figures if name == "five" else {key.replace("document", f"document_{name}"): figures[key] for key in figures}


def create(owner: psycopg.Connection[Any], content: str, languages: Sequence[str]) -> str:
    row = owner.execute(
        """select to_jsonb(j) ->> 'id' from public.enqueue_translation_job(
             p_job_type => 'translation', p_content => %s::jsonb, p_items => %s, p_source_language => 'en',
             p_content_kind => 'markdown') as j""",
        [json.dumps(content), list(languages)],
    ).fetchone()
    assert row
    return str(row[0])


async def ended(owner: psycopg.Connection[Any], job_id: str) -> str:
    """Wait for the job's end; its status."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        row = owner.execute("select status from public.translation_jobs where id = %s", [job_id]).fetchone()
        assert row
        if row[0] in ("completed", "failed", "cancelled"):
            return str(row[0])
        await asyncio.sleep(0.05)
    raise SystemExit("The job did not end.")


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024 / 1e6


# What is translated: no two sentences alike, or the memory would spare half of the work


def contents() -> dict[str, str]:
    draw = random.Random(7)
    return {
        "markdown": _filled(lambda n: _section(draw, n)),
        "text": _filled(lambda n: "\n\n".join(_sentences(draw, 5) for _ in range(4)) + "\n\n"),
        "json": json.dumps({f"key.{n}": f"{_sentence(draw)} {{name}}" for n in range(DOCUMENT_BYTES // 130)}),
    }


def _filled(part: Callable[[int], str]) -> str:
    parts: list[str] = []
    size = 0
    while size < DOCUMENT_BYTES:
        parts.append(part(len(parts)))
        size += len(parts[-1].encode())
    return "".join(parts)


def _section(draw: random.Random, n: int) -> str:
    """What a manual consists of."""
    word = draw.choice(WORDS)
    return f"""## Part {n}: {_sentence(draw)[:-1]}

{_sentences(draw, 4)} See [the {word}](https://example.test/{n}/{word}) or `{word}_{n}` and **never** lose {{count}}.

- {_sentence(draw)}
- *{_sentence(draw)}* {_sentence(draw)}
- {_sentence(draw)} <br> {_sentence(draw)}

> {_sentences(draw, 2)}

| {word} {n} | meaning |
|---|---|
| {_sentence(draw)} | {_sentence(draw)} |

```python
{word} = {n}
```

{_sentences(draw, 6)}

"""


def _sentences(draw: random.Random, count: int) -> str:
    return " ".join(_sentence(draw) for _ in range(count))


def _sentence(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(6, 18))).capitalize() + "."
