-- 12_ops: what the operator view looks at, and what an operator does in it.
--
-- Callers: service_role alone. The panel's server checks who is an operator, and names them here: whatever changes a job
-- or shows a source leaves a row in translation_operator_actions, in the same transaction.
-- Every look is bounded, whatever the queue holds: it reads a page, the newest thousand failures, or the rollups below.
-- SQLSTATE: PT404 job_not_found, PT422 action_unknown, jobs_too_many, range_unknown, signature_unknown.

-- Rollups: numbers about jobs that have ended, kept up by heartbeats, so that neither a plot nor a purge needs the jobs.

create table if not exists public.translation_stats_hours (
  hour             timestamptz not null,
  job_type         text not null,
  status           text not null check (status in ('completed', 'partly', 'failed', 'cancelled')),
  jobs             bigint not null default 0,
  chars            bigint not null default 0,
  credits_consumed bigint not null default 0,
  credits_refunded bigint not null default 0,
  primary key (hour, job_type, status)
);
comment on table public.translation_stats_hours is
  'How many jobs ended in which hour, and what became of them. Stays when the jobs are purged.';
comment on column public.translation_stats_hours.hour is 'Start of the hour in which they ended.';
comment on column public.translation_stats_hours.job_type is 'Kind of job.';
comment on column public.translation_stats_hours.status is 'completed, partly (completed with failed items), failed or cancelled.';
comment on column public.translation_stats_hours.jobs is 'Jobs that ended so.';
comment on column public.translation_stats_hours.chars is 'Characters of their sources, once for each item that completed.';
comment on column public.translation_stats_hours.credits_consumed is 'Credits charged for them.';
comment on column public.translation_stats_hours.credits_refunded is 'Credits given back.';

-- The same for the plots, finer and for a while: a minute for two hours, ten minutes for two days, an hour for eight days.
create table if not exists translation_private.series (
  step_seconds int not null,
  at           timestamptz not null,
  measure      text not null,
  label        text not null,
  amount       bigint not null,
  primary key (step_seconds, at, measure, label)
) with (fillfactor = 70);
comment on table translation_private.series is
  'Numbers of the plots: ended (by state), error (by class), chars, wait and run (by bucket of a quarter of a doubling), depth (by state).';

create table if not exists translation_private.rolled_up (
  one   boolean primary key default true check (one),
  until timestamptz not null,
  depth timestamptz not null
) with (fillfactor = 50);
comment on table translation_private.rolled_up is 'How far the rollups are: jobs that ended until then are counted; depth was last looked at then. Both at infinity: there are none.';
insert into translation_private.rolled_up (until, depth)
select translation_private.clock() - interval '8 days', '-infinity' where not exists (select from translation_private.rolled_up);

