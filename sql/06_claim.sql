-- 06_claim: a worker takes jobs, keeps them, gives them back.
--
-- Callers: workers (service_role). A claim waits for no row lock: it skips what is locked, so it can neither
-- block nor deadlock. Reclaiming lost jobs is 09_rescue, never an OR in this query.
--
-- Here and in every other hot procedure the planner may use index loops only. A pooled session plans a
-- statement once, often while the tables are empty, and would keep a sequential scan or a hash join for life;
-- a call's batch is small and the tables are large, always. And no jit: on Postgres before 18 a plan that must
-- use what was switched off all the same costs so much on paper that it would be compiled.

-- Due jobs become pending: a statement of its own on its own index, bounded, for the types somebody takes.
create or replace function translation_private.promote(p_job_types text[], p_limit int, p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_count int;
begin
  update public.translation_jobs as j
  set status = 'pending', revision = j.revision + 1, turn = translation_private.next_turn(j.user_id, j.turn_cost), ready_at = p_now, updated_at = p_now
  where j.id in (
    select job.id from unnest(p_job_types) as wanted (job_type)
    cross join lateral (
      select due.id from public.translation_jobs due
      where due.job_type = wanted.job_type and due.status in ('scheduled', 'retrying') and due.run_at <= p_now
      order by due.run_at limit p_limit
      for no key update skip locked) as job);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function translation_private.promote(text[], int, timestamptz) is 'Scheduled and retrying jobs whose time has come, p_limit of each type: pending, with a turn. Returns how many.';

-- What a claim hands out, read back from the claim rows: the same for the first call and a repeated one.
create or replace function translation_private.claimed(p_worker_id text, p_claim_id uuid, p_now timestamptz)
returns setof jsonb language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', j.id, 'token', c.token, 'seq', j.seq, 'job_type', j.job_type, 'user_id', j.user_id, 'subject', j.subject,
    'title', j.title, 'metadata', j.metadata, 'content_kind', j.content_kind,
    'content', case when octet_length(j.content::text) <= 8192 then j.content end,
    'content_inline', coalesce(octet_length(j.content::text) <= 8192, true), 'content_chars', j.content_chars,
    'source_language', j.source_language, 'options', j.options, 'priority', j.priority, 'correlation_id', j.correlation_id,
    'lease_ms', translation_private.as_ms(c.lease_until - p_now), 'max_attempts', j.max_attempts,
    'item_timeout_ms', t.item_timeout_seconds * 1000, 'deadline_ms', translation_private.as_ms(j.deadline_at - p_now),
    'found_by', j.found_by, 'found_ms', a.found_ms, 'deliveries', j.deliveries, 'items', i.items)
  from public.translation_job_claims c
  join public.translation_jobs j on j.id = c.job_id
  join public.translation_job_types t on t.name = j.job_type
  join public.translation_job_attempts a on a.job_id = c.job_id and a.token = c.token
  cross join lateral (
    select coalesce(jsonb_agg(jsonb_build_object('item', i.item, 'attempts', i.attempts, 'chars', j.content_chars) order by i.position), '[]') as items
    from public.translation_job_items i
    where i.job_id = j.id and i.status in ('pending', 'processing')
      and i.recorded_token is distinct from c.token and (i.retry_at is null or i.retry_at <= c.claimed_at)) as i
  where c.claim_id = p_claim_id and c.worker_id = p_worker_id
  order by j.priority desc, j.turn, j.seq
$$;
comment on function translation_private.claimed(text, uuid, timestamptz) is 'The jobs a claim call holds now, with their open items.';

create or replace function public.claim_translation_jobs(
  p_worker_id text, p_limit int, p_lease_ms int, p_job_types text[], p_claim_id uuid, p_found_by text default 'poll')
returns setof jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 0), 0), 500);
  v_lease interval := make_interval(secs => least(greatest(coalesce(p_lease_ms, 30000), 1000), 3600000) / 1000.0);
  v_found_by text := case when p_found_by in ('changes', 'broadcast', 'catch_up', 'timer', 'poll') then p_found_by else 'poll' end;
  v_ids uuid[];
  v_turn bigint;
