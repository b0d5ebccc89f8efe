-- 12_kinds: what jobs of type sql_functions and http may reach, and what is checked when they are made.
--
-- Callers: create and typed rows (the checks), workers (what is allowed now), the owner (the two lists).
-- An allow-list is the whole permission: a job names a function or an endpoint, never an address. The worker asks again
-- before each call, so that what was taken off a list is refused from then on.
-- SQLSTATE: PT422 function_not_allowed, function_unknown, function_too_slow, endpoint_not_allowed, content_invalid,
-- option_unknown, option_invalid, items_invalid.

-- The time limits that these types came with before there were lists. Nobody can have had jobs of them.
update public.translation_job_types set item_timeout_seconds = 90
where name = 'sql_functions' and item_timeout_seconds = 60 and to_regclass('public.translation_sql_functions') is null;
update public.translation_job_types set item_timeout_seconds = 3600
where name = 'http' and item_timeout_seconds = 300 and to_regclass('public.translation_http_endpoints') is null;

create table if not exists public.translation_sql_functions (
  name        text primary key check (name ~ '^[a-z_][a-z0-9_]{0,62}$'),
  description text,
  enabled     boolean not null default true,
  created_at  timestamptz not null default now(),
  -- All procedures of this script have the word in their names, and none of them is work.
  constraint translation_sql_functions_none_of_the_queue check (position('translation' in name) = 0)
);
comment on table public.translation_sql_functions is
  'Functions of schema public that jobs of type sql_functions may call, as service_role. Written by the owner only; row level security without a policy is meant.';
comment on column public.translation_sql_functions.name is 'The function''s name, without schema and arguments. The queue''s own procedures cannot be listed.';
comment on column public.translation_sql_functions.description is 'For people.';
comment on column public.translation_sql_functions.enabled is 'Off: refused from now on, also for jobs that wait.';
comment on column public.translation_sql_functions.created_at is 'When it was listed.';

create table if not exists public.translation_http_endpoints (
  name            text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  url             text not null,
  methods         text[] not null default '{POST}'
                    check (cardinality(methods) > 0 and methods <@ array['GET', 'POST', 'PUT', 'PATCH', 'DELETE']),
  timeout_seconds int not null default 300 check (timeout_seconds between 1 and 3600),
  allow_private   boolean not null default false,
  enabled         boolean not null default true,
  description     text,
  created_at      timestamptz not null default now(),
  -- A token goes with the call: no plain http over the internet, no password in the address, nothing after the path.
  constraint translation_http_endpoints_address check (
    char_length(url) <= 2000 and url ~ '^https?://[^\s/?#@\\]+(/[^\s?#\\]*)?$' and (allow_private or url like 'https:%'))
);
comment on table public.translation_http_endpoints is
  'Addresses that jobs of type http may call. Written by the owner only; tokens and signing secrets stay with the worker. Row level security without a policy is meant.';
comment on column public.translation_http_endpoints.name is 'What jobs call it, and what HTTP_TOKENS and HTTP_SECRETS of the worker name.';
comment on column public.translation_http_endpoints.url is 'https address without query; a job may add a path. http only where allow_private is on.';
comment on column public.translation_http_endpoints.methods is 'Allowed methods; the first is the default.';
comment on column public.translation_http_endpoints.timeout_seconds is 'How long one call may take. item_timeout_seconds of the type http is the limit above it.';
comment on column public.translation_http_endpoints.allow_private is 'Whether it may resolve to a private or loopback address. Link-local ones, where clouds keep their credentials, never.';
comment on column public.translation_http_endpoints.enabled is 'Off: refused from now on, also for jobs that wait.';
comment on column public.translation_http_endpoints.description is 'For people.';
comment on column public.translation_http_endpoints.created_at is 'When it was listed.';

-- The owner's `alter function … set statement_timeout`, which the API applies to the whole call.
create or replace function translation_private.timeout_ms(p_config text[]) returns bigint
language sql immutable set search_path = ''
as $$
  select (part[1]::numeric * case part[2] when 'us' then 0.001 when 's' then 1000 when 'min' then 60000 when 'h' then 3600000
            when 'd' then 86400000 else 1 end)::bigint
  from unnest(p_config) as setting, regexp_match(setting, '^statement_timeout=\s*([0-9.]+)\s*(us|ms|s|min|h|d)?\s*$') as part
$$;
comment on function translation_private.timeout_ms(text[]) is 'The statement_timeout among the settings of a function, in ms; null without one, 0 for no limit.';

create or replace function public.list_translation_functions(p_names text[] default null)
returns table (name text, description text, enabled boolean, is_callable boolean, timeout_ms bigint)
language sql stable set search_path = ''
as $$
  select f.name, f.description, f.enabled, coalesce(found.is_callable, false), found.timeout_ms
  from public.translation_sql_functions f
  cross join lateral (
    select bool_or(pg_catalog.has_function_privilege('service_role', p.oid, 'execute')) as is_callable,
           max(case t.ms when 0 then 9223372036854775807 else t.ms end) as timeout_ms
    from pg_catalog.pg_proc p cross join lateral (select translation_private.timeout_ms(p.proconfig) as ms) as t
    where p.proname = f.name::name and p.pronamespace = 'public'::regnamespace and p.prokind = 'f') as found
  where p_names is null or f.name = any (p_names)
  order by f.name limit 1000
