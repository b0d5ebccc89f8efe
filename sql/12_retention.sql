-- 12_retention: what somebody has to do for the whole project now and then: clear out, and look into queues.
--
-- Callers: workers, when their heartbeat says that something is due; cron may do the same. One row a chore tells when
-- it is due again, and holding that row is doing it: of many workers one does, and the others go on.
-- A call takes a hundred jobs away at most, because each deleted row is an event to every subscriber. While there are
-- more, the next call follows five seconds later: 70 000 an hour.

create table if not exists translation_private.chores (
  name   text primary key,
  due_at timestamptz not null
) with (fillfactor = 50);
comment on table translation_private.chores is 'When each chore is due again.';
insert into translation_private.chores (name, due_at) values ('purge', now() + interval '1 day'), ('intake', '-infinity') on conflict (name) do nothing;

-- Milliseconds until a chore is due: what every heartbeat says, so it is a look at two rows and an empty table.
create or replace function translation_private.chores_ms(p_now timestamptz) returns bigint
language sql stable set search_path = ''
as $$
  select greatest(0, translation_private.as_ms(greatest(min(c.due_at), p_now) - p_now)) from translation_private.chores c
  where c.name <> 'intake' or exists (select from public.translation_queues q where q.enabled and q.worker_seconds is not null)
$$;
comment on function translation_private.chores_ms(timestamptz) is 'When the next chore is due, in milliseconds; 0 is now.';

create or replace function translation_private.take_queues(p_limit int) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_name text;
  v_all jsonb := jsonb_build_array();
begin
  for v_name in select q.name from public.translation_queues q where q.enabled and q.worker_seconds is not null order by q.name loop
    begin
      v_all := v_all || translation_private.take_queue(v_name, p_limit);
    exception when others then
      raise warning 'translation queue % could not be read: %', v_name, sqlerrm;
      v_all := v_all || jsonb_build_object('queue', v_name, 'error', left(sqlerrm, 200), 'more', false);
    end;
  end loop;
  return v_all;
end $$;
comment on function translation_private.take_queues(int) is 'Looks into every queue that workers look into; one that cannot be read does not hold up the others.';

create or replace function public.do_translation_chores(p_limit int default 100) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 100);
  v_queues jsonb := jsonb_build_array();
  v_purged int := 0;
begin
  -- The intake first: it may wait for a user's lock, and the purge waits for nothing.
  perform from translation_private.chores where name = 'intake' and due_at <= v_now for update skip locked;
  if found and exists (select from public.translation_queues q where q.enabled and q.worker_seconds is not null) then
    v_queues := translation_private.take_queues(v_limit);
    update translation_private.chores set due_at = v_now + make_interval(secs =>
      case when v_queues @> '[{"more": true}]' then 0
           else (select min(q.worker_seconds) from public.translation_queues q where q.enabled) end)
    where name = 'intake';
  end if;
  perform from translation_private.chores where name = 'purge' and due_at <= v_now for update skip locked;
  if found then
    begin
      v_purged := public.purge_translation_jobs(p_limit => v_limit);
      delete from public.translation_queue_refusals where (queue, msg_id) in (
        select r.queue, r.msg_id from public.translation_queue_refusals r
        where r.refused_at < v_now - interval '90 days' order by r.refused_at limit v_limit);
    exception when others then
      raise warning 'translation jobs could not be purged: %', sqlerrm;
    end;
    update translation_private.chores
    set due_at = v_now + case when v_purged >= v_limit then interval '5 seconds' else interval '1 hour' end where name = 'purge';
  end if;
  return jsonb_build_object('queues', v_queues, 'purged', v_purged, 'again_ms', translation_private.chores_ms(v_now));
end $$;
comment on function public.do_translation_chores(int) is
  'What is due for the whole project: messages of queues become jobs, and jobs that are kept too long are deleted, p_limit of each at most. Returns {queues, purged, again_ms}.';
