-- 06_claim: a worker takes jobs, keeps them, gives them back.
--
-- Callers: workers (service_role). A claim waits for no row lock: it skips what is locked, so it can neither
-- block nor deadlock. Reclaiming lost jobs is 09_rescue, never an OR in this query.
--
-- Here and in every other hot procedure the planner may use index loops only. A pooled session plans a
-- statement once, often while the tables are empty, and would keep a sequential scan or a hash join for life;
-- a call's batch is small and the tables are large, always. And no jit: on Postgres before 18 a plan that must
-- use what was switched off all the same costs so much on paper that it would be compiled. A claim and a record keep
-- their plans (force_generic_plan): with loops over indexes there is but one, and making it anew for a single job
-- took a third of the call.

create or replace function translation_private.lease_of(p_lease_ms int) returns interval
language sql immutable set search_path = ''
as $$ select make_interval(secs => case when p_lease_ms is not null then least(greatest(p_lease_ms, 1000), 3600000) end / 1000.0) $$;
comment on function translation_private.lease_of(int) is 'How long a lease is that somebody asks for: a second to an hour. Null for null.';

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

-- What a claim hands out, read back from the claim rows: the same for the first call and a repeated one. Milliseconds
-- are written out here, because as_ms is a call for each of them. It is json and not jsonb, since nobody looks into it
-- before it leaves: jsonb would sort every key of every job, and write each out again.
drop function if exists translation_private.claimed(text, uuid, timestamptz);  -- before p_floor
create or replace function translation_private.claimed(p_worker_id text, p_claim_id uuid, p_now timestamptz, p_floor jsonb)
returns setof json language sql stable set search_path = ''
as $$
  select json_build_object(
    'job_id', j.id, 'token', c.token, 'seq', j.seq, 'job_type', j.job_type, 'user_id', j.user_id, 'subject', j.subject,
    'title', j.title, 'metadata', j.metadata, 'content_kind', j.content_kind,
    'content', case when size.small then j.content end, 'content_inline', size.small, 'content_chars', j.content_chars,
    'source_language', j.source_language, 'options', j.options, 'priority', j.priority, 'correlation_id', j.correlation_id,
    'lease_ms', ceil(extract(epoch from c.lease_until - p_now) * 1000)::bigint, 'max_attempts', j.max_attempts,
    'item_timeout_ms', t.item_timeout_seconds * 1000, 'deadline_ms', ceil(extract(epoch from j.deadline_at - p_now) * 1000)::bigint,
    'found_by', j.found_by, 'found_ms', a.found_ms, 'deliveries', j.deliveries, 'items', i.items,
    'floor', case row_number() over (order by j.priority desc, j.turn, j.seq) when 1 then p_floor end)
  from public.translation_job_attempts a
  -- Offset 0, and no other index on that table: it is often empty when it is analyzed, and a planner that believes that
  -- reads all of it, with everything that died in it while somebody held an old snapshot.
  cross join lateral (
    select h.token, h.claimed_at, h.lease_until from public.translation_job_claims h
    where h.job_id = a.job_id and h.token = a.token offset 0) as c
  join public.translation_jobs j on j.id = a.job_id
  join public.translation_job_types t on t.name = j.job_type
  -- A source of many characters need not be unpacked to know that it is large.
  cross join lateral (select case when j.content_chars <= 8192 then coalesce(octet_length(j.content::text) <= 8192, true) else false end as small) as size
  cross join lateral (
    select coalesce(json_agg(json_build_object('item', i.item, 'attempts', i.attempts, 'chars', j.content_chars) order by i.position), '[]') as items
    from public.translation_job_items i
    where i.job_id = j.id and i.status in ('pending', 'processing')
      and i.recorded_token is distinct from c.token and (i.retry_at is null or i.retry_at <= c.claimed_at)) as i
  where a.claim_id = p_claim_id and a.worker_id = p_worker_id
  order by j.priority desc, j.turn, j.seq
$$;
comment on function translation_private.claimed(text, uuid, timestamptz, jsonb) is
  'The jobs a claim call holds now, with their open items. The first one says p_floor.';

-- Floors. While anybody holds an old snapshot (a report, a dump, a forgotten session), no vacuum can clear away what was
-- claimed since, and every claim would walk through all of it again. A floor lets it begin behind: the turn of a lane
-- (type and priority) below which nothing waits. It is state of the caller: it comes with a claim, goes back with the
-- next, and only makes that one cheaper. What keeps it safe, so that a user's jobs still start in order:
--   a turn that was reached is only a candidate. It becomes a floor when a later claim reaches it that began after all
--   transactions had ended which were in progress when its claim was known to have committed: a create may stamp a turn
--   now and commit it late, and what is given back goes beside jobs that an open claim has taken already;
--   a claim that comes back short looks again without floors, and so does every first claim after a second or, where
--   such a look takes long, after twenty times as long;
--   a job below its floor all the same (somebody moved it by hand) ends the floor of that lane when it is found.
drop function if exists translation_private.next_floor(jsonb, jsonb, xid8, timestamptz);  -- before p_until
create or replace function translation_private.next_floor(p_floor jsonb, p_reached jsonb, p_all_seen_to xid8, p_until timestamptz)
returns jsonb language plpgsql set search_path = ''
as $$
declare
  v_proven boolean := p_floor is null or coalesce((p_floor ->> 'seen')::xid8 <= p_all_seen_to, false);
  v_safe jsonb := coalesce(p_floor -> 'safe', '{}');
  v_next jsonb := coalesce(p_floor -> 'next', '{}');
  v_lane text;
  v_least bigint;
  v_most bigint;