begin
  if p_worker_id is null or p_claim_id is null then
    perform translation_private.refuse(422, 'claim_malformed', 'A claim needs p_worker_id and p_claim_id.');
  end if;
  -- The same call again, even while the first one is still running: wait for it, then answer as it did.
  perform pg_advisory_xact_lock(hashtextextended(p_claim_id::text, 0));
  if exists (select from public.translation_job_attempts where claim_id = p_claim_id) then
    return query select * from translation_private.claimed(p_worker_id, p_claim_id, v_now);
    return;
  end if;
  if translation_private.promote(p_job_types, 100, v_now) > v_limit then
    perform translation_private.announce('ready', null, 0, 1);
  end if;

  -- The heads of each type tell how many to take of which; then those are locked, type by type. Locking
  -- while looking would lock p_limit rows of every type and hide them from other workers.
  with heads as (
    select head.job_type, head.priority, head.turn, head.seq
    from unnest(p_job_types) as wanted (job_type)
    cross join lateral (
      select j.job_type, j.priority, j.turn, j.seq from public.translation_jobs j
      where j.job_type = wanted.job_type and j.status = 'pending'
      order by j.priority desc, j.turn, j.seq limit v_limit) as head
    order by head.priority desc, head.turn, head.seq limit v_limit
  ), share as (
    select heads.job_type, count(*) as places from heads group by heads.job_type
  ), picked as (
    select job.id, job.turn from share
    cross join lateral (
      select j.id, j.turn from public.translation_jobs j
      where j.job_type = share.job_type and j.status = 'pending'
      order by j.priority desc, j.turn, j.seq limit share.places
      for no key update skip locked) as job
  )
  select array_agg(picked.id), max(picked.turn) into v_ids, v_turn from picked;
  if v_ids is null then
    return;
  end if;

  update public.translation_jobs as j
  set status = 'processing', revision = j.revision + 1, worker_id = p_worker_id, found_by = v_found_by, deliveries = j.deliveries + 1,
      started_at = coalesce(j.started_at, v_now), updated_at = v_now
  where j.id = any (v_ids);
  with claim as (
    insert into public.translation_job_claims (job_id, token, claim_id, worker_id, claimed_at, lease_until)
    select id, nextval('translation_private.claim_token'), p_claim_id, p_worker_id, v_now, v_now + v_lease
    from unnest(v_ids) as id
    returning job_id, token
  )
  insert into public.translation_job_attempts (job_id, token, delivery, worker_id, claim_id, found_by, found_ms, started_at)
  select j.id, claim.token, j.deliveries, p_worker_id, p_claim_id, v_found_by,
         least(translation_private.as_ms(v_now - j.ready_at), 2147483647)::int, v_now
  from claim join public.translation_jobs j on j.id = claim.job_id;
  perform setval('translation_private.served_turn', v_turn)
  where v_turn > (select last_value from translation_private.served_turn);
  return query select * from translation_private.claimed(p_worker_id, p_claim_id, v_now);
end $$;
comment on function public.claim_translation_jobs(text, int, int, text[], uuid, text) is
  'Takes up to p_limit jobs, the fairest first, each with a fresh token. The same p_claim_id again returns what the first call took and still holds.';

-- Deploy or shutdown: back to the front of the queue, nothing counted.
create or replace function public.release_translation_jobs(p_worker_id text, p_leases jsonb) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ids uuid[];
begin
  perform translation_private.lock_jobs(array(select l.job_id from jsonb_to_recordset(p_leases) as l (job_id uuid)));
  with released as (
    delete from public.translation_job_claims c
    using jsonb_to_recordset(p_leases) as l (job_id uuid, token bigint)
    where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id
    returning c.job_id, c.token
  ), ended as (
    update public.translation_job_attempts a set ended_at = v_now, outcome = 'released'
    from released where a.job_id = released.job_id and a.token = released.token
  )
  select array_agg(job_id) into v_ids from released;
  perform translation_private.requeue(v_ids, v_now);
  return coalesce(cardinality(v_ids), 0);
end $$;
comment on function public.release_translation_jobs(text, jsonb) is
  'Gives jobs back unfinished: pending again, no counter moves, first to start. p_leases: [{job_id, token}]. Returns how many.';

create or replace function translation_private.requeue(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  if coalesce(cardinality(p_job_ids), 0) = 0 then
    return;
  end if;
  update public.translation_job_items set status = 'pending'
  where job_id = any (p_job_ids) and status = 'processing';
  update public.translation_jobs
  set status = 'pending', revision = revision + 1, turn = (select last_value from translation_private.served_turn), ready_at = p_now,
      worker_id = null, progress_message = null, eta_at = null, updated_at = p_now
  where id = any (p_job_ids);
  perform translation_private.announce('ready', p_job_ids[1], 0, cardinality(p_job_ids));
end $$;
comment on function translation_private.requeue(uuid[], timestamptz) is 'Pending with the served turn: starts next. The caller has ended the claims.';
