-- 12_watch: what wakes an operator, and what `worker verify` reads and tries.
--
-- Callers: service_role, cron and the SQL editor. Nothing here changes a job of anybody. Every look is bounded, so
-- that it may be called each minute on a queue of any size: the newest thousand that ended, the oldest hundred of
-- each type that wait.
-- SQLSTATE: PT422 probe_malformed.

-- An index gives every order that is asked for here; a sort would read all that waits to find a hundred.
create or replace function public.translation_alerts(
  p_realtime_down_seconds int default 300, p_pending_seconds int default 300,
  p_failure_percent numeric default 10, p_failure_jobs int default 10, p_window_seconds int default 3600,
  p_queue_depth int default 20, p_average_seconds int default 120, p_stale_seconds int default 90)
returns table (alert text, severity text, message text, cure text, value numeric, threshold numeric, details jsonb)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set enable_sort = off set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := translation_private.clock();
  v_window timestamptz := v_now - make_interval(secs => p_window_seconds);
  v_alive timestamptz := v_now - make_interval(secs => p_stale_seconds);
begin
  return query
  select 'realtime_down', 'critical', format('%s worker(s) have not heard Realtime for %s s; they poll.', count(*), max(deaf.seconds)),
    'Look for "Realtime not heard" in the worker''s log: it names the cure. `worker verify` tries the whole road.',
    max(deaf.seconds), p_realtime_down_seconds::numeric, jsonb_build_object('workers', jsonb_agg(deaf.id))
  from (
    select w.id, floor(extract(epoch from v_now - w.mode_since)) as seconds from public.translation_workers w
    where w.last_seen_at > v_alive and w.mode in ('starting', 'polling')
      and w.mode_since < v_now - make_interval(secs => p_realtime_down_seconds) limit 100) as deaf
  having count(*) > 0;

  return query
  select 'jobs_pending', 'critical', format('Jobs have waited for up to %s s: %s.', max(late.seconds),
      string_agg(late.job_type || case when late.taken then '' else ' (no running worker has a handler for it)' end, ', ' order by late.job_type)),
    'Is a worker running that takes these types (translation_workers, JOB_TYPES, WORKER_MODULES)? If all are busy, start another one.',
    max(late.seconds), p_pending_seconds::numeric, jsonb_object_agg(late.job_type, late.seconds)
  from (
    select t.name as job_type, floor(extract(epoch from v_now - min(oldest.ready_at))) as seconds,
      -- One that says nothing about its handlers is older than this script.
      exists (select from public.translation_workers w where w.last_seen_at > v_alive and w.mode <> 'stopping'
        and coalesce(w.stats -> 'handlers' ? t.name, true)) as taken
    from public.translation_job_types t
    cross join lateral (
      select j.ready_at from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' order by j.seq limit 100) as oldest
    where t.name not like 'translation\_probe\_%'
    group by t.name) as late
  where late.seconds > p_pending_seconds
  having count(*) > 0;

  -- A job counts as failed if any of its items did: a language that always fails must not hide behind four that work.
  return query
  select 'failure_rate', 'critical', format('%s %% of %s jobs that ended failed, in whole or in part.', round(tally.percent, 1), tally.jobs),
    'Group the reasons with question 7 of sql/inspect.sql; `auth` and `quota_exhausted` are the provider''s account.',
    round(tally.percent, 1), p_failure_percent, jsonb_build_object('jobs', tally.jobs, 'failed', tally.failed)
  from (
    select count(*) as jobs, count(*) filter (where recent.failed_items > 0) as failed,
      100.0 * count(*) filter (where recent.failed_items > 0) / greatest(count(*), 1) as percent
    from (
      select j.status, j.failed_items from public.translation_jobs j
      where j.completed_at > v_window order by j.completed_at desc limit 1000) as recent
    where recent.status in ('completed', 'failed')) as tally
  where tally.jobs >= p_failure_jobs and tally.percent > p_failure_percent;

  return query
  select 'queue_depth', 'warning', format('%s%s jobs wait.', case when max(waiting.jobs) > 1000 then 'At least ' else '' end, sum(waiting.jobs)),
    'If it grows, start another worker, or raise MAX_CONCURRENT_JOBS.',
    sum(waiting.jobs), p_queue_depth::numeric, jsonb_object_agg(waiting.job_type, waiting.jobs)
  from (
    select t.name as job_type, capped.jobs from public.translation_job_types t
    cross join lateral (
      select count(*) as jobs from (
        select from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' limit 1001) as head) as capped
    where capped.jobs > 0 and t.name not like 'translation\_probe\_%') as waiting
  having sum(waiting.jobs) > p_queue_depth;

  -- Of the last 200 translations; a language is judged by three items or more. Waits between tries are in it.
  return query
  select 'slow_languages', 'warning', format('%s language(s) take more than %s s on average.', count(*), p_average_seconds),
    'Look at the provider: its limits, its pauses (`worker_provider_…` metrics). Long documents alone are no fault: raise the threshold.',
    max(slow.seconds), p_average_seconds::numeric, jsonb_object_agg(slow.item, slow.seconds)
  from (
    select i.item, round(avg(extract(epoch from i.completed_at - i.started_at)), 1) as seconds
    from (
      select recent.id from (
        select j.id, j.job_type from public.translation_jobs j
        where j.completed_at > v_window order by j.completed_at desc limit 1000) as recent
      where recent.job_type = 'translation' limit 200) as done
    join public.translation_job_items i on i.job_id = done.id and i.status = 'completed'
    group by i.item having count(*) >= 3) as slow
  where slow.seconds > p_average_seconds
  having count(*) > 0;

  -- The last 200 movements: their jobs, and the balances of the last ten users among them that have at most 2000
  -- movements. Balances that the owner keeps elsewhere are not ours to judge.
  return query
  with moved as materialized (
    select l.user_id, l.job_id, l.id from public.translation_credit_ledger l order by l.id desc limit 200
  ), jobs as (
    select j.id from (select distinct moved.job_id from moved where moved.job_id is not null) as named
    join public.translation_jobs j on j.id = named.job_id
    cross join lateral (
      select coalesce(sum(l.amount) filter (where l.kind = 'reserve'), 0) as reserved,
        coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0) as consumed,
        coalesce(sum(l.amount) filter (where l.kind = 'refund'), 0) as refunded
      from public.translation_credit_ledger l where l.job_id = j.id) as sums
    where (j.credits_reserved, j.credits_consumed, j.credits_refunded) is distinct from (sums.reserved, sums.consumed, sums.refunded)
  ), users as (
    select c.user_id from (
      select latest.user_id from (select moved.user_id, max(moved.id) as id from moved group by moved.user_id) as latest
      order by latest.id desc limit 10) as named
    join public.translation_credits c on c.user_id = named.user_id
    cross join lateral (
      select count(*) as movements,
        sum(case last.kind when 'grant' then last.amount when 'refund' then last.amount when 'consume' then 0 else -last.amount end) as balance
      from (
        select l.kind, l.amount from public.translation_credit_ledger l
        where l.user_id = named.user_id order by l.id desc limit 2001) as last) as sums
    where sums.movements <= 2000 and c.balance <> sums.balance
      and (select bool_and(p.prosrc like '%public.translation_credits%') from pg_catalog.pg_proc p
           where p.pronamespace = 'public'::regnamespace and p.proname in ('hold_translation_balance', 'return_translation_balance'))
  ), wrong as (
    select (select count(*) from jobs) + (select count(*) from users) as n
  )
  select 'ledger_difference', 'critical', format('The ledger does not add up for %s job(s) or user(s).', wrong.n),
    'Questions 9 and 10 of sql/inspect.sql show the sums. Somebody wrote to a table by hand: correct it with grant_ or revoke_translation_credits.',
    wrong.n::numeric, 0::numeric,
    jsonb_build_object('jobs', (select coalesce(jsonb_agg(jobs.id), '[]') from jobs), 'users', (select coalesce(jsonb_agg(users.user_id), '[]') from users))
  from wrong where wrong.n > 0;

  -- One that was replaced is old news after an hour, unless nobody has taken its place.
  return query
  select 'stale_worker', 'warning', format('%s worker(s) fell silent without saying good-bye.', count(*)),
    'Start it again; if it is gone for good: delete from public.translation_workers where id = ''…'';',
    max(silent.seconds), p_stale_seconds::numeric, jsonb_object_agg(silent.id, silent.seconds)
  from (
    select w.id, floor(extract(epoch from v_now - w.last_seen_at)) as seconds from public.translation_workers w
    where w.last_seen_at <= v_alive and w.mode <> 'stopping'
      and (w.last_seen_at > v_now - interval '1 hour' or not exists (
        select from public.translation_workers a where a.last_seen_at > v_alive and a.mode <> 'stopping'))
    limit 100) as silent
  having count(*) > 0;

  return query
  select 'quota_exhausted', 'warning', format('%s job(s) wait for, or failed by, a provider whose quota is used up.', sum(held.jobs)),
    'Raise the provider''s quota, or name a second one in TRANSLATOR. Waiting jobs go on by themselves until their deadline.',
    sum(held.jobs), 0::numeric, jsonb_object_agg(held.job_type, held.jobs)
  from (
    select blocked.job_type, count(*) as jobs from (
      select t.name as job_type, retrying.error from public.translation_job_types t
      cross join lateral (
        select j.error from public.translation_jobs j
        where j.job_type = t.name and j.status = 'retrying' order by j.seq limit 100) as retrying
      union all
      select ended.job_type, ended.error from (
        select j.job_type, j.error from public.translation_jobs j
        where j.completed_at > v_window order by j.completed_at desc limit 1000) as ended) as blocked
    where blocked.error ->> 'class' = 'quota_exhausted'
    group by blocked.job_type) as held
  having count(*) > 0;
end $$;
comment on function public.translation_alerts(int, int, numeric, int, int, int, int, int) is
  'What an operator should know now, worst first by kind; no rows: all is well. Each row: alert, severity, message, cure, value, threshold, details.';

-- The catalogs as a plain answer, for whoever has an address and a key but no database connection.
create or replace function public.translation_self_check() returns jsonb
language sql stable set search_path = ''
as $$
  with roles as (
    select unnest(array['anon', 'authenticated', 'service_role']) as role
  ), ours as (
    select p.oid, p.oid::regprocedure::text as name, p.prosrc, p.proconfig, p.prosecdef,
      p.prorettype = 'pg_catalog.trigger'::regtype as is_trigger
    from pg_catalog.pg_proc p
    where p.pronamespace = 'translation_private'::regnamespace
       or (p.pronamespace = 'public'::regnamespace and p.proname like '%translation%')
  ), tables as (
    select c.oid, c.relkind, c.relrowsecurity, c.reloptions, c.relname,
      case c.relnamespace when 'public'::regnamespace then c.relname::text else 'translation_private.' || c.relname end as name
    from pg_catalog.pg_class c
    where (c.relkind in ('r', 'v') and c.relnamespace = 'public'::regnamespace and c.relname like 'translation\_%')
       or (c.relkind = 'r' and c.relnamespace = 'translation_private'::regnamespace)
  )
  select jsonb_build_object(
    'schema_version', translation_private.schema_version(),
    'now', translation_private.clock(),
    'role', current_user,
    'functions', (
      select jsonb_object_agg(o.name, jsonb_build_object(
        -- An editor may have written other line ends.
        'source', md5(replace(o.prosrc, chr(13), '')), 'settings', to_jsonb(o.proconfig), 'definer', o.prosecdef,
        'may', (select coalesce(jsonb_agg(r.role order by r.role), '[]') from roles r
                where not o.is_trigger and has_function_privilege(r.role, o.oid, 'execute'))))
      from ours o),
    'tables', (
      select jsonb_object_agg(t.name, jsonb_build_object(
        'row_security', case t.relkind when 'r' then t.relrowsecurity else coalesce(t.reloptions @> array['security_invoker=true'], false) end,
        'published', exists (select from pg_catalog.pg_publication_tables p
                             where p.pubname = 'supabase_realtime' and p.schemaname = 'public' and p.tablename = t.relname),
        'policies', (
          select coalesce(jsonb_object_agg(p.policyname, concat_ws(' ', lower(p.permissive), lower(p.cmd), array_to_string(p.roles, ','),
            'using ' || p.qual, 'check ' || p.with_check)), '{}')
          from pg_catalog.pg_policies p where p.schemaname = 'public' and p.tablename = t.relname),
        'triggers', (select coalesce(jsonb_agg(g.tgname order by g.tgname), '[]') from pg_catalog.pg_trigger g
                     where g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled <> 'D'),
        'may', (select coalesce(jsonb_object_agg(r.role, m.commands), '{}') from roles r
                cross join lateral (
                  select jsonb_agg(x) as commands from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as x
                  where has_table_privilege(r.role, t.oid, x)) as m
                where m.commands is not null),
        -- What is granted column by column and not already for the whole table.
        'may_columns', (select coalesce(jsonb_object_agg(r.role, m.columns), '{}') from roles r
                cross join lateral (
                  select jsonb_agg(x || ' ' || a.attname order by x, a.attname) as columns
                  from unnest(array['select', 'insert', 'update']) as x
                  join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
                  where has_column_privilege(r.role, t.oid, a.attnum, x) and not has_table_privilege(r.role, t.oid, x)) as m
                where m.columns is not null)))
      from tables t),
    'publication', (
      select jsonb_build_object('insert', p.pubinsert, 'update', p.pubupdate)
      from pg_catalog.pg_publication p where p.pubname = 'supabase_realtime'),
    'realtime_send', to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null,
    'cron', (select count(*) > 0 from pg_catalog.pg_extension where extname = 'pg_cron'),
    'job_types', (select jsonb_object_agg(t.name, jsonb_build_object('enabled', t.enabled, 'price', t.price)) from public.translation_job_types t),
    'credits_held', exists (select from public.translation_credits c where c.balance > 0),
    'queues', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', q.name, 'enabled', q.enabled, 'exists', there.queue is not null,
        'readable', coalesce((
          select bool_and(has_table_privilege(p.proowner, there.queue, command)) from pg_catalog.pg_proc p
          cross join unnest(array['select', 'update', 'delete']) as command
          where p.oid = 'translation_private.take_queue(text, int)'::regprocedure), false),
        'refused', (select count(*) from (
          select from public.translation_queue_refusals r
          where r.queue = q.name and r.refused_at > translation_private.clock() - interval '1 day' limit 1000) as lately)) order by q.name), '[]')
      from public.translation_queues q
      -- By the catalog: a name may not be looked up in a schema that one may not use.
      left join lateral (
        select c.oid as queue from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'pgmq' and c.relname = 'q_' || lower(q.name)) as there on true),
    'workers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', w.id, 'mode', w.mode, 'version', w.version,
        'silent_seconds', floor(extract(epoch from translation_private.clock() - w.last_seen_at)))), '[]')
      from (
        select * from public.translation_workers n where n.mode <> 'stopping' order by n.last_seen_at desc limit 100) as w))
