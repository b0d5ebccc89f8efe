-- 13_security: who may do what. One page, applied last.
--
-- Nothing is inherited from a project's default grants, old or new: everything is taken away by name, then
-- the minimum is given. Users read their own rows and write nowhere; anon has nothing; service_role bypasses
-- row level security but not grants, so it gets what workers need.

-- Tables
do $do$
declare
  v_table text;
  v_sequence regclass;
begin
  foreach v_table in array array[
    'translation_job_types', 'translation_jobs', 'translation_job_items', 'translation_job_dependencies', 'translation_job_claims',
    'translation_queues', 'translation_queue_refusals',
    'translation_job_attempts', 'translation_memory', 'translation_glossary', 'translation_workers', 'translation_languages',
    'translation_sql_functions', 'translation_http_endpoints',
    'translation_credits', 'translation_credit_ledger', 'translation_stats_hours', 'translation_operator_actions',
    'translation_triggers'
  ] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on table public.%I from public, anon, authenticated, service_role', v_table);
    execute format('grant select, insert, update, delete on table public.%I to service_role', v_table);
  end loop;
  -- Identity columns need no grant on their sequences; old defaults gave them away.
  for v_sequence in
    select s.oid::regclass from pg_catalog.pg_class s
    join pg_catalog.pg_depend d on d.objid = s.oid and d.classid = 'pg_catalog.pg_class'::regclass and d.deptype = 'i'
    join pg_catalog.pg_class t on t.oid = d.refobjid
    where s.relkind = 'S' and t.relnamespace = 'public'::regnamespace and t.relname like 'translation\_%'
  loop
    execute format('revoke all on sequence %s from public, anon, authenticated, service_role', v_sequence);
  end loop;
end $do$;
revoke update, delete on table public.translation_credit_ledger, public.translation_operator_actions from service_role;
grant select on sequence public.translation_jobs_seq_seq to service_role;  -- how many jobs there ever were
alter table translation_private.chores enable row level security;
revoke all on table translation_private.chores from public, anon, authenticated, service_role;
grant select, update on table translation_private.chores to service_role;
alter table translation_private.create_budget enable row level security;
revoke all on table translation_private.create_budget from public, anon, authenticated, service_role;
grant select, insert, update, delete on table translation_private.create_budget to service_role;
alter table translation_private.series enable row level security;
alter table translation_private.rolled_up enable row level security;
revoke all on table translation_private.series, translation_private.rolled_up from public, anon, authenticated, service_role;
grant select, insert, update, delete on table translation_private.series, translation_private.rolled_up to service_role;
alter table translation_private.alert_watch enable row level security;
alter table translation_private.alert_notices enable row level security;
revoke all on table translation_private.alert_watch, translation_private.alert_notices from public, anon, authenticated, service_role;
grant select, insert, update, delete on table translation_private.alert_watch, translation_private.alert_notices to service_role;
grant usage on schema translation_private to authenticated, service_role;
grant usage, select, update on sequence translation_private.claim_token, translation_private.served_turn to service_role;

grant select on table public.translation_jobs, public.translation_job_items, public.translation_job_dependencies,
  public.translation_memory, public.translation_glossary, public.translation_languages,
  public.translation_credits, public.translation_credit_ledger to authenticated;
revoke all on table public.translation_jobs_overview from public, anon, authenticated, service_role;
grant select on table public.translation_jobs_overview to authenticated, service_role;
-- A browser sees the timeline, never a token.
grant select (job_id, delivery, worker_id, found_by, found_ms, started_at, ended_at, outcome, error)
  on table public.translation_job_attempts to authenticated;

drop policy if exists translation_jobs_own on public.translation_jobs;
create policy translation_jobs_own on public.translation_jobs for select to authenticated
  using ((select auth.uid()) = user_id);
drop policy if exists translation_job_items_own on public.translation_job_items;
create policy translation_job_items_own on public.translation_job_items for select to authenticated
  using ((select auth.uid()) = user_id);
drop policy if exists translation_job_dependencies_own on public.translation_job_dependencies;
create policy translation_job_dependencies_own on public.translation_job_dependencies for select to authenticated
  using (exists (select from public.translation_jobs j where j.id = child_id and j.user_id = (select auth.uid())));
drop policy if exists translation_job_attempts_own on public.translation_job_attempts;
create policy translation_job_attempts_own on public.translation_job_attempts for select to authenticated
  using (exists (select from public.translation_jobs j where j.id = job_id and j.user_id = (select auth.uid())));
