-- What a hosted project has before anybody stores anything in it: roles, schemas, helper functions, publication.
--
-- Run by the superuser on every start, in one transaction; safe to run again. Two settings are handed in:
--   devstack.password       the password of every role that can log in
--   devstack.legacy_grants  'on' for a project from before 2026, where everything new in `public` was open to the API
-- Roles belong to the cluster, the rest to one database.

-- ------------------------------------------------------------------------------------------------ roles
-- Databases of one cluster may be set up side by side, and roles are shared.
select pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('devstack roles'));

do $$
declare
  v_role record;
begin
  for v_role in
    select * from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      ('supabase_auth_admin', 'nologin noinherit createrole'),
      ('supabase_realtime_admin', 'nologin noinherit'),
      ('authenticator', 'login noinherit'),
      ('postgres', 'login nosuperuser createdb createrole replication bypassrls')
    ) as wanted (name, attributes)
  loop
    if not exists (select from pg_catalog.pg_roles r where r.rolname = v_role.name) then
      execute pg_catalog.format('create role %I %s', v_role.name, v_role.attributes);
    end if;
  end loop;
  execute pg_catalog.format('alter role postgres password %L', pg_catalog.current_setting('devstack.password'));
  execute pg_catalog.format('alter role authenticator password %L', pg_catalog.current_setting('devstack.password'));
end
$$;

grant anon, authenticated, service_role to authenticator;
grant anon, authenticated, service_role to postgres with admin option;
grant supabase_realtime_admin to postgres;

alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';
alter role authenticator set lock_timeout = '8s';
alter role postgres set search_path = "$user", public, extensions;

-- ------------------------------------------------------------------------------------------------ public
grant all on schema public to postgres;
grant usage on schema public to anon, authenticated, service_role;

do $$
declare
  v_kind text;
  v_action text := case pg_catalog.current_setting('devstack.legacy_grants')
    when 'on' then 'grant all on %s to' else 'revoke all on %s from' end;
begin
  foreach v_kind in array array['tables', 'functions', 'sequences'] loop
    execute pg_catalog.format(
      'alter default privileges for role postgres in schema public '
      || pg_catalog.format(v_action, v_kind) || ' anon, authenticated, service_role');
  end loop;
  execute pg_catalog.format('alter database %I owner to postgres', pg_catalog.current_database());
end
$$;

-- ------------------------------------------------------------------------------------------------ extensions
create schema if not exists extensions;
grant usage, create on schema extensions to postgres;
grant usage on schema extensions to anon, authenticated, service_role;

-- The REST gateway forgets what it knows about tables and functions when they change.
create or replace function extensions.pgrst_ddl_watch() returns event_trigger
  language plpgsql set search_path = '' as $$
begin
  notify pgrst, 'reload schema';
end
$$;

do $$
begin
  if not exists (select from pg_catalog.pg_event_trigger where evtname = 'pgrst_ddl_watch') then
    create event trigger pgrst_ddl_watch on ddl_command_end
      when tag in (
        'CREATE SCHEMA', 'ALTER SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
        'CREATE VIEW', 'ALTER VIEW', 'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE FUNCTION',
        'ALTER FUNCTION', 'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE', 'CREATE RULE', 'COMMENT')
      execute function extensions.pgrst_ddl_watch();
    create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_ddl_watch();
  end if;
end
$$;

-- ------------------------------------------------------------------------------------------------ auth
create schema if not exists auth authorization supabase_auth_admin;
grant usage on schema auth to postgres, anon, authenticated, service_role;

create table if not exists auth.users (
  id uuid primary key default gen_random_uuid(),
  aud text default 'authenticated',
  role text default 'authenticated',
  email text unique,
  encrypted_password text,
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_anonymous boolean not null default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table if not exists auth.refresh_tokens (
  token text primary key,
  user_id uuid not null references auth.users (id) on delete cascade,
  session_id uuid not null,
  used_at timestamptz,
  created_at timestamptz not null default now()
);
create index if not exists refresh_tokens_session on auth.refresh_tokens (session_id);
create index if not exists refresh_tokens_user on auth.refresh_tokens (user_id);

alter table auth.users owner to supabase_auth_admin;
alter table auth.refresh_tokens owner to supabase_auth_admin;
alter table auth.users enable row level security;
grant all on auth.users to postgres;

create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(pg_catalog.current_setting('request.jwt.claim', true), ''),
    nullif(pg_catalog.current_setting('request.jwt.claims', true), ''))::jsonb
$$;

create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(pg_catalog.current_setting('request.jwt.claim.sub', true), ''),
    nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(pg_catalog.current_setting('request.jwt.claim.role', true), ''),
    nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'role')
$$;

create or replace function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(pg_catalog.current_setting('request.jwt.claim.email', true), ''),
    nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'email')
$$;

-- ------------------------------------------------------------------------------------------------ realtime
create schema if not exists realtime;
grant usage on schema realtime to postgres, anon, authenticated, service_role;

create table if not exists realtime.messages (
  id uuid not null default gen_random_uuid(),
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  inserted_at timestamp not null default now(),
  updated_at timestamp not null default now(),
  primary key (id, inserted_at)
);
alter table realtime.messages owner to supabase_realtime_admin;
alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;

-- Kept for three days, as on the platform.
delete from realtime.messages where inserted_at < now() - interval '3 days';

create or replace function realtime.topic() returns text language sql stable as $$
  select nullif(pg_catalog.current_setting('realtime.topic', true), '')
$$;

-- Runs as its caller and never fails its caller's transaction: what goes wrong is a warning.
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
  returns void language plpgsql as $$
declare
  v_id uuid := gen_random_uuid();
begin
  perform pg_catalog.set_config('realtime.topic', topic, true);
  insert into realtime.messages (id, payload, event, topic, private, extension)
  values (v_id, pg_catalog.jsonb_build_object('id', v_id) || payload, event, topic, private, 'broadcast');
exception when others then
  raise warning 'ErrorSendingBroadcastMessage: %', sqlerrm;
end
$$;

create or replace function realtime.broadcast_changes(
  topic_name text, event_name text, operation text, table_name text, table_schema text,
  new record, old record, level text default 'ROW'
) returns void language plpgsql as $$
begin
  if level = 'STATEMENT' then
    raise exception 'function can only be triggered for each row, not for each statement';
  end if;
  perform realtime.send(
    pg_catalog.jsonb_build_object(
      'old_record', old, 'record', new, 'operation', operation, 'table', table_name, 'schema', table_schema),
    event_name, topic_name);
end
$$;

-- Wakes the Realtime endpoint at commit; the row is what it sends. `enable always`: also under replication roles.
create or replace function realtime.announce_message() returns trigger
  language plpgsql security definer set search_path = '' as $$
begin
  perform pg_catalog.pg_notify('devstack_broadcast', new.id::text);
  return null;
end
$$;
revoke execute on function realtime.announce_message() from public;

create or replace trigger announce_message after insert on realtime.messages
  for each row when (new.extension = 'broadcast') execute function realtime.announce_message();
alter table realtime.messages enable always trigger announce_message;

do $$
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
end
$$;
alter publication supabase_realtime owner to postgres;
