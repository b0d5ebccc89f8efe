-- 05_enqueue: how a job comes into being.
--
-- Callers: signed-in users (create), service_role (enqueue), retry, and a row typed into the table editor.
-- Locks: one advisory lock per user, so that his limits, his order and his idempotency keys are exact; then
-- parents by id (shared), then his balance. Everything is checked before anything is reserved or stored.
-- SQLSTATE: PT401, PT402, PT404, PT409, PT413, PT422, PT429; the words stand in REALTIME.md.

create table if not exists translation_private.create_budget (
  user_id    uuid primary key,
  tokens     numeric not null,
  updated_at timestamptz not null
) with (fillfactor = 50);
comment on table translation_private.create_budget is 'Token bucket of one user''s creates; touched only under his own lock.';

-- One way to write a language: en, pt-BR, zh-Hant. Null when it is not a language tag we take.
create or replace function translation_private.canonical_language(p_tag text) returns text
language plpgsql immutable set search_path = ''
as $$
declare
  v_tag text := replace(btrim(p_tag), '_', '-');
  v_part text;
  v_result text := '';
begin
  if v_tag is null or char_length(v_tag) > 35
     or v_tag !~* '^[a-z]{2,3}(-[a-z]{4})?(-([a-z]{2}|[0-9]{3}))?(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*$'
     or lower(split_part(v_tag, '-', 1)) in ('und', 'mul', 'zxx', 'mis') then
    return null;
  end if;
  foreach v_part in array string_to_array(v_tag, '-') loop
    v_result := v_result || case
      when v_result = '' then lower(v_part)
      when v_part ~* '^[a-z]{4}$' then '-' || initcap(v_part)
      when v_part ~* '^[a-z]{2}$' then '-' || upper(v_part)
      else '-' || lower(v_part) end;
  end loop;
  return v_result;
end $$;
comment on function translation_private.canonical_language(text) is 'A BCP 47 tag in its one spelling (pt-BR, zh-Hant), or null.';