drop policy if exists translation_memory_own on public.translation_memory;
create policy translation_memory_own on public.translation_memory for select to authenticated
  using ((select auth.uid()) = user_id);
drop policy if exists translation_glossary_own on public.translation_glossary;
create policy translation_glossary_own on public.translation_glossary for select to authenticated
  using ((select auth.uid()) = user_id);
drop policy if exists translation_languages_all on public.translation_languages;
create policy translation_languages_all on public.translation_languages for select to authenticated using (true);
drop policy if exists translation_credits_own on public.translation_credits;
create policy translation_credits_own on public.translation_credits for select to authenticated
  using ((select auth.uid()) = user_id);
drop policy if exists translation_credit_ledger_own on public.translation_credit_ledger;
create policy translation_credit_ledger_own on public.translation_credit_ledger for select to authenticated
  using ((select auth.uid()) = user_id);

-- Functions: all taken away, then given by name.
do $do$
declare
  v_function record;
begin
  for v_function in
    select p.oid::regprocedure as name, n.nspname as schema, p.proname, p.prorettype
    from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where n.nspname = 'translation_private'
       or (n.nspname = 'public' and p.proname in (
         'create_translation_job', 'enqueue_translation_job', 'preview_translation_price', 'list_translation_jobs', 'get_translation_job',
         'get_translation_source', 'get_translation_result', 'get_translation_credits', 'cancel_translation_job', 'retry_translation_job',
         'watch_translation_jobs', 'watch_translation_users', 'show_translation_jobs', 'count_translation_jobs',
         'get_translation_attempts', 'get_translation_movements', 'list_translation_languages', 'claim_translation_jobs', 'release_translation_jobs', 'record_translation_results',
         'rescue_translation_jobs', 'heartbeat_translation_worker', 'recall_translation_memory', 'remember_translation_memory',
         'recall_translation_glossary', 'list_translation_functions', 'list_translation_endpoints',
         'enqueue_translation_jobs', 'requeue_translation_jobs', 'purge_translation_jobs', 'translation_queue_stats', 'translation_self_check',
         'translation_series', 'list_translation_failures', 'list_translation_workers', 'list_translation_jobs_of_all', 'list_translation_endings',
         'list_translation_operator_actions', 'operate_translation_jobs', 'retry_translation_failures', 'reveal_translation_source', 'start_translation_trigger',
         'take_translation_alert_notices', 'settle_translation_alert_notices',
         'enqueue_translation_chain', 'get_translation_parents', 'take_translation_queue', 'do_translation_chores',
         'translation_alerts', 'start_translation_probe', 'end_translation_probe',
         'run_translation_trigger', 'list_translation_triggers', 'find_translation_job',
         'set_translation_term', 'delete_translation_term',
         'grant_translation_credits', 'revoke_translation_credits', 'price_translation_item', 'hold_translation_balance',
         'return_translation_balance'))
  loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', v_function.name);
    if v_function.prorettype <> 'trigger'::regtype then
      execute format('grant execute on function %s to service_role', v_function.name);
    end if;
  end loop;
end $do$;
grant execute on function
  public.create_translation_job(jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[]),
  public.preview_translation_price(jsonb, text[], text, text, jsonb),
  public.list_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text),
  public.show_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean),
  public.count_translation_jobs(text), public.get_translation_job(uuid), public.watch_translation_jobs(uuid[]),
  public.watch_translation_users(uuid[], uuid[], bigint),
  public.get_translation_attempts(uuid), public.get_translation_movements(uuid), public.list_translation_languages(),
  public.get_translation_source(uuid), public.get_translation_result(uuid, text), public.get_translation_credits(),
  public.cancel_translation_job(uuid), public.retry_translation_job(uuid),
  public.set_translation_term(text, text, text, text, boolean, boolean), public.delete_translation_term(bigint)
to authenticated;
-- What the thin wrappers and readers above call on the way.
grant execute on function
  translation_private.create_job(jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[]),
  translation_private.preview_price(jsonb, text[], text, text, jsonb), translation_private.cancel_job(uuid), translation_private.retry_job(uuid),
  translation_private.set_term(text, text, text, text, boolean, boolean), translation_private.delete_term(bigint),
  translation_private.without_content(public.translation_jobs), translation_private.job_document(uuid),
  translation_private.page_of_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean), translation_private.clock(),
  translation_private.refuse(int, text, text, text), translation_private.job_type_names()
to authenticated;

notify pgrst, 'reload schema';
