-- 12_notices: who is told of which alert, and when.
--
-- Callers: service_role (a worker that has a webhook) and cron. Both send what is handed out here, so that one receiver
-- hears each thing once however many of them there are: one *watcher* at a time looks, the others learn when to ask
-- again. What was handed out counts as told when it is settled; until then it is handed out again, under the same id.
-- An alert is told when it fires, once an hour while it lasts, and when it is over, if it was ever told.
-- Locks: the one row of alert_watch, then alert_notices. SQLSTATE: PT422 notices_malformed.

create table if not exists translation_private.alert_watch (
  one     boolean primary key default true check (one),
  watcher text not null,
  until   timestamptz not null
);
comment on table translation_private.alert_watch is 'Who looks for alerts at present, and until when nobody else does. One row.';

create table if not exists translation_private.alert_notices (
  alert    text primary key,
  began_at timestamptz not null,
  about    jsonb not null,
  told_at  timestamptz,
  told     int not null default 0,
  ended_at timestamptz
);
comment on table translation_private.alert_notices is 'Alerts that are on, or over and not yet told: since when, what was last seen of them, how often and when last somebody was told.';

create or replace function translation_private.notice_id(p_notice translation_private.alert_notices) returns text
language sql stable set search_path = ''
as $$
  select pg_catalog.format('%s:%s:%s', p_notice.alert, pg_catalog.floor(extract(epoch from p_notice.began_at) * 1000),
    case when p_notice.ended_at is null then p_notice.told::text else 'cleared' end)
$$;
comment on function translation_private.notice_id(translation_private.alert_notices) is 'The same for a notice that is handed out again, another for the next one about the same alert.';

create or replace function public.take_translation_alert_notices(
  p_watcher text, p_limits jsonb default '{}', p_repeat_seconds int default 3600)
returns jsonb language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_until timestamptz;
  v_arguments text;
  v_alerts jsonb;
  v_notices jsonb;
  v_answer jsonb;
begin
  if p_watcher is null or p_repeat_seconds is null or p_limits is null or jsonb_typeof(p_limits) <> 'object'
    or exists (
      select from jsonb_each(p_limits) as l
      where jsonb_typeof(l.value) <> 'number' or l.key not like 'p\_%' or l.key <> all (
        select unnest(p.proargnames) from pg_catalog.pg_proc p
        where p.pronamespace = 'public'::regnamespace and p.proname = 'translation_alerts'))
  then
    perform translation_private.refuse(422, 'notices_malformed', 'Say who watches; p_limits holds arguments of translation_alerts, each a number.');
  end if;

  -- A watcher looks every minute. One that missed two has gone.
  insert into translation_private.alert_watch as w (one, watcher, until) values (true, p_watcher, v_now + interval '150 seconds')
  on conflict (one) do update set watcher = excluded.watcher, until = excluded.until
  where w.watcher = excluded.watcher or w.until <= v_now;
  if not found then
    select w.until into v_until from translation_private.alert_watch w where w.one;
    return jsonb_build_object('notices', '[]'::jsonb, 'next_ms', translation_private.as_ms(v_until - v_now));
  end if;

  select string_agg(format('%I => %L', l.key, l.value), ', ') into v_arguments from jsonb_each_text(p_limits) as l;
  execute format('select coalesce(jsonb_agg(to_jsonb(a)), ''[]'') from public.translation_alerts(%s) as a', coalesce(v_arguments, '')) into v_alerts;

  insert into translation_private.alert_notices as n (alert, began_at, about)
  select a ->> 'alert', v_now, a from jsonb_array_elements(v_alerts) as a
  on conflict (alert) do update set ended_at = null, about = excluded.about;
  delete from translation_private.alert_notices n
  where n.told_at is null and not v_alerts @> jsonb_build_array(jsonb_build_object('alert', n.alert));
  update translation_private.alert_notices n set ended_at = v_now
  where n.ended_at is null and not v_alerts @> jsonb_build_array(jsonb_build_object('alert', n.alert));

  select coalesce(jsonb_agg(jsonb_build_object(
    'id', translation_private.notice_id(n), 'since', n.began_at,
    'state', case when n.ended_at is not null then 'cleared' when n.told_at is null then 'fired' else 'lasting' end) || n.about
    order by n.about ->> 'severity', n.alert), '[]') into v_notices
  from translation_private.alert_notices n
  where n.ended_at is not null or n.told_at is null or n.told_at <= v_now - make_interval(secs => p_repeat_seconds);
  select jsonb_build_object('notices', v_notices, 'next_ms', 60000,
    'message_id', 'alerts_' || left(encode(sha256(convert_to(string_agg(one ->> 'id', ' ' order by one ->> 'id'), 'UTF8')), 'hex'), 32),
    'text', string_agg(case one ->> 'state' when 'cleared' then format('over: %s', one ->> 'alert')
      else format('%s: %s %s', one ->> 'severity', one ->> 'message', one ->> 'cure') end, E'\n')) into v_answer
  from jsonb_array_elements(v_notices) as one;
  return v_answer;
end $$;
comment on function public.take_translation_alert_notices(text, jsonb, int) is
  'What somebody must be told of the alerts now, for whoever sends it: notices, each with id, state (fired, lasting, cleared), since and the row of translation_alerts; the same as text; a message_id that is the same for the same notices; and when to ask again. Nothing for all watchers but one.';

create or replace function public.settle_translation_alert_notices(p_ids text[]) returns int
language plpgsql set search_path = ''
as $$
declare
  v_told int;
  v_cleared int;
begin
  delete from translation_private.alert_notices n where n.ended_at is not null and translation_private.notice_id(n) = any (p_ids);
  get diagnostics v_cleared = row_count;
  update translation_private.alert_notices n set told_at = translation_private.clock(), told = n.told + 1
  where n.ended_at is null and translation_private.notice_id(n) = any (p_ids);
  get diagnostics v_told = row_count;
  return v_cleared + v_told;
end $$;
comment on function public.settle_translation_alert_notices(text[]) is
  'The notices with these ids were delivered: they are not handed out again. Returns how many that were; a repeated call changes nothing.';