-- One heartbeat at a time, and for a bounded time each; what is left waits for the next. Ten seconds behind, because a
-- job is dated by the start of the transaction that ended it. Where nothing ended, nothing is written.
create or replace function translation_private.roll_up(p_now timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_enough timestamptz := pg_catalog.clock_timestamp() + interval '0.04 seconds';
  v_state translation_private.rolled_up;
  v_is_due boolean;
  v_batch int;
  v_jobs int := 0;
begin
  select * into v_state from translation_private.rolled_up;
  -- A minute ago, or in a future that was taken back.
  v_is_due := v_state.depth <= p_now - interval '1 minute' or (v_state.depth > p_now and v_state.depth < 'infinity');
  perform from public.translation_jobs j where j.completed_at > v_state.until and j.completed_at <= p_now - interval '10 seconds' limit 1;
  if not found and not v_is_due then
    return 0;
  end if;
  perform from translation_private.rolled_up for update skip locked;
  if not found then
    return 0;
  end if;
  loop
    v_batch := translation_private.roll_up_some(p_now - interval '10 seconds');
    v_jobs := v_jobs + v_batch;
    exit when v_batch = 0 or pg_catalog.clock_timestamp() > v_enough;
  end loop;
  if v_is_due then
    perform translation_private.note_depth(p_now);
  end if;
  return v_jobs;
end $$;
comment on function translation_private.roll_up(timestamptz) is
  'Adds jobs that have ended to the rollups, for about 40 ms at most, and notes once a minute how long the queue is. Returns how many jobs.';

create or replace function translation_private.roll_up_some(p_until timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_after timestamptz := (select r.until from translation_private.rolled_up r);
  v_until timestamptz;
begin
  -- To the moment of the two thousandth, and all of that moment: they ended in one transaction.
  select max(batch.completed_at) into v_until from (
    select j.completed_at from public.translation_jobs j
    where j.completed_at > v_after and j.completed_at <= p_until order by j.completed_at limit 2000) as batch;
  if v_until is null then
    return 0;
  end if;
  update translation_private.rolled_up set until = v_until where one;
  return translation_private.count_ended(v_after, v_until);
end $$;
comment on function translation_private.roll_up_some(timestamptz) is 'Adds about 2000 jobs that have ended to the rollups, the oldest first. Returns how many.';

-- A delay is counted as the number of quarters of a doubling above a millisecond, so a percentile is right to a tenth.
create or replace function translation_private.count_ended(p_after timestamptz, p_until timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_jobs int;
begin
  with ended as materialized (
    select j.completed_at, j.job_type, j.credits_consumed, j.credits_refunded,
      case when j.status = 'completed' and j.failed_items > 0 then 'partly' else j.status end as status,
      case when j.failed_items > 0 then coalesce(j.error ->> 'class', 'internal') end as error_class,
      case when j.status = 'completed'
        then j.content_chars::bigint * greatest(coalesce(cardinality(j.target_languages), 1) - j.failed_items, 0) else 0 end as chars,
      -- A job that was put back has lost the time from which it first waited.
      case when j.ready_at <= j.started_at
        then floor(4 * ln(greatest(extract(epoch from j.started_at - j.ready_at)::float8 * 1000, 1)) / ln(2::float8))::int end as wait,
      case when j.status in ('completed', 'failed')
        then floor(4 * ln(greatest(extract(epoch from j.completed_at - j.started_at)::float8 * 1000, 1)) / ln(2::float8))::int end as run
    from public.translation_jobs j
    where j.completed_at > p_after and j.completed_at <= p_until and j.job_type not like 'translation\_probe\_%'
  ), hours as (
    insert into public.translation_stats_hours as h (hour, job_type, status, jobs, chars, credits_consumed, credits_refunded)
    select date_bin('1 hour', e.completed_at, 'epoch'), e.job_type, e.status, count(*), sum(e.chars), sum(e.credits_consumed), sum(e.credits_refunded)
    from ended e group by 1, 2, 3
    on conflict (hour, job_type, status) do update set
      jobs = h.jobs + excluded.jobs, chars = h.chars + excluded.chars,
      credits_consumed = h.credits_consumed + excluded.credits_consumed, credits_refunded = h.credits_refunded + excluded.credits_refunded
  ), tallied as materialized (  -- each job once for each of its labels
    select date_bin('1 minute', e.completed_at, 'epoch') as at, grouping(e.status, e.error_class, e.wait, e.run) as absent,
      coalesce(e.status, e.error_class, e.wait::text, e.run::text) as label, count(*) as jobs, sum(e.chars)::bigint as chars
    from ended e group by grouping sets ((1, e.status), (1, e.error_class), (1, e.wait), (1, e.run))
  ), minutes as (
    select t.at, case t.absent when 7 then 'ended' when 11 then 'error' when 13 then 'wait' else 'run' end as measure, t.label, t.jobs as amount
    from tallied t where t.label is not null
    union all
    select t.at, 'chars', 'all', sum(t.chars) from tallied t where t.absent = 7 group by t.at having sum(t.chars) > 0
  ), written as (
    insert into translation_private.series as s (step_seconds, at, measure, label, amount)
    select step, date_bin(make_interval(secs => step), m.at, 'epoch'), m.measure, m.label, sum(m.amount)::bigint
    from minutes m cross join unnest(array[60, 600, 3600]) as step
    group by 1, 2, 3, 4
    on conflict (step_seconds, at, measure, label) do update set amount = s.amount + excluded.amount
  )
  select count(*) into v_jobs from ended;
  return v_jobs;
end $$;
comment on function translation_private.count_ended(timestamptz, timestamptz) is 'Adds the jobs that ended in a span of time to the rollups. Returns how many.';

-- The longest queue of each step is what a plot shows. An empty one is no row.
create or replace function translation_private.note_depth(p_now timestamptz) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_noted int;
begin
  insert into translation_private.series as s (step_seconds, at, measure, label, amount)
  select step, date_bin(make_interval(secs => step), p_now, 'epoch'), 'depth', live.status, live.jobs
  from (
    select states.status, sum(capped.jobs)::bigint as jobs from public.translation_job_types t
    cross join unnest(array['pending', 'processing', 'retrying']) as states (status)
    cross join lateral (
      select count(*) as jobs from (
        select from public.translation_jobs j where j.job_type = t.name and j.status = states.status limit 1001) as head) as capped
    where t.name not like 'translation\_probe\_%' and capped.jobs > 0
    group by states.status) as live
  cross join unnest(array[60, 600, 3600]) as step
  on conflict (step_seconds, at, measure, label) do update set amount = greatest(s.amount, excluded.amount);
  get diagnostics v_noted = row_count;
  if v_noted = 0 and not exists (select from translation_private.series) then
    return;  -- a project where nothing happens is written to by nobody
  end if;
  delete from translation_private.series s
  where s.step_seconds = 60 and s.at < p_now - interval '2 hours' or s.step_seconds = 600 and s.at < p_now - interval '2 days'
     or s.step_seconds = 3600 and s.at < p_now - interval '8 days';
  update translation_private.rolled_up set depth = p_now where one;
end $$;
comment on function translation_private.note_depth(timestamptz) is 'Notes how many jobs wait, run and are tried again (1001 of a type at most), and drops what the plots no longer show.';

-- A window of the rollups, every measure on the same axis. Volatile, because it brings them up to date first.
create or replace function public.translation_series(p_range text default 'hour') returns jsonb
language plpgsql set search_path = '' set jit = off set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_step int := case p_range when 'hour' then 60 when 'day' then 600 when 'week' then 3600 end;
  v_points int := case p_range when 'hour' then 60 when 'day' then 144 when 'week' then 168 end;
  v_last timestamptz;
  v_from timestamptz;
begin
  if v_step is null then
    perform translation_private.refuse(422, 'range_unknown', 'A range is hour, day or week.');
  end if;
  perform translation_private.roll_up(v_now);
  v_last := date_bin(make_interval(secs => v_step), v_now, 'epoch');
  v_from := v_last - make_interval(secs => v_step * (v_points - 1));
  return (
    with seen as materialized (
      select s.at, s.measure, s.label, s.amount from translation_private.series s
      where s.step_seconds = v_step and s.at between v_from and v_last
    ), axis as (
      select v_from + make_interval(secs => v_step * n) as at, n from generate_series(0, v_points - 1) as n
    ), counted as (
      select names.measure, names.label, jsonb_agg(coalesce(s.amount, 0) order by a.n) as amounts
      from (select distinct measure, label from seen where measure in ('ended', 'error', 'chars', 'depth')) as names
      cross join axis a left join seen s on s.at = a.at and s.measure = names.measure and s.label = names.label
      group by names.measure, names.label
    ), climbing as (
      select s.at, s.measure, s.label::int as bucket,
        sum(s.amount) over (partition by s.at, s.measure order by s.label::int) as below, sum(s.amount) over (partition by s.at, s.measure) as jobs
      from seen s where s.measure in ('wait', 'run')
    ), percentiles as (
      select c.at, c.measure, q.name, round(2 ^ ((min(c.bucket) + 0.5) / 4.0))::bigint as ms
      from climbing c cross join (values ('p50', 0.5), ('p95', 0.95), ('p99', 0.99)) as q (name, share)
      where c.below >= c.jobs * q.share
      group by c.at, c.measure, q.name
    ), delays as (
      select names.measure, names.name, jsonb_agg(p.ms order by a.n) as amounts
      from (select distinct measure, name from percentiles) as names
      cross join axis a left join percentiles p on p.at = a.at and p.measure = names.measure and p.name = names.name
      group by names.measure, names.name
    )
    select jsonb_build_object(
      'as_of', v_now, 'from', v_from, 'step_seconds', v_step, 'points', v_points,
      'rolled_up_until', (select r.until from translation_private.rolled_up r),
      'measures', (select coalesce(jsonb_object_agg(m.measure, m.labels), '{}') from (
        select all_of.measure, jsonb_object_agg(all_of.label, all_of.amounts) as labels
        from (select * from counted union all select * from delays) as all_of group by all_of.measure) as m)));
end $$;
comment on function public.translation_series(text) is
  'The plots of an hour, a day or a week: {from, step_seconds, points, measures: {ended, error, chars, depth, wait, run}}, each {label: [one number a point]}; wait and run are p50, p95, p99 in ms, null where nothing ended.';

-- Failures, grouped by what they have in common.

create index if not exists translation_jobs_failed on public.translation_jobs (completed_at desc)
  where failed_items > 0 and completed_at is not null;

create or replace function translation_private.failure_text(p_message text) returns text
language sql immutable set search_path = ''
as $$
  -- Addresses, quoted texts, ids, numbers: what makes two messages of one fault differ.
  select left(regexp_replace(regexp_replace(regexp_replace(regexp_replace(left(coalesce(p_message, ''), 1000),
      '[a-z][a-z0-9+.-]*://[^\s"''<>]+', '<url>', 'gi'),
      '"[^"]*"|“[^”]*”|«[^»]*»|''[^'']{2,}''', '<text>', 'g'),
      '\m(?=[0-9a-f-]*[0-9])[0-9a-f]{8}[0-9a-f-]*\M', '<id>', 'gi'),
      '[0-9]+([.,:][0-9]+)*', '<n>', 'g'), 200)
$$;
comment on function translation_private.failure_text(text) is 'A message without what differs from case to case: its first 200 characters, with placeholders.';

-- The latest thousand failed items of jobs that ended within a day.
create or replace function translation_private.failures(p_now timestamptz)
returns table (job_id uuid, item text, user_id uuid, job_type text, completed_at timestamptz, class text, provider text, message text, signature text)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with failed as materialized (
    select i.job_id, i.item, j.user_id, j.job_type, j.completed_at, coalesce(i.error ->> 'class', 'internal') as class,
      i.error ->> 'provider' as provider, coalesce(i.error ->> 'message', '') as message
    from (
      select n.id, n.user_id, n.job_type, n.completed_at from public.translation_jobs n
      where n.failed_items > 0 and n.completed_at is not null and n.completed_at > p_now - interval '1 day'
      order by n.completed_at desc limit 1000) as j
    join public.translation_job_items i on i.job_id = j.id and i.status = 'failed'
    order by j.completed_at desc, i.job_id, i.position limit 1000
  )
  select f.job_id, f.item, f.user_id, f.job_type, f.completed_at, f.class, f.provider, f.message,
    left(md5(concat_ws('|', f.class, coalesce(f.provider, '-'), translation_private.failure_text(f.message))), 16)
  from failed f;
end $$;
comment on function translation_private.failures(timestamptz) is 'The latest 1000 failed items of jobs that ended in 24 hours, each with the signature of its fault.';

create or replace function public.list_translation_failures() returns jsonb
language plpgsql stable set search_path = '' set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  return (
    with failed as materialized (
      select f.* from translation_private.failures(v_now) as f
    ), open as materialized (
      select jobs.job_id from (select distinct f.job_id from failed f) as jobs
      where not exists (select from public.translation_jobs again where again.retry_of = jobs.job_id)
    ), grouped as (
      select f.signature, min(f.class) as class, min(f.provider) as provider, count(*) as items, count(distinct f.job_id) as jobs,
        count(distinct o.job_id) as retriable, count(distinct f.user_id) as users, min(f.completed_at) as first_seen, max(f.completed_at) as last_seen,
        (array_agg(distinct f.item))[1:20] as names, (array_agg(f.message order by f.completed_at desc))[1] as sample,
        (array_agg(f.job_id order by f.completed_at desc))[1] as sample_job,
        array[count(*) filter (where f.completed_at <= v_now - interval '20 hours'),
              count(*) filter (where f.completed_at > v_now - interval '20 hours' and f.completed_at <= v_now - interval '16 hours'),
              count(*) filter (where f.completed_at > v_now - interval '16 hours' and f.completed_at <= v_now - interval '12 hours'),
              count(*) filter (where f.completed_at > v_now - interval '12 hours' and f.completed_at <= v_now - interval '8 hours'),
              count(*) filter (where f.completed_at > v_now - interval '8 hours' and f.completed_at <= v_now - interval '4 hours'),
              count(*) filter (where f.completed_at > v_now - interval '4 hours')] as course
      from failed f left join open o on o.job_id = f.job_id
      group by f.signature order by items desc, last_seen desc limit 100
    )
    select jsonb_build_object(
      'as_of', v_now, 'window_hours', 24, 'window_items', 1000, 'items', (select count(*) from failed),
      'groups', coalesce((
        select jsonb_agg(jsonb_build_object(
          'signature', g.signature, 'class', g.class, 'provider', g.provider, 'message', translation_private.failure_text(g.sample),
          'sample', left(g.sample, 500), 'sample_job', g.sample_job, 'items', g.items, 'jobs', g.jobs, 'retriable', g.retriable,
          'users', g.users, 'names', g.names, 'first_seen', g.first_seen, 'last_seen', g.last_seen, 'course', g.course)
          order by g.items desc, g.last_seen desc)
        from grouped g), '[]')));
end $$;
comment on function public.list_translation_failures() is
  'Failed items grouped by their fault, of the latest 1000 in 24 hours: signature, class, provider, message with placeholders, a sample, counts of items, jobs, users and of jobs nobody retried yet.';

-- Who works, and on what.
create or replace function public.list_translation_workers() returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
        'id', w.id, 'version', w.version, 'mode', w.mode, 'mode_since', w.mode_since, 'started_at', w.started_at, 'last_seen_at', w.last_seen_at,
        'silent_seconds', floor(extract(epoch from v_now - w.last_seen_at)), 'stale', w.last_seen_at < v_now - interval '90 seconds',
        'slots', w.slots, 'running', w.running, 'stats', w.stats, 'jobs', held.jobs) order by w.last_seen_at desc), '[]')
    from (select * from public.translation_workers n order by n.last_seen_at desc limit 50) as w
    cross join lateral (
      select coalesce(jsonb_agg(jsonb_build_object(
          'id', c.job_id, 'seq', j.seq, 'job_type', j.job_type, 'title', coalesce(j.title, j.subject), 'progress', j.progress,
          'claimed_at', c.claimed_at, 'lease_left_ms', translation_private.as_ms(c.lease_until - v_now)) order by c.claimed_at), '[]') as jobs
      from (select * from public.translation_job_claims k where k.worker_id = w.id order by k.claimed_at limit 20) as c
      join public.translation_jobs j on j.id = c.job_id) as held);
