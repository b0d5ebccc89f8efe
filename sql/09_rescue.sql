-- 09_rescue: leases that ran out, and the heartbeat that keeps the others.
--
-- Callers: every worker's heartbeat; cron where no worker lives. Bounded per call; a job somebody else has
-- locked is left for the next call. Each job in a subtransaction of its own: one that cannot be rescued (an
-- owner's trigger raises, say) never holds up the others.

create or replace function translation_private.rescue(p_limit int, p_spared uuid[], p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_claim record;
  v_count int := 0;
begin
  for v_claim in
    select c.job_id from public.translation_job_claims c
    where c.lease_until < p_now and c.job_id <> all (p_spared)
    order by c.lease_until limit p_limit
  loop
    begin
      v_count := v_count + translation_private.rescue_job(v_claim.job_id, p_now)::int;
    exception when others then
      raise warning 'translation job % could not be rescued: %', v_claim.job_id, sqlerrm;
    end;
  end loop;
  return v_count;
end $$;
comment on function translation_private.rescue(int, uuid[], timestamptz) is 'Rescues up to p_limit jobs whose lease ran out, but not the spared ones.';

create or replace function public.rescue_translation_jobs(p_limit int default 20) returns int
language sql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$ select translation_private.rescue(least(greatest(coalesce(p_limit, 20), 1), 100), '{}', translation_private.clock()) $$;
comment on function public.rescue_translation_jobs(int) is
  'Takes jobs back from workers whose lease ran out. Returns how many.';

create or replace function translation_private.rescue_job(p_job_id uuid, p_now timestamptz) returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_claim public.translation_job_claims;
  v_lost int;
begin
  if exists (select from public.translation_job_dependencies where parent_id = p_job_id) then
    perform translation_private.lock_jobs(array[p_job_id]);  -- it may end here, and its children with it
  else
    perform from public.translation_jobs where id = p_job_id for no key update skip locked;
    if not found then
      return false;
    end if;
  end if;
  delete from public.translation_job_claims where job_id = p_job_id and lease_until < p_now returning * into v_claim;
  if not found then
    return false;
  end if;
  update public.translation_job_attempts set ended_at = p_now, outcome = 'lost'
  where job_id = p_job_id and token = v_claim.token;
  update public.translation_jobs
  set lost_count = lost_count + (not v_claim.progressed and not exists (
        select from public.translation_job_items i where i.job_id = p_job_id and i.recorded_token = v_claim.token))::int
  where id = p_job_id returning lost_count into v_lost;
  if v_lost < 3 then
    perform translation_private.requeue(array[p_job_id], p_now);
  else
    perform translation_private.close_items(array[p_job_id], 'failed',
      '{"class": "internal", "message": "Three workers in a row stopped while working on this job."}', p_now);
    perform translation_private.settle_jobs(array[p_job_id], p_now);
  end if;
  return true;
end $$;
comment on function translation_private.rescue_job(uuid, timestamptz) is
  'One job whose lease ran out: pending again with the served turn, or, lost for the third time with nothing done, failed and refunded.';

create or replace function public.heartbeat_translation_worker(p_worker_id text, p_report jsonb) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_lease interval := translation_private.lease_of(coalesce((p_report ->> 'lease_ms')::int, 30000));
  v_leases jsonb := coalesce(p_report -> 'leases', '[]');
  v_types text[] := array(select jsonb_array_elements_text(coalesce(p_report -> 'job_types', '[]')));
  v_rescued int;
  v_promoted int;
  v_gone jsonb;
begin
  if coalesce(p_worker_id, '') = '' or jsonb_typeof(p_report) is distinct from 'object' then
    perform translation_private.refuse(422, 'heartbeat_malformed', 'A heartbeat needs p_worker_id and a JSON object p_report.');
  end if;
  insert into public.translation_workers as w (id, mode, mode_since, started_at, last_seen_at, version, slots, running, stats)
  values (
    p_worker_id, coalesce(p_report ->> 'mode', 'starting'),
    v_now - make_interval(secs => coalesce((p_report ->> 'mode_ms')::bigint, 0) / 1000.0), v_now, v_now, p_report ->> 'version',
    coalesce((p_report ->> 'slots')::int, 0), coalesce((p_report ->> 'running')::int, 0), coalesce(p_report -> 'stats', '{}'))
  on conflict (id) do update set
    mode = excluded.mode, mode_since = case when w.mode = excluded.mode then w.mode_since else excluded.mode_since end,
    last_seen_at = excluded.last_seen_at, version = excluded.version, slots = excluded.slots, running = excluded.running,
    stats = excluded.stats;
  if jsonb_typeof(p_report -> 'languages') = 'array' then
    perform translation_private.offer_languages(p_worker_id, p_report -> 'languages');
  end if;
  if p_report ->> 'mode' = 'stopping' then
    delete from public.translation_languages where worker_id = p_worker_id;
  end if;

  -- What may wait for a lock comes first, while we hold none that another call waits for: the rescue. Leases
  -- of this very report are spared: late is not lost as long as nobody else has taken the job.
  -- Offset 0, here and below: lease by lease. A planner that believes the claims are few would go through all of them
  -- for each lease.
  v_rescued := translation_private.rescue(20, array(
    select l.job_id from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint)
    cross join lateral (
      select from public.translation_job_claims c
      where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id offset 0) as held), v_now);
  v_promoted := translation_private.promote(v_types, 100, v_now);
  if v_promoted > 0 then
    perform translation_private.announce('ready', null, 0, v_promoted);
  end if;
  -- Progress (jobs), then leases (claims), skipping what is locked: a claim that somebody has locked is being
  -- ended, or will be renewed by the next beat.
  if jsonb_array_length(coalesce(p_report -> 'progress', '[]')) > 0 then
    perform translation_private.write_progress(p_worker_id, p_report -> 'progress', v_now);
  end if;
  update public.translation_job_claims c set lease_until = v_now + coalesce(translation_private.lease_of(mine.lease_ms), v_lease)
  from (
    select held.job_id, l.lease_ms from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint, lease_ms int)
    cross join lateral (
      select h.job_id from public.translation_job_claims h
      where h.job_id = l.job_id and h.token = l.token and h.worker_id = p_worker_id for no key update skip locked) as held) as mine
  where c.job_id = mine.job_id;
  select jsonb_agg(jsonb_build_object('job_id', l.job_id, 'cancelled', coalesce(j.status = 'cancelled', false))) into v_gone
  from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint)
  left join public.translation_jobs j on j.id = l.job_id
  where not exists (
    select from public.translation_job_claims c
    where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id offset 0);

  if p_report ->> 'probe' = 'true' then
    perform translation_private.broadcast('beat', jsonb_build_object('worker_id', p_worker_id));
  end if;
  delete from public.translation_workers
  where id in (
    select id from public.translation_workers where last_seen_at < v_now - interval '1 day'
    limit 20 for update skip locked);

  perform translation_private.roll_up(v_now);
  return jsonb_build_object(
    'schema_version', translation_private.schema_version(),
    'unknown_types', (
      select jsonb_agg(h.job_type) from jsonb_array_elements_text(coalesce(p_report -> 'handlers', '[]')) as h (job_type)
      where not exists (select from public.translation_job_types t where t.name = h.job_type)),
    'lost', coalesce((select jsonb_agg(g -> 'job_id') from jsonb_array_elements(v_gone) as g where not (g -> 'cancelled')::boolean), '[]'),
    'cancelled', coalesce((select jsonb_agg(g -> 'job_id') from jsonb_array_elements(v_gone) as g where (g -> 'cancelled')::boolean), '[]'),
    'waiting', exists (
      select from unnest(v_types) as t (job_type)
      cross join lateral (select from public.translation_jobs j where j.job_type = t.job_type and j.status = 'pending' limit 1) as j),
    'next_due_ms', (
      select greatest(0, translation_private.as_ms(min(due.run_at) - v_now)) from unnest(v_types) as t (job_type)
      cross join lateral (
        select j.run_at from public.translation_jobs j
        where j.job_type = t.job_type and j.status in ('scheduled', 'retrying') order by j.run_at limit 1) as due
      having min(due.run_at) is not null),
    'next_rescue_ms', (
      select greatest(0, translation_private.as_ms(c.lease_until - v_now)) from public.translation_job_claims c
      where c.worker_id <> p_worker_id order by c.lease_until limit 1),
    'chores_ms', translation_private.chores_ms(v_now),
    'rescued', v_rescued, 'promoted', v_promoted,
    'workers', (select count(*) from public.translation_workers where last_seen_at > v_now - interval '90 seconds' and mode <> 'stopping'));
