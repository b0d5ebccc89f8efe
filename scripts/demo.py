"""
The demo: what a project does with the worker, from sign-up to the table of results, checked by SQL.

Everything here goes through the public doors: the official client as a signed-in user, the worker and the
stack as processes of their own. It owns the three sample jobs and the checks of what came back.
"""

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from supabase import AsyncClient, acreate_client

from scripts import local

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "scripts/samples"
HOME = ROOT / ".stack/demo"
PRICE = 10
CREDITS = 500
LIMIT_SECONDS = 60.0
PASSWORD = "correct horse battery"

console = Console(highlight=False)


@dataclass
class Sample:
    """One of the jobs that ship with the project, and what is expected of it."""

    title: str
    kind: str
    content: Any
    languages: Sequence[str]
    simulate: dict[str, Any]
    fails: frozenset[str] = frozenset()
    tries: int = 1
    job_id: str = ""
    job: dict[str, Any] = field(default_factory=dict)


def samples() -> list[Sample]:
    """A card, a long document with a language that fails twice, and messages with one that fails for good."""
    read = {name: (SAMPLES / name).read_text() for name in ("card.json", "handbook.md", "messages.json")}
    return [
        Sample(
            "Museum card",
            "json",
            json.loads(read["card.json"]),
            ["es", "fr", "de", "ja", "ar"],
            {"delay_ms": {"*": 150}},
        ),
        Sample(
            "Handbook",
            "markdown",
            read["handbook.md"],
            ["es", "fr", "de", "pt-BR", "zh-Hant"],
            {"delay_ms": {"*": 60}, "fail": {"fr": {"times": 2, "class": "internal"}}},
            tries=3,
        ),
        Sample(
            "UI messages",
            "json",
            read["messages.json"],
            ["es", "fr", "de", "it", "pl"],
            {"delay_ms": {"*": 150}, "fail": {"pl": {"class": "content_blocked"}}},
            fails=frozenset({"pl"}),
        ),
    ]


# What a project's owner does once


def prepare(env: dict[str, str]) -> None:
    """Turn credits on, and give the project a table of its own that fills itself."""
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as owner:
        owner.execute((ROOT / "sql/examples/museum_cards.sql").read_text())
        owner.execute("update public.translation_job_types set price = %s where name = 'translation'", [PRICE])


async def sign_up(env: dict[str, str], email: str) -> tuple[AsyncClient, str]:
    """A new user with credits, signed in through the official client."""
    user = await acreate_client(env["SUPABASE_URL"], env["SUPABASE_PUBLISHABLE_KEY"])
    signed = await user.auth.sign_up({"email": email, "password": PASSWORD})
    assert signed.user is not None
    owner = await acreate_client(env["SUPABASE_URL"], env["SUPABASE_SECRET_KEY"])
    await call(owner, "grant_translation_credits", {"p_user_id": signed.user.id, "p_amount": CREDITS})
    return user, signed.user.id


async def call(client: AsyncClient, procedure: str, arguments: dict[str, Any]) -> Any:
    return (await client.rpc(procedure, arguments).execute()).data


async def create(user: AsyncClient, sample: Sample, subject: str | None) -> None:
    request = {
        "p_content": sample.content,
        "p_content_kind": sample.kind,
        "p_source_language": "en",
        "p_target_languages": list(sample.languages),
        "p_options": {"simulate": sample.simulate},
        "p_title": sample.title,
        "p_subject": subject,
        "p_idempotency_key": f"demo {sample.title}",
    }
    sample.job_id = (await call(user, "create_translation_job", request))["id"]


async def watch(user: AsyncClient, work: Sequence[Sample]) -> None:
    """A progress bar a language, until every job has ended."""
    columns = TextColumn("{task.description:<24}"), BarColumn(bar_width=40), TextColumn("{task.fields[state]}")
    with Progress(*columns, console=console) as bars:
        rows: dict[tuple[str, str], TaskID] = {
            (sample.title, language): bars.add_task(f"{sample.title} · {language}", total=100, state="waiting")
            for sample in work
            for language in sample.languages
        }
        deadline = time.monotonic() + LIMIT_SECONDS
        while not all(sample.job.get("completed_at") for sample in work):
            if time.monotonic() > deadline:
                raise SystemExit(f"The jobs did not end within {LIMIT_SECONDS:g} seconds; see {HOME}/run.log")
            for sample in work:
                sample.job = await call(user, "get_translation_job", {"p_job_id": sample.job_id})
                for item in sample.job["items"]:
                    state, share = item_state(item)
                    bars.update(rows[sample.title, item["item"]], completed=share, state=state)
            await asyncio.sleep(0.1)