$$;
comment on function public.list_translation_functions(text[]) is
  'The listed SQL functions (all, or those named): whether service_role may call them, and their own statement_timeout in ms (null: the role''s).';

create or replace function public.list_translation_endpoints(p_names text[] default null)
returns table (name text, url text, methods text[], timeout_seconds int, allow_private boolean, enabled boolean, description text)
language sql stable set search_path = ''
as $$
  select e.name, e.url, e.methods, e.timeout_seconds, e.allow_private, e.enabled, e.description
  from public.translation_http_endpoints e
  where p_names is null or e.name = any (p_names)
  order by e.name limit 1000
$$;
comment on function public.list_translation_endpoints(text[]) is 'The listed endpoints: all, or those named.';

-- The checks of one kind of job, beside those that all have. Every refusal names the cure.
create or replace function translation_private.check_keys(p_what text, p_object jsonb, p_known text[]) returns void
language plpgsql immutable set search_path = ''
as $$
declare
  v_unknown text;
begin
  if jsonb_typeof(p_object) is distinct from 'object' then
    perform translation_private.refuse(422, 'content_invalid', format('%s is a JSON object.', p_what));
  end if;
  select key into v_unknown from jsonb_object_keys(p_object) as key where key <> all (p_known) limit 1;
  if found then
    perform translation_private.refuse(422, 'content_invalid',
      format('%s has no %s: it takes %s.', p_what, left(v_unknown, 40), array_to_string(p_known, ', ')));
  end if;
end $$;
comment on function translation_private.check_keys(text, jsonb, text[]) is 'Refuses what is no object, and keys it does not have.';

create or replace function translation_private.check_endpoints(p_names text[]) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_name text;
begin
  select wanted.name into v_name from unnest(p_names) with ordinality as wanted (name, n)
  where not exists (select from public.translation_http_endpoints e where e.name = wanted.name and e.enabled)
  order by wanted.n limit 1;
  if found then
    perform translation_private.refuse(422, 'endpoint_not_allowed',
      format('%s is not on the list of endpoints that jobs may call.', coalesce(left(v_name, 80), 'null')),
      'insert into public.translation_http_endpoints (name, url) values (''cards'', ''https://example.com/api/cards'');');
  end if;
end $$;
comment on function translation_private.check_endpoints(text[]) is 'Refuses endpoints that are not listed.';

