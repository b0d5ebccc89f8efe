"""
What must hold when the dust has settled, asked of the database; and the witnesses it needs, planted before.

The witnesses stand in a schema of their own: triggers that note every change of a status or a result in the order of
its commit, and one that makes commits as slow as `storm.weather` says. They never change a row of the project's.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from scripts.storm.owner import Owner
from scripts.storm.users import PRICE, Made
from worker import models

_SHOWN = 3
_RETRIED = sorted(name for name, what in models.DISPOSITIONS.items() if what is models.Disposition.RETRY)

PLANT = f"""
update public.translation_job_types
set price = {PRICE}, max_waiting_per_user = 1000000, creates_per_minute = 100000 where name = 'translation';

create schema storm;
create table storm.weather (commit_ms int not null);
insert into storm.weather values (0);
create table storm.history (
  n bigint generated always as identity primary key, at timestamptz not null default clock_timestamp(),
  job_id uuid not null, item text, was text, now text not null, again boolean not null);
create index on storm.history (job_id, item, n);

create function storm.note_job() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into storm.history (job_id, was, now, again)
  values (new.id, case when tg_op = 'UPDATE' then old.status end, new.status, false);
  return null;
end $$;
create function storm.note_item() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into storm.history (job_id, item, was, now, again)
  values (new.job_id, new.item, case when tg_op = 'UPDATE' then old.status end, new.status,
          tg_op = 'UPDATE' and old.result is not null);
  return null;
end $$;
-- Deferred, so that it sleeps within the commit, with every lock held; once a transaction.
create function storm.dawdle() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  v_ms int := (select commit_ms from storm.weather);
  v_this text := pg_catalog.pg_current_xact_id()::text;
begin
  if v_ms > 0 and pg_catalog.current_setting('storm.slept', true) is distinct from v_this then
    perform pg_catalog.set_config('storm.slept', v_this, true);
    perform pg_catalog.pg_sleep(v_ms / 1000.0);
  end if;
  return null;
end $$;

create trigger storm_new after insert on public.translation_jobs for each row execute function storm.note_job();
create trigger storm_moved after update on public.translation_jobs for each row
  when (old.status is distinct from new.status) execute function storm.note_job();
create trigger storm_new after insert on public.translation_job_items for each row execute function storm.note_item();
create trigger storm_moved after update on public.translation_job_items for each row
  when (old.status is distinct from new.status or old.result is distinct from new.result)
  execute function storm.note_item();
create constraint trigger storm_commit after insert or update on public.translation_jobs
  deferrable initially deferred for each row execute function storm.dawdle();
"""

SLOW_COMMITS = "update storm.weather set commit_ms = %s where commit_ms is not null"

OPEN = """
select count(*) from public.translation_jobs where status not in ('completed', 'failed', 'cancelled')
"""

# Each finds what must not be; its first column says what.
_CHECKS: Mapping[str, str] = {
    "jobs that have not ended": """
select id || ' ' || status from public.translation_jobs where status not in ('completed', 'failed', 'cancelled')
""",
    "jobs still held": "select job_id::text from public.translation_job_claims",
    "tries still open": """
select job_id::text from public.translation_job_attempts where ended_at is null or outcome is null
""",
    "items open in a job that has ended": """
select i.job_id || ' ' || i.item || ' ' || i.status from public.translation_job_items i
join public.translation_jobs j on j.id = i.job_id
where i.status not in ('completed', 'failed', 'cancelled') and j.status in ('completed', 'failed', 'cancelled')
""",
    "jobs whose state does not follow from their items": """
select j.id || ' ' || j.status from public.translation_jobs j
join lateral (
  select count(*) filter (where i.status = 'completed') as completed,
    count(*) filter (where i.status = 'failed') as failed,
    count(*) filter (where i.status = 'cancelled') as cancelled
  from public.translation_job_items i where i.job_id = j.id) as t on true
