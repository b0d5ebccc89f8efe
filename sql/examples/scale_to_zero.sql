-- A worker that exists only while there is work: pg_cron looks every ten seconds, and calls it only when something waits.
--
-- For hosts that bill by request, such as Cloud Run: the worker runs with WORK_ON=request, PORT and INTERNAL_API_KEY, works
-- while this call is open, and is put away after it. A job starts within ten seconds and what the host takes to start a
-- process. Nothing is called while a worker is at work already, be it one that this woke or one that always runs.
-- Switch pg_cron and pg_net on first (dashboard, Database, Extensions), and put address and key into the Vault:
--   select vault.create_secret('https://worker.example.com', 'translation_worker_url');
--   select vault.create_secret('the worker''s INTERNAL_API_KEY', 'translation_internal_key');
-- Paste it after install.sql; it may be run again. It replaces nothing of the queue: leases and retries are as ever.

begin;

create or replace function translation_private.wake_worker(p_max_jobs int default 100, p_max_seconds int default 50) returns bigint
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  if exists (
       select from public.translation_workers w
       where w.mode <> 'stopping' and w.last_seen_at > v_now - interval '40 seconds')
     or not (
       exists (
         select from public.translation_job_types t
         where t.name not like 'translation\_probe\_%' and (
           exists (select from public.translation_jobs j where j.job_type = t.name and j.status = 'pending')
           or exists (
             select from public.translation_jobs j
             where j.job_type = t.name and j.status in ('scheduled', 'retrying') and j.run_at <= v_now)))
       or exists (select from public.translation_job_claims c where c.lease_until <= v_now)) then
    return null;
  end if;
  return net.http_post(
    url := (select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'translation_worker_url') || '/api/internal/process',
    body := jsonb_build_object('max_jobs', p_max_jobs, 'max_seconds', p_max_seconds),
    headers := jsonb_build_object('Content-Type', 'application/json', 'Authorization', 'Bearer ' || (
      select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'translation_internal_key')),
    -- Longer than the worker takes, its start and its shutdown grace included: a call that is given up ends its work.
    timeout_milliseconds := (p_max_seconds + 30) * 1000);
end $$;
comment on function translation_private.wake_worker(int, int) is 'Example: calls the worker if something waits and none is at work. Returns pg_net''s request, or null.';
revoke all on function translation_private.wake_worker(int, int) from public, anon, authenticated, service_role;

-- The same name again replaces the schedule. Seconds need pg_cron 1.5.
select cron.schedule('translation-wake', '10 seconds', 'select translation_private.wake_worker()');

commit;
