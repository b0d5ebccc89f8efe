-- 08_finish: the state of a job follows from its items; cancel and retry.
--
-- Callers: record, rescue, users. Every function here expects its jobs to be locked by lock_jobs.

-- Refunds and closes what is still open of some jobs. Returns how many items that were.
create or replace function translation_private.close_items(p_job_ids uuid[], p_status text, p_error jsonb, p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_refunds jsonb;
  v_count int;
begin
  with closed as (
    update public.translation_job_items
    set status = p_status, credits = 0, error = coalesce(p_error, error), retry_at = null, completed_at = p_now
    where job_id = any (p_job_ids) and status in ('pending', 'processing')
    returning user_id, job_id, item, price
  ), refunded as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select user_id, job_id, item, 'refund', price, p_now from closed where price > 0
    returning user_id, amount
  )
  select (select count(*)::int from closed), (select jsonb_agg(jsonb_build_object('user_id', user_id, 'amount', amount)) from refunded)
  into v_count, v_refunds;
  if v_refunds is not null then
    perform translation_private.return_balances(v_refunds);
  end if;
  return v_count;
end $$;
comment on function translation_private.close_items(uuid[], text, jsonb, timestamptz) is 'Ends the open items of some jobs as failed or cancelled, with their refunds.';

-- The job rows after their items changed: sums, state, and the end of the claim when nothing is left to do.
create or replace function translation_private.settle_rows(p_job_ids uuid[], p_now timestamptz) returns uuid[]
language plpgsql set search_path = ''
as $$
declare
  v_ended uuid[];
  v_finished uuid[];
  v_retrying uuid[];
  v_due_ms bigint;
begin
  with tally as (
    select i.job_id,
      count(*) filter (where i.status in ('pending', 'processing')) as open,
      -- Still to come in this run: handed out with the claim and not yet recorded under its token.
      count(*) filter (where c.job_id is not null and i.status in ('pending', 'processing') and i.recorded_token is distinct from c.token
                         and (i.retry_at is null or i.retry_at <= c.claimed_at)) as running,
      count(*) filter (where i.status = 'completed') as completed,
      count(*) filter (where i.status = 'failed') as failed,
      count(*) filter (where i.status = 'cancelled') as cancelled,
      coalesce(sum(i.credits) filter (where i.status = 'completed'), 0)::int as consumed,
      coalesce(sum(i.price - i.credits) filter (where i.status in ('completed', 'failed', 'cancelled')), 0)::int as refunded,
      max(i.attempts) as attempts,
      min(i.retry_at) filter (where i.status in ('pending', 'processing')) as next_retry,
      (array_agg(i.error order by (i.status = 'failed') desc, i.position) filter (where i.error is not null))[1] as error
    from public.translation_job_items i
    left join public.translation_job_claims c on c.job_id = i.job_id
    where i.job_id = any (p_job_ids)
    group by i.job_id
  ), changed as (
    update public.translation_jobs j
    set status = case when t.open > 0 and t.running > 0 then j.status
                      when t.open > 0 then 'retrying'
                      when t.cancelled > 0 then 'cancelled'
                      when t.completed > 0 then 'completed' else 'failed' end,
        revision = j.revision + 1,
        attempts = t.attempts, failed_items = t.failed, credits_consumed = t.consumed, credits_refunded = t.refunded,
        error = t.error, updated_at = p_now,
        run_at = case when t.open > 0 and t.running = 0 then coalesce(t.next_retry, p_now) else j.run_at end,
        progress = case when t.open > 0 then j.progress when t.completed > 0 and t.cancelled = 0 then 100 else j.progress end,
        progress_message = case when t.open > 0 and t.running > 0 then j.progress_message end,
        eta_at = case when t.open > 0 and t.running > 0 then j.eta_at end,
        worker_id = case when t.open > 0 and t.running = 0 then null else j.worker_id end,
        completed_at = case when t.open = 0 then p_now end,
        cancelled_at = case when t.open = 0 and t.cancelled > 0 then p_now end
    from tally t
    where j.id = t.job_id and j.status not in ('completed', 'failed', 'cancelled')
    returning j.id, j.status, j.run_at
  )
  select array_agg(id) filter (where status in ('retrying', 'completed', 'failed', 'cancelled')),
         array_agg(id) filter (where status in ('completed', 'failed', 'cancelled')),
         array_agg(id) filter (where status = 'retrying'),
         min(translation_private.as_ms(run_at - p_now)) filter (where status = 'retrying')
  into v_ended, v_finished, v_retrying, v_due_ms
  from changed;

  if v_ended is not null then
    with gone as (
      delete from public.translation_job_claims where job_id = any (v_ended) returning job_id, token
    )
    update public.translation_job_attempts a
    set ended_at = p_now, outcome = j.status, error = j.error
    from gone join public.translation_jobs j on j.id = gone.job_id
    where a.job_id = gone.job_id and a.token = gone.token;
  end if;
  if v_retrying is not null then
    perform translation_private.announce('ready', v_retrying[1], greatest(v_due_ms, 0), cardinality(v_retrying));
  end if;
  return v_finished;
