-- 01_clock: the only "now" in this script.
--
-- Every function reads the time once, from here, into a variable. Tests replace this one function by one
-- that reads a table, so that a lease can run out without anybody waiting. It is the start of the
-- transaction, which is right for leases because each call of the API is a transaction of its own.

create or replace function translation_private.clock() returns timestamptz
language sql stable set search_path = ''
as $$ select pg_catalog.now() $$;
comment on function translation_private.clock() is 'Now, as every function of this script sees it.';

create or replace function translation_private.as_ms(p_span interval) returns bigint
language sql immutable set search_path = ''
as $$ select pg_catalog.ceil(extract(epoch from p_span) * 1000)::bigint $$;
comment on function translation_private.as_ms(interval) is 'An interval in whole milliseconds: what travels to workers instead of timestamps.';
