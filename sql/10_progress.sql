-- 10_progress: what people read. Sources and results travel only through their own calls.
--
-- Callers: users under row level security (invoker), the worker's stream (service_role).

-- Parents and children are named only if they are of the same user: the stream reads as the owner and hands on to users.
-- By id and column by column: a row that is handed on whole would bring its source along, out of TOAST, only to drop it.
create or replace function translation_private.job_document(p_job_id uuid) returns jsonb
language sql stable set search_path = '' set enable_seqscan = off set jit = off
as $$
  select jsonb_build_object(
    'id', j.id, 'seq', j.seq, 'user_id', j.user_id, 'subject', j.subject, 'title', j.title, 'metadata', j.metadata,
    'job_type', j.job_type, 'status', j.status, 'priority', j.priority, 'content_kind', j.content_kind, 'content_chars', j.content_chars,
    'source_language', j.source_language, 'target_languages', j.target_languages, 'options', j.options, 'progress', j.progress,
    'progress_message', j.progress_message, 'eta_at', j.eta_at, 'attempts', j.attempts, 'max_attempts', j.max_attempts,
    'deliveries', j.deliveries, 'lost_count', j.lost_count, 'run_at', j.run_at, 'ready_at', j.ready_at, 'deadline_at', j.deadline_at,
    'failed_items', j.failed_items) || jsonb_build_object(
    'credits_reserved', j.credits_reserved, 'credits_consumed', j.credits_consumed, 'credits_refunded', j.credits_refunded,
    'error', j.error, 'worker_id', j.worker_id, 'found_by', j.found_by, 'correlation_id', j.correlation_id,
    'idempotency_key', j.idempotency_key, 'retry_of', j.retry_of, 'revision', j.revision, 'created_at', j.created_at,
    'updated_at', j.updated_at, 'started_at', j.started_at, 'completed_at', j.completed_at, 'cancelled_at', j.cancelled_at,
    'as_of', translation_private.clock(),
    'retried_by', case when j.completed_at is not null then (
      select again.id from public.translation_jobs again where again.retry_of = j.id) end,
    'parents', coalesce((
      select jsonb_agg(jsonb_build_object('id', p.id, 'name', d.name, 'title', p.title, 'job_type', p.job_type, 'status', p.status,
        'failed_items', p.failed_items) order by p.seq)
      from (select e.parent_id, e.name from public.translation_job_dependencies e where e.child_id = j.id limit 50) as d
      join public.translation_jobs p on p.id = d.parent_id and p.user_id is not distinct from j.user_id), '[]'),
    'children', coalesce((
      select jsonb_agg(jsonb_build_object('id', c.id, 'title', c.title, 'job_type', c.job_type, 'status', c.status,
        'failed_items', c.failed_items) order by c.seq)
      from (select e.child_id from public.translation_job_dependencies e where e.parent_id = j.id limit 50) as d
      join public.translation_jobs c on c.id = d.child_id and c.user_id is not distinct from j.user_id), '[]'),
    'items', coalesce((
      select jsonb_agg(jsonb_build_object(
        'item', i.item, 'status', i.status, 'attempts', i.attempts, 'warnings', i.warnings, 'error', i.error,
        'price', i.price, 'credits', i.credits, 'chunks_done', i.chunks_done, 'chunks_total', i.chunks_total, 'retry_at', i.retry_at,
        'progress', i.progress, 'eta_at', case when i.status = 'processing' then i.eta_at end,
        'started_at', i.started_at, 'completed_at', i.completed_at, 'provider', i.result -> 'provider',
        'simulated', i.result -> 'simulated', 'cached_chars', i.result -> 'cached_chars') order by i.position)
      from public.translation_job_items i where i.job_id = j.id), '[]'))
  from public.translation_jobs j where j.id = p_job_id
$$;
comment on function translation_private.job_document(uuid) is
  'A job with its items, without source and results; as_of is the time it was read. Null when there is none.';