end $$;
comment on function public.list_translation_workers() is 'The 50 workers last heard of, each with the jobs it holds (20 at most).';

-- Jobs of everybody, without sources.
create or replace function public.list_translation_jobs_of_all(
  p_status text[] default null, p_job_type text default null, p_user_id uuid default null, p_class text default null, p_subject text default null,
  p_search text default null, p_limit int default 50, p_before_seq bigint default null) returns setof jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set statement_timeout = '2s'
as $$
declare
  v_states text[] := array(
    select distinct s.status from unnest(coalesce(p_status,
      array['pending', 'scheduled', 'blocked', 'processing', 'retrying', 'completed', 'failed', 'cancelled'])) as s (status));
  v_types text[] := case when p_job_type is null then translation_private.job_type_names() else array[p_job_type] end;
  v_before bigint := coalesce(p_before_seq, 9223372036854775807);
  v_limit int := least(greatest(coalesce(p_limit, 50), 1), 200);
  v_ids uuid[];
begin
  if p_class is not null then
    -- A class of error is in no index: it is looked for among the 2000 that failed last, and the newest 500 of a type that are tried again.
    execute 'select array_agg(page.id order by page.seq desc) from (
        select j.id, j.seq from (
          (select n.* from public.translation_jobs n where n.failed_items > 0 and n.completed_at is not null order by n.completed_at desc limit 2000)
          union all
          select r.* from unnest($2) as t (name) cross join lateral (
            select n.* from public.translation_jobs n where n.job_type = t.name and n.status = ''retrying'' order by n.seq desc limit 500) as r) as j
        where j.status = any ($1) and j.job_type = any ($2) and j.seq < $3 and j.error ->> ''class'' = $4'
      || case when p_user_id is not null then ' and j.user_id = $5' else '' end
      || case when p_subject is not null then ' and j.subject = $6' else '' end
      || ' order by j.seq desc limit $7) as page'
    into v_ids using v_states, v_types, v_before, p_class, p_user_id, p_subject, v_limit;
  elsif p_user_id is not null then
    -- Piece by piece along the index of users; a subject or a text among the newest 2000 of each.
    execute 'select array_agg(page.id order by page.seq desc) from (
        select j.id, j.seq from unnest($1) as s (status) cross join unnest($2) as t (name) cross join lateral (
          select n.id, n.seq, n.subject, n.title, n.correlation_id from public.translation_jobs n
          where n.user_id = $4 and n.status = s.status and n.job_type = t.name and n.seq < $3 order by n.seq desc limit '
      || case when p_subject is null and p_search is null then '$7' else '2000' end || ') as j where true'
      || case when p_subject is not null then ' and j.subject = $5' else '' end
      || case when p_search is not null then ' and strpos(lower(concat_ws(E''\n'', j.title, j.subject, j.id, j.correlation_id)), lower($6)) > 0' else '' end
      || ' order by j.seq desc limit $7) as page'
    into v_ids using v_states, v_types, v_before, p_user_id, p_subject, p_search, v_limit;
  else
    v_ids := array(select translation_private.page_of_jobs(v_states, p_job_type, p_subject, null, v_limit, v_before, null, p_search, null));
  end if;
  return query select translation_private.job_document(page.id) from unnest(v_ids) with ordinality as page (id, n) order by page.n;
end $$;
comment on function public.list_translation_jobs_of_all(text[], text, uuid, text, text, text, int, bigint) is
  'Jobs of all users, newest first, with their items and without sources; 200 at most. A class of error is looked for among the 2000 jobs that failed last, a text among the newest 2000 of each state.';

create or replace function public.list_translation_endings(p_limit int default 10) returns jsonb
language sql stable set search_path = '' set enable_seqscan = off set enable_sort = off set jit = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', j.id, 'seq', j.seq, 'job_type', j.job_type, 'title', coalesce(j.title, j.subject), 'status', j.status, 'failed_items', j.failed_items,
    'items', coalesce(cardinality(j.target_languages), 0), 'error', j.error, 'created_at', j.created_at, 'started_at', j.started_at,
    'completed_at', j.completed_at, 'waited_ms', translation_private.as_ms(j.started_at - j.created_at),
    'ran_ms', translation_private.as_ms(j.completed_at - j.started_at)) order by j.completed_at desc), '[]')
  from (
    select n.id, n.seq, n.job_type, n.title, n.subject, n.status, n.failed_items, n.target_languages, n.error, n.created_at, n.started_at, n.completed_at
    from public.translation_jobs n where n.completed_at is not null order by n.completed_at desc limit least(greatest(coalesce(p_limit, 10), 1), 100)) as j
