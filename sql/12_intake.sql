-- 12_intake: jobs out of Supabase Queues (pgmq).
--
-- Callers: service_role, cron and the SQL editor; workers through do_translation_chores.
-- A message is read, becomes a job and is archived in one transaction, so each becomes exactly one: before the commit
-- nothing has happened to it, and after it the message is gone from the queue. The job's idempotency key is
-- pgmq:<queue>:<msg_id>. A message that cannot become a job is archived too, with the reason kept beside it; one that
-- met a passing trouble stays. Each in a subtransaction of its own: none holds up the others.
-- Definer, because a project's own role may use pgmq where service_role was not granted it. Only what is listed in
-- translation_queues is read.
-- SQLSTATE: PT404 queue_unknown, PT422 pgmq_missing; of a message: message_malformed, and whatever enqueue refuses.

create table if not exists public.translation_queues (
  name           text primary key check (char_length(name) between 1 and 100),
  job_type       text not null references public.translation_job_types (name),
  message_is     text not null default 'arguments' check (message_is in ('arguments', 'content')),
  defaults       jsonb not null default '{}' check (jsonb_typeof(defaults) = 'object'),
  may_name_user  boolean not null default false,
  worker_seconds int default 10 check (worker_seconds between 1 and 86400),
  enabled        boolean not null default true,
  description    text
);
create index if not exists translation_queues_of_type on public.translation_queues (job_type);
comment on table public.translation_queues is 'Queues of pgmq whose messages become jobs.';
comment on column public.translation_queues.name is 'The queue''s name in pgmq.';
comment on column public.translation_queues.job_type is 'What its messages become.';
comment on column public.translation_queues.message_is is 'arguments: a message is an object with arguments of enqueue_translation_job, without their p_. content: all of it is the content of a job.';
comment on column public.translation_queues.defaults is 'Arguments that a message does not name itself, e.g. {"items": ["es"], "priority": 3}.';
comment on column public.translation_queues.may_name_user is 'Whether a message may say whose job it becomes. Only where nobody but your servers may send to the queue.';
comment on column public.translation_queues.worker_seconds is 'How often workers look into it; null: they do not, because cron does.';
comment on column public.translation_queues.enabled is 'Off: its messages stay where they are.';
comment on column public.translation_queues.description is 'For people.';

create table if not exists public.translation_queue_refusals (
  queue      text not null,
  msg_id     bigint not null,
  word       text not null,
  message    text,
  refused_at timestamptz not null,
  primary key (queue, msg_id)
);
create index if not exists translation_queue_refusals_by_time on public.translation_queue_refusals (refused_at);
comment on table public.translation_queue_refusals is
  'Messages that could not become jobs. The messages themselves are in the queue''s archive, pgmq.a_<queue>. Kept for 90 days.';
comment on column public.translation_queue_refusals.queue is 'The queue.';
comment on column public.translation_queue_refusals.msg_id is 'The message, by its number in the archive.';
comment on column public.translation_queue_refusals.word is 'The stable word of the refusal.';
comment on column public.translation_queue_refusals.message is 'What is allowed, in a sentence.';
comment on column public.translation_queue_refusals.refused_at is 'When.';

create or replace function translation_private.take_message(p_queue public.translation_queues, p_msg_id bigint, p_message jsonb) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_fields constant text[] := array['content', 'items', 'user_id', 'source_language', 'content_kind', 'priority', 'options', 'run_at',
    'correlation_id', 'subject', 'title', 'metadata', 'after'];
  v_said jsonb := case p_queue.message_is when 'content' then jsonb_build_object('content', p_message) else p_message end;
  v_unknown text;
  v_job record;
begin
  if jsonb_typeof(v_said) is distinct from 'object' then
    perform translation_private.refuse(422, 'message_malformed', 'A message of this queue is a JSON object with arguments of enqueue_translation_job.');
  end if;
  select key into v_unknown from jsonb_object_keys(v_said) as key where key <> all (v_fields) limit 1;
  if found then
    perform translation_private.refuse(422, 'message_malformed',
      format('%s is no field of a message: it may have %s.', left(v_unknown, 40), array_to_string(v_fields, ', ')));
  elsif v_said ? 'user_id' and not p_queue.may_name_user then
    perform translation_private.refuse(422, 'message_malformed', 'Messages of this queue may not name a user: translation_queues.may_name_user is off.');
  end if;
  select * into v_job from jsonb_to_record(p_queue.defaults || v_said) as (
    content jsonb, items text[], user_id uuid, source_language text, content_kind text, priority int, options jsonb, run_at timestamptz,
    correlation_id text, subject text, title text, metadata jsonb, after uuid[]);
  return (translation_private.add_job(
    false, v_job.user_id, p_queue.job_type, v_job.content, v_job.items, v_job.source_language, coalesce(v_job.content_kind, 'text'),
    v_job.priority, v_job.options, format('pgmq:%s:%s', p_queue.name, p_msg_id), v_job.run_at, v_job.correlation_id, v_job.subject,
    v_job.title, v_job.metadata, v_job.after)).id;
