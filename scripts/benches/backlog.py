"""A backlog of empty jobs: made, worked off, and what the database says about how long that took."""

from dataclasses import dataclass

from psycopg.rows import tuple_row

from scripts.benches import project, waiting

USERS = 10
_BATCH = 500
_EMPTY = """
truncate public.translation_jobs, public.translation_credits, public.translation_credit_ledger cascade
"""
_ANALYZE = "vacuum analyze public.translation_jobs, public.translation_job_items, public.translation_credit_ledger"
_UNFINISHED = """
select exists (select from public.translation_jobs where status in ('pending', 'processing', 'retrying'))
"""
_ENQUEUE = """
select count(*) from (
  select jsonb_agg(jsonb_build_object(
    'p_job_type', 'translation', 'p_content', 'Good morning.', 'p_items', array['es'],
    'p_user_id', case when %(users)s > 0 then md5('user ' || n %% greatest(%(users)s, 1))::uuid end)) as jobs
  from generate_series(1, %(count)s) as n) as batch, public.enqueue_translation_jobs(batch.jobs)
"""


@dataclass(frozen=True)
class Drained:
    """By the database's clock."""

    jobs: int
    seconds: float
    """From the first claim to the last item settled."""
    steady_rate: float
    """Jobs a second between the first fifth of the jobs and the last."""


async def prepare(stack: project.Stack, price: int) -> None:
    """Credits on, and users who can pay."""
    owner = stack.owner
    await owner.execute("update public.translation_job_types set price = %s where name = 'translation'", [price])
    await owner.execute(
        "insert into auth.users (id) select md5('user ' || n)::uuid from generate_series(0, %s) as n", [USERS - 1]
    )


async def fill(stack: project.Stack, count: int, *, users: int = USERS) -> None:
    """Nothing but *count* jobs waiting; of nobody without *users*."""
    await stack.owner.execute(_EMPTY)
    await grant(stack, count, users=users)
    await enqueue(stack.owner, count, users=users)
    await stack.owner.execute(_ANALYZE)


async def enqueue(owner: project.Owner, count: int, *, users: int = 0) -> None:
    for start in range(0, count, _BATCH):
        await owner.execute(_ENQUEUE, {"count": min(_BATCH, count - start), "users": users})


async def empty(stack: project.Stack) -> None:
    await stack.owner.execute(_EMPTY)


async def drained(stack: project.Stack, count: int, *, seconds: float) -> Drained:
    """Wait until all *count* jobs are completed, looked at so seldom that it costs nothing."""

    async def done() -> bool:
        waiting = (
            "select exists (select from public.translation_jobs where status in ('pending', 'processing', 'retrying'))"
        )
        return not await stack.value(waiting)

    await waiting.until(done, seconds=seconds, every_seconds=0.5)
    async with stack.owner.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(
            """select count(*) filter (where status = 'completed'),
                 extract(epoch from max(completed_at) - min(started_at)),
                 percentile_disc(array[0.2, 0.8]) within group (order by completed_at)
               from public.translation_jobs"""
        )
        row = await cursor.fetchone()
    assert row is not None
    completed, spent, (fifth, last_fifth) = row
    assert completed == count, f"{completed} of {count} jobs completed"
    window = (last_fifth - fifth).total_seconds()
    return Drained(count, float(spent), 0.6 * count / window if window else 0.0)


async def check_money(stack: project.Stack, count: int) -> None:
    """Every item was charged once and nothing is open."""
    charged = await stack.value("select count(*) from public.translation_credit_ledger where kind = 'consume'")
    assert charged == count, f"{charged} of {count} items charged"


async def grant(stack: project.Stack, count: int, *, users: int = USERS) -> None:
    """*count* credits to each."""
    for n in range(users):
        await stack.owner.execute(
            "select public.grant_translation_credits(md5('user ' || %s)::uuid, %s)", [str(n), count]
        )
