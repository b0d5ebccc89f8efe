-- Questions one has at three in the morning, each a query for the SQL editor: mark one and run it.

-- 1. What is going on: every unfinished job, its languages, its worker, its money
select * from public.translation_jobs_overview
where status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying') order by seq desc limit 100;

-- 2. Who works on what, and how long the lease still lasts
select c.worker_id, j.seq, j.title, j.progress, c.claimed_at, c.lease_until - now() as lease_left, c.progressed
from public.translation_job_claims c join public.translation_jobs j on j.id = c.job_id order by c.lease_until;

-- 3. Which workers live, and whether they hear Realtime or poll
select id, mode, now() - mode_since as for_how_long, now() - last_seen_at as last_seen, slots, running, version, stats
from public.translation_workers order by last_seen_at desc;

-- 4. What is stuck: leases that ran out, and jobs in which nothing moved for ten minutes
select j.id, j.seq, j.title, c.worker_id, c.lease_until, j.updated_at, j.lost_count
from public.translation_job_claims c join public.translation_jobs j on j.id = c.job_id
where c.lease_until < now() or j.updated_at < now() - interval '10 minutes' order by c.lease_until;

-- 5. What waits, by type and priority, and for how long
select job_type, priority, count(*) as jobs, now() - min(ready_at) as oldest
from (select job_type, priority, ready_at from public.translation_jobs where status = 'pending' limit 10001) as waiting
group by job_type, priority order by job_type, priority desc;

-- 6. What will come back by itself, and when
select seq, title, status, run_at - now() as due_in, attempts, max_attempts, error ->> 'message' as error
from public.translation_jobs where status in ('scheduled', 'retrying') order by run_at limit 100;

-- 7. Why languages failed: the last thousand failures, grouped
select error ->> 'class' as class, error ->> 'message' as message, count(*) as languages,
  count(distinct user_id) as users, max(completed_at) as last
from (select * from public.translation_job_items where status = 'failed' order by completed_at desc limit 1000) as failed
group by 1, 2 order by languages desc;

-- 8. The timeline of one job: put its id in
select a.delivery, a.worker_id, a.found_by, a.found_ms, a.started_at, a.ended_at - a.started_at as took, a.outcome, a.error
from public.translation_job_attempts a where a.job_id = '00000000-0000-0000-0000-000000000000' order by a.token;

-- 9. The money of one user: put the id in; the last column must be 0
select c.balance, sum(l.amount) filter (where l.kind = 'grant') as granted, sum(l.amount) filter (where l.kind = 'reserve') as reserved,
  sum(l.amount) filter (where l.kind = 'consume') as used, sum(l.amount) filter (where l.kind = 'refund') as refunded,
  c.balance - sum(case l.kind when 'grant' then l.amount when 'refund' then l.amount when 'consume' then 0 else -l.amount end) as difference
from public.translation_credits c join public.translation_credit_ledger l on l.user_id = c.user_id
where c.user_id = '00000000-0000-0000-0000-000000000000' group by c.balance;

-- 10. Jobs whose sums do not add up: must be empty
select j.id, j.credits_reserved, j.credits_consumed, j.credits_refunded, l.*
from public.translation_jobs j
cross join lateral (
  select coalesce(sum(amount) filter (where kind = 'reserve'), 0) as reserved, coalesce(sum(amount) filter (where kind = 'consume'), 0) as used,
    coalesce(sum(amount) filter (where kind = 'refund'), 0) as refunded
  from public.translation_credit_ledger where job_id = j.id) as l
where (j.credits_reserved, j.credits_consumed, j.credits_refunded) is distinct from (l.reserved, l.used, l.refunded)
order by j.seq desc limit 100;

-- 11. Whether Realtime can hear the tables: two rows, or run install.sql again
select pubname, tablename from pg_catalog.pg_publication_tables
where pubname = 'supabase_realtime' and schemaname = 'public' and tablename in ('translation_jobs', 'translation_workers');

-- 12. By which road jobs were found in the last hour, and after how many ms (median, worst)
select found_by, count(*) as claims, percentile_cont(0.5) within group (order by found_ms) as median_ms, max(found_ms) as worst_ms
from (select found_by, found_ms from public.translation_job_attempts where started_at > now() - interval '1 hour' limit 10001) as recent
group by found_by order by claims desc;

-- 13. The queue in numbers
select public.translation_queue_stats();
