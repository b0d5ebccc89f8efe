-- 12_triggers: jobs that the project itself starts, by name: from an admin page, from cron, when something matches.
--
-- A trigger is a recipe of a job. The owner writes the rows (table editor, SQL, service_role); whoever has the service
-- key runs them, and the list says what became of each one's last job. A trigger has no clock of its own: pg_cron, a
-- database webhook or a button runs it.
-- Locks: the job is made before the trigger's own row is touched, so that a slow create holds up no other run for long.
-- SQLSTATE: PT404 trigger_not_found, PT409 trigger_disabled, trigger_off, and whatever enqueue refuses.

create table if not exists public.translation_triggers (
  name            text primary key check (name ~ '^[a-z][a-z0-9_:.-]{0,62}$'),
  kind            text not null check (kind in ('admin', 'cron', 'match')),
  job_type        text not null default 'translation' references public.translation_job_types (name),
  content         jsonb,
  items           text[],
  source_language text,
  content_kind    text not null default 'text' check (content_kind in ('text', 'markdown', 'html', 'json')),
  options         jsonb not null default '{}' check (jsonb_typeof(options) = 'object'),
  priority        int check (priority between 1 and 10),
  subject         text check (char_length(subject) <= 200),
  title           text check (char_length(title) <= 200),
  enabled         boolean not null default true,
  description     text,
  last_run_at     timestamptz,
  last_job_id     uuid references public.translation_jobs (id) on delete set null
);
create index if not exists translation_triggers_job_type on public.translation_triggers (job_type);
create index if not exists translation_triggers_last_job on public.translation_triggers (last_job_id);
comment on table public.translation_triggers is
  'Jobs that the project starts by name: select run_translation_trigger(''nightly-cards''). What became of the last ones: list_translation_triggers().';
comment on column public.translation_triggers.name is 'What run_translation_trigger is given.';
comment on column public.translation_triggers.kind is 'Who starts it: admin (a person waits), cron (a clock), match (something in the data). Decides the priority and which of the JOBS_ENABLED_… switches is asked.';
comment on column public.translation_triggers.job_type is 'Kind of job that it makes.';
comment on column public.translation_triggers.content is 'The job''s content, unless a run brings its own.';
comment on column public.translation_triggers.items is 'Items of the job; the target languages of a translation.';
comment on column public.translation_triggers.source_language is 'Of a translation; null: unknown.';
comment on column public.translation_triggers.content_kind is 'text, markdown, html or json.';
comment on column public.translation_triggers.options is 'Options of the job.';
comment on column public.translation_triggers.priority is 'Null: by its kind: admin 8, match 6, cron 3.';
comment on column public.translation_triggers.subject is 'What of the owner''s its jobs are about.';
comment on column public.translation_triggers.title is 'For people; null: the trigger''s name.';
comment on column public.translation_triggers.enabled is 'Off: running it is refused.';
comment on column public.translation_triggers.description is 'For people.';
comment on column public.translation_triggers.last_run_at is 'When it last made a job.';
comment on column public.translation_triggers.last_job_id is 'That job, until it is purged.';

create or replace function translation_private.trigger_priority(p_kind text) returns int
language sql immutable set search_path = ''
as $$ select case p_kind when 'admin' then 8 when 'match' then 6 when 'cron' then 3 end $$;
comment on function translation_private.trigger_priority(text) is 'Somebody waits for an admin''s job, nobody for one of the night.';

create or replace function public.run_translation_trigger(
  p_name text, p_idempotency_key text default null, p_content jsonb default null, p_correlation_id text default null,
  p_kinds text[] default null
) returns public.translation_jobs
language plpgsql set search_path = ''
as $$
declare
  v_trigger public.translation_triggers;
  v_job public.translation_jobs;
begin
  select * into v_trigger from public.translation_triggers where name = p_name;
  if not found then
    perform translation_private.refuse(404, 'trigger_not_found', 'There is no such trigger: they are rows of translation_triggers.');
  elsif not v_trigger.enabled then
    perform translation_private.refuse(409, 'trigger_disabled', format('Trigger %s is switched off: set enabled in translation_triggers.', v_trigger.name));
  elsif v_trigger.kind <> all (p_kinds) then
    perform translation_private.refuse(409, 'trigger_off', format('Triggers of kind %s make no jobs at the moment: p_kinds leaves them out.', v_trigger.kind));
  end if;
  select * into v_job from public.enqueue_translation_job(
    p_job_type => v_trigger.job_type,
    p_content => coalesce(p_content, v_trigger.content),
    p_items => v_trigger.items,
    p_source_language => v_trigger.source_language,
    p_content_kind => v_trigger.content_kind,
    p_priority => coalesce(v_trigger.priority, translation_private.trigger_priority(v_trigger.kind)),
    p_options => v_trigger.options,
    -- Two triggers of one night may both be given its date.
    p_idempotency_key => v_trigger.name || ':' || p_idempotency_key,
    p_correlation_id => p_correlation_id,
    p_subject => v_trigger.subject,
    p_title => coalesce(v_trigger.title, v_trigger.name),
    p_metadata => jsonb_build_object('trigger', v_trigger.name, 'trigger_kind', v_trigger.kind));
  -- A repeated call brings an older job, which is not a run.
  update public.translation_triggers set last_run_at = v_job.created_at, last_job_id = v_job.id
  where name = v_trigger.name and (last_run_at is null or last_run_at <= v_job.created_at);
  return v_job;
end $$;
comment on function public.run_translation_trigger(text, text, jsonb, text, text[]) is
  'Makes the job of a trigger now. The same idempotency key makes it once; it is the trigger''s own: another trigger may use it too. p_kinds: refuse a trigger of another kind.';

create or replace function public.list_translation_triggers() returns table (
  name text, kind text, job_type text, priority int, enabled boolean, title text, description text, items text[],
  state text, last_run_at timestamptz, last_job_id uuid, last_status text, last_progress int, last_completed_at timestamptz, last_error jsonb)
language sql stable set search_path = ''
as $$
  select t.name, t.kind, t.job_type, coalesce(t.priority, translation_private.trigger_priority(t.kind)), t.enabled,
    coalesce(t.title, t.name), t.description, t.items,
    case
      when t.last_run_at is null then 'never'
      when j.id is null then 'purged'
      when j.status = 'completed' and j.failed_items > 0 then 'partly'
      when j.status = 'completed' then 'succeeded'
      when j.status in ('failed', 'cancelled') then j.status
      else 'running' end,
    t.last_run_at, j.id, j.status, j.progress, j.completed_at, j.error
  from public.translation_triggers t left join public.translation_jobs j on j.id = t.last_job_id
  order by t.name limit 1000
$$;
comment on function public.list_translation_triggers() is
  'The triggers by name, and what became of the last job of each: state is never, running, succeeded, partly, failed, cancelled or purged.';

create or replace function public.find_translation_job(p_idempotency_key text, p_user_id uuid default null, p_trigger text default null) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_key text := coalesce(p_trigger || ':', '') || p_idempotency_key;
  v_id uuid;
begin
  if p_user_id is null then  -- apart, because IS NOT DISTINCT FROM cannot use an index
    select id into v_id from public.translation_jobs where user_id is null and idempotency_key = v_key;
  else
    select id into v_id from public.translation_jobs where user_id = p_user_id and idempotency_key = v_key;
  end if;
  return v_id;
end $$;
comment on function public.find_translation_job(text, uuid, text) is
  'The job that was made under an idempotency key: of a user, of nobody, or of a trigger. Null: none was, or it is purged.';
