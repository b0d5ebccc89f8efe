-- 12_operate: what an owner does with a queue: look, put back, clear out, and a glossary for users.
--
-- Callers: service_role, cron and the SQL editor; the glossary also signed-in users. Everything is bounded:
-- counts of what has ended are capped, batches are small, because each deleted row is an event to every
-- subscriber of the table.
-- SQLSTATE: PT404 term_not_found, PT422 jobs_malformed, term_invalid.

-- Many jobs in one call and one transaction: all or none, one message to the workers.
create or replace function public.enqueue_translation_jobs(p_jobs jsonb) returns setof public.translation_jobs
language plpgsql set search_path = ''
as $$
declare
  v_entry record;
  v_job public.translation_jobs;
  v_now timestamptz := translation_private.clock();
  v_first uuid;
  v_due_at timestamptz;
  v_due int := 0;
begin
  if jsonb_typeof(p_jobs) is distinct from 'array' or jsonb_array_length(p_jobs) not between 1 and 500 then
    perform translation_private.refuse(422, 'jobs_malformed', 'p_jobs is an array of 1 to 500 objects with the arguments of enqueue_translation_job.');
  end if;
  -- Before the first balance: whoever waits for a user's lock must not hold what somebody else waits for.
  perform translation_private.lock_batch(p_jobs);
  perform set_config('translation.announce', 'later', true);
  for v_entry in
    select e.* from rows from (jsonb_to_recordset(p_jobs) as (
      p_job_type text, p_content jsonb, p_items text[], p_user_id uuid, p_source_language text, p_content_kind text, p_priority int,
      p_options jsonb, p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text,
      p_metadata jsonb, p_after uuid[])) with ordinality as e
    -- User by user: balances have one order in every call.
    order by e.p_user_id, e.p_idempotency_key, e.ordinality
  loop
    v_job := translation_private.add_job(
      false, v_entry.p_user_id, v_entry.p_job_type, v_entry.p_content, v_entry.p_items, v_entry.p_source_language,
      coalesce(v_entry.p_content_kind, 'text'), v_entry.p_priority, v_entry.p_options, v_entry.p_idempotency_key, v_entry.p_run_at,
      v_entry.p_correlation_id, v_entry.p_subject, v_entry.p_title, v_entry.p_metadata, v_entry.p_after);
    if v_job.status in ('pending', 'scheduled') then
      v_first := coalesce(v_first, v_job.id);
      v_due_at := least(v_due_at, case v_job.status when 'pending' then v_now else v_job.run_at end);
      v_due := v_due + 1;
    end if;
    return next v_job;
  end loop;
  perform set_config('translation.announce', '', true);
  if v_due > 0 then
    perform translation_private.announce('ready', v_first, greatest(0, translation_private.as_ms(v_due_at - v_now)), v_due);
  end if;
end $$;
comment on function public.enqueue_translation_jobs(jsonb) is
  'Up to 500 jobs at once, all or none: an array of objects with the arguments of enqueue_translation_job. Rows in no order: give each an idempotency key or subject.';

create or replace function public.requeue_translation_jobs(p_job_ids uuid[]) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ids uuid[];
begin
  perform translation_private.lock_jobs(p_job_ids);
  select array_agg(id) into v_ids from public.translation_jobs
  where id = any (p_job_ids) and status in ('scheduled', 'retrying', 'processing');
  with gone as (
    delete from public.translation_job_claims where job_id = any (v_ids) returning job_id, token
  )
  update public.translation_job_attempts a set ended_at = v_now, outcome = 'released'
  from gone where a.job_id = gone.job_id and a.token = gone.token;
  update public.translation_job_items set retry_at = null
  where job_id = any (v_ids) and status in ('pending', 'processing') and retry_at is not null;
  perform translation_private.requeue(v_ids, v_now);
  return coalesce(cardinality(v_ids), 0);
end $$;
comment on function public.requeue_translation_jobs(uuid[]) is
  'Runs jobs now: scheduled and retrying ones at once, a running one is taken from its worker. Jobs that have ended or wait for others are left alone. Returns how many.';

-- What waits for a job keeps it. Of each kind the jobs that were made first are looked at, 5000 of each end: what is
-- kept for ever costs nothing then, however much of it there is.
create or replace function translation_private.kept_too_long(p_status text[], p_limit int, p_now timestamptz) returns setof uuid
language sql stable set search_path = ''
as $$
  select old.id from public.translation_job_types t
  cross join unnest(p_status) as s (status)
  cross join lateral (
    select first.id, first.completed_at from (
      select j.id, j.completed_at from public.translation_jobs j
      where j.job_type = t.name and j.status = s.status order by j.seq limit 5000) as first
    where first.completed_at < p_now - make_interval(days => t.retention_days)
      and not exists (
        select from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
        where d.parent_id = first.id and c.completed_at is null)
    limit p_limit) as old
  where t.retention_days > 0 limit p_limit