begin
  for v_lane, v_least, v_most in
    select r.key, (r.value ->> 0)::bigint, (r.value ->> 1)::bigint from jsonb_each(p_reached) as r
  loop
    if v_least < (v_safe ->> v_lane)::bigint then
      v_safe := v_safe - v_lane;
      v_next := v_next - v_lane;
    end if;
    if v_proven and v_most >= coalesce((v_next ->> v_lane)::bigint, v_most) then
      if v_next ? v_lane then
        v_safe := jsonb_set(v_safe, array[v_lane], v_next -> v_lane);
      end if;
      v_next := jsonb_set(v_next, array[v_lane], to_jsonb(v_most));
    end if;
  end loop;
  -- The candidates of this claim get theirs from the next one: whoever hands them back has seen this one commit.
  return jsonb_build_object('safe', v_safe, 'next', v_next, 'until', p_until,
    'seen', case when not v_proven then coalesce(p_floor ->> 'seen', pg_snapshot_xmax(pg_current_snapshot())::text) end);
end $$;
comment on function translation_private.next_floor(jsonb, jsonb, xid8, timestamptz) is
  'What a claim has learned: {safe, next: {"type priority": turn}, seen: below it are the transactions that may still add below next, until: the floors are not to be trusted from then on}.';

-- The first p_limit waiting jobs, locked: priority by priority, within one the types by turn. The heads of each type
-- tell how many to take of which; then those are locked, type by type. Locking while looking would lock p_limit rows
-- of every type and hide them from other workers. Of a type in p_room no more than that many.
drop function if exists translation_private.pick(text[], int, jsonb);  -- before p_room
create or replace function translation_private.pick(p_job_types text[], p_limit int, p_safe jsonb, p_room jsonb default null)
returns table (place tid, lane text, turn bigint)
language plpgsql set search_path = ''
as $$
declare
  v_left int := p_limit;
  v_room jsonb := p_room;
  v_places tid[];
  v_lanes text[];
  v_turns bigint[];
begin
  for v_priority in reverse 10..1 loop
    exit when v_left <= 0;
    with wanted as (
      select w.job_type, w.job_type || ' ' || v_priority as lane, coalesce((p_safe ->> (w.job_type || ' ' || v_priority))::bigint, 0) as floor,
        case when v_room ? w.job_type then least(v_left, greatest(0, (v_room ->> w.job_type)::int)) else v_left end as room
      from unnest(p_job_types) as w (job_type)
    ), heads as (
      select head.job_type from wanted
      cross join lateral (
        select j.job_type, j.turn, j.seq from public.translation_jobs j
        where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
        order by j.turn, j.seq limit wanted.room) as head
      order by head.turn, head.seq limit v_left
    ), share as (
      select heads.job_type, count(*) as places from heads group by heads.job_type
    )
    select array_agg(job.place), array_agg(wanted.lane), array_agg(job.turn) into v_places, v_lanes, v_turns
    from share
    join wanted on wanted.job_type = share.job_type
    cross join lateral (
      select j.ctid as place, j.turn from public.translation_jobs j
      where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
      order by j.turn, j.seq limit share.places
      for no key update skip locked) as job;
    continue when v_places is null;
    return query select p.place, p.lane, p.turn from unnest(v_places, v_lanes, v_turns) as p (place, lane, turn);
    v_left := v_left - cardinality(v_places);
    if v_room is not null then
      select jsonb_object_agg(r.key, r.value::int - (select count(*) from unnest(v_lanes) as l (lane) where l.lane = r.key || ' ' || v_priority))
      into v_room from jsonb_each_text(v_room) as r;
    end if;
  end loop;
end $$;
comment on function translation_private.pick(text[], int, jsonb, jsonb) is
  'Locks up to p_limit waiting jobs in the order of the claim and says where they lie: valid until this transaction changes them. p_room: {"type": at most so many of it}.';

drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text);  -- before p_floor
drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb);  -- before p_terms
drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb, jsonb);  -- before json
create or replace function public.claim_translation_jobs(
  p_worker_id text, p_limit int, p_lease_ms int, p_job_types text[], p_claim_id uuid, p_found_by text default 'poll',
  p_floor jsonb default null, p_terms jsonb default null)
