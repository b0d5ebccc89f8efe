-- 12_chains: jobs that wait for each other, made in one call, and what a step gets from those before it.
--
-- Callers: service_role, cron and the SQL editor (enqueue), workers (parents).
-- Locks: the advisory locks of all users and keys named, in their order; then parents outside the chain, by id; then as
-- one enqueue after the other. A parent is always made before what waits for it.
-- SQLSTATE: PT404 job_not_found, PT422 jobs_malformed, chain_cycle, chain_name_unknown, chain_name_repeated, parents_too_many.

-- One message for many jobs made in one transaction, as the trigger would send one for each statement.
create or replace function translation_private.announce_made(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_jobs int;
  v_due_at timestamptz;
begin
  select count(*)::int, min(case j.status when 'pending' then p_now else j.run_at end) into v_jobs, v_due_at
  from public.translation_jobs j where j.id = any (p_job_ids) and j.status in ('pending', 'scheduled');
  if v_jobs > 0 then
    perform translation_private.announce('ready', p_job_ids[1], greatest(0, translation_private.as_ms(v_due_at - p_now)), v_jobs);
  end if;
end $$;
comment on function translation_private.announce_made(uuid[], timestamptz) is 'Tells workers once of all these jobs that are, or will be, to be done.';

-- Steps are numbers here: their places in the call. An edge is a step and one that comes before it.
create or replace function translation_private.chain_order(p_names text[], p_steps int[], p_befores int[]) returns int[]
language plpgsql immutable set search_path = ''
as $$
declare
  v_order int[];
  v_open int[];
  v_next int := 1;
  v_step int;
begin
  select array_agg(coalesce(e.befores, 0) order by s.n),
         coalesce(array_agg(s.n order by s.n) filter (where e.befores is null), '{}')
  into v_open, v_order
  from generate_series(1, cardinality(p_names)) as s (n)
  left join (select step, count(*)::int as befores from unnest(p_steps) as step group by step) as e on e.step = s.n;
  while v_next <= cardinality(v_order) loop
    for v_step in
      select e.step from unnest(p_steps, p_befores) as e (step, before) where e.before = v_order[v_next] order by e.step
    loop
      v_open[v_step] := v_open[v_step] - 1;
      if v_open[v_step] = 0 then
        v_order := v_order || v_step;
      end if;
    end loop;
    v_next := v_next + 1;
  end loop;
  if cardinality(v_order) < cardinality(p_names) then
    perform translation_private.refuse(422, 'chain_cycle', format('These jobs wait for each other: %s.', (
      select string_agg(left(p_names[s.n], 40), ', ' order by s.n) from (
        select n from generate_series(1, cardinality(p_names)) as n where n <> all (v_order) limit 10) as s)));
  end if;
  return v_order;
end $$;
comment on function translation_private.chain_order(text[], int[], int[]) is 'The steps of a chain, each after those it waits for. Refuses a circle.';

create or replace function translation_private.check_chain(p_jobs jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_name text;
begin
  if jsonb_typeof(p_jobs) is distinct from 'array' or jsonb_array_length(p_jobs) not between 1 and 500
     or exists (select from jsonb_array_elements(p_jobs) as e where jsonb_typeof(e.value) <> 'object')
     or exists (
       select from jsonb_to_recordset(p_jobs) as e (p_name text)
       where e.p_name is null or char_length(e.p_name) not between 1 and 100) then
    perform translation_private.refuse(422, 'jobs_malformed',
      'p_jobs is an array of 1 to 500 objects, each with a p_name of 1 to 100 characters and the arguments of enqueue_translation_job.');
  end if;
  if (select sum(coalesce(cardinality(e.p_after_names), 0) + coalesce(cardinality(e.p_after), 0))
      from jsonb_to_recordset(p_jobs) as e (p_after_names text[], p_after uuid[])) > 5000 then
    perform translation_private.refuse(422, 'parents_too_many', 'The jobs of a chain may name 5000 parents at most, all together.');
  end if;
  select e.p_name into v_name from jsonb_to_recordset(p_jobs) as e (p_name text) group by e.p_name having count(*) > 1 limit 1;
  if found then
    perform translation_private.refuse(422, 'chain_name_repeated', format('Two jobs of the chain are called %s: give each a name of its own.', left(v_name, 100)));
  end if;
  select after into v_name from jsonb_to_recordset(p_jobs) as e (p_after_names text[]), unnest(e.p_after_names) as after
  where after is null or after not in (select c.p_name from jsonb_to_recordset(p_jobs) as c (p_name text)) limit 1;
  if found then
    perform translation_private.refuse(422, 'chain_name_unknown', format('No job of the chain is called %s.', coalesce(left(v_name, 100), 'null')));
  end if;
end $$;
comment on function translation_private.check_chain(jsonb) is 'Refuses what is no chain, before anything of it is made.';

-- All locks that the jobs of a chain or of a batch will take, in the order in which every other call takes them.
create or replace function translation_private.lock_batch(p_jobs jsonb) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_owner text;
begin
  for v_owner in
    select coalesce(e.p_user_id::text, e.p_idempotency_key) as owner
    from jsonb_to_recordset(p_jobs) as e (p_user_id uuid, p_idempotency_key text)
    where coalesce(e.p_user_id::text, e.p_idempotency_key) is not null
    group by e.p_user_id, owner order by e.p_user_id, owner
  loop
    perform pg_advisory_xact_lock(hashtextextended('translation ' || v_owner, 0));
  end loop;
  perform from public.translation_jobs j
  where j.id in (select parent from jsonb_to_recordset(p_jobs) as e (p_after uuid[]), unnest(e.p_after) as parent)
  order by j.id for share;
end $$;
comment on function translation_private.lock_batch(jsonb) is 'Locks the users and keys of a chain or a batch, then the parents outside it.';

create or replace function public.enqueue_translation_chain(p_jobs jsonb) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_names text[];
  v_steps int[];
  v_befores int[];
  v_order int[];
  v_step int;
  v_entry record;
  v_job public.translation_jobs;
  v_ids uuid[];
  v_made jsonb := jsonb_build_object();
begin
  perform translation_private.check_chain(p_jobs);
  select array_agg(e.job ->> 'p_name' order by e.n) into v_names from jsonb_array_elements(p_jobs) with ordinality as e (job, n);
  select array_agg(edge.step), array_agg(edge.before) into v_steps, v_befores
  from (
    select distinct e.n::int as step, array_position(v_names, after) as before
    from jsonb_array_elements(p_jobs) with ordinality as e (job, n)
    cross join lateral jsonb_to_record(e.job) as r (p_after_names text[])
    cross join lateral unnest(r.p_after_names) as after) as edge;
  v_order := translation_private.chain_order(v_names, coalesce(v_steps, '{}'), coalesce(v_befores, '{}'));
  perform translation_private.lock_batch(p_jobs);

  v_ids := array_fill(null::uuid, array[cardinality(v_names)]);
  perform set_config('translation.announce', 'later', true);
  foreach v_step in array v_order loop
    select * into v_entry from jsonb_to_record(p_jobs -> v_step - 1) as (
      p_job_type text, p_content jsonb, p_items text[], p_user_id uuid, p_source_language text, p_content_kind text, p_priority int,
      p_options jsonb, p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text,
      p_metadata jsonb, p_after uuid[], p_after_names text[]);
    v_job := translation_private.add_job(
      false, v_entry.p_user_id, v_entry.p_job_type, v_entry.p_content, v_entry.p_items, v_entry.p_source_language,
      coalesce(v_entry.p_content_kind, 'text'), v_entry.p_priority, v_entry.p_options, v_entry.p_idempotency_key, v_entry.p_run_at,
      v_entry.p_correlation_id, v_entry.p_subject, coalesce(v_entry.p_title, v_names[v_step]), v_entry.p_metadata,
      array(select v_ids[array_position(v_names, after)] from unnest(v_entry.p_after_names) with ordinality as a (after, n) order by n) || v_entry.p_after,
      null, v_entry.p_after_names);
    v_ids[v_step] := v_job.id;
    v_made := v_made || jsonb_build_object(v_names[v_step], to_jsonb(v_job) - array['content', 'request_hash']);
  end loop;
  perform set_config('translation.announce', '', true);
  perform translation_private.announce_made(v_ids, translation_private.clock());
  return v_made;
end $$;
comment on function public.enqueue_translation_chain(jsonb) is
  'Up to 500 jobs that wait for each other, all or none: objects with the arguments of enqueue_translation_job, a p_name, and p_after_names. In any order. Returns {name: job}.';

-- What a step gets from those before it. Results travel with it up to a megabyte a page, the smallest first; a larger one
-- is named, and is read by itself with get_translation_result. Sizes as stored are looked at first: what is left out is not unpacked.
create or replace function public.get_translation_parents(p_job_id uuid, p_after_seq bigint default 0) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_most constant int := 1048576;
  v_page jsonb;
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  with parent as materialized (
    select p.id, p.seq, p.job_type, p.title, p.subject, p.status, p.error, d.name
    from public.translation_job_dependencies d join public.translation_jobs p on p.id = d.parent_id
    where d.child_id = p_job_id and p.seq > p_after_seq order by p.seq limit 50
  ), stored as materialized (
    select i.job_id, i.item, p.seq, i.position, coalesce(pg_column_size(i.result), 0) as bytes
    from parent p join public.translation_job_items i on i.job_id = p.id
  ), close as materialized (
    select s.job_id, s.item, s.seq, s.position,
      sum(s.bytes) filter (where s.bytes <= v_most) over (order by s.bytes, s.seq, s.position) <= v_most and s.bytes <= v_most as here
    from stored s
  ), weighed as materialized (
    select c.job_id, c.item, c.seq, c.position, i.status, i.error, case when c.here then i.result end as result, c.here,
      case when c.here then coalesce(octet_length(i.result::text), 0) else v_most + 1 end as bytes
    from close c join public.translation_job_items i on i.job_id = c.job_id and i.item = c.item
  ), fitting as (
    select w.*, w.bytes <= v_most and sum(w.bytes) filter (where w.bytes <= v_most) over (order by w.bytes, w.seq, w.position) <= v_most as fits
    from weighed w
  ), item as (
    select f.job_id, jsonb_agg(
      jsonb_build_object('item', f.item, 'status', f.status, 'error', f.error, 'result', case when f.fits then f.result end,
        'has_more', f.status = 'completed' and not f.fits) order by f.position) as items
    from fitting f group by f.job_id
  )
  select jsonb_agg(jsonb_build_object(
      'id', p.id, 'seq', p.seq, 'name', p.name, 'job_type', p.job_type, 'title', p.title, 'subject', p.subject,
      'status', p.status, 'error', p.error, 'items', coalesce(item.items, '[]')) order by p.seq)
  into v_page from parent p left join item on item.job_id = p.id;
  return coalesce(v_page, '[]');
end $$;
comment on function public.get_translation_parents(uuid, bigint) is
  'The jobs this one came after, oldest first, 50 a call, with their items and results: [{id, seq, name, job_type, title, subject, status, error, items: [{item, status, error, result, has_more}]}]. A megabyte of results a call; where has_more is true, get_translation_result has it.';
