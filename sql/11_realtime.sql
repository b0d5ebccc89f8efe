-- 11_realtime: how workers and browsers hear of it.
--
-- Two roads to a worker. Change capture (the publication) carries the INSERT of a job and the worker's own
-- heartbeat row. The broadcast road is realtime.send: an insert that commits with us and is streamed at
-- commit. A statement trigger announces inserts; a job that becomes pending in any other way is announced by
-- the procedure that does it, because a trigger with transition tables on UPDATE would copy every progress
-- write. No NOTIFY: it takes a database-wide lock at commit.
-- A message is a hint: a job id and when it is due. Never content, never a token.

create or replace function translation_private.broadcast(p_event text, p_payload jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  -- Definer, because only the owner may be trusted to write realtime.messages on every project.
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
    perform realtime.send(p_payload, p_event, 'translation_jobs', true);
  end if;
end $$;
comment on function translation_private.broadcast(text, jsonb) is 'One message on the private topic translation_jobs, sent if this transaction commits.';

create or replace function translation_private.announce(p_event text, p_job_id uuid, p_due_in_ms bigint, p_jobs int) returns void
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.broadcast(p_event, case p_event
    when 'ready' then jsonb_build_object('job_id', p_job_id, 'jobs', p_jobs, 'due_in_ms', p_due_in_ms)
    else jsonb_build_object('job_id', p_job_id) end);
end $$;
comment on function translation_private.announce(text, uuid, bigint, int) is 'Tells workers that jobs are ready (or will be), or that one was cancelled.';

create or replace function translation_private.announce_inserted() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_first record;
begin
  select id, count(*) over () as jobs,
         greatest(0, coalesce(translation_private.as_ms(run_at - translation_private.clock()), 0)) as due_in_ms
  into v_first from inserted where status in ('pending', 'scheduled')
  order by (status = 'pending') desc, run_at, seq limit 1;
  if found then
    -- new: the other road tells of it too, while a job that comes back is told of here alone.
    perform translation_private.broadcast('ready', jsonb_build_object(
      'job_id', v_first.id, 'jobs', v_first.jobs, 'due_in_ms', v_first.due_in_ms, 'new', true));
  end if;
  return null;
end $$;
comment on function translation_private.announce_inserted() is 'One message a statement, however many jobs it made.';
-- A procedure that makes many jobs, one statement each, says so itself at its end.
create or replace trigger translation_jobs_announce
  after insert on public.translation_jobs referencing new table as inserted
  for each statement when (current_setting('translation.announce', true) is distinct from 'later')
  execute function translation_private.announce_inserted();

do $do$
declare
  v_table text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    raise notice 'There is no publication supabase_realtime: workers will hear of jobs by broadcast and by polling only.';
    return;
  end if;
  foreach v_table in array array['translation_jobs', 'translation_workers'] loop
    if not exists (
      select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = v_table
    ) then
      execute format('alter publication supabase_realtime add table public.%I', v_table);
    end if;
  end loop;
end $do$;