$$;
comment on function public.translation_self_check() is
  'What is installed here: version, functions with a hash of their text and who may call them, tables with row security, grants, policies, triggers, publication; and which workers there are.';

-- The probe of `worker verify`: one job of a type that only this probe has, so that no worker takes it. It goes through
-- the same procedures as every other job, belongs to nobody and costs nothing. Its turn is the one being served: it
-- moves nobody's place. What a probe that was killed left behind goes with the next one.
create or replace function translation_private.remove_probes(p_types text[], p_limit int) returns void
language plpgsql set search_path = '' set enable_seqscan = off
as $$
begin
  delete from public.translation_jobs where id in (
    select j.id from public.translation_jobs j where j.job_type = any (p_types) limit p_limit);
  delete from public.translation_job_types where name = any (p_types);
  delete from public.translation_workers where id = any (p_types);
end $$;
comment on function translation_private.remove_probes(text[], int) is 'Takes probes away: their job, their type, and the row of the worker that they pretend to be.';

create or replace function translation_private.check_probe(p_probe text) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_probe is null or p_probe !~ '^translation_probe_[0-9a-f]{16}$' then
    perform translation_private.refuse(422, 'probe_malformed', 'A probe is called translation_probe_ and 16 hexadecimal digits.');
  end if;
end $$;
comment on function translation_private.check_probe(text) is 'Refuses a name that is not a probe''s.';