returns setof json
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_all_seen_to xid8 := pg_snapshot_xmin(pg_current_snapshot());
  v_limit int := least(greatest(coalesce(p_limit, 0), 0), 500);
  v_lease interval := translation_private.lease_of(coalesce(p_lease_ms, 30000));
  v_began_at timestamptz;
  v_found_by text := case when p_found_by in ('changes', 'broadcast', 'catch_up', 'timer', 'poll') then p_found_by else 'poll' end;
  v_until timestamptz := (p_floor ->> 'until')::timestamptz;
  v_safe jsonb := case when v_until > v_now then nullif(p_floor -> 'safe', '{}') end;
  v_room jsonb := (select jsonb_object_agg(t.key, (t.value ->> 'limit')::int) from jsonb_each(p_terms) as t where t.value ? 'limit');
  v_places tid[];
  v_reached jsonb;
  v_turn bigint;
begin
  if p_worker_id is null or p_claim_id is null then
    perform translation_private.refuse(422, 'claim_malformed', 'A claim needs p_worker_id and p_claim_id.');
  end if;
  -- The same call again, even while the first one is still running: wait for it, then answer as it did.
  perform pg_advisory_xact_lock(hashtextextended(p_claim_id::text, 0));
  if exists (select from public.translation_job_attempts where claim_id = p_claim_id) then
    return query select * from translation_private.claimed(p_worker_id, p_claim_id, v_now, null);
    return;
  end if;
  if translation_private.promote(p_job_types, 100, v_now) > v_limit then
    perform translation_private.announce('ready', null, 0, 1);
  end if;

  v_began_at := clock_timestamp();
  loop
    with picked as materialized (
      select * from translation_private.pick(p_job_types, v_limit, v_safe, v_room)
    ), lanes as (
      select picked.lane, jsonb_build_array(min(picked.turn), max(picked.turn)) as turns from picked group by picked.lane
    )
    select (select array_agg(picked.place) from picked), (select max(picked.turn) from picked),
           (select jsonb_object_agg(lanes.lane, lanes.turns) from lanes)
    into v_places, v_turn, v_reached;
    exit when v_safe is null or cardinality(v_places) = v_limit;
    v_safe := null;
  end loop;
  if v_places is null then
    return;
  end if;

  with taken as (
    update public.translation_jobs as j
    set status = 'processing', revision = j.revision + 1, worker_id = p_worker_id, found_by = v_found_by, deliveries = j.deliveries + 1,
        started_at = coalesce(j.started_at, v_now), updated_at = v_now
    where j.ctid = any (v_places)
    returning j.id, nextval('translation_private.claim_token') as token, j.deliveries, j.ready_at,
      case when p_terms is null then v_lease
           else coalesce(translation_private.lease_of((p_terms -> j.job_type ->> 'lease_ms')::int), v_lease) end as lease
  ), claim as (
    insert into public.translation_job_claims (job_id, token, claim_id, worker_id, claimed_at, lease_until)
    select taken.id, taken.token, p_claim_id, p_worker_id, v_now, v_now + taken.lease from taken
  )
  insert into public.translation_job_attempts (job_id, token, delivery, worker_id, claim_id, found_by, found_ms, started_at)
  select taken.id, taken.token, taken.deliveries, p_worker_id, p_claim_id, v_found_by,
         least(ceil(extract(epoch from v_now - taken.ready_at) * 1000), 2147483647)::int, v_now
  from taken;
  perform setval('translation_private.served_turn', v_turn)
  where v_turn > (select last_value from translation_private.served_turn);
  if v_safe is null then
    -- A second, and more if the look took long: of a worker's time it takes a twentieth at most.
    v_until := v_now + least(greatest(interval '1 second', 20 * (clock_timestamp() - v_began_at)), interval '30 seconds');
  end if;
  return query select * from translation_private.claimed(
    p_worker_id, p_claim_id, v_now, translation_private.next_floor(p_floor, v_reached, v_all_seen_to, v_until));
end $$;
comment on function public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb, jsonb) is
  'Takes up to p_limit jobs, the fairest first, each with a fresh token. The same p_claim_id again returns what the first call took and still holds. p_floor: what the first job of the last answer said under floor, or null. p_terms: {"type": {"limit": at most so many of it, "lease_ms": a lease of its own}}, both optional.';

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
  update public.translation_jobs as j
  set status = 'pending', revision = j.revision + 1, ready_at = p_now,
      worker_id = null, progress_message = null, eta_at = null, updated_at = p_now,
      -- Other types and priorities may be far ahead of its own: beside the next of its lane, which no floor lies above.
      turn = least((select last_value from translation_private.served_turn), (
        select head.turn from public.translation_jobs head
        where head.job_type = j.job_type and head.status = 'pending' and head.priority = j.priority
        order by head.turn, head.seq limit 1))
  where j.id = any (p_job_ids);
  perform translation_private.announce('ready', p_job_ids[1], 0, cardinality(p_job_ids));
end $$;
comment on function translation_private.requeue(uuid[], timestamptz) is 'Pending with the served turn: starts next. The caller has ended the claims.';