end $$;
comment on function translation_private.take_message(public.translation_queues, bigint, jsonb) is 'One message becomes a job; refuses what cannot.';

create or replace function translation_private.pgmq() returns text
language sql stable set search_path = ''
as $$ select n.nspname::text from pg_catalog.pg_namespace n where n.nspname = 'pgmq' $$;
comment on function translation_private.pgmq() is 'The schema of pgmq, or null where the project has none.';

create or replace function translation_private.read_queue(p_queue text, p_limit int)
returns setof jsonb language plpgsql set search_path = ''
as $$
declare
  v_pgmq text := translation_private.pgmq();
begin
  if v_pgmq is null then
    perform translation_private.refuse(422, 'pgmq_missing', 'This project has no pgmq: switch on Queues under Integrations in the dashboard.');
  end if;
  -- Hidden for ten seconds: what is not finished in this call is seen again soon.
  return query execute format(
    'select jsonb_build_object(''msg_id'', m.msg_id, ''read_ct'', m.read_ct, ''message'', m.message) from %I.read($1, 10, $2) as m order by m.msg_id',
    v_pgmq)
  using p_queue, p_limit;
exception when undefined_table then
  perform translation_private.refuse(404, 'queue_unknown', format('pgmq has no queue %s: pgmq.create makes it.', left(p_queue, 60)));
end $$;
comment on function translation_private.read_queue(text, int) is 'The next messages of a queue, oldest first, locked by this transaction: {msg_id, read_ct, message}.';

create or replace function translation_private.take_queue(p_queue text, p_limit int) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_began constant timestamptz := clock_timestamp();
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 500);
  v_queue public.translation_queues;
  v_next record;
  v_taken uuid[] := array[]::uuid[];
  v_pgmq text := translation_private.pgmq();
  v_read int := 0;
  v_refused int := 0;
  v_left int := 0;
  v_state text;
  v_word text;
  v_sentence text;
begin
  select * into v_queue from public.translation_queues where name = p_queue;
  if not found then
    perform translation_private.refuse(404, 'queue_unknown', format('%s is not in translation_queues.', coalesce(left(p_queue, 60), 'null')));
  elsif not v_queue.enabled then
    return jsonb_build_object('queue', v_queue.name, 'read', 0, 'taken', 0, 'refused', 0, 'left', 0, 'more', false);
  end if;
  perform set_config('translation.announce', 'later', true);
  for v_next in
    select (r ->> 'msg_id')::bigint as msg_id, (r ->> 'read_ct')::int as read_ct, r -> 'message' as message
    from translation_private.read_queue(v_queue.name, v_limit) as r
  loop
    v_read := v_read + 1;
    if clock_timestamp() > v_began + interval '4 seconds' then
      v_left := v_left + 1;
      continue;
    end if;
    begin
      v_taken := v_taken || translation_private.take_message(v_queue, v_next.msg_id, v_next.message);
    exception when others then
      get stacked diagnostics v_state = returned_sqlstate, v_word = pg_exception_detail, v_sentence = message_text;
      -- A lock or the disk: it may work the next time, but not for ever.
      if v_state !~ '^(PT|22|23|P0)' and v_next.read_ct < 20 then
        v_left := v_left + 1;
        continue;
      end if;
      insert into public.translation_queue_refusals as r (queue, msg_id, word, message, refused_at)
      values (v_queue.name, v_next.msg_id, case when v_state like 'PT%' then split_part(v_word, ' ', 1) else 'message_malformed' end,
              case when v_state like 'PT%' then left(v_sentence, 500) else format('The database could not read it (%s).', v_state) end, v_now)
      on conflict (queue, msg_id) do update set word = excluded.word, message = excluded.message, refused_at = excluded.refused_at;
      v_refused := v_refused + 1;
    end;
    execute format('select %I.archive($1, $2)', v_pgmq) using v_queue.name, v_next.msg_id;
  end loop;
  perform set_config('translation.announce', '', true);
  perform translation_private.announce_made(v_taken, v_now);
  return jsonb_build_object('queue', v_queue.name, 'read', v_read, 'taken', cardinality(v_taken), 'refused', v_refused, 'left', v_left,
    'more', v_read = v_limit);
end $$;
comment on function translation_private.take_queue(text, int) is 'Definer, because service_role may not be granted pgmq: reads only queues that the owner has listed.';

create or replace function public.take_translation_queue(p_queue text, p_limit int default 100) returns jsonb
language sql set search_path = ''
as $$ select translation_private.take_queue(p_queue, p_limit) $$;
comment on function public.take_translation_queue(text, int) is
  'Turns up to p_limit (at most 500) messages of a queue of pgmq into jobs and archives them, in one transaction: {queue, read, taken, refused, left, more}. What cannot become a job is archived too, and explained in translation_queue_refusals.';