create or replace function public.get_translation_job(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job jsonb := translation_private.job_document(p_job_id);
begin
  if v_job is null then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return v_job - 'as_of';
end $$;
comment on function public.get_translation_job(uuid) is 'One job with its items, without source and results.';

create or replace function public.watch_translation_jobs(p_job_ids uuid[]) returns setof jsonb
language sql stable set search_path = ''
as $$
  select translation_private.job_document(j.id) from public.translation_jobs j
  where j.id = any (p_job_ids[1:1000]) order by j.seq
$$;
comment on function public.watch_translation_jobs(uuid[]) is 'Up to 1000 jobs with their items in one call.';

-- One call a second for all listeners of a worker, so the answer is one value (a list would end at the API's thousandth
-- row) and says no more than an id of what did not change. What is asked for and has ended is told whatever its date: that is
-- of when the call that ended it began, and such a call may wait for a lock longer than anybody looks back. The plan is held:
-- each user and state is a few steps on one index, and endings come from the index of all endings, of which a few seconds hold few.
create or replace function public.watch_translation_users(
  p_user_ids uuid[], p_job_ids uuid[] default null, p_changed_within_ms bigint default null) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_users uuid[] := p_user_ids[1:1000];
  v_since timestamptz := translation_private.clock() - make_interval(secs => least(p_changed_within_ms, 600000) / 1000.0);
  v_ids uuid[];
  v_fresh uuid[];
  v_quiet uuid[];
begin
  select array_agg(distinct found.id) into v_ids from (
    select piece.id from unnest(v_users) as u (id)
    cross join unnest(array['processing', 'retrying', 'pending', 'scheduled', 'blocked']) as s (status)
    cross join lateral (
      select j.id from public.translation_jobs j where j.user_id = u.id and j.status = s.status order by j.seq desc limit 200) as piece
    union all
    select unnest(p_job_ids[1:50000])) as found;
  if p_changed_within_ms is not null then
    with ended as materialized (select j.id, j.user_id from public.translation_jobs j where j.completed_at >= v_since)
    select array_agg(distinct id) into v_ids from (select unnest(v_ids) as id union all select e.id from ended e where e.user_id = any (v_users)) as found;
  end if;
  select array_agg(j.id order by j.seq) filter (where not is_quiet), array_agg(j.id) filter (where is_quiet)
  into v_fresh, v_quiet
  from unnest(v_ids) as found (id) join public.translation_jobs j on j.id = found.id
  cross join lateral (
    select p_changed_within_ms is not null and j.updated_at < v_since and j.completed_at is null as is_quiet) as said;
  return jsonb_build_object(
    'as_of', translation_private.clock(),
    'jobs', coalesce((
      select jsonb_agg(translation_private.job_document(fresh.id) order by fresh.n) from unnest(v_fresh) with ordinality as fresh (id, n)), '[]'),
    'quiet', coalesce(to_jsonb(v_quiet), '[]'),
    'credits', coalesce((
      select jsonb_object_agg(u.id, jsonb_build_object(
        'balance', coalesce((select c.balance from public.translation_credits c where c.user_id = u.id), 0),
        'reserved', coalesce((
          select sum(j.credits_reserved - j.credits_consumed - j.credits_refunded) from public.translation_jobs j
          where j.user_id = u.id and j.status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying')), 0)))
      from unnest(v_users) as u (id)), '{}'));
end $$;
comment on function public.watch_translation_users(uuid[], uuid[], bigint) is
  'For a live stream: what up to 1000 users have unfinished (the newest 200 of each state) and what is named: {as_of, jobs, quiet: ids of those that have not ended and did not change within the time, credits: {user: {balance, reserved}}}. With a time also jobs that ended within it.';

create or replace function translation_private.job_type_names() returns text[]
language sql stable security definer set search_path = ''
as $$ select array_agg(name) from public.translation_job_types $$;
comment on function translation_private.job_type_names() is 'Definer, because users may not read the prices that stand beside the names.';

-- A list is put together from one short piece for each status and type, each a few steps on one index: as quick for a
-- rare one as for a common one, for a user as for the owner of a million jobs. A subject or a time comes first among
-- ended jobs, which are many, and is looked for piece by piece among the others, which are few. A text is in no index,
-- so it is looked for among the newest 2000 of each piece; so are completed jobs
-- with failed items.
create or replace function translation_private.page_of_jobs(
  p_status text[], p_job_type text, p_subject text, p_since timestamptz, p_limit int, p_before_seq bigint, p_until timestamptz, p_search text,
  p_partly boolean)
returns setof uuid
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_statuses text[] := coalesce(p_status, array['pending', 'scheduled', 'blocked', 'processing', 'retrying', 'completed', 'failed', 'cancelled']);
  v_ended text[] := array['completed', 'failed', 'cancelled'];
  v_sought boolean := p_subject is not null or p_since is not null;
  v_types text[] := case when p_job_type is null then translation_private.job_type_names() else array[p_job_type] end;
  v_before bigint := coalesce(p_before_seq, 9223372036854775807);
  v_before_ended bigint := v_before;
  v_filters text := concat(
    case when p_subject is not null then ' and j.subject = $4' end, case when p_since is not null then ' and j.created_at >= $5' end,
    case when p_until is not null then ' and j.created_at < $8' end);
  v_page text := ' order by j.seq desc limit ' || case when p_search is null and p_partly is null then '$7' else '2000' end;
  v_search text := concat(' where true',
    case when p_search is not null then ' and strpos(lower(concat_ws(E''\n'', piece.title, piece.subject, piece.id, piece.correlation_id)), lower($9)) > 0' end,
    case when p_partly is not null then ' and (piece.status <> ''completed'' or (piece.failed_items > 0) = $10)' end);
begin
  if p_until is not null and not v_sought and (select auth.uid()) is not null then
    -- A user's million jobs after that time are not read one by one: jobs are numbered about in the order of their times.
    execute 'select coalesce(max(newest.seq), 0) + 1 from (
      select j.seq from public.translation_jobs j
      where j.status in (''completed'', ''failed'', ''cancelled'') and j.created_at < $1 order by j.created_at desc limit 1000) as newest'
    into v_before_ended using p_until;
    v_before_ended := least(v_before, v_before_ended);
  end if;
  -- Only what is asked for stands in the statement, so that each filter finds its own index.
  return query execute
    'select j.id from (
       select piece.id, piece.seq from unnest($1) as s (status) cross join unnest($3) as t (job_type)
       cross join lateral (
         select j.id, j.seq, j.status, j.failed_items, j.title, j.subject, j.correlation_id from public.translation_jobs j
         where j.status = s.status and j.job_type = t.job_type and j.seq < case when s.status = any ($12) then $11 else $6 end'
    || v_filters || v_page || ') as piece' || v_search
    || case when v_sought then '
       union all (
         select piece.id, piece.seq from (
           select j.id, j.seq, j.status, j.failed_items, j.title, j.subject, j.correlation_id from public.translation_jobs j
           where j.status in (''completed'', ''failed'', ''cancelled'') and j.status = any ($2) and j.seq < $6'
       || case when p_job_type is not null then ' and j.job_type = $3[1]' else '' end
       || case when p_since is not null then ' and j.completed_at >= $5' else '' end || v_filters || v_page || ') as piece' || v_search || ')' else '' end || '
       order by seq desc limit $7) as j order by j.seq desc'
  using (select array_agg(distinct s) from unnest(v_statuses) as s where not (v_sought and s = any (v_ended))),
    v_statuses, v_types, p_subject, p_since, v_before, least(greatest(coalesce(p_limit, 50), 1), 200), p_until, p_search, p_partly,
    v_before_ended, v_ended;
end $$;
comment on function translation_private.page_of_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean) is
  'Which jobs stand on a page, newest first.';

create or replace function public.list_translation_jobs(
  p_status text[] default null, p_job_type text default null, p_subject text default null, p_since timestamptz default null,
  p_limit int default 50, p_before_seq bigint default null, p_until timestamptz default null, p_search text default null)
returns setof public.translation_jobs
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
  -- Planned each time: a plan made while the table was empty may stay on the wrong index.
  return query execute '
    select job.* from unnest($1) with ordinality as page (id, n)
    cross join lateral (select * from public.translation_jobs where id = page.id offset 0) as j
    cross join lateral translation_private.without_content(j) as job order by page.n'
  using array(select translation_private.page_of_jobs(p_status, p_job_type, p_subject, p_since, p_limit, p_before_seq, p_until, p_search, null));
end $$;
comment on function public.list_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text) is
  'Jobs, newest first, 200 at most; the next page starts before the last seq. Without sources. By status and type it is quick for everybody; by subject and time for a user. A text is looked for in title, subject and ids of the newest 2000 of each state.';

create or replace function public.show_translation_jobs(
  p_status text[] default null, p_job_type text default null, p_subject text default null, p_since timestamptz default null,
  p_limit int default 50, p_before_seq bigint default null, p_until timestamptz default null, p_search text default null,
  p_partly boolean default null) returns setof jsonb
language sql stable set search_path = ''
as $$
  select translation_private.job_document(page.id)
  from translation_private.page_of_jobs(p_status, p_job_type, p_subject, p_since, p_limit, p_before_seq, p_until, p_search, p_partly)
    with ordinality as page (id, n)
  order by page.n
$$;
comment on function public.show_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean) is
  'The same page as list_translation_jobs, each job with its items: what a screen shows. p_partly: of completed jobs only those with failed items (true) or without (false), among the newest 2000.';

create or replace function public.count_translation_jobs(p_subject text default null) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_one_by_one constant text := '
    select s.status, piece.failed_items from unnest($2) as s (status)
    cross join lateral (select j.failed_items from public.translation_jobs j where j.status = s.status';
  v_counts jsonb;
begin
  -- The ended jobs of one subject are together in an index of their own, whatever their state.
  execute 'select jsonb_object_agg(n.name, n.jobs) from (
      select case when found.status = ''completed'' and found.failed_items > 0 then ''partly'' else found.status end as name, least(count(*), 1000) as jobs
      from (' || v_one_by_one || case when p_subject is null then ' limit 1000) as piece' else ' and j.subject = $1 limit 1000) as piece
        union all (
          select j.status, j.failed_items from public.translation_jobs j
          where j.status in (''completed'', ''failed'', ''cancelled'') and j.subject = $1 limit 3000)' end || ') as found
      group by name) as n'
  into v_counts
  using p_subject, array['pending', 'scheduled', 'blocked', 'processing', 'retrying']
    || case when p_subject is null then array['completed', 'failed', 'cancelled'] else array[]::text[] end;
  v_counts := '{"pending": 0, "scheduled": 0, "blocked": 0, "processing": 0, "retrying": 0, "completed": 0, "partly": 0, "failed": 0, "cancelled": 0}'
    || coalesce(v_counts, '{}');
  return jsonb_build_object(
    'active', v_counts - array['completed', 'partly', 'failed', 'cancelled'],
    'finished', v_counts - array['pending', 'scheduled', 'blocked', 'processing', 'retrying'],
    'capped', 1000);
end $$;
comment on function public.count_translation_jobs(text) is
  'How many jobs the caller has in each state, all or of one subject: {active, finished, capped}. Counting a state stops at capped.';

create or replace function public.get_translation_attempts(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object(
      'delivery', a.delivery, 'started_at', a.started_at, 'ended_at', a.ended_at, 'outcome', a.outcome, 'found_by', a.found_by,
      'found_ms', a.found_ms, 'error', a.error) order by a.delivery)
    from (select delivery, started_at, ended_at, outcome, found_by, found_ms, error from public.translation_job_attempts
          where job_id = p_job_id order by delivery desc limit 1000) as a), '[]');