$$;
comment on function public.list_translation_endings(int) is 'The jobs that ended last, with how long they waited and ran.';

-- What operators do. A row for each time, whether or not it changed anything.
create table if not exists public.translation_operator_actions (
  id          bigint generated always as identity primary key,
  operator_id uuid not null,
  action      text not null check (action in ('retry', 'cancel', 'requeue', 'retry_failures', 'reveal', 'run_trigger')),
  target      text check (char_length(target) <= 200),
  jobs        int not null default 0,
  details     jsonb not null default '{}',
  created_at  timestamptz not null
);
comment on table public.translation_operator_actions is 'What operators did in the panel: who, what, when, to how many jobs. Append-only for the API.';
comment on column public.translation_operator_actions.id is 'Row number.';
comment on column public.translation_operator_actions.operator_id is 'The signed-in user who did it.';
comment on column public.translation_operator_actions.action is 'retry, cancel, requeue (jobs by id), retry_failures (a group), reveal (a source was shown), run_trigger.';
comment on column public.translation_operator_actions.target is 'A job''s id, the signature of a group, the name of a trigger.';
comment on column public.translation_operator_actions.jobs is 'Jobs that it changed or showed.';
comment on column public.translation_operator_actions.details is 'What else is known: ids asked for, refusals by word.';
comment on column public.translation_operator_actions.created_at is 'When.';

