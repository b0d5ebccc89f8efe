-- 00_schema: the house number.
--
-- Purpose: one private schema for everything the API must not expose, and the version of this script.
-- Callers: every other file. Nothing here takes a lock worth naming.
-- Runs as: role `postgres` of a Supabase project (not a superuser), in the SQL editor.

create schema if not exists translation_private;
comment on schema translation_private is
  'Inner parts of the translation queue. Never add it to the exposed schemas of the Data API.';
revoke all on schema translation_private from public;

-- The worker refuses a database whose version is lower than the one it was built for.
create or replace function translation_private.schema_version() returns int
language sql immutable set search_path = ''
as $$ select 1 $$;
comment on function translation_private.schema_version() is 'Version of the installed script. Workers read it from every heartbeat.';

-- A refusal: SQLSTATE is the HTTP status (PT404 is 404), detail starts with a stable word that clients
-- match, message is a sentence that says what is allowed. Never class 40: PostgREST before 16 would
-- run the transaction again without end. And the message is one line of bounded length, whatever it
-- quotes: PostgREST writes it into the status line of its answer, where a line break would begin a header.
create or replace function translation_private.refuse(p_status int, p_word text, p_message text, p_hint text default null)
returns void language plpgsql set search_path = ''
as $$
begin
  raise exception using
    errcode = 'PT' || p_status,
    message = left(regexp_replace(p_message, '[[:cntrl:]]+', ' ', 'g'), 1000),
    detail = p_word,
    hint = coalesce(p_hint, '');
end $$;
comment on function translation_private.refuse(int, text, text, text) is
  'Raises a refusal: HTTP status, stable word, one sentence that says what is allowed.';

-- Who is asking: a signed-in user's id; null for the owner's side (service_role, cron, the SQL editor),
-- which may act on any job. A token of a client role without a subject is nobody, not the owner.
create or replace function translation_private.caller() returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_role text := coalesce((select auth.role()), '');
  v_user uuid := (select auth.uid());
begin
  if v_role in ('anon', 'authenticated') then
    if v_user is null or v_role = 'anon' then
      perform translation_private.refuse(401, 'sign_in_required', 'Sign in first: jobs belong to a user.');
    end if;
    return v_user;
  end if;
  return null;
end $$;
comment on function translation_private.caller() is
  'The signed-in user, or null for service_role, cron and the SQL editor. Raises 401 for a client without a user.';