where j.completed_at is not null and (j.failed_items <> t.failed or j.status <> case
  when t.cancelled > 0 then 'cancelled' when t.completed > 0 then 'completed' else 'failed' end)
""",
    "steps that are not in the life of a job": """
select h.job_id || ' ' || coalesce(h.was, 'nothing') || ' to ' || h.now from storm.history h
where h.item is null and (coalesce(h.was, 'nothing'), h.now) not in (
  ('nothing', 'pending'), ('nothing', 'scheduled'), ('nothing', 'blocked'), ('blocked', 'pending'),
  ('blocked', 'scheduled'), ('scheduled', 'pending'), ('retrying', 'pending'), ('pending', 'processing'),
  ('processing', 'pending'), ('processing', 'retrying'), ('processing', 'completed'), ('processing', 'failed'),
  ('processing', 'cancelled'), ('pending', 'cancelled'), ('scheduled', 'cancelled'), ('retrying', 'cancelled'),
  ('blocked', 'cancelled'))
""",
    "steps that are not in the life of an item": """
select h.job_id || ' ' || h.item || ' ' || coalesce(h.was, 'nothing') || ' to ' || h.now from storm.history h
where h.item is not null and (coalesce(h.was, 'nothing'), h.now) not in (
  ('nothing', 'pending'), ('pending', 'processing'), ('processing', 'pending'), ('pending', 'completed'),
  ('processing', 'completed'), ('pending', 'failed'), ('processing', 'failed'), ('pending', 'cancelled'),
  ('processing', 'cancelled'))
""",
    "steps that do not follow on the one before": """
select h.job_id || ' ' || coalesce(h.item, '') || ' ' || h.before || ' then from ' || h.was from (
  select h.job_id, h.item, h.was, lag(h.now) over (partition by h.job_id, h.item order by h.n) as before
  from storm.history h) as h
where h.before is distinct from h.was
""",
    "items whose result was recorded twice": """
select h.job_id || ' ' || h.item from storm.history h where h.item is not null
group by h.job_id, h.item having count(*) filter (where h.now = 'completed') > 1 or bool_or(h.again)
""",
    "completed items without a result, or others with one": """
select i.job_id || ' ' || i.item from public.translation_job_items i
where (i.status = 'completed') <> coalesce(i.result ? 'content', false)
""",
    "jobs whose sums are not those of the ledger": """
select j.id::text from public.translation_jobs j left join public.translation_credit_ledger l on l.job_id = j.id
group by j.id having (j.credits_reserved, j.credits_consumed, j.credits_refunded) is distinct from (
    coalesce(sum(l.amount) filter (where l.kind = 'reserve'), 0),
    coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0),
    coalesce(sum(l.amount) filter (where l.kind = 'refund'), 0))
  or j.credits_reserved <> j.credits_consumed + j.credits_refunded
""",
    "items not charged or refunded exactly once": """
select i.job_id || ' ' || i.item from public.translation_job_items i
left join public.translation_credit_ledger l on l.job_id = i.job_id and l.item = i.item
group by i.job_id, i.item having count(*) filter (where l.kind = 'reserve') <> 1
  or sum(l.amount) filter (where l.kind = 'reserve') <> max(i.price)
  or coalesce(sum(l.amount) filter (where l.kind <> 'reserve'), 0) <> max(i.price)
  or coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0) <> max(i.credits)
  or (max(i.status) = 'completed') <> (count(*) filter (where l.kind = 'consume') = 1)
""",
    "movements without an item": """
select l.id::text from public.translation_credit_ledger l
left join public.translation_job_items i on i.job_id = l.job_id and i.item = l.item
where l.kind in ('reserve', 'consume', 'refund') and i.job_id is null
""",
    "balances that are not the sum of the ledger": """