end $$;
comment on function public.get_translation_attempts(uuid) is 'The timeline of a job: its latest 1000 tries, oldest first.';

create or replace function public.get_translation_movements(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object('item', l.item, 'kind', l.kind, 'amount', l.amount, 'created_at', l.created_at) order by l.id)
    from public.translation_credit_ledger l where l.job_id = p_job_id), '[]');
end $$;
comment on function public.get_translation_movements(uuid) is 'The lines of the ledger about one job, oldest first: at most three an item.';

create or replace function public.list_translation_languages() returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_array(pair.source_language, pair.target_language) order by pair.source_language, pair.target_language), '[]')
  from (select distinct l.source_language, l.target_language from public.translation_languages l limit 10000) as pair
$$;
comment on function public.list_translation_languages() is 'The pairs on offer as [[source, target]], * being any language. Empty: nobody has said yet, and any is taken.';

create or replace function public.get_translation_source(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb;
begin
  select content into v_content from public.translation_jobs where id = p_job_id;
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return v_content;
end $$;
comment on function public.get_translation_source(uuid) is 'The source of a job.';

create or replace function public.get_translation_result(p_job_id uuid, p_item text) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_item public.translation_job_items;
begin
  select * into v_item from public.translation_job_items where job_id = p_job_id and item = p_item;
  if not found then
    perform translation_private.refuse(404, 'item_not_found', 'There is no such job, or it has no such item.');
  elsif v_item.status <> 'completed' then
    perform translation_private.refuse(409, 'item_not_finished', format('The item is %s: it has no result.', v_item.status));
  end if;
  return v_item.result || jsonb_build_object('warnings', v_item.warnings, 'credits', v_item.credits);
end $$;
comment on function public.get_translation_result(uuid, text) is 'The result of one finished item: {content, provider, simulated, cached_chars, source_language, warnings, credits}.';

create or replace function public.get_translation_credits() returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'balance', coalesce((select c.balance from public.translation_credits c where c.user_id = (select auth.uid())), 0),
    'reserved', coalesce((
      select sum(j.credits_reserved - j.credits_consumed - j.credits_refunded) from public.translation_jobs j
      where j.user_id = (select auth.uid()) and j.status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying')), 0))
$$;
comment on function public.get_translation_credits() is 'The caller''s credits: {balance: free to spend, reserved: held by unfinished jobs}.';
