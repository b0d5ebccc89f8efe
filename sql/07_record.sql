-- 07_record: the one door through which results come in.
--
-- Callers: workers. Results, money, progress and the end of a job are one transaction; a call repeated
-- after its answer was lost changes nothing and answers the same. Set-based: many items of many jobs a call.
-- Locks: jobs by id (children that wait for them included), then claims, items, balances, ledger.

create or replace function translation_private.family(p_job_ids uuid[]) returns uuid[]
language sql stable set search_path = ''
as $$
  with recursive family as (
    select unnest(p_job_ids) as id
    union
    select d.child_id from family f join public.translation_job_dependencies d on d.parent_id = f.id
  ) select coalesce(array_agg(f.id), '{}') from family f
$$;
comment on function translation_private.family(uuid[]) is 'Jobs and whatever waits for them, directly or not.';

-- The jobs of a call and everything that may have to move with them, locked in one order. A child may be born
-- while we wait for its parent; locking it afterwards, out of order, is a deadlock waiting for its day. Rolling
-- the block back gives all its locks up, and we begin again with the larger family.
create or replace function translation_private.lock_jobs(p_job_ids uuid[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_family uuid[];
begin
  loop
    v_family := translation_private.family(p_job_ids);
    begin
      perform from public.translation_jobs j where j.id = any (v_family) order by j.id for no key update;
      if translation_private.family(p_job_ids) <@ v_family then
        return;
      end if;
      raise exception using errcode = 'TJ001', message = 'A child was born.';
    exception when sqlstate 'TJ001' then
      null;
    end;
  end loop;
end $$;
comment on function translation_private.lock_jobs(uuid[]) is 'Locks jobs and whatever waits for them, by id: the first lock of every call that ends something.';

-- Progress: the job row at most once a second (the worker sees to that), HOT; chunk counts on the items.
-- A row that somebody else has locked is skipped: progress is never worth waiting for. Offset 0: the claims are asked entry
-- by entry, because a planner that believes they are few would go through all of them for each.
create or replace function translation_private.write_progress(p_worker_id text, p_entries jsonb, p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  select array_agg(j.id) into v_ids from (
    select j.id from public.translation_jobs j
    where j.id in (
      select e.job_id from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text)
      cross join lateral (
        select from public.translation_job_claims h
        where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
      where e.item is null)
    order by j.id for no key update skip locked) as j;
  if v_ids is null then
    return;
  end if;
  -- A worker reports on the items of its claim; those that had ended before count as done.
  update public.translation_jobs j
  set progress = case when e.progress is null then j.progress else least(99, (
        select (sum(case when i.status in ('pending', 'processing') or i.recorded_token = e.token
                         then least(greatest(e.progress, 0), 100) else 100 end) / count(*))::int
        from public.translation_job_items i where i.job_id = j.id)) end,
      progress_message = left(e.message, 200),
      eta_at = p_now + case when e.eta_ms is not null then make_interval(secs => least(e.eta_ms, 604800000) / 1000.0) end, updated_at = p_now
  from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, progress int, message text, eta_ms bigint)
  cross join lateral (
    select from public.translation_job_claims h
    where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
  where j.id = e.job_id and j.id = any (v_ids) and e.item is null;
  with counted as (
    select e.job_id, e.token, i.item, i.chunks_done, i.chunks_total, case when i.progress is not null then least(greatest(i.progress, 0), 99) end as progress,
      p_now + case when i.eta_ms is not null then make_interval(secs => least(i.eta_ms, 604800000) / 1000.0) end as eta_at
    from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, items jsonb)
    cross join lateral (
      select from public.translation_job_claims h
      where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
    cross join lateral jsonb_to_recordset(coalesce(e.items, '[]')) as i (item text, chunks_done int, chunks_total int, progress int, eta_ms bigint)
    where e.item is null and e.job_id = any (v_ids)
  ), moved as (
    update public.translation_job_items i
    set status = 'processing', started_at = coalesce(i.started_at, p_now),
        chunks_done = coalesce(counted.chunks_done, i.chunks_done), chunks_total = coalesce(counted.chunks_total, i.chunks_total),
        progress = coalesce(counted.progress, i.progress), eta_at = counted.eta_at
    from counted
    where i.job_id = counted.job_id and i.item = counted.item and i.status in ('pending', 'processing')
      -- Progress that a record has overtaken must not reopen what was recorded.
      and i.recorded_token is distinct from counted.token
      and (i.status, i.chunks_done, i.chunks_total, i.progress)
          is distinct from ('processing', counted.chunks_done, counted.chunks_total, coalesce(counted.progress, i.progress))
    returning i.job_id, i.chunks_done
  )
  update public.translation_job_claims c set progressed = true
  where not c.progressed and c.job_id in (select m.job_id from moved m where m.chunks_done > 0);
end $$;
comment on function translation_private.write_progress(text, jsonb, timestamptz) is 'Applies progress entries of claims this worker holds; skips rows that are locked.';

create or replace function public.record_translation_results(p_worker_id text, p_results jsonb) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_malformed boolean := jsonb_typeof(p_results) is distinct from 'array';
  v_has_progress boolean;
  v_jobs uuid[];
  v_items text[];
  v_answers text[];
  v_refunds jsonb;
  v_changed uuid[];
begin
  if not v_malformed then
    select count(*) > 500 or coalesce(bool_or(e.job_id is null or e.token is null or (
             e.item is not null and coalesce(e.outcome, '') not in ('completed', 'failed', 'retry', 'throttled'))), false),
           coalesce(bool_or(e.item is null), false), array_agg(e.job_id) filter (where e.item is not null)
    into v_malformed, v_has_progress, v_jobs
    from jsonb_to_recordset(p_results) as e (job_id uuid, token bigint, item text, outcome text);
  end if;
  if v_malformed or pg_column_size(p_results) > 8388608 then
    perform translation_private.refuse(422, 'results_malformed',
      'p_results is an array of at most 500 entries, each with job_id, token and, for an item, an outcome of completed, failed, retry, throttled.');
  end if;
  perform translation_private.lock_jobs(v_jobs);
  if v_has_progress then
    perform translation_private.write_progress(p_worker_id, p_results, v_now);
  end if;

  with entry as (
    select e.*, row_number() over (partition by e.job_id, e.item, e.token order by e.n) as nth
    from rows from (jsonb_to_recordset(p_results) as (
      job_id uuid, token bigint, item text, outcome text, result jsonb, warnings jsonb, error jsonb,
      billed_chars bigint, total_chars bigint, retry_after_ms bigint, elapsed_ms bigint, chunks_done int, chunks_total int)
    ) with ordinality as e (job_id, token, item, outcome, result, warnings, error, billed_chars, total_chars,
                            retry_after_ms, elapsed_ms, chunks_done, chunks_total, n)
    where e.item is not null
  ), judged as (
    select e.*, i.price, i.user_id,
      -- A counted try adds one; throttling never counts.
      coalesce(i.attempts, 0) + (e.outcome <> 'throttled')::int as attempts_now, j.max_attempts, j.deadline_at,
      -- Full jitter: a random moment inside a window that doubles with each try, five minutes at most.
      greatest(least(coalesce(e.retry_after_ms, 0), 86400000), case when e.outcome = 'retry'
        then (random() * least(300000, 1000 * 2 ^ coalesce(i.attempts, 0)))::bigint
        when e.retry_after_ms is null then 15000 else 1000 end) as wait_ms,
      case
        when c.job_id is not null and i.status in ('pending', 'processing') and i.recorded_token is distinct from e.token
          then case when e.nth > 1 then 'already' else 'recorded' end
        when i.recorded_token = e.token then 'already'
        when j.status = 'cancelled' then 'cancelled'
        else 'lost'
      end as answer
    from entry e
    left join public.translation_jobs j on j.id = e.job_id
    left join public.translation_job_items i on i.job_id = e.job_id and i.item = e.item
    left join public.translation_job_claims c on c.job_id = e.job_id and c.token = e.token and c.worker_id = p_worker_id
  ), decided as (
    select d.*,
      case
        when d.outcome = 'completed' then 'completed'
        when d.outcome = 'failed' or (d.outcome = 'retry' and d.attempts_now >= d.max_attempts)
          or (d.outcome = 'throttled' and v_now + make_interval(secs => d.wait_ms / 1000.0) > d.deadline_at) then 'failed'
        else 'pending'
      end as status_now,
      -- What is charged: the price times the share of the characters that is billed, rounded up.
      case when d.outcome <> 'completed' then 0
           when coalesce(d.total_chars, 0) <= 0 then case when d.billed_chars = 0 then 0 else d.price end
           else ceil(d.price * (least(greatest(coalesce(d.billed_chars, d.total_chars), 0), d.total_chars)::numeric / d.total_chars))::int
      end as charge
    from judged d
  ), changed as (
    update public.translation_job_items i
    set status = d.status_now, attempts = d.attempts_now, recorded_token = d.token,
        result = case when d.status_now = 'completed' then d.result end,
        warnings = coalesce(d.warnings, '[]'),
        error = case when d.status_now <> 'completed' then d.error end,
        credits = case when d.status_now = 'pending' then i.price else d.charge end,
        chunks_done = coalesce(d.chunks_done, i.chunks_done), chunks_total = coalesce(d.chunks_total, i.chunks_total),
        progress = case d.status_now when 'completed' then 100 when 'pending' then 0 else i.progress end,
        retry_at = case when d.status_now = 'pending' then v_now + make_interval(secs => d.wait_ms / 1000.0) end,
        started_at = coalesce(i.started_at, v_now - make_interval(secs => least(greatest(d.elapsed_ms, 0), 86400000) / 1000.0), v_now),
        completed_at = case when d.status_now <> 'pending' then v_now end
    from decided d
    where d.answer = 'recorded' and i.job_id = d.job_id and i.item = d.item
    returning i.job_id, i.item, i.user_id, i.price, i.credits, i.status
  ), charged as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select c.user_id, c.job_id, c.item, 'consume', c.credits, v_now from changed c
    where c.status = 'completed' and c.credits > 0
  ), refunded as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select c.user_id, c.job_id, c.item, 'refund', c.price - c.credits, v_now from changed c
    where c.status <> 'pending' and c.price > c.credits
    returning user_id, amount
  )
  select said.jobs, said.items, said.answers, (select array_agg(distinct c.job_id) from changed c),
         (select jsonb_agg(jsonb_build_object('user_id', r.user_id, 'amount', r.amount)) from refunded r)
  into v_jobs, v_items, v_answers, v_changed, v_refunds
  from (
    select array_agg(d.job_id order by d.n) as jobs, array_agg(d.item order by d.n) as items, array_agg(d.answer order by d.n) as answers
    from decided d) as said;

  if v_refunds is not null then
    perform translation_private.return_balances(v_refunds);
  end if;
  if v_changed is not null then
    perform translation_private.settle_jobs(v_changed, v_now);
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object('job_id', said.job_id, 'item', said.item, 'answer', said.answer, 'job_status', j.status) order by said.n)
    from unnest(v_jobs, v_items, v_answers) with ordinality as said (job_id, item, answer, n)
    left join public.translation_jobs j on j.id = said.job_id), '[]');
end $$;
comment on function public.record_translation_results(text, jsonb) is
  'Records outcomes of items (and progress) under the tokens of their claims. Answers each item: recorded, already, cancelled or lost.';