end $$;
comment on function public.heartbeat_translation_worker(text, jsonb) is
  'One call for a whole worker: its row, its leases, its progress; bounded rescue and promotion; and what the worker should know.';

create or replace function translation_private.offer_languages(p_worker_id text, p_pairs jsonb) returns void
language plpgsql set search_path = ''
as $$
begin
  delete from public.translation_languages l
  -- NOT IN is hashed whatever the planner may join with; two thousand pairs in a nested loop take most of a second.
  where l.worker_id = p_worker_id and (l.source_language, l.target_language) not in (
    select pair ->> 0, pair ->> 1 from jsonb_array_elements(p_pairs) as pair
    where pair ->> 0 is not null and pair ->> 1 is not null);
  insert into public.translation_languages (worker_id, source_language, target_language)
  select distinct p_worker_id, pair ->> 0, pair ->> 1 from jsonb_array_elements(p_pairs) as pair
  where pair ->> 0 is not null and pair ->> 1 is not null
  on conflict do nothing;
end $$;
comment on function translation_private.offer_languages(text, jsonb) is 'Replaces the pairs one worker offers: [[source, target], …].';

-- Memory: cache and checkpoint. Under the token of the claim, so that a worker that lost the job adds nothing.
create or replace function translation_private.is_paid(p_job_id uuid, p_item text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from public.translation_credit_ledger l where l.job_id = p_job_id and l.item = p_item and l.kind = 'consume')
$$;
comment on function translation_private.is_paid(uuid, text) is 'Whether an item was charged: what it brought is then free for its user.';

