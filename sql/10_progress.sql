-- 10_progress: what people read. Sources and results travel only through their own calls.
--
-- Callers: users under row level security (invoker), the worker's stream (service_role).

create or replace function translation_private.job_document(p_job public.translation_jobs) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_job) - array['content', 'request_hash', 'turn', 'turn_cost'] || jsonb_build_object('items', coalesce((
    select jsonb_agg(jsonb_build_object(
      'item', i.item, 'status', i.status, 'attempts', i.attempts, 'warnings', i.warnings, 'error', i.error,
      'price', i.price, 'credits', i.credits, 'chunks_done', i.chunks_done, 'chunks_total', i.chunks_total, 'retry_at', i.retry_at,
      'started_at', i.started_at, 'completed_at', i.completed_at, 'provider', i.result -> 'provider',
      'simulated', i.result -> 'simulated', 'cached_chars', i.result -> 'cached_chars') order by i.position)
    from public.translation_job_items i where i.job_id = p_job.id), '[]'))
$$;
comment on function translation_private.job_document(public.translation_jobs) is 'A job with its items, without source and results.';

create or replace function public.get_translation_job(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job public.translation_jobs;
begin
  select * into v_job from public.translation_jobs where id = p_job_id;
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return translation_private.job_document(v_job);
end $$;
comment on function public.get_translation_job(uuid) is 'One job with its items, without source and results.';

create or replace function public.watch_translation_jobs(p_job_ids uuid[]) returns setof jsonb
language sql stable set search_path = ''
as $$
  select translation_private.job_document(j) from public.translation_jobs j
  where j.id = any (p_job_ids[1:1000]) order by j.seq
$$;
comment on function public.watch_translation_jobs(uuid[]) is 'Up to 1000 jobs with their items in one call: what a live stream asks once a second for all its listeners.';

create or replace function public.list_translation_jobs(
  p_status text[] default null, p_job_type text default null, p_subject text default null, p_since timestamptz default null,
  p_limit int default 50, p_before_seq bigint default null) returns setof public.translation_jobs
language plpgsql stable set search_path = ''
as $$
begin
  -- Only what is asked for stands in the statement, so that each filter finds its own index.
  return query execute
    'select job.* from (select * from public.translation_jobs where true'
    || case when cardinality(p_status) = 1 then ' and status = $1[1]' when p_status is not null then ' and status = any ($1)' else '' end
    || case when p_job_type is not null then ' and job_type = $2' else '' end
    || case when p_subject is not null then ' and subject = $3' else '' end
    || case when p_since is not null then ' and created_at >= $4' else '' end
    || case when p_before_seq is not null then ' and seq < $5' else '' end
    || ' order by seq desc limit $6) as j cross join lateral translation_private.without_content(j) as job order by job.seq desc'
  using p_status, p_job_type, p_subject, p_since, p_before_seq, least(greatest(coalesce(p_limit, 50), 1), 200);
end $$;
comment on function public.list_translation_jobs(text[], text, text, timestamptz, int, bigint) is
  'Jobs, newest first, 200 at most; the next page starts before the last seq. Without sources. Every filter is quick for a user; the owner, who sees all jobs, walks them by seq.';

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
