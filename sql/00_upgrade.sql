-- 00_upgrade: what earlier versions of this script made, and running it again would keep.
--
-- Everything below makes what is absent and replaces what it can. Left to say is what an older version named the same
-- and defined otherwise, or what nobody needs any more. A new column of an old table stands beside the table:
-- alter table … add column if not exists. The older versions stand in tests/sql/versions; over each of them this
-- script gives the schema of a fresh project, grants included.

do $do$
begin
  if pg_catalog.pg_get_indexdef(to_regclass('public.translation_jobs_due')) like '%(run_at)%' then
    drop index public.translation_jobs_due;
  end if;
end $do$;
drop index if exists public.translation_jobs_of_type;
drop function if exists translation_private.promote(int, timestamptz);
drop function if exists translation_private.job_document(public.translation_jobs);
drop function if exists public.list_translation_jobs(text[], text, text, timestamptz, int, bigint);
drop function if exists translation_private.check_parents(uuid[], uuid, boolean);
drop function if exists translation_private.add_job(
  boolean, uuid, text, jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[], uuid);
drop function if exists translation_private.settle_children(uuid[], timestamptz);