create or replace function public.recall_translation_memory(
  p_worker_id text, p_job_id uuid, p_token bigint, p_target_language text, p_keys text[]) returns setof jsonb
language sql stable set search_path = ''
as $$
  -- Written out instead of calling is_paid, which would be planned and called again for each of 500 rows.
  select jsonb_build_object('key', m.key, 'target', m.target, 'free', exists (
    select from public.translation_credit_ledger l
    where l.job_id = m.origin_job and l.item = m.origin_item and l.kind = 'consume'))
  from public.translation_job_claims c
  join public.translation_jobs j on j.id = c.job_id
  -- One of the two finds something; IS NOT DISTINCT FROM would find it without an index.
  cross join lateral (
    select o.key, o.target, o.target_language, o.origin_job, o.origin_item from public.translation_memory o
    where o.user_id = j.user_id and o.key = any (p_keys[1:500])
    union all
    select o.key, o.target, o.target_language, o.origin_job, o.origin_item from public.translation_memory o
    where j.user_id is null and o.user_id is null and o.key = any (p_keys[1:500])) as m
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id and m.target_language = p_target_language
$$;
comment on function public.recall_translation_memory(text, uuid, bigint, text, text[]) is
  'What this job''s user has translated before: {key, target, free}. Free only if the item that produced it was charged. 500 keys a call.';

create or replace function public.remember_translation_memory(
  p_worker_id text, p_job_id uuid, p_token bigint, p_item text, p_segments jsonb) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_user uuid;
  v_count int;
begin
  -- Share, so that the claim cannot end between this check and the commit; record waits for us, not we for it.
  perform from public.translation_job_claims c
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id for no key update;
  if not found then
    return -1;
  end if;
  update public.translation_job_claims set progressed = true where job_id = p_job_id and not progressed;
  select user_id into v_user from public.translation_jobs where id = p_job_id;
  insert into public.translation_memory as m (user_id, key, target_language, target, origin_job, origin_item, created_at)
  select distinct on (s.key) v_user, s.key, p_item, s.target, p_job_id, p_item, v_now
  from jsonb_to_recordset(p_segments) as s (key text, target text)
  where s.key is not null and s.target is not null
  order by s.key
  on conflict (user_id, key) do update
  -- The newest text wins: it was asked for because the older one did not pass. And somebody has to have paid before
  -- a segment is free: while nobody has, the last one who pays is its origin.
  set target = excluded.target,
      (origin_job, origin_item) = (
        select case when paid then m.origin_job else excluded.origin_job end, case when paid then m.origin_item else excluded.origin_item end
        from translation_private.is_paid(m.origin_job, m.origin_item) as paid)
  where m.target <> excluded.target
     or ((m.origin_job, m.origin_item) <> (excluded.origin_job, excluded.origin_item)
         and not translation_private.is_paid(m.origin_job, m.origin_item));
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.remember_translation_memory(text, uuid, bigint, text, jsonb) is
  'Keeps checked segments of an item: [{key, target}]. Returns how many were kept; -1 when the claim is gone.';

-- Glossary: what the user of a claimed job wants said, a thousand terms a call. A term for pt also serves pt-BR;
-- which of two wins is the worker's to decide. A job that leaves its source language open gets the terms of all.
create or replace function public.recall_translation_glossary(
  p_worker_id text, p_job_id uuid, p_token bigint, p_target_languages text[], p_after_id bigint default 0) returns setof jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('id', g.id, 'source_language', g.source_language, 'target_language', g.target_language, 'term', g.term,
    'translation', g.translation, 'do_not_translate', g.do_not_translate, 'case_sensitive', g.case_sensitive)
  from public.translation_job_claims c
  join public.translation_jobs j on j.id = c.job_id
  join public.translation_glossary g on g.user_id = j.user_id
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id and g.id > coalesce(p_after_id, 0)
    and (j.source_language is null or g.source_language in (j.source_language, split_part(j.source_language, '-', 1)))
    and g.target_language = any (
      array(select language from unnest(p_target_languages[1:50]) as t (tag) cross join unnest(array[tag, split_part(tag, '-', 1)]) as language))
  order by g.id limit 1000
$$;
comment on function public.recall_translation_glossary(text, uuid, bigint, text[], bigint) is
  'The terms of a claimed job''s user for these languages, by id: {id, source_language, target_language, term, translation, do_not_translate, case_sensitive}. 1000 a call.';