create or replace function translation_private.note_action(p_operator uuid, p_action text, p_target text, p_jobs int, p_details jsonb) returns void
language sql set search_path = ''
as $$
  insert into public.translation_operator_actions (operator_id, action, target, jobs, details, created_at)
  values (p_operator, p_action, left(p_target, 200), p_jobs, coalesce(p_details, '{}'), translation_private.clock())
$$;
comment on function translation_private.note_action(uuid, text, text, int, jsonb) is 'Writes down what an operator did.';

create or replace function public.list_translation_operator_actions(p_limit int default 50) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(a) order by a.id desc), '[]') from (
    select * from public.translation_operator_actions n order by n.id desc limit least(greatest(coalesce(p_limit, 50), 1), 200)) as a
$$;
comment on function public.list_translation_operator_actions(int) is 'What operators did last.';

-- Retries jobs one by one: a refusal of one (its user has no credits left) does not hold up the others. The advisory
-- locks of all come first, in one order, and the users' own in one order after them: as every other call takes them.
create or replace function translation_private.retry_each(p_job_ids uuid[]) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_job record;
  v_word text;
  v_code text;
  v_retried int := 0;
  v_refused jsonb := '{}'::jsonb;
begin
  perform pg_advisory_xact_lock(keys.key)
  from (select hashtextextended('translation retry ' || named.id, 0) as key from unnest(p_job_ids) as named (id) order by 1) as keys;
  for v_job in
    select j.id from public.translation_jobs j
    where j.id = any (p_job_ids) and not exists (select from public.translation_jobs again where again.retry_of = j.id)
    order by j.user_id, j.id
  loop
    begin
      perform public.retry_translation_job(v_job.id);
      v_retried := v_retried + 1;
    exception when others then
      get stacked diagnostics v_code = returned_sqlstate, v_word = pg_exception_detail;
      if v_code not like 'PT%' then
        raise warning 'translation job % could not be retried: %', v_job.id, sqlerrm;
        v_word := 'internal';
      end if;
      v_word := split_part(v_word, ' ', 1);
      v_refused := v_refused || jsonb_build_object(v_word, coalesce((v_refused ->> v_word)::int, 0) + 1);
    end;
  end loop;
  return jsonb_build_object('jobs', v_retried, 'refused', v_refused);