def item_state(item: dict[str, Any]) -> tuple[str, float]:
    share = 100 * item["chunks_done"] / max(1, item["chunks_total"])
    if item["status"] == "completed":
        return "[green]done[/]", 100
    if item["status"] == "failed":
        return "[red]failed, refunded[/]", share
    if item["error"]:
        return f"[yellow]try {item['attempts'] + 1} of 3[/]", share
    return ("translating", share) if item["status"] == "processing" else ("waiting", share)


# What came back


def show(work: Sequence[Sample], found: dict[str, str]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    numbers = ("try", "chars", "s", "re-\nserved", "used", "re-\nfunded")
    for name in ("job", "to", "state", *numbers, "found by"):
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=True)
    for sample in work:
        for n, item in enumerate(sample.job["items"]):
            used = item["credits"] if item["status"] == "completed" else 0
            table.add_row(
                *(sample.title if n == 0 else "", item["item"], item["status"], str(item["attempts"])),
                *(str(sample.job["content_chars"]), f"{seconds(item):.1f}"),
                *(str(item["price"]), str(used), str(item["price"] - used)),
                found[sample.job_id] if n == 0 else "",
            )
        table.add_row()
    console.print(table)


def seconds(item: dict[str, Any]) -> float:
    started, completed = (datetime.fromisoformat(item[name]) for name in ("started_at", "completed_at"))
    return (completed - started).total_seconds()


PLACEHOLDER = re.compile(
    r"```.*?```|`[^`\n]+`|\{\{\w+\}\}|\$\{\w+\}|%\{\w+\}|%\(\w+\)[sd]|%[sd]|https?://[^\s)>\"]+|<[^>\n]+>|\{\w+\}|#",
    re.DOTALL,
)
ICU = re.compile(r"\{\w+, (?:plural|select|selectordinal),")