end $$;
comment on function translation_private.settle_rows(uuid[], timestamptz) is
  'Brings job rows in line with their items; ends claim and attempt when the run or the job is over. Returns the jobs that have ended.';

-- Generation by generation, in a loop: a call for each would end at the stack's depth in a chain of hundreds.
create or replace function translation_private.settle_jobs(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[] := p_job_ids;
begin
  loop
    v_ids := translation_private.settle_rows(v_ids, p_now);
    exit when v_ids is null;
    v_ids := translation_private.move_children(v_ids, p_now);
    exit when v_ids is null;
  end loop;
end $$;
comment on function translation_private.settle_jobs(uuid[], timestamptz) is
  'Brings jobs in line with their items, and with them whatever waits for those that have ended.';

create or replace function translation_private.start_children(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  update public.translation_jobs j
  set status = case when j.run_at > p_now then 'scheduled' else 'pending' end, revision = j.revision + 1,
      turn = case when j.run_at > p_now then null else translation_private.next_turn(j.user_id, j.turn_cost) end,
      ready_at = p_now, deadline_at = greatest(j.run_at, p_now) + interval '24 hours', updated_at = p_now
  where j.id = any (p_job_ids);
  perform translation_private.announce('ready', p_job_ids[1], 0, cardinality(p_job_ids));
end $$;
comment on function translation_private.start_children(uuid[], timestamptz) is 'Blocked jobs that wait for nothing any more: pending, or scheduled.';

create or replace function translation_private.cancel_children(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.close_items(p_job_ids, 'cancelled',
    '{"class": "bad_request", "message": "A job it waited for did not complete."}', p_now);
end $$;
comment on function translation_private.cancel_children(uuid[], timestamptz) is
  'Items of blocked jobs whose parent did not complete: cancelled and refunded. The caller settles the jobs.';

-- Children of jobs that have ended: unblocked when every parent completed, cancelled when one did not.
create or replace function translation_private.move_children(p_parent_ids uuid[], p_now timestamptz) returns uuid[]
language plpgsql set search_path = ''
as $$
declare
  v_cancel uuid[];
  v_ready uuid[];
begin
  select array_agg(child.id) filter (where child.broken), array_agg(child.id) filter (where not child.broken and child.waits = 0)
  into v_cancel, v_ready
  from (
    select c.id,
      bool_or(p.status in ('failed', 'cancelled') and d.after_failure = 'cancel') as broken,
      count(*) filter (where p.status not in ('completed', 'failed', 'cancelled')) as waits
    from (select distinct e.child_id from public.translation_job_dependencies e where e.parent_id = any (p_parent_ids)) as moved
    -- Offset 0: a plan that is kept would rather begin with all blocked jobs there are, whosever they may be.
    cross join lateral (select j.id from public.translation_jobs j where j.id = moved.child_id and j.status = 'blocked' offset 0) as c
    join public.translation_job_dependencies d on d.child_id = c.id
    join public.translation_jobs p on p.id = d.parent_id
    group by c.id) as child;
  if v_ready is not null then
    perform translation_private.start_children(v_ready, p_now);
  end if;
  if v_cancel is not null then
    perform translation_private.cancel_children(v_cancel, p_now);
  end if;
  return v_cancel;
end $$;
comment on function translation_private.move_children(uuid[], timestamptz) is
  'What waits for jobs that have just ended: starts, or its items are cancelled and refunded. Returns the jobs that are to be settled then.';

-- A parent that is deleted before its end (its user was) did not complete: what waits for it must not wait for
-- ever. The trigger's name makes it fire before the foreign keys' own, while the edges still stand; a child that
-- goes in the same statement is already gone.
create or replace function translation_private.release_orphans() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_cancel uuid[];
  v_run uuid[];
begin
  select array_agg(c.id) filter (where d.after_failure = 'cancel'), array_agg(c.id) filter (where d.after_failure = 'run')
  into v_cancel, v_run
  from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
  where d.parent_id = old.id and c.status = 'blocked';
  perform translation_private.lock_jobs(v_cancel || v_run);
  if v_cancel is not null then
    perform translation_private.cancel_children(v_cancel, v_now);
    perform translation_private.settle_jobs(v_cancel, v_now);
  end if;
  select array_agg(c.id) into v_run from public.translation_jobs c
  where c.id = any (v_run) and c.status = 'blocked' and not exists (
    select from public.translation_job_dependencies d join public.translation_jobs p on p.id = d.parent_id
    where d.child_id = c.id and p.completed_at is null);
  if v_run is not null then
    perform translation_private.start_children(v_run, v_now);
  end if;
  return null;
end $$;
comment on function translation_private.release_orphans() is 'Cancels and refunds, or starts, what waited for a job that was deleted before its end.';
create or replace trigger "BEFORE_RI_translation_jobs_orphans"
  after delete on public.translation_jobs for each row when (old.completed_at is null)
  execute function translation_private.release_orphans();

create or replace function translation_private.cancel_job(p_job_id uuid) returns public.translation_jobs
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_user uuid := translation_private.caller();
  v_job public.translation_jobs;
begin
  perform from public.translation_jobs where id = p_job_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  perform translation_private.lock_jobs(array[p_job_id]);
  select * into v_job from public.translation_jobs where id = p_job_id;
  if v_job.status not in ('completed', 'failed', 'cancelled') then
    perform translation_private.close_items(array[p_job_id], 'cancelled', null, v_now);
    perform translation_private.settle_jobs(array[p_job_id], v_now);
    if v_job.status = 'processing' then
      perform translation_private.announce('cancelled', p_job_id, null, 1);
    end if;
    select * into v_job from public.translation_jobs where id = p_job_id;
  end if;
  return translation_private.without_content(v_job);
end $$;
comment on function translation_private.cancel_job(uuid) is 'Definer, because users have no write grant; checks that the job is the caller''s.';

create or replace function public.cancel_translation_job(p_job_id uuid) returns public.translation_jobs
language sql set search_path = ''
as $$ select translation_private.cancel_job(p_job_id) $$;
comment on function public.cancel_translation_job(uuid) is
  'Final at once: unfinished items are refunded, finished ones kept and paid. A job that has ended is returned unchanged.';

-- What a repeated job waits for: the parents of the first one, or what repeats those of them that did not complete.
create or replace function translation_private.parents_again(p_job_id uuid, p_user_id uuid)
returns table (parents uuid[], names text[], after_failure jsonb) language sql stable set search_path = ''
as $$
  with recursive again as (
    select d.parent_id as first, d.parent_id as id, d.name, d.after_failure, 0 as nth
    from public.translation_job_dependencies d where d.child_id = p_job_id
    union all
    select a.first, next.id, a.name, a.after_failure, a.nth + 1
    from again a join public.translation_jobs p on p.id = a.id and p.status in ('failed', 'cancelled')
    join public.translation_jobs next on next.retry_of = a.id
  ), latest as (
    select distinct on (a.first) a.id, a.name, a.after_failure from again a order by a.first, a.nth desc
  )
  select array_agg(l.id order by l.id), array_agg(l.name order by l.id), jsonb_object_agg(l.id, l.after_failure) filter (where l.after_failure <> 'cancel')
  from latest l join public.translation_jobs p on p.id = l.id
  where p_user_id is null or p.user_id = p_user_id
$$;
comment on function translation_private.parents_again(uuid, uuid) is
  'Parents for the retry of a job, with their names and what an option says of them; with a user only his own.';

create or replace function translation_private.retry_job(p_job_id uuid) returns public.translation_jobs
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_user uuid := translation_private.caller();
  v_job public.translation_jobs;
  v_again public.translation_jobs;
  v_items text[];
  v_after record;
begin
  -- No lock on a job yet: the advisory lock that orders two retries must come before every row lock.
  perform pg_advisory_xact_lock(hashtextextended('translation retry ' || p_job_id, 0));
  select * into v_job from public.translation_jobs where id = p_job_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  select * into v_again from public.translation_jobs where retry_of = p_job_id;
  if found then
    return translation_private.without_content(v_again);
  end if;
  if v_job.status not in ('completed', 'failed', 'cancelled') then
    perform translation_private.refuse(409, 'job_not_finished', 'The job has not ended yet: it retries by itself, or can be cancelled.');
  end if;
  select array_agg(item order by position) into v_items from public.translation_job_items
  where job_id = p_job_id and status in ('failed', 'cancelled');
  if v_items is null then
    perform translation_private.refuse(409, 'nothing_to_retry', 'Every item of the job completed: there is nothing to repeat.');
  end if;
  select * into v_after from translation_private.parents_again(p_job_id, v_user);
  return translation_private.add_job(
    v_user is not null, v_job.user_id, v_job.job_type, v_job.content, v_items, v_job.source_language, v_job.content_kind,
    case when v_user is null then v_job.priority end,
    (v_job.options - 'after_failure') || case when v_after.after_failure is null then '{}' else jsonb_build_object('after_failure', v_after.after_failure) end,
    null, null, v_job.correlation_id, v_job.subject, v_job.title, v_job.metadata, v_after.parents, p_job_id, v_after.names);
end $$;
comment on function translation_private.retry_job(uuid) is 'Definer, because users have no write grant; checks that the job is the caller''s.';

create or replace function public.retry_translation_job(p_job_id uuid) returns public.translation_jobs
language sql set search_path = ''
as $$ select translation_private.retry_job(p_job_id) $$;
comment on function public.retry_translation_job(uuid) is
  'One new job for the failed and cancelled items of a job that has ended. Calling it again returns the same new job. What waited for others waits for what repeats those.';