end $$;
comment on function translation_private.retry_each(uuid[]) is 'Retries each of some jobs that was not retried yet: {jobs: how many, refused: {word: how many}}.';

create or replace function translation_private.cancel_all(p_job_ids uuid[]) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_live uuid[];
  v_running uuid[];
begin
  perform translation_private.lock_jobs(p_job_ids);
  select array_agg(j.id order by j.id), array_agg(j.id) filter (where j.status = 'processing') into v_live, v_running
  from public.translation_jobs j where j.id = any (p_job_ids) and j.status not in ('completed', 'failed', 'cancelled');
  if v_live is null then
    return 0;
  end if;
  perform translation_private.close_items(v_live, 'cancelled', null, v_now);
  perform translation_private.settle_jobs(v_live, v_now);
  perform translation_private.announce('cancelled', running.id, null, 1) from unnest(v_running) as running (id);
  return cardinality(v_live);
end $$;
comment on function translation_private.cancel_all(uuid[]) is 'Cancels those of some jobs that have not ended, as cancel_translation_job does. Returns how many.';

create or replace function public.operate_translation_jobs(p_operator uuid, p_action text, p_job_ids uuid[]) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_done jsonb;
begin
  if coalesce(cardinality(p_job_ids), 0) not between 1 and 100 then
    perform translation_private.refuse(422, 'jobs_too_many', 'Name 1 to 100 jobs.');
  end if;
  case p_action
    when 'retry' then v_done := translation_private.retry_each(p_job_ids);
    when 'cancel' then v_done := jsonb_build_object('jobs', translation_private.cancel_all(p_job_ids), 'refused', '{}'::jsonb);
    when 'requeue' then v_done := jsonb_build_object('jobs', public.requeue_translation_jobs(p_job_ids), 'refused', '{}'::jsonb);
    else perform translation_private.refuse(422, 'action_unknown', 'An operator can retry, cancel or requeue jobs.');
  end case;
  perform translation_private.note_action(p_operator, p_action, case when cardinality(p_job_ids) = 1 then p_job_ids[1]::text end,
    (v_done ->> 'jobs')::int, jsonb_build_object('asked', to_jsonb(p_job_ids), 'refused', v_done -> 'refused'));
  return v_done;
