-- Takes everything away that install.sql made: tables, jobs, ledger, procedures, schedules.
--
-- There is no way back: dump the ledger first if it matters. Objects of your own that use these (a trigger on
-- translation_job_items, say) are named by the error and must go first. Paste it into the SQL editor.

begin;

do $do$
declare
  v_object record;
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    perform cron.unschedule(jobname) from cron.job where jobname in ('translation-rescue', 'translation-purge', 'translation-alerts', 'translation-wake');
  end if;
  drop view if exists public.translation_jobs_overview;
  -- Functions that read a table's row type go before the table; those that triggers use go with it.
  for v_object in
    select p.oid::regprocedure as name from pg_catalog.pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in (
      'create_translation_job', 'enqueue_translation_job', 'enqueue_translation_jobs', 'preview_translation_price', 'list_translation_jobs',
      'get_translation_job', 'get_translation_source', 'get_translation_result', 'get_translation_credits', 'cancel_translation_job',
      'retry_translation_job', 'watch_translation_jobs', 'watch_translation_users', 'show_translation_jobs', 'count_translation_jobs',
      'get_translation_attempts', 'get_translation_movements', 'list_translation_languages', 'claim_translation_jobs', 'release_translation_jobs',
      'record_translation_results', 'rescue_translation_jobs', 'heartbeat_translation_worker', 'recall_translation_memory',
      'remember_translation_memory', 'recall_translation_glossary', 'requeue_translation_jobs', 'purge_translation_jobs', 'translation_queue_stats', 'translation_self_check',
      'translation_series', 'list_translation_failures', 'list_translation_workers', 'list_translation_jobs_of_all', 'list_translation_endings',
      'list_translation_operator_actions', 'operate_translation_jobs', 'retry_translation_failures', 'reveal_translation_source', 'start_translation_trigger',
      'take_translation_alert_notices', 'settle_translation_alert_notices',
      'enqueue_translation_chain', 'get_translation_parents', 'take_translation_queue', 'do_translation_chores',
      'translation_alerts', 'start_translation_probe', 'end_translation_probe', 'run_translation_trigger', 'list_translation_triggers', 'find_translation_job',
      'list_translation_functions', 'list_translation_endpoints',
      'set_translation_term', 'delete_translation_term', 'grant_translation_credits', 'revoke_translation_credits',
      'price_translation_item', 'hold_translation_balance', 'return_translation_balance')
  loop
    execute format('drop function %s', v_object.name);
  end loop;
end $do$;

drop schema if exists translation_private cascade;
drop table if exists
  public.translation_triggers, public.translation_job_dependencies, public.translation_job_claims, public.translation_job_attempts, public.translation_job_items,
  public.translation_memory, public.translation_glossary, public.translation_languages, public.translation_workers,
  public.translation_queues, public.translation_queue_refusals, public.translation_sql_functions, public.translation_http_endpoints,
  public.translation_jobs, public.translation_job_types, public.translation_credits, public.translation_credit_ledger,
  public.translation_stats_hours, public.translation_operator_actions;

notify pgrst, 'reload schema';

commit;