create or replace function translation_private.check_sql_functions(p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb := coalesce(nullif(p_content, 'null'), '{}');
  v_each jsonb;
  v_wish jsonb := p_options -> 'invalidate';
  v_unknown text;
  v_item record;
begin
  perform translation_private.check_keys('The content of sql_functions', v_content, array['args', 'each']);
  for v_each in
    select value from jsonb_each(v_content) where value <> 'null'
    union all select value from jsonb_each(case jsonb_typeof(v_content -> 'each') when 'object' then v_content -> 'each' else '{}' end)
  loop
    if jsonb_typeof(v_each) <> 'object' then
      perform translation_private.refuse(422, 'content_invalid', 'args is an object of arguments for all functions; each has one for each function''s name.');
    end if;
  end loop;
  for v_item in
    select wanted.item, f.name is not null and f.enabled as is_allowed, f.is_callable, f.timeout_ms
    from unnest(p_items) with ordinality as wanted (item, n)
    left join public.list_translation_functions(p_items) as f on f.name = wanted.item
    order by wanted.n
  loop
    if not v_item.is_allowed then
      perform translation_private.refuse(422, 'function_not_allowed',
        format('%s is not on the list of SQL functions that jobs may call: name the functions as items.', left(v_item.item, 80)),
        format('insert into public.translation_sql_functions (name) values (%L);', left(v_item.item, 80)));
    elsif not v_item.is_callable then
      perform translation_private.refuse(422, 'function_unknown',
        format('There is no function public.%s that service_role may call.', v_item.item),
        format('grant execute on function public.%I to service_role;', v_item.item));
    elsif v_item.timeout_ms > 60000 then
      perform translation_private.refuse(422, 'function_too_slow',
        format('public.%s has a statement_timeout of more than 60 seconds, longer than a call of the API may take: run it with pg_cron.', v_item.item),
        format('select cron.schedule(%L, ''0 3 * * *'', ''select public.%I()'');', v_item.item, v_item.item));
    end if;
  end loop;
  select key into v_unknown from jsonb_object_keys(p_options) as key where key not in ('invalidate', 'after_failure') limit 1;
  if found then
    perform translation_private.refuse(422, 'option_unknown', format('Option %s is not known: sql_functions has invalidate.', left(v_unknown, 40)));
  end if;
  if v_wish is not null then
    if jsonb_typeof(v_wish) <> 'object' or exists (select from jsonb_object_keys(v_wish) as key where key not in ('endpoints', 'tags'))
       or jsonb_typeof(v_wish -> 'endpoints') is distinct from 'array' or jsonb_array_length(v_wish -> 'endpoints') not between 1 and 20
       or jsonb_typeof(coalesce(v_wish -> 'tags', '[]')) <> 'array'
       or jsonb_path_exists(v_wish, '$.tags[*] ? (@.type() != "string")') then
      perform translation_private.refuse(422, 'option_invalid', 'invalidate is {"endpoints": [1 to 20 names of translation_http_endpoints], "tags": [strings]}.');
    end if;
    perform translation_private.check_endpoints(array(select jsonb_array_elements_text(v_wish -> 'endpoints')));
  end if;
end $$;
comment on function translation_private.check_sql_functions(jsonb, text[], jsonb) is 'What a job of type sql_functions may ask for.';

create or replace function translation_private.check_path(p_part jsonb) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_part ? 'path' and (jsonb_typeof(p_part -> 'path') <> 'string' or p_part ->> 'path' !~ '^/[^\s?#\\]*$'
                          or p_part ->> 'path' ~ '/\.{1,2}(/|$)' or char_length(p_part ->> 'path') > 500) then
    perform translation_private.refuse(422, 'content_invalid',
      'path begins with a slash, has 500 characters at most, no query, no spaces and no dots for a segment.');
  end if;
end $$;
comment on function translation_private.check_path(jsonb) is 'Refuses a path that could lead away from its endpoint.';

create or replace function translation_private.check_http(p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb := coalesce(nullif(p_content, 'null'), '{}');
  v_each jsonb;
  v_names text[];
  v_unknown text;
begin
  perform translation_private.check_keys('The content of http', v_content, array['endpoint', 'method', 'path', 'body', 'each']);
  perform translation_private.check_path(v_content);
  if v_content ? 'each' and jsonb_typeof(v_content -> 'each') <> 'object' then
    perform translation_private.refuse(422, 'content_invalid', 'each is an object: an item''s name and its own {path, body}.');
  end if;
  for v_each in select value from jsonb_each(coalesce(v_content -> 'each', '{}')) loop
    perform translation_private.check_keys('An entry of each', v_each, array['path', 'body']);
    perform translation_private.check_path(v_each);
  end loop;
  v_names := case when v_content ? 'endpoint' then array[v_content ->> 'endpoint'] else p_items end;
  perform translation_private.check_endpoints(v_names);
  if v_content ? 'method' and exists (
    select from public.translation_http_endpoints e where e.name = any (v_names) and coalesce(v_content ->> 'method', '') <> all (e.methods)
  ) then
    perform translation_private.refuse(422, 'content_invalid', 'method is one of the endpoint''s methods.');
  end if;
  select key into v_unknown from jsonb_object_keys(p_options) as key where key <> 'after_failure' limit 1;
  if found then
    perform translation_private.refuse(422, 'option_unknown', format('Option %s is not known: http has none of its own.', left(v_unknown, 40)));
  end if;
end $$;
comment on function translation_private.check_http(jsonb, text[], jsonb) is 'What a job of type http may ask for.';

create or replace function translation_private.check_kind(p_job_type text, p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if p_job_type = 'sql_functions' then
    perform translation_private.check_sql_functions(p_content, p_items, p_options);
  elsif p_job_type = 'http' then
    perform translation_private.check_http(p_content, p_items, p_options);
  end if;
end $$;
comment on function translation_private.check_kind(text, jsonb, text[], jsonb) is 'The checks that only one type of job has.';

-- A job of its own, so that a cache that does not answer is tried again, is seen, and fails nothing but itself. It waits
-- for the functions and runs whatever became of them: some may have changed what is cached. Nobody's, so never priced.
create or replace function translation_private.add_invalidation(p_job public.translation_jobs) returns void
language plpgsql set search_path = ''
as $$
declare
  v_wish jsonb := p_job.options -> 'invalidate';
begin
  if p_job.job_type <> 'sql_functions' or v_wish is null then
    return;
  end if;
  perform translation_private.add_job(
    false, null, 'http', jsonb_build_object('body', jsonb_build_object('tags', coalesce(v_wish -> 'tags', '[]'), 'job_id', p_job.id)),
    array(select distinct jsonb_array_elements_text(v_wish -> 'endpoints')), null, 'json', p_job.priority, '{"after_failure": "run"}', null, null,
    p_job.correlation_id, p_job.subject, left('Cache invalidation' || coalesce(': ' || p_job.title, ''), 200), '{}', array[p_job.id]);
end $$;
comment on function translation_private.add_invalidation(public.translation_jobs) is 'The calls that a job of type sql_functions asked for after its end: a job of type http that waits for it.';