end $$;
comment on function public.operate_translation_jobs(uuid, text, uuid[]) is
  'Retries, cancels or requeues up to 100 jobs for an operator, and notes it: {jobs: how many it changed, refused: {word: how many}}.';

create or replace function public.retry_translation_failures(p_operator uuid, p_signature text, p_limit int default 100) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[];
  v_open int;
  v_done jsonb;
begin
  select array_agg(found.job_id order by found.last_seen desc) into v_ids from (
    select f.job_id, max(f.completed_at) as last_seen from translation_private.failures(translation_private.clock()) as f
    where f.signature = p_signature group by f.job_id) as found;
  if v_ids is null then
    perform translation_private.refuse(422, 'signature_unknown', 'No failure of the last 24 hours has this signature any more: look at the list again.');
  end if;
  select array_agg(open.id), count(*) into v_ids, v_open from (
    select named.id from unnest(v_ids) with ordinality as named (id, n)
    where not exists (select from public.translation_jobs again where again.retry_of = named.id) order by named.n) as open;
  v_done := translation_private.retry_each(v_ids[1:least(greatest(coalesce(p_limit, 100), 1), 100)]);
  v_done := v_done || jsonb_build_object('left', v_open - (v_done ->> 'jobs')::int);
  perform translation_private.note_action(p_operator, 'retry_failures', p_signature, (v_done ->> 'jobs')::int, v_done - 'jobs');
  return v_done;
