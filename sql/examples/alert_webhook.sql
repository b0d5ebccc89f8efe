-- Wakes somebody when no worker lives to do it: pg_cron asks for the alerts each minute, pg_net calls a webhook.
--
-- It sends what a worker with ALERT_WEBHOOK_URL sends, signed alike, and shares the notices with it: with both of them
-- the webhook hears each thing once. Told are an alert that begins, one that lasts (each hour again) and one that has
-- ended; a minute in which nothing changes is silent. The body has a field text, which is what Slack, Mattermost and
-- the like show. pg_net does not tell whether anybody answered: what was sent counts as told.
-- Switch pg_cron and pg_net on first (dashboard, Database, Extensions), and put address and secret into the Vault:
--   select vault.create_secret('https://hooks.example.com/…', 'translation_alert_url');
--   select vault.create_secret('a long random word', 'translation_alert_secret');  -- without it, nothing is signed
-- Paste it after install.sql; it may be run again.

begin;

-- HMAC-SHA256 as Standard Webhooks wants it. pgcrypto is not everywhere; a hash is.
create or replace function translation_private.webhook_signature(p_secret text, p_message text) returns text
language plpgsql immutable strict set search_path = ''
as $$
declare
  v_key bytea := case when p_secret like 'whsec\_%' then decode(substr(p_secret, 7), 'base64') else convert_to(p_secret, 'UTF8') end;
  v_inner bytea;
  v_outer bytea;
begin
  if length(v_key) > 64 then
    v_key := sha256(v_key);
  end if;
  v_key := v_key || decode(repeat('00', 64 - length(v_key)), 'hex');
  v_inner := v_key;
  v_outer := v_key;
  for i in 0 .. 63 loop
    v_inner := set_byte(v_inner, i, get_byte(v_key, i) # 54);
    v_outer := set_byte(v_outer, i, get_byte(v_key, i) # 92);
  end loop;
  return 'v1,' || encode(sha256(v_outer || sha256(v_inner || convert_to(p_message, 'UTF8'))), 'base64');
end $$;
comment on function translation_private.webhook_signature(text, text) is 'Example: what a Standard Webhooks verifier expects in webhook-signature.';
revoke all on function translation_private.webhook_signature(text, text) from public, anon, authenticated, service_role;

create or replace function translation_private.tell_alerts() returns int
language plpgsql set search_path = ''
as $$
declare
  -- Thresholds of your own: take_translation_alert_notices('pg_cron', '{"p_queue_depth": 100}').
  v_told jsonb := public.take_translation_alert_notices('pg_cron');
  v_body jsonb := jsonb_build_object('text', v_told -> 'text', 'alerts', v_told -> 'notices');
  v_at bigint := extract(epoch from translation_private.clock());
  v_secret text := (select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'translation_alert_secret');
  v_headers jsonb := '{"Content-Type": "application/json"}';
begin
  if v_told -> 'notices' = '[]' then
    return 0;
  end if;
  if v_secret is not null then  -- pg_net sends v_body::text, byte for byte
    v_headers := v_headers || jsonb_build_object(
      'webhook-id', v_told -> 'message_id', 'webhook-timestamp', v_at::text, 'webhook-signature',
      translation_private.webhook_signature(v_secret, format('%s.%s.%s', v_told ->> 'message_id', v_at, v_body)));
  end if;
  perform net.http_post(
    url := (select s.decrypted_secret from vault.decrypted_secrets s where s.name = 'translation_alert_url'),
    body := v_body, headers := v_headers);
  return public.settle_translation_alert_notices(array(
    select one ->> 'id' from jsonb_array_elements(v_told -> 'notices') as one));
end $$;
comment on function translation_private.tell_alerts() is 'Example: calls the webhook with what has begun, lasts or has ended. Returns how many notices that were.';
revoke all on function translation_private.tell_alerts() from public, anon, authenticated, service_role;

-- The same name again replaces the schedule.
select cron.schedule('translation-alerts', '* * * * *', 'select translation_private.tell_alerts()');

commit;
