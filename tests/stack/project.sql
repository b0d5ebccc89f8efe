-- A small project of its own: notes that belong to users, a shelf with a policy of another kind, functions of every shape.

create table public.notes (
  id bigint generated always as identity primary key,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null,
  stars int,
  tags text[] not null default '{}',
  meta jsonb,
  price numeric(12, 4),
  created_at timestamptz not null default now()
);
alter table public.notes enable row level security;
create policy own_notes on public.notes to authenticated
  using ((select auth.uid()) = user_id) with check ((select auth.uid()) = user_id);
grant select, insert, update, delete on public.notes to authenticated;
grant all on public.notes to service_role;

-- Somebody else's table: who may read a book is decided by a join and by the hour it was shelved.
create table public.readers (shelf text, reader uuid, primary key (shelf, reader));
create table public.books (shelf text, title text, is_public boolean default false, secret text, primary key (shelf, title));
alter table public.readers enable row level security;
alter table public.books enable row level security;
create policy own_cards on public.readers for select to authenticated using (reader = (select auth.uid()));
create policy shelves on public.books for select to authenticated
  using (is_public or exists (select from public.readers r where r.shelf = books.shelf and r.reader = (select auth.uid())));
grant select on public.readers to authenticated;
grant select (shelf, title, is_public) on public.books to authenticated;
grant all on public.readers, public.books to service_role;

create table public.keyless (body text);
grant all on public.keyless to service_role;

alter publication supabase_realtime add table public.notes, public.books, public.keyless;

create policy hear_rooms on realtime.messages for select to authenticated
  using (realtime.topic() = 'room:' || (select auth.uid())::text or realtime.topic() = 'lobby');
create policy talk_in_lobby on realtime.messages for insert to authenticated with check (realtime.topic() = 'lobby');

create type public.pair as (a int, b text);
create function public.scalar(a int, b int default 10) returns int language sql immutable as 'select a + b';
create function public.nothing() returns text language sql stable as 'select null::text';
create function public.echo_json(value jsonb) returns jsonb language sql immutable as 'select value';
create function public.echo_array(items text[]) returns text[] language sql immutable as 'select items';
create function public.echo_numeric(n numeric) returns numeric language sql immutable as 'select n';
create function public.does_nothing() returns void language sql as '';
create function public.one_pair() returns public.pair language sql as $$ select row(1, 'x')::public.pair $$;
create function public.no_pair() returns public.pair language sql as 'select null::public.pair';
create function public.two_outs(out a int, out b text) language sql as $$ select 1, 'x' $$;
create function public.one_out(out a int) language sql as 'select 1';
create function public.many_ints(n int) returns setof int language sql as 'select generate_series(1, n)';
create function public.many_json() returns setof jsonb language sql as $$ select '{"a": 1}'::jsonb union all select '[2]' $$;
create function public.some_table(n int) returns table (i int, source text) language sql as
  $$ select i, 's' || i from generate_series(1, n) i $$;
create function public.single_column() returns table (i int) language sql as 'select 1';
create function public.all_notes() returns setof public.notes language sql stable as 'select * from public.notes';
create function public.whole_body(jsonb) returns jsonb language sql immutable as 'select $1';
create function public.refuse(code text) returns void language plpgsql as
  $$ begin raise exception using errcode = code, message = 'no', detail = 'why', hint = 'try'; end $$;
create function public.refuse_later() returns void language plpgsql as $$
begin
  raise sqlstate 'PGRST' using message = '{"code":"later","message":"busy"}',
    detail = '{"status":429,"headers":{"Retry-After":"7"}}';
end $$;
create function public.answer_accepted() returns jsonb language plpgsql as $$
begin
  perform set_config('response.status', '202', true), set_config('response.headers', '[{"X-Seen":"yes"}]', true);
  return '{"ok": true}';
end $$;
create function public.who() returns jsonb language sql stable as $$
  select jsonb_build_object('user', current_user, 'role', auth.role(), 'uid', auth.uid(),
    'path', current_setting('request.path'), 'method', current_setting('request.method'),
    'agent', current_setting('request.headers')::jsonb ->> 'user-agent',
    'timeout', current_setting('statement_timeout'), 'search_path', current_setting('search_path'))
$$;
create function public.stable_writer() returns void language sql stable as 'select 1';
create function public.write_in_stable() returns void language plpgsql stable as
  $$ begin insert into public.keyless values ('x'); end $$;
create function public.write_keyless() returns int language plpgsql as
  $$ begin insert into public.keyless values ('x'); return 1; end $$;
create function public.sleep(seconds float) returns void language sql set statement_timeout = '300ms' as 'select pg_sleep(seconds)';
create function public.tell(topic text, event text, payload jsonb, private boolean) returns void language sql as
  $$ select realtime.send(payload, event, topic, private) $$;
create function public.variadic_sum(variadic numbers int[]) returns bigint language sql immutable as
  'select sum(n) from unnest(numbers) as n';
create function public.bad_headers() returns int language sql as
  $$ select set_config('response.headers', 'nonsense', true); select 1 $$;
create function public.overload(a int) returns int language sql as 'select 1';
create function public.overload(a text) returns int language sql as 'select 2';

grant usage on type public.pair to anon, authenticated, service_role;
do $$
declare v_function regprocedure;
begin
  for v_function in select oid from pg_catalog.pg_proc where pronamespace = 'public'::regnamespace loop
    execute format('revoke execute on function %s from public, anon', v_function);
    execute format('grant execute on function %s to authenticated, service_role', v_function);
  end loop;
  grant execute on function public.scalar(int, int), public.refuse(text), public.who(), public.all_notes() to anon;
end $$;
