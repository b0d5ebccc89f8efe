-- Wakes somebody when no worker lives to do it: pg_cron asks for the alerts each minute, pg_net calls a webhook.
--
-- Told are an alert that begins, one that lasts (each hour again) and one that has ended; a minute in which nothing
-- changes is silent. The body has a field text, which is what Slack, Mattermost and the like show.
-- Switch pg_cron and pg_net on first (dashboard, Database, Extensions), and put address and token into the Vault:
--   select vault.create_secret('https://hooks.example.com/…', 'translation_alert_url');
--   select vault.create_secret('a long random word', 'translation_alert_token');  -- sent as Authorization: Bearer …
-- Paste it after install.sql; it may be run again.

begin;

create table if not exists translation_private.alerts_told (
  alert   text primary key,
  told_at timestamptz not null
);
comment on table translation_private.alerts_told is 'Example: alerts that the webhook knows of.';
alter table translation_private.alerts_told enable row level security;
revoke all on table translation_private.alerts_told from public, anon, authenticated, service_role;

create or replace function translation_private.tell_alerts() returns int
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_on jsonb;
  v_ended text[];
  v_text text;
  v_count int;
begin
  -- Thresholds of your own are arguments of translation_alerts.
  select coalesce(jsonb_agg(to_jsonb(a)), '[]') into v_on from public.translation_alerts() as a
  where not exists (
    select from translation_private.alerts_told t where t.alert = a.alert and t.told_at > v_now - interval '1 hour');
  with ended as (
    delete from translation_private.alerts_told t
    where not exists (select from public.translation_alerts() as a where a.alert = t.alert) returning t.alert
  )
  select coalesce(array_agg(ended.alert order by ended.alert), '{}') into v_ended from ended;
  v_count := jsonb_array_length(v_on) + cardinality(v_ended);
  if v_count = 0 then
    return 0;
  end if;
  insert into translation_private.alerts_told as t (alert, told_at)
  select one ->> 'alert', v_now from jsonb_array_elements(v_on) as one
  on conflict (alert) do update set told_at = excluded.told_at;
  select string_agg(line, E'\n') into v_text from (
    select format('%s: %s %s', one ->> 'severity', one ->> 'message', one ->> 'cure') as line from jsonb_array_elements(v_on) as one
    union all
    select format('over: %s', alert) from unnest(v_ended) as alert) as lines;
  perform net.http_post(
    url := (select decrypted_secret from vault.decrypted_secrets where name = 'translation_alert_url'),
    body := jsonb_build_object('text', v_text, 'alerts', v_on, 'ended', v_ended),
    headers := jsonb_build_object('Content-Type', 'application/json', 'Authorization', 'Bearer ' || (
      select decrypted_secret from vault.decrypted_secrets where name = 'translation_alert_token')));
  return v_count;
end $$;
comment on function translation_private.tell_alerts() is 'Example: calls the webhook with what has begun or ended. Returns how many alerts that were.';
revoke all on function translation_private.tell_alerts() from public, anon, authenticated, service_role;

-- The same name again replaces the schedule.
select cron.schedule('translation-alerts', '* * * * *', 'select translation_private.tell_alerts()');

commit;