def leaves(tree: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of a JSON tree by its path."""
    if isinstance(tree, dict):
        pairs = [(f"{path}/{key}", value) for key, value in tree.items()]
    elif isinstance(tree, list):
        pairs = [(f"{path}/{n}", value) for n, value in enumerate(tree)]
    else:
        return {path: tree}
    return {name: leaf for at, value in pairs for name, leaf in leaves(value, at).items()}


def kept(source: str, target: str) -> bool:
    """Whether everything that is not for translation came through, by a rule of our own, not the worker's."""
    if Counter(ICU.findall(source)) != Counter(ICU.findall(target)):
        return False
    before, after = PLACEHOLDER.findall(source), PLACEHOLDER.findall(target)
    # A language with more plural forms than English says the same placeholder in each of them.
    return set(before) == set(after) if "plural," in source else Counter(before) == Counter(after)


def faults(sample: Sample, results: dict[str, Any]) -> list[str]:
    """What is wrong with a job, in words; empty when all is as expected."""
    job, wrong = sample.job, []
    if job["status"] != "completed" or job["failed_items"] != len(sample.fails) or job["attempts"] != sample.tries:
        wrong.append(f"state is {job['status']}, {job['failed_items']} failed, {job['attempts']} tries")
    reserved, used, refunded = (job[f"credits_{name}"] for name in ("reserved", "consumed", "refunded"))
    done = len(sample.languages) - len(sample.fails)
    if (reserved, used, refunded) != (PRICE * len(sample.languages), PRICE * done, PRICE * len(sample.fails)):
        wrong.append(f"credits are {reserved} reserved, {used} used, {refunded} refunded")
    for language, content in results.items():
        if sample.kind == "markdown":
            before, after = {"": sample.content}, {"": content}
        else:
            before, after = leaves(sample.content), leaves(content)
        if before.keys() != after.keys():
            wrong.append(f"{language}: the structure changed")
            continue
        texts = {path for path, leaf in before.items() if isinstance(leaf, str)}
        if any(after[path] != leaf for path, leaf in before.items() if path not in texts):
            wrong.append(f"{language}: a value that is no text changed")
        wrong += [f"{language}{path}: placeholders differ" for path in texts if not kept(before[path], after[path])]
        if all(after[path] == before[path] for path in texts):
            wrong.append(f"{language}: nothing was translated")
    return [f"{sample.title}: {fault}" for fault in wrong]


def sums(env: dict[str, str], user_id: str, card: int, work: Sequence[Sample]) -> tuple[dict[str, str], list[str]]:
    """The sum rules in SQL, the owner's card, and by which road and after how many ms each job was found."""
    wrong = []
    with psycopg.connect(env["DATABASE_URL"], row_factory=dict_row) as owner:
        ledger: dict[str, int] = {
            row["kind"]: row["amount"]
            for row in owner.execute(
                """select kind, sum(amount)::int as amount from public.translation_credit_ledger
                   where user_id = %s group by kind""",
                [user_id],
            )
        }
        if ledger.get("reserve") != ledger.get("consume", 0) + ledger.get("refund", 0):
            wrong.append(f"the ledger does not add up: {ledger}")
        balance = owner.execute(
            "select balance from public.translation_credits where user_id = %s", [user_id]
        ).fetchone()
        if balance is None or balance["balance"] != CREDITS - ledger.get("consume", 0):
            wrong.append(f"the balance is {balance}, the ledger says {ledger}")
        open_claims = owner.execute("select 1 from public.translation_job_claims").fetchall()
        if open_claims:
            wrong.append(f"{len(open_claims)} claims are still held")
        row = owner.execute("select translations from public.museum_cards where id = %s", [card]).fetchone()
        if row is None or sorted(row["translations"]) != sorted(work[0].languages):
            wrong.append("the museum card was not filled with every language")
        found = {
            str(row["job_id"]): f"{row['found_by']} {row['found_ms']} ms"
            for row in owner.execute(
                """select distinct on (job_id) job_id, found_by, found_ms from public.translation_job_attempts
                   order by job_id, token"""
            )
        }
    return found, wrong


async def collect(user: AsyncClient, sample: Sample) -> dict[str, Any]:
    done = [item["item"] for item in sample.job["items"] if item["status"] == "completed"]
    results = {}
    for language in done:
        answer = await call(user, "get_translation_result", {"p_job_id": sample.job_id, "p_item": language})
        results[language] = answer["content"]
    return results


async def demonstrate(env: dict[str, str], email: str) -> int:
    user, user_id = await sign_up(env, email)
    work = samples()
    inserted: Any = await user.table("museum_cards").insert({"user_id": user_id, "card": work[0].content}).execute()
    card_id = int(inserted.data[0]["id"])
    for sample in work:
        await create(user, sample, f"museum_card:{card_id}" if sample is work[0] else None)
    await watch(user, work)
    found, wrong = sums(env, user_id, card_id, work)
    show(work, found)
    for sample in work:
        wrong += faults(sample, await collect(user, sample))
    for fault in wrong:
        console.print(f"[red]✗[/] {fault}")
    if not wrong:
        console.print("[green]✓[/] states, credits, placeholders and the museum card are as they should be")
    return 1 if wrong else 0


async def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Translate three sample jobs on a local stack.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards and print the addresses")
    keep = parser.parse_args().keep
    console.print("Starting the local stack, a worker and its panel …")
    email = f"demo-{time.time_ns()}@example.test"
    async with local.stack(HOME) as env:
        prepare(env)
        port = local.free_port()
        settings = local.worker_environment(
            env,
            TRANSLATOR="pseudo",
            PORT=str(port),
            HOST="127.0.0.1",
            SUPABASE_PUBLISHABLE_KEY=env["SUPABASE_PUBLISHABLE_KEY"],
        )
        async with local.running("run", home=HOME, until="Realtime subscription active", environment=settings):
            status = await demonstrate(env, email)
            if keep:
                keys = (HOME / "stack.env").relative_to(ROOT)
                where = f"http://127.0.0.1:{port}/panel"
                console.print(f"\nThe panel is at {where}: sign in as {email}, {PASSWORD}.", soft_wrap=True)
                console.print(f"The project is at {env['SUPABASE_URL']}; its keys are in {keys}.")
                console.print("Ctrl-C ends both.")
                stop = asyncio.Event()
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
                await stop.wait()
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