-- Characters of text in a source: what is translated, and what a price may look at.
create or replace function translation_private.count_chars(p_content jsonb, p_content_kind text) returns int
language plpgsql immutable set search_path = ''
as $$
begin
  if p_content_kind = 'json' and jsonb_typeof(p_content) = 'string' then
    return translation_private.count_chars((p_content #>> '{}')::jsonb, 'json');
  elsif jsonb_typeof(p_content) = 'string' then
    return char_length(p_content #>> '{}');
  end if;
  return coalesce((
    select sum(char_length(leaf #>> '{}'))
    from jsonb_path_query(p_content, 'strict $.**') as leaf
    where jsonb_typeof(leaf) = 'string'), 0)::int;
end $$;
comment on function translation_private.count_chars(jsonb, text) is 'Code points of the text in a source; of a JSON tree, of its string leaves.';

create or replace function translation_private.next_turn(p_user_id uuid, p_cost bigint) returns bigint
language plpgsql volatile set search_path = '' set enable_sort = off
as $$
declare
  v_last bigint;
begin
  -- From here on this transaction is in progress to everybody: no floor passes a turn that we stamp now and commit late.
  perform pg_current_xact_id();
  -- Only what waits can be ahead of the turn that is served; what waits to be tried again is in that index as well.
  -- Two statements, because IS NOT DISTINCT FROM cannot use an index; and IS NULL gives no order unless it is asked for.
  if p_user_id is null then
    select turn into v_last from public.translation_jobs
    where user_id is null and status in ('pending', 'retrying') and turn is not null order by user_id desc, turn desc limit 1;
  else
    select turn into v_last from public.translation_jobs
    where user_id = p_user_id and status in ('pending', 'retrying') and turn is not null order by turn desc limit 1;
  end if;
  return greatest(v_last, (select last_value from translation_private.served_turn)) + p_cost;
end $$;
comment on function translation_private.next_turn(uuid, bigint) is
  'Start-time fair queueing: after the user''s own last turn, never before what is being served now.';

-- The checks of a source. Raises, or returns how many characters of it are text.
create or replace function translation_private.check_content(p_job_type text, p_content jsonb, p_content_kind text) returns int
language plpgsql set search_path = ''
as $$
declare
  v_chars int;
begin
  if octet_length(p_content::text) > 1048576 then
    perform translation_private.refuse(413, 'content_too_large', 'A source may have 1 MB (1048576 bytes) at most: split it into several jobs.');
  end if;
  if p_content_kind is null or p_content_kind not in ('text', 'markdown', 'html', 'json') then
    perform translation_private.refuse(422, 'content_kind_unknown', 'p_content_kind is one of text, markdown, html, json.');
  end if;
  if p_job_type <> 'translation' then
    return 0;
  end if;
  if p_content is null or p_content = 'null'::jsonb then
    perform translation_private.refuse(400, 'content_empty', 'The source is empty: p_content needs text to translate.');
  end if;
  if p_content_kind <> 'json' and jsonb_typeof(p_content) <> 'string' then
    perform translation_private.refuse(422, 'content_invalid', format('A source of kind %s is a JSON string.', p_content_kind));
  end if;
  begin
    v_chars := translation_private.count_chars(p_content, p_content_kind);
  exception when invalid_text_representation or untranslatable_character then
    perform translation_private.refuse(422, 'content_invalid', 'A source of kind json, given as a string, must be valid JSON.');
  end;
  if v_chars = 0 or p_content::text !~ '[^\s"\\{}\[\],:]' or (jsonb_typeof(p_content) = 'string' and btrim(p_content #>> '{}', E' \t\n\r\f\v\u00a0\u3000') = '') then
    perform translation_private.refuse(400, 'content_empty', 'The source is empty: p_content needs text to translate.');
  end if;
  return v_chars;
end $$;
comment on function translation_private.check_content(text, jsonb, text) is 'Refuses a source that cannot be worked on; returns its characters of text.';

-- The checks of the languages. Raises, or returns them in canonical spelling.
-- Generous on purpose: a worker that offers pt may be asked for pt-BR, and refuses for good what it cannot do.
create or replace function translation_private.without_region(p_tag text) returns text
language sql immutable set search_path = ''
as $$
  select case
    when p_tag ~ '^zh-(TW|HK|MO)$' then 'zh-Hant'
    when p_tag ~ '^zh-(CN|SG)$' then 'zh-Hans'
    else regexp_replace(p_tag, '-([A-Z]{2}|[0-9]{3})(-.*)?$', '')
  end
$$;
comment on function translation_private.without_region(text) is 'es for es-MX, zh-Hant for zh-TW: the same language and script, wherever it is spoken.';

create or replace function translation_private.offered_near(p_source text, p_target text) returns text
language sql stable set search_path = ''
as $$
  select case
    when count(*) = 0 then format('No running worker translates from %s.', p_source)
    else 'On offer are, nearest first: ' || string_agg(target_language, ', ' order by near desc, target_language) || '.'
  end
  from (
    select l.target_language, bool_or(split_part(l.target_language, '-', 1) = split_part(p_target, '-', 1)) as near
    from public.translation_languages l
    where p_source is null or l.source_language in ('*', p_source, translation_private.without_region(p_source))
    group by l.target_language order by near desc, l.target_language limit 10) as offered
$$;
comment on function translation_private.offered_near(text, text) is 'For a refusal: up to ten languages that some worker offers instead.';

create or replace function translation_private.check_languages(p_source text, p_targets text[]) returns text[]
language plpgsql set search_path = ''
as $$
declare
  v_target text;
  v_canonical text;
  v_result text[] := array[]::text[];
  v_source text;
begin
  if p_source is not null then
    v_source := translation_private.canonical_language(p_source);
    if v_source is null then
      perform translation_private.refuse(422, 'language_invalid', format('%s is not a language: give a BCP 47 tag such as en or pt-BR.', left(p_source, 40)));
    end if;
  end if;
  if coalesce(cardinality(p_targets), 0) = 0 then
    perform translation_private.refuse(422, 'languages_missing', 'Name 1 to 50 target languages.');
  elsif cardinality(p_targets) > 50 then
    perform translation_private.refuse(422, 'languages_too_many', format('A job takes 1 to 50 target languages, not %s.', cardinality(p_targets)));
  end if;
  foreach v_target in array p_targets loop
    v_canonical := translation_private.canonical_language(v_target);
    if v_canonical is null then
      perform translation_private.refuse(422, 'language_invalid', format('%s is not a language: give a BCP 47 tag such as en or pt-BR.', coalesce(left(v_target, 40), 'null')));
    elsif v_canonical = any (v_result) then
      perform translation_private.refuse(422, 'language_duplicate', format('%s is named twice: name each target language once.', v_canonical));
    elsif v_canonical = v_source then
      perform translation_private.refuse(422, 'language_same_as_source', format('%s is the source language: leave it out of the targets.', v_canonical));
    elsif exists (select from public.translation_languages) and not exists (
      select from public.translation_languages l
      where l.target_language in ('*', v_canonical, translation_private.without_region(v_canonical))
        and (v_source is null or l.source_language in ('*', v_source, translation_private.without_region(v_source)))
    ) then
      perform translation_private.refuse(422, 'language_unknown', format('No running worker translates %s into %s.', coalesce(v_source, 'this'), v_canonical),
        translation_private.offered_near(v_source, v_canonical));
    end if;
    v_result := v_result || v_canonical;
  end loop;
  return v_result;
end $$;
comment on function translation_private.check_languages(text, text[]) is 'Refuses languages that cannot be worked on; returns the targets in their one spelling.';

create or replace function translation_private.check_options(p_job_type text, p_options jsonb) returns void
language plpgsql set search_path = ''
as $$
declare
  v_unknown text;
begin
  if jsonb_typeof(p_options) is distinct from 'object' then
    perform translation_private.refuse(422, 'option_unknown', 'p_options is a JSON object.');
  end if;
  if octet_length(p_options::text) > 65536 then
    perform translation_private.refuse(413, 'option_too_large', 'p_options may have 64 kB at most.');
  end if;
  if p_job_type = 'translation' then
    select key into v_unknown from jsonb_object_keys(p_options) as key
    where key not in ('formality', 'do_not_translate', 'max_warnings', 'second_provider', 'simulate', 'after_failure') limit 1;
    if found then
      perform translation_private.refuse(422, 'option_unknown', format(
        'Option %s is not known: a translation takes formality, do_not_translate, max_warnings, second_provider, simulate.', left(v_unknown, 40)));
    end if;
    if coalesce(p_options ->> 'formality', 'default') not in ('default', 'more', 'less') then
      perform translation_private.refuse(422, 'option_invalid', 'formality is default, more or less.');
    end if;
    if p_options ? 'max_warnings' and coalesce(p_options ->> 'max_warnings', '') !~ '^[0-9]{1,4}$' then
      perform translation_private.refuse(422, 'option_invalid', 'max_warnings is a number from 0 to 9999.');
    end if;
    if p_options ? 'do_not_translate' and jsonb_typeof(p_options -> 'do_not_translate') <> 'array' then
      perform translation_private.refuse(422, 'option_invalid', 'do_not_translate is an array of terms or JSON pointers.');
    end if;
    if p_options ? 'simulate' and jsonb_typeof(p_options -> 'simulate') <> 'object' then
      perform translation_private.refuse(422, 'option_invalid', 'simulate is an object; only the pseudo translator reads it.');
    end if;
  end if;
end $$;
comment on function translation_private.check_options(text, jsonb) is 'Refuses options this kind of job does not have.';

-- A user's pace: creates_per_minute on average, half of it at once; and a cap on what waits.
create or replace function translation_private.check_pace(p_user_id uuid, p_type public.translation_job_types) returns void
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_rate numeric := p_type.creates_per_minute / 60.0;
  v_burst numeric := greatest(1, p_type.creates_per_minute / 2.0);
  v_tokens numeric;
  v_waiting int;
begin
  insert into translation_private.create_budget as b (user_id, tokens, updated_at)
  values (p_user_id, v_burst - 1, v_now)
  on conflict (user_id) do update set
    tokens = least(v_burst, b.tokens + v_rate * greatest(0, extract(epoch from v_now - b.updated_at))) - 1,
    updated_at = greatest(b.updated_at, v_now)
  returning tokens into v_tokens;
  if v_tokens < 0 then
    perform translation_private.refuse(429, 'rate_limited retry_after_ms=' || ceil(-v_tokens / v_rate * 1000),
      format('At most %s jobs a minute, %s at once: wait a moment.', p_type.creates_per_minute, floor(v_burst)));
  end if;
  select count(*)::int into v_waiting from (
    select from public.translation_jobs
    where user_id = p_user_id and status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying')
    limit p_type.max_waiting_per_user) as live;
  if v_waiting >= p_type.max_waiting_per_user then
    perform translation_private.refuse(429, 'waiting_too_many',
      format('At most %s unfinished jobs: wait until some are done, or cancel them.', p_type.max_waiting_per_user));
  end if;
end $$;
comment on function translation_private.check_pace(uuid, public.translation_job_types) is 'The per-user rate limit and waiting cap. Raises 429.';

-- What becomes of a job when a parent does not complete is said in its options: once for all parents, or by the
-- parent's id or its name in the chain. So it belongs to what an idempotency key stands for.
create or replace function translation_private.after_failure(p_options jsonb, p_parent uuid, p_name text) returns text
language sql immutable set search_path = ''
as $$
  select coalesce(case jsonb_typeof(p_options -> 'after_failure')
    when 'string' then p_options ->> 'after_failure'
    else coalesce(p_options -> 'after_failure' ->> p_parent::text, p_options -> 'after_failure' ->> p_name) end, 'cancel')
$$;
comment on function translation_private.after_failure(jsonb, uuid, text) is 'run or cancel: what an option says of one parent.';

create or replace function translation_private.check_after_failure(p_options jsonb, p_parents uuid[], p_names text[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_said jsonb := p_options -> 'after_failure';
  v_unknown text;
begin
  if v_said is null or v_said in ('"run"', '"cancel"') then
    return;
  end if;
  if jsonb_typeof(v_said) <> 'object' or exists (select from jsonb_each(v_said) as e where e.value not in ('"run"', '"cancel"')) then
    perform translation_private.refuse(422, 'option_invalid',
      'after_failure is run or cancel, or an object that says one of them for each parent it names.');
  end if;
  select key into v_unknown from jsonb_object_keys(v_said) as key
  where key <> all (coalesce(p_parents::text[], '{}')) and key <> all (array_remove(coalesce(p_names, '{}'), null)) limit 1;
  if found then
    perform translation_private.refuse(422, 'option_invalid',
      format('after_failure names %s, which is no parent of this job.', left(v_unknown, 60)));
  end if;
end $$;
comment on function translation_private.check_after_failure(jsonb, uuid[], text[]) is 'Refuses an option after_failure that says nothing of the parents.';

-- Parents a new job waits for: locked against ending until we are committed, in id order.
create or replace function translation_private.check_parents(
  p_parents uuid[], p_user_id uuid, p_by_user boolean, p_options jsonb, p_names text[]) returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_parent record;
  v_seen int := 0;
  v_waits boolean := false;
begin
  if coalesce(cardinality(p_parents), 0) = 0 then
    return false;
  elsif cardinality(p_parents) > 1000 then
    perform translation_private.refuse(422, 'parents_too_many', 'A job may wait for 1000 others at most.');
  end if;
  for v_parent in
    select id, status from public.translation_jobs
    where id = any (p_parents) and (not p_by_user or user_id = p_user_id)
    order by id for share
  loop
    v_seen := v_seen + 1;
    if v_parent.status in ('failed', 'cancelled')
       and translation_private.after_failure(p_options, v_parent.id, p_names[array_position(p_parents, v_parent.id)]) = 'cancel' then
      perform translation_private.refuse(409, 'parent_failed', 'A job named in p_after has failed or was cancelled: retry that one first.');
    end if;
    v_waits := v_waits or v_parent.status not in ('completed', 'failed', 'cancelled');
  end loop;
  if v_seen <> (select count(distinct p) from unnest(p_parents) as p) then
    perform translation_private.refuse(404, 'parent_not_found', 'A job named in p_after does not exist.');
  end if;
  return v_waits;
end $$;
comment on function translation_private.check_parents(uuid[], uuid, boolean, jsonb, text[]) is 'Locks the parents of a new job and says whether it has to wait for them.';

create or replace function translation_private.without_content(p_job public.translation_jobs) returns public.translation_jobs
language plpgsql immutable set search_path = ''
as $$
begin
  p_job.content := null;
  p_job.request_hash := null;
  return p_job;
end $$;
comment on function translation_private.without_content(public.translation_jobs) is 'A job row as it travels: the source stays behind.';

create or replace function translation_private.add_job(
  p_by_user boolean, p_user_id uuid, p_job_type text, p_content jsonb, p_items text[], p_source_language text,
  p_content_kind text, p_priority int, p_options jsonb, p_idempotency_key text, p_run_at timestamptz,
  p_correlation_id text, p_subject text, p_title text, p_metadata jsonb, p_after uuid[], p_retry_of uuid default null,
  p_after_names text[] default null
) returns public.translation_jobs
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_type public.translation_job_types;
  v_job public.translation_jobs;
  v_items text[] := p_items;
  v_options jsonb := coalesce(p_options, '{}');
  v_waits boolean;
  v_total bigint;
  v_prices int[];
begin
  select * into v_type from public.translation_job_types where name = p_job_type;
  if not found then
    perform translation_private.refuse(422, 'job_type_unknown', format('There is no job type %s: the types are in translation_job_types.', coalesce(left(p_job_type, 60), 'null')));
  elsif not v_type.enabled then
    perform translation_private.refuse(422, 'job_type_disabled', format('Job type %s is switched off at the moment.', v_type.name));
  elsif p_by_user and not v_type.user_may_enqueue then
    perform translation_private.refuse(422, 'job_type_unknown', format('Users may not create jobs of type %s.', v_type.name));
  end if;
  v_job.content_chars := translation_private.check_content(p_job_type, p_content, p_content_kind);
  if p_job_type = 'translation' then
    v_items := translation_private.check_languages(p_source_language, p_items);
    v_job.source_language := translation_private.canonical_language(p_source_language);
    v_job.target_languages := v_items;
  else
    v_items := coalesce(p_items, array['run']);
    if cardinality(v_items) not between 1 and 200 or exists (
      select from unnest(v_items) as item group by item having count(*) > 1 or item is null or char_length(item) not between 1 and 200
    ) then
      perform translation_private.refuse(422, 'items_invalid', 'Name 1 to 200 different items of 1 to 200 characters.');
    end if;
  end if;
  perform translation_private.check_options(p_job_type, v_options);
  perform translation_private.check_kind(p_job_type, p_content, v_items, v_options);
  perform translation_private.check_after_failure(v_options, p_after, p_after_names);
  if coalesce(p_priority, v_type.default_priority) not between 1 and (case when p_by_user then v_type.user_max_priority else 10 end)
     and p_priority is not null then
    perform translation_private.refuse(422, 'priority_out_of_range', format('p_priority is a number from 1 to %s.', case when p_by_user then v_type.user_max_priority else 10 end));
  end if;
  if p_run_at > v_now + interval '1 year' or p_run_at = '-infinity' then
    perform translation_private.refuse(422, 'run_at_too_far', 'p_run_at may be a year ahead at most.');
  end if;
  if char_length(p_subject) > 200 or char_length(p_title) > 200 or char_length(p_correlation_id) > 200
     or char_length(p_idempotency_key) not between 1 and 200 then
    perform translation_private.refuse(422, 'text_too_long', 'p_subject, p_title, p_correlation_id and p_idempotency_key may have 200 characters at most.');
  end if;
  if jsonb_typeof(coalesce(p_metadata, '{}')) <> 'object' or octet_length(p_metadata::text) > 16384 then
    perform translation_private.refuse(422, 'metadata_invalid', 'p_metadata is a JSON object of 16 kB at most.');
  end if;

  if p_user_id is not null or p_idempotency_key is not null then
    perform pg_advisory_xact_lock(hashtextextended('translation ' || coalesce(p_user_id::text, p_idempotency_key), 0));
  end if;
  if p_idempotency_key is not null then
    v_job.request_hash := sha256(convert_to(jsonb_build_array(
      p_job_type, p_content_kind, p_content, v_items, v_job.source_language, v_options)::text, 'UTF8'));
    declare
      v_same public.translation_jobs;
    begin
      if p_user_id is null then  -- apart, because IS NOT DISTINCT FROM cannot use an index
        select * into v_same from public.translation_jobs where user_id is null and idempotency_key = p_idempotency_key;
      else
        select * into v_same from public.translation_jobs where user_id = p_user_id and idempotency_key = p_idempotency_key;
      end if;
      if found then
        if v_same.request_hash is distinct from v_job.request_hash then
          perform translation_private.refuse(409, 'idempotency_conflict',
            'This idempotency key was used for another request: send the same request again, or use a new key.');
        end if;
        return translation_private.without_content(v_same);
      end if;
    end;
  end if;
  if p_by_user then
    perform translation_private.check_pace(p_user_id, v_type);
  end if;
  v_waits := translation_private.check_parents(p_after, p_user_id, p_by_user, v_options, p_after_names);

  v_job.turn_cost := greatest(1, ceil(v_job.content_chars * cardinality(v_items) / 1000.0))::bigint;
  if v_waits then
    v_job.status := 'blocked';
  elsif p_run_at > v_now then
    v_job.status := 'scheduled';
  else
    v_job.status := 'pending';
    v_job.turn := translation_private.next_turn(p_user_id, v_job.turn_cost);
    v_job.ready_at := v_now;
  end if;

  if p_user_id is not null then
    select array_agg(greatest(coalesce(public.price_translation_item(p_job_type, p_content_kind, v_job.content_chars, item, v_options), 0), 0) order by n)
    into v_prices from unnest(v_items) with ordinality as i (item, n);
    select sum(price) into v_total from unnest(v_prices) as price;
    if v_total > 1000000000 or (v_total > 0 and not public.hold_translation_balance(p_user_id, v_total::int)) then
      perform translation_private.refuse(402, 'credits_short', format('This costs %s credits, more than the balance holds.', v_total));
    end if;
  end if;

  insert into public.translation_jobs as j (
    user_id, subject, title, metadata, job_type, status, priority, turn, turn_cost, content_kind, content, content_chars,
    source_language, target_languages, options, max_attempts, run_at, ready_at, deadline_at, credits_reserved,
    correlation_id, idempotency_key, request_hash, retry_of, revision, created_at, updated_at)
  values (
    p_user_id, p_subject, p_title, coalesce(p_metadata, '{}'), p_job_type, v_job.status, coalesce(p_priority, v_type.default_priority),
    v_job.turn, v_job.turn_cost, p_content_kind, p_content, v_job.content_chars,
    v_job.source_language, v_job.target_languages, v_options, v_type.max_attempts, p_run_at, v_job.ready_at,
    greatest(p_run_at, v_now) + interval '24 hours', coalesce(v_total, 0),
    p_correlation_id, p_idempotency_key, v_job.request_hash, p_retry_of, 1, v_now, v_now)
  returning * into v_job;
  insert into public.translation_job_items (job_id, item, position, user_id, price, credits)
  select v_job.id, item, n, p_user_id, coalesce(v_prices[n], 0), coalesce(v_prices[n], 0)
  from unnest(v_items) with ordinality as i (item, n);
  insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
  select p_user_id, v_job.id, item, 'reserve', v_prices[n], v_now
  from unnest(v_items) with ordinality as i (item, n) where v_prices[n] > 0;
  insert into public.translation_job_dependencies (child_id, parent_id, after_failure, name)
  select distinct on (a.parent) v_job.id, a.parent, translation_private.after_failure(v_options, a.parent, a.name), a.name
  from unnest(p_after, p_after_names) as a (parent, name) where a.parent is not null order by a.parent;
  perform translation_private.add_invalidation(v_job);
  return translation_private.without_content(v_job);
end $$;
comment on function translation_private.add_job(boolean, uuid, text, jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[], uuid, text[]) is
  'The one way a job is made: checks, price and reservation, items, dependencies, in one transaction.';

create or replace function translation_private.create_job(
  p_content jsonb, p_target_languages text[], p_source_language text, p_content_kind text, p_priority int, p_options jsonb,
  p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text, p_metadata jsonb, p_after uuid[]
) returns public.translation_jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
begin
  if v_user is not null and not exists (select from auth.users where id = v_user) then
    perform translation_private.refuse(401, 'sign_in_required', 'This account was deleted: sign in again.');
  end if;
  return translation_private.add_job(
    v_user is not null, v_user, 'translation', p_content, p_target_languages, p_source_language, p_content_kind, p_priority, p_options,
    p_idempotency_key, p_run_at, p_correlation_id, p_subject, p_title, p_metadata, p_after);
end $$;
comment on function translation_private.create_job(jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[]) is
  'Definer, because users have no write grant on any table: the user is taken from the token, never from an argument.';

create or replace function public.create_translation_job(
  p_content jsonb, p_target_languages text[], p_source_language text default null, p_content_kind text default 'text',
  p_priority int default null, p_options jsonb default '{}', p_idempotency_key text default null, p_run_at timestamptz default null,
  p_correlation_id text default null, p_subject text default null, p_title text default null, p_metadata jsonb default '{}',
  p_after uuid[] default null
) returns public.translation_jobs
language sql set search_path = ''
as $$
  select translation_private.create_job(
    p_content, p_target_languages, p_source_language, p_content_kind, p_priority, p_options, p_idempotency_key, p_run_at,
    p_correlation_id, p_subject, p_title, p_metadata, p_after)
$$;
comment on function public.create_translation_job(jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[]) is
  'Translate p_content into p_target_languages. Returns the job; the same idempotency key returns the same job.';

create or replace function public.enqueue_translation_job(
  p_job_type text, p_content jsonb, p_items text[] default null, p_user_id uuid default null, p_source_language text default null,
  p_content_kind text default 'text', p_priority int default null, p_options jsonb default '{}', p_idempotency_key text default null,
  p_run_at timestamptz default null, p_correlation_id text default null, p_subject text default null, p_title text default null,
  p_metadata jsonb default '{}', p_after uuid[] default null
) returns public.translation_jobs
language sql set search_path = ''
as $$
  select translation_private.add_job(
    false, p_user_id, p_job_type, p_content, p_items, p_source_language, p_content_kind, p_priority, p_options, p_idempotency_key,
    p_run_at, p_correlation_id, p_subject, p_title, p_metadata, p_after)
$$;
comment on function public.enqueue_translation_job(text, jsonb, text[], uuid, text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[]) is
  'The owner''s side: a job of any type, for a user (priced and reserved as create does) or for nobody.';

-- What a job would cost, before it is made.
create or replace function translation_private.preview_price(
  p_content jsonb, p_target_languages text[], p_source_language text, p_content_kind text, p_options jsonb) returns jsonb
language plpgsql stable security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
  v_chars int := translation_private.check_content('translation', p_content, p_content_kind);
  v_items text[] := translation_private.check_languages(p_source_language, p_target_languages);
  v_prices jsonb;
  v_total bigint;
begin
  perform translation_private.check_options('translation', coalesce(p_options, '{}'));
  select jsonb_object_agg(item, price), sum(price) into v_prices, v_total
  from unnest(v_items) as item,
    lateral (select coalesce(public.price_translation_item('translation', p_content_kind, v_chars, item, coalesce(p_options, '{}')), 0) as price) as p;
  return jsonb_build_object('chars', v_chars, 'items', v_prices, 'total', v_total,
    'balance', coalesce((select balance from public.translation_credits where user_id = v_user), 0));
end $$;
comment on function translation_private.preview_price(jsonb, text[], text, text, jsonb) is 'Definer: prices are not readable by users as a table.';
create or replace function public.preview_translation_price(
  p_content jsonb, p_target_languages text[], p_source_language text default null, p_content_kind text default 'text',
  p_options jsonb default '{}') returns jsonb
language sql stable set search_path = ''
as $$ select translation_private.preview_price(p_content, p_target_languages, p_source_language, p_content_kind, p_options) $$;
comment on function public.preview_translation_price(jsonb, text[], text, text, jsonb) is
  'What a job would cost at most: {chars, items: {language: credits}, total, balance}. Refuses what create would refuse.';

-- A row typed into the table editor works like a job made by a call, except that it is not priced.
create or replace function translation_private.complete_typed_job() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  if new.status <> 'pending' then
    perform translation_private.refuse(409, 'status_by_hand', 'A new row starts as pending: leave status at its default.');
  end if;
  new.content_chars := translation_private.check_content(new.job_type, new.content, new.content_kind);
  if new.job_type = 'translation' then
    new.target_languages := translation_private.check_languages(new.source_language, new.target_languages);
    new.source_language := translation_private.canonical_language(new.source_language);
  end if;
  perform translation_private.check_options(new.job_type, new.options);
  perform translation_private.check_kind(new.job_type, new.content, coalesce(new.target_languages, array['run']), new.options);
  new.credits_reserved := 0;
  new.credits_consumed := 0;
  new.credits_refunded := 0;
  new.turn_cost := greatest(1, ceil(new.content_chars * coalesce(cardinality(new.target_languages), 1) / 1000.0))::bigint;
  new.deadline_at := coalesce(new.deadline_at, greatest(new.run_at, v_now) + interval '24 hours');
  new.max_attempts := coalesce((select max_attempts from public.translation_job_types where name = new.job_type), new.max_attempts);
  if new.run_at > v_now then
    new.status := 'scheduled';
  else
    new.turn := translation_private.next_turn(new.user_id, new.turn_cost);
    new.ready_at := v_now;
  end if;
  return new;
end $$;
comment on function translation_private.complete_typed_job() is 'Fills in what a hand-typed row leaves open.';
create or replace trigger translation_jobs_typed
  before insert on public.translation_jobs for each row when (new.revision = 0)
  execute function translation_private.complete_typed_job();

create or replace function translation_private.add_typed_items() returns trigger
language plpgsql set search_path = ''
as $$
begin
  insert into public.translation_job_items (job_id, item, position, user_id)
  select new.id, item, n, new.user_id
  from unnest(coalesce(new.target_languages, array['run'])) with ordinality as i (item, n);
  perform translation_private.add_invalidation(new);
  return null;
end $$;
comment on function translation_private.add_typed_items() is 'Makes the items of a hand-typed row.';
create or replace trigger translation_jobs_typed_items
  after insert on public.translation_jobs for each row when (new.revision = 0)
  execute function translation_private.add_typed_items();

create or replace function translation_private.refuse_status_edit() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.refuse(409, 'status_by_hand',
    'A job''s status is not edited by hand: call cancel_translation_job(id), or retry_translation_job(id) once it has ended.');
  return null;
end $$;
comment on function translation_private.refuse_status_edit() is 'Editing status by hand would bypass the ledger.';
create or replace trigger translation_jobs_status_by_hand
  before update of status on public.translation_jobs for each row
  when (old.status is distinct from new.status and old.revision = new.revision)
  execute function translation_private.refuse_status_edit();
