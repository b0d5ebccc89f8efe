"""
How good real translations are that went through the whole worker, with Apertium, offline: en→es, en→ca, es→pt.

Two things are told apart. What is ours: every placeholder, link, code span and tag is in the translation as it was in
the source, and the structure of the document is the same; that has to hold for every segment. What is Apertium's: BLEU
and chrF by sacrebleu against references of our own in `scripts/samples/parallel.json`. Few sentences, one reference
each: good for noticing a change, not for comparing translators.
"""

import asyncio
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg

from scripts import local
from scripts.benches.telling import Figures
from worker.translators import apertium

SAMPLES: Final = Path(__file__).parents[1] / "samples/parallel.json"
DIRECTIONS: Final = (("en", "es"), ("en", "ca"), ("es", "pt"))
LIMIT_SECONDS: Final = 120.0

# What must come back as it went in, each as often.
FIXED: Final = re.compile(
    r"\{\{\w+\}\}|\{\w+\}|%\(\w+\)s|%s|`[^`]+`|https?://[^\s)]+|[\w.]+@[\w.]+\w|\*\*|\]\(|^#+ |^- |^> |^\d+\. ", re.M
)

MARKS: Final = tuple("#->|`") + tuple("123456789")

Sentence = Mapping[str, str]


@dataclass(frozen=True)
class Translated:
    """One direction: the sentences as they came back, and the documents they stood in."""

    sentences: Sequence[str]
    document: str


async def run(home: Path, _args: Sequence[str]) -> Figures:
    """`quality`. Says why it does not run where Apertium or sacrebleu is missing."""
    if missing := _missing():
        print(f"quality: NOT RUN, {missing}", flush=True)
        return {}
    sentences: list[Sentence] = json.loads(SAMPLES.read_text())
    figures: Figures = {}
    async with local.stack(home) as env:
        settings = local.worker_environment(env, TRANSLATOR="apertium")
        async with local.running("run", home=home, until="Realtime subscription active", environment=settings):
            with psycopg.connect(env["DATABASE_URL"], autocommit=True) as owner:
                for source, target in DIRECTIONS:
                    figures |= _judged(sentences, source, target, await _translated(owner, sentences, source, target))
    return figures


def _missing() -> str:
    offered = set(apertium.Apertium().languages) if apertium.MODES.is_dir() else set()
    if absent := [f"{source}-{target}" for source, target in DIRECTIONS if (source, target) not in offered]:
        return f"Apertium lacks {', '.join(absent)} (apt-get install apertium-eng-spa apertium-eng-cat apertium-es-pt)"
    try:
        importlib.import_module("sacrebleu")
    except ImportError:
        return "sacrebleu is not installed (pip install -e '.[quality]')"
    return ""


async def _translated(
    owner: psycopg.Connection[Any], sentences: Sequence[Sentence], source: str, target: str
) -> Translated:
    """The sentences as values of JSON, and as a Markdown document."""
    texts = {f"key.{n}": sentence[source] for n, sentence in enumerate(sentences)}
    values, document = await asyncio.gather(
        _through_the_worker(owner, texts, "json", source, target),
        _through_the_worker(owner, _document(sentences, source), "markdown", source, target),
    )
    return Translated([values[key] for key in texts], document)


async def _through_the_worker(owner: psycopg.Connection[Any], content: Any, kind: str, source: str, target: str) -> Any:
    row = owner.execute(
        """select to_jsonb(j) ->> 'id' from public.enqueue_translation_job(
             p_job_type => 'translation', p_content => %s::jsonb, p_items => %s, p_source_language => %s,
             p_content_kind => %s) as j""",
        [json.dumps(content), [target], source, kind],
    ).fetchone()
    assert row
    async with asyncio.timeout(LIMIT_SECONDS):
        while True:
            item = owner.execute(
                "select status, result -> 'content', error from public.translation_job_items where job_id = %s",
                [row[0]],
            ).fetchone()
            assert item
            if item[0] == "completed":
                return item[1]
            if item[0] in ("failed", "cancelled"):
                raise SystemExit(f"{source}→{target} {kind}: {item[2]}")
            await asyncio.sleep(0.05)


def _document(sentences: Sequence[Sentence], language: str) -> str:
    """Headings, paragraphs, a list, a quotation, a table and code."""
    texts = [sentence[language] for sentence in sentences]
    parts = [f"# {texts[0]}", " ".join(texts[1:5]), *(f"- {text}" for text in texts[5:10]), f"> {texts[10]}"]
    parts += [f"## {texts[11]}", "```python\nopen('lamp')\n```", f"1. {texts[12]}\n2. {texts[13]}"]
    parts += [f"| {texts[14]} | {texts[15]} |\n|---|---|\n| {texts[16]} | {texts[17]} |", *texts[18:]]
    return "\n\n".join(parts) + "\n"


def _judged(sentences: Sequence[Sentence], source: str, target: str, translated: Translated) -> Figures:
    sources = [sentence[source] for sentence in sentences]
    pairs = [*zip(sources, translated.sentences, strict=True), (_document(sentences, source), translated.document)]
    intact = [_fixed(before) == _fixed(after) for before, after in pairs]
    for before, after in [pair for pair, ok in zip(pairs, intact, strict=True) if not ok]:
        print(f"NOT INTACT\n  {before}\n  {after}", flush=True)
    same_lines = _shape(pairs[-1][0]) == _shape(pairs[-1][1])
    share, structure = 100 * sum(intact) / len(intact), "the same" if same_lines else "CHANGED"
    sacrebleu = importlib.import_module("sacrebleu")
    references = [[sentence[target] for sentence in sentences]]
    bleu = float(sacrebleu.corpus_bleu(list(translated.sentences), references).score)
    chrf = float(sacrebleu.corpus_chrf(list(translated.sentences), references).score)
    untouched = float(sacrebleu.corpus_chrf(sources, references).score)
    print(
        f"{source}→{target}: intact {share:.0f} % of {len(intact)}, structure {structure}; "
        f"BLEU {bleu:.1f}, chrF {chrf:.1f} (source as it is: {untouched:.1f})",
        flush=True,
    )
    name = f"quality_{source}_{target}"
    return {f"{name}_intact": share, f"{name}_structure": float(same_lines), f"{name}_bleu": bleu, f"{name}_chrf": chrf}


def _fixed(text: str) -> list[str]:
    return sorted(FIXED.findall(text))


def _shape(document: str) -> list[str]:
    """How each line begins, with the words left out; an empty one is empty."""
    return [
        re.sub(r"[^\W_]+", "w", line)[:2] if line[:1] in MARKS else line[:1] and "w" for line in document.split("\n")
    ]