end $$;
comment on function public.retry_translation_failures(uuid, text, int) is
  'Retries the jobs of one group of failures, 100 at most, looking again which of them there are: {jobs, refused: {word: how many}, left}.';

create or replace function public.reveal_translation_source(p_operator uuid, p_job_id uuid) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_source jsonb;
begin
  select jsonb_build_object('content', j.content, 'content_kind', j.content_kind) into v_source from public.translation_jobs j where j.id = p_job_id;
  if v_source is null then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  perform translation_private.note_action(p_operator, 'reveal', p_job_id::text, 1, null);
  return v_source;
end $$;
comment on function public.reveal_translation_source(uuid, uuid) is 'Shows an operator the source of a job, and notes that it did: {content, content_kind}.';

create or replace function public.start_translation_trigger(p_operator uuid, p_name text, p_idempotency_key text default null) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_job jsonb;
begin
  select to_jsonb(started) into v_job from public.run_translation_trigger(p_name => p_name, p_idempotency_key => p_idempotency_key) as started;
  perform translation_private.note_action(p_operator, 'run_trigger', p_name, 1, jsonb_build_object('job_id', v_job ->> 'id'));
  return v_job;
end $$;
comment on function public.start_translation_trigger(uuid, text, text) is 'Runs a trigger now for an operator, and notes it. Returns the job.';
