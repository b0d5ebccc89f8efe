"""
The ground that random histories stand on: a project with a still clock, emptied for each, and a picture of its tables.

Owns the SQL of that, and what must hold whatever happened; knows no procedure.
"""

from typing import Any

from tests.sql.rows import ENDED, OPEN

# Time stands still unless a step moves it; ids and jitter follow from the seed.
FIXED = """
create or replace function translation_private.clock() returns timestamptz language sql stable set search_path = ''
as $$ select timestamptz '2030-01-01 00:00+00' + (select ahead from translation_private.test_clock) $$;
create function public.history_ms(p_at timestamptz) returns bigint language sql immutable
as $$ select (extract(epoch from p_at - timestamptz '2030-01-01 00:00+00') * 1000)::bigint $$;
create function public.history_dice(p_seed float) returns int language plpgsql
as $$ begin perform setseed(p_seed); return 0; end $$;
create sequence public.history_ids;
alter table public.translation_jobs alter column id set default md5('job ' || nextval('public.history_ids'))::uuid;
grant execute on function public.history_dice(float) to service_role;
grant usage on sequence public.history_ids to service_role;
-- What the platform gives a call of its roles.
alter database {database} set statement_timeout = '8s';
update public.translation_job_types set creates_per_minute = 100000, max_waiting_per_user = 1000000,
  max_attempts = case name when 'translation' then 2 else 3 end;
"""
EMPTY = """
truncate public.translation_jobs, public.translation_workers, public.translation_credits,
  public.translation_credit_ledger, public.translation_memory, public.translation_glossary,
  translation_private.create_budget restart identity cascade;
delete from auth.users where true;
select setval('public.history_ids', 1, false), setval('translation_private.served_turn', 1, false);
update translation_private.test_clock set ahead = '0';
"""
PICTURE = """
select jsonb_build_object(
  'jobs', coalesce((select jsonb_object_agg(j.id, jsonb_build_object(
      'status', j.status, 'priority', j.priority, 'deliveries', j.deliveries, 'lost_count', j.lost_count,
      'attempts', j.attempts, 'failed_items', j.failed_items, 'retry_of', j.retry_of,
      'run_at', public.history_ms(j.run_at), 'deadline_at', public.history_ms(j.deadline_at),
      'ended_at', public.history_ms(j.completed_at),
      'reserved', j.credits_reserved, 'consumed', j.credits_consumed, 'refunded', j.credits_refunded,
      'claim', (select jsonb_build_array(c.token, c.worker_id, public.history_ms(c.lease_until), c.progressed)
                from public.translation_job_claims c where c.job_id = j.id),
      'items', (select jsonb_object_agg(i.item, jsonb_build_array(
                  i.status, i.attempts, i.credits, public.history_ms(i.retry_at)))
                from public.translation_job_items i where i.job_id = j.id)))
    from public.translation_jobs j), '{}'),
  'balances', coalesce((select jsonb_object_agg(user_id, balance) from public.translation_credits), '{}'),
  'ledger', coalesce((select jsonb_agg(jsonb_build_array(user_id, job_id, item, kind, amount))
                      from public.translation_credit_ledger), '[]'),
  'terms', coalesce((select jsonb_object_agg(id, user_id) from public.translation_glossary), '{}'),
  'memory', coalesce((select jsonb_agg(jsonb_build_array(user_id, key, origin_job, origin_item))
                      from public.translation_memory), '[]'),
  'order', coalesce((select jsonb_object_agg(id, jsonb_build_array(-priority, turn, seq))
                     from public.translation_jobs), '{}'),
  'served', (select last_value from translation_private.served_turn),
  'shown', coalesce((select jsonb_object_agg(id, progress) from public.translation_jobs), '{}'),
  'tries', coalesce((select jsonb_agg(jsonb_build_array(job_id, token)) from public.translation_job_attempts
                     where ended_at is null), '[]')) as picture
"""


def check(seen: dict[str, Any]) -> None:
    """What must hold whatever happened, judged by the tables alone."""
    jobs = seen["jobs"]
    for job_id, job in jobs.items():
        statuses = {status for status, *_ in job["items"].values()}
        held = sum(credits for status, _, credits, _ in job["items"].values() if status in OPEN)
        assert job["reserved"] == job["consumed"] + job["refunded"] + held
        assert (job["status"] in ENDED) == statuses.isdisjoint(OPEN)
        assert (job["status"] == "processing") == (job["claim"] is not None)
        assert "processing" not in statuses or job["status"] == "processing"
        assert job["status"] != "pending" or seen["order"][job_id][1] is not None
        assert job["status"] not in ("scheduled", "retrying") or job["run_at"] is not None
        assert job["status"] != "completed" or seen["shown"][job_id] == 100
    claims = [[job_id, job["claim"][0]] for job_id, job in jobs.items() if job["claim"]]
    assert sorted(seen["tries"]) == sorted(claims)
    movements = [(job, item, kind) for _, job, item, kind, _ in seen["ledger"] if job]
    assert len(movements) == len(set(movements)), "an item is reserved, charged and refunded once at most"
    balances = dict.fromkeys(seen["balances"], 0)
    for user, _, _, kind, amount in seen["ledger"]:
        balances[user] += {"grant": amount, "refund": amount, "revoke": -amount, "reserve": -amount, "consume": 0}[kind]
    assert balances == seen["balances"]