select c.user_id::text from public.translation_credits c
where c.balance <> (
  select coalesce(sum(case when l.kind in ('grant', 'refund') then l.amount
                           when l.kind in ('revoke', 'reserve') then -l.amount else 0 end), 0)
  from public.translation_credit_ledger l where l.user_id = c.user_id)
""",
    "deliveries and tries that do not agree": """
select j.id || ' ' || j.deliveries from public.translation_jobs j
left join public.translation_job_attempts a on a.job_id = j.id
group by j.id having count(a.*) <> j.deliveries
  or array_agg(a.delivery order by a.token) filter (where a.job_id is not null)
     is distinct from nullif(array(select generate_series(1, j.deliveries)), '{}')
""",
    "items tried too often": """
select i.job_id || ' ' || i.item || ' ' || i.attempts from public.translation_job_items i
join public.translation_jobs j on j.id = i.job_id where i.attempts > j.max_attempts
""",
    "translations that failed for no reason of theirs": """
select i.job_id || ' ' || i.item || ' ' || i.error from public.translation_job_items i
join public.translation_jobs j on j.id = i.job_id
where i.status = 'failed' and not coalesce(j.options -> 'simulate' ? 'fail', false) and j.lost_count < 3
""",
    "failures of a provider that came to another end than theirs": """
select i.job_id || ' ' || i.item || ' ' || i.status || ' ' || (j.options #>> '{simulate,fail,*,class}')
from public.translation_job_items i join public.translation_jobs j on j.id = i.job_id
where j.options -> 'simulate' ? 'fail' and i.status <> 'cancelled' and j.lost_count < 3
  and case when j.options #>> '{simulate,fail,*,class}' in ({retried}) then i.status <> 'completed'
           else i.status <> 'failed' or i.error ->> 'class' is distinct from j.options #>> '{simulate,fail,*,class}' end
""".replace("{retried}", ", ".join(map(repr, _RETRIED))),
}

_MISSING = (
    "select id::text from unnest(%s::uuid[]) as made (id) where id not in (select id from public.translation_jobs)"
)

_COUNTS = """
select 'jobs ' || status, count(*) from public.translation_jobs group by status
union all select 'items ' || status, count(*) from public.translation_job_items group by status
union all select 'tries ' || outcome, count(*) from public.translation_job_attempts group by outcome
union all select 'jobs lost three times', count(*) from public.translation_jobs where lost_count >= 3
order by 1
"""


async def balance(owner: Owner, made: Sequence[Made]) -> list[str]:
    """Everything that is not as it must be; nothing when all is well."""
    broken = []
    found = {title: await owner.rows(query) for title, query in _CHECKS.items()}
    found["jobs that were answered for and do not exist"] = await owner.rows(_MISSING, [one.job_id for one in made])
    for title, rows in found.items():
        if rows:
            shown = "; ".join(str(row[0]) for row in rows[:_SHOWN])
            broken.append(f"{len(rows)} {title}: {shown}")
    return broken


async def counts(owner: Owner) -> dict[str, int]:
    """What became of everything."""
    return dict(await owner.rows(_COUNTS))


async def now(owner: Owner) -> Any:
    """The database's time."""
    return (await owner.rows("select clock_timestamp()"))[0][0]


async def ended(owner: Owner, since: Any, until: Any) -> int:
    """How many jobs ended between two times of the database."""
    rows = await owner.rows(
        "select count(*) from public.translation_jobs where completed_at >= %s and completed_at < %s", since, until
    )
    return int(rows[0][0])


async def longest_gap_seconds(owner: Owner, since: Any, until: Any) -> float:
    """For how long at most no job ended."""
    rows = await owner.rows(_GAP, since, since, until, until)
    return float(rows[0][0])


_GAP = """
select extract(epoch from max(gap)) from (
  select at - lag(at) over (order by at) as gap from (
    select %s::timestamptz as at
    union all select completed_at from public.translation_jobs where completed_at >= %s and completed_at < %s
    union all select %s::timestamptz) as moments) as gaps
"""