$$;
comment on function translation_private.kept_too_long(text[], int, timestamptz) is 'Jobs that ended longer ago than their kind is kept.';

create or replace function public.purge_translation_jobs(
  p_days int default null, p_status text[] default array['completed', 'failed', 'cancelled'], p_limit int default 100) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 100);
  v_count int;
begin
  if p_days <= 0 then
    return 0;
  end if;
  delete from public.translation_jobs
  where id in (
    select j.id from public.translation_jobs j
    where j.id = any (case when p_days is null then array(
        select translation_private.kept_too_long(array(
          select distinct s from unnest(p_status) as s where s in ('completed', 'failed', 'cancelled')), v_limit, v_now))
      else array(
        select old.id from public.translation_jobs old
        where old.completed_at < v_now - make_interval(days => p_days) and old.status = any (p_status)
          and old.status in ('completed', 'failed', 'cancelled')
          and not exists (
            select from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
            where d.parent_id = old.id and c.completed_at is null)
        order by old.completed_at limit v_limit) end)
    for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.purge_translation_jobs(int, text[], int) is
  'Deletes at most 100 jobs that ended longer ago than their type''s retention_days, or than p_days (0: none). Ledger, balances, statistics and memory stay. Returns how many; call it again until 0.';

create or replace function public.translation_queue_stats() returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_sort = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ended jsonb;
begin
  select jsonb_build_object(
      'jobs', coalesce(jsonb_object_agg(ended.status, ended.jobs), '{}'),
      'credits', jsonb_build_object('reserved', coalesce(sum(ended.reserved), 0), 'consumed', coalesce(sum(ended.consumed), 0),
                                    'refunded', coalesce(sum(ended.refunded), 0)))
  into v_ended
  from (
    select recent.status, count(*) as jobs, sum(recent.credits_reserved) as reserved, sum(recent.credits_consumed) as consumed,
      sum(recent.credits_refunded) as refunded
    from (
      select j.status, j.credits_reserved, j.credits_consumed, j.credits_refunded from public.translation_jobs j
      where j.completed_at > v_now - interval '1 hour' order by j.completed_at desc limit 10001) as recent
    group by recent.status) as ended;
  return jsonb_build_object(
    -- Counts are capped, type by type: a number nobody reads to the last digit.
    'live', (
      select coalesce(jsonb_object_agg(live.status, live.jobs), '{}') from (
        select s.status, sum(capped.jobs) as jobs from public.translation_job_types t
        cross join unnest(array['pending', 'scheduled', 'blocked', 'processing', 'retrying']) as s (status)
        cross join lateral (
          select count(*) as jobs from (
            select from public.translation_jobs j where j.job_type = t.name and j.status = s.status limit 10001) as head) as capped
        where t.name not like 'translation\_probe\_%' and capped.jobs > 0
        group by s.status) as live),
    'waiting_by_type', (
      select coalesce(jsonb_object_agg(t.name, waiting.jobs), '{}') from public.translation_job_types t
      cross join lateral (
        select count(*) as jobs from (
          select from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' limit 10001) as capped) as waiting
      where t.name not like 'translation\_probe\_%'),
    'oldest_waiting_ms', (
      select translation_private.as_ms(v_now - min(oldest.ready_at)) from public.translation_job_types t
      cross join lateral (
        select j.ready_at from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' order by j.seq limit 100) as oldest
      where t.name not like 'translation\_probe\_%'),
    'ended_in_an_hour', v_ended -> 'jobs',
    'credits_in_an_hour', v_ended -> 'credits',
    -- How many numbers were given: only grows, whatever is purged.
    'created', (select case when numbers.is_called then numbers.last_value else 0 end from public.translation_jobs_seq_seq as numbers),
    'stuck', (
      select count(*) from public.translation_job_claims c join public.translation_jobs j on j.id = c.job_id
      where c.lease_until < v_now or (j.updated_at < v_now - interval '10 minutes' and c.claimed_at < v_now - interval '10 minutes')),
    'claims', (select count(*) from public.translation_job_claims),
    'workers', (
      select coalesce(jsonb_object_agg(w.mode, w.n), '{}') from (
        select mode, count(*) as n from public.translation_workers
        where last_seen_at > v_now - interval '90 seconds' group by mode) as w));
end $$;
comment on function public.translation_queue_stats() is
  'The queue in numbers: live jobs by state, waiting by type, oldest waiting; ended and their credits in the last hour; created ever; stuck, claims, workers. Counts of a type stop at 10001.';

-- Glossary
create or replace function translation_private.set_term(
  p_source_language text, p_target_language text, p_term text, p_translation text, p_do_not_translate boolean, p_case_sensitive boolean
) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
  v_source text := translation_private.canonical_language(p_source_language);
  v_target text := translation_private.canonical_language(p_target_language);
  v_id bigint;
begin
  if v_user is null then
    perform translation_private.refuse(401, 'sign_in_required', 'A glossary belongs to a signed-in user.');
  elsif v_source is null or v_target is null then
    perform translation_private.refuse(422, 'language_invalid', 'Give both languages as BCP 47 tags such as en or pt-BR.');
  elsif coalesce(char_length(btrim(p_term)), 0) not between 1 and 200 or char_length(p_translation) > 200
     or (not coalesce(p_do_not_translate, false) and coalesce(btrim(p_translation), '') = '') then
    perform translation_private.refuse(422, 'term_invalid', 'A term has 1 to 200 characters, and a translation unless it is not to be translated.');
  end if;
  insert into public.translation_glossary as g
    (user_id, source_language, target_language, term, translation, do_not_translate, case_sensitive)
  values (v_user, v_source, v_target, btrim(p_term), nullif(btrim(p_translation), ''), coalesce(p_do_not_translate, false),
          coalesce(p_case_sensitive, false))
  on conflict (user_id, source_language, target_language, term) do update
  set translation = excluded.translation, do_not_translate = excluded.do_not_translate, case_sensitive = excluded.case_sensitive
  returning g.id into v_id;
  return v_id;
end $$;
comment on function translation_private.set_term(text, text, text, text, boolean, boolean) is 'Definer, because users have no write grant; the user is taken from the token.';

create or replace function public.set_translation_term(
  p_source_language text, p_target_language text, p_term text, p_translation text default null,
  p_do_not_translate boolean default false, p_case_sensitive boolean default false) returns bigint
language sql set search_path = ''
as $$ select translation_private.set_term(p_source_language, p_target_language, p_term, p_translation, p_do_not_translate, p_case_sensitive) $$;
comment on function public.set_translation_term(text, text, text, text, boolean, boolean) is
  'Adds or replaces a term of the caller''s glossary; returns its id.';

create or replace function translation_private.delete_term(p_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
begin
  delete from public.translation_glossary where id = p_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'term_not_found', 'There is no such term.');
  end if;
end $$;
comment on function translation_private.delete_term(bigint) is 'Definer, because users have no write grant; checks that the term is the caller''s.';

create or replace function public.delete_translation_term(p_id bigint) returns void
language sql set search_path = ''
as $$ select translation_private.delete_term(p_id) $$;
comment on function public.delete_translation_term(bigint) is 'Removes a term from the caller''s glossary.';

-- One readable row a job, for the table view of the dashboard and for people's own queries.
create or replace view public.translation_jobs_overview with (security_invoker = true) as
select j.seq, coalesce(j.title, j.subject, j.job_type) as job, j.status, j.progress || ' %' as progress, items.languages, j.worker_id as worker,
  j.found_by, j.attempts, j.error ->> 'message' as error,
  case when j.credits_reserved > 0
    then format('%s = %s used + %s back + %s open', j.credits_reserved, j.credits_consumed, j.credits_refunded,
                j.credits_reserved - j.credits_consumed - j.credits_refunded) end as credits,
  j.created_at, j.started_at - j.created_at as waited, coalesce(j.completed_at, now()) - j.started_at as ran, j.user_id, j.id
from public.translation_jobs j
cross join lateral (
  select string_agg(i.item || ' ' || case i.status
      when 'completed' then 'done' || case when i.warnings <> '[]' then ' (' || jsonb_array_length(i.warnings) || ' warnings)' else '' end
      when 'processing' then coalesce(100 * i.chunks_done / nullif(i.chunks_total, 0), 0) || ' %'
      else i.status end, ', ' order by i.position) as languages
  from public.translation_job_items i where i.job_id = j.id) as items
where j.seq > 0;  -- all of them; it lets the newest be found by their index
comment on view public.translation_jobs_overview is 'A job, its languages, its worker and its money in one readable row.';

-- Where pg_cron is switched on. Named jobs are made once: change or remove them as you like.
do $do$
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    if not exists (select from cron.job where jobname = 'translation-rescue') then
      perform cron.schedule('translation-rescue', '* * * * *', $cron$
        select public.rescue_translation_jobs(100) where not exists (
          select from public.translation_workers where last_seen_at > now() - interval '90 seconds' and mode <> 'stopping')
      $cron$);
    end if;
    if not exists (select from cron.job where jobname = 'translation-purge') then
      -- A hundred a minute for an hour each night; each deleted row is an event to every subscriber.
      perform cron.schedule('translation-purge', '* 3 * * *', 'select public.purge_translation_jobs()');
    end if;
  end if;
end $do$;