create or replace function public.start_translation_probe(p_probe text) returns uuid
language plpgsql set search_path = '' set enable_seqscan = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_job_id uuid;
begin
  perform translation_private.check_probe(p_probe);
  perform translation_private.remove_probes(array(
    select t.name from public.translation_job_types t
    join public.translation_jobs j on j.job_type = t.name and j.created_at < v_now - interval '10 minutes'
    where t.name like 'translation\_probe\_%' limit 10), 10);
  insert into public.translation_job_types (name, description) values (p_probe, 'The probe of worker verify; it goes when that ends.');
  insert into public.translation_jobs (job_type, title, status, turn, content, ready_at, deadline_at, revision, created_at, updated_at)
  values (p_probe, 'worker verify', 'pending', (select last_value from translation_private.served_turn), '{}', v_now,
          v_now + interval '1 hour', 1, v_now, v_now)
  returning id into v_job_id;
  insert into public.translation_job_items (job_id, item, position) values (v_job_id, 'run', 1);
  return v_job_id;
end $$;
comment on function public.start_translation_probe(text) is
  'For worker verify: makes one job of a job type of this very name, which no other worker takes. Returns its id.';

create or replace function public.end_translation_probe(p_probe text) returns void
language plpgsql set search_path = '' set enable_seqscan = off
as $$
begin
  perform translation_private.check_probe(p_probe);
  perform translation_private.remove_probes(array[p_probe], 10);
end $$;
comment on function public.end_translation_probe(text) is 'For worker verify: takes the probe away without a trace. A repeated call changes nothing.';

