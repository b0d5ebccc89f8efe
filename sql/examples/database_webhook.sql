-- Jobs that start from your own tables: a notice is translated when it is written, and again when its text changes.
--
-- Two ways; take one. The first is a trigger that makes the job in the transaction that changes the row: they come to be
-- together or not at all. The second is a database webhook, which goes through the worker's HTTP side; it has the
-- switches and the fallback of a rollout (JOBS_ENABLED, FALLBACK_URL), but comes after the commit and may be lost.
-- Paste it after install.sql; it may be run again.

begin;

create table if not exists public.notices (
  id    bigint generated always as identity primary key,
  body  text not null check (body ~ '\S'),
  language text not null default 'en'
);
comment on table public.notices is 'Example: texts that are translated when they change.';
alter table public.notices enable row level security;
revoke all on table public.notices from anon, authenticated;

-- 1. In one transaction. Definer, because whoever writes a notice may not make jobs of the project.
create or replace function public.translate_notice() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform public.enqueue_translation_job(
    'translation', to_jsonb(new.body), array['es', 'fr'], p_source_language => new.language,
    p_subject => 'notice:' || new.id,
    -- The same text makes one job, however often the row is saved.
    p_idempotency_key => format('notice:%s:%s', new.id, md5(new.body)),
    p_priority => 6);
  return null;
end $$;
comment on function public.translate_notice() is 'Example: makes the job of a notice.';
revoke execute on function public.translate_notice() from public, anon, authenticated, service_role;
create or replace trigger translate_notice
  after insert or update of body on public.notices for each row execute function public.translate_notice();

commit;

-- 2. As a database webhook, which the dashboard (Database, Webhooks) makes just so. The trigger's name stands in the address,
-- and where its content is in what the webhook sends; `key` keeps a repeated delivery from making a second job.
/*
drop trigger translate_notice on public.notices;
insert into public.translation_triggers (name, kind, items, source_language)
values ('notice-changed', 'match', array['es', 'fr'], 'en');
create trigger notice_changed after insert on public.notices for each row execute function supabase_functions.http_request(
  'https://worker.example.com/api/internal/jobs?trigger=notice-changed&content=/record/body&key=/record/id', 'POST',
  '{"Content-Type": "application/json", "Authorization": "Bearer the worker''s INTERNAL_API_KEY"}', '{}', '5000');
*/
