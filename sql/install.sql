-- supabase-realtime-worker: the database side, in one script.
--
-- Paste it into the SQL editor of your Supabase project and run it. It is one transaction: all of it or
-- nothing. Run it again at any time; running a newer one is the upgrade. Generated from the numbered files
-- of the project's sql/ folder by scripts/build-sql; change those, not this.

begin;

-- ======== 00_schema

-- 00_schema: the house number.
--
-- Purpose: one private schema for everything the API must not expose, and the version of this script.
-- Callers: every other file. Nothing here takes a lock worth naming.
-- Runs as: role `postgres` of a Supabase project (not a superuser), in the SQL editor.

create schema if not exists translation_private;
comment on schema translation_private is
  'Inner parts of the translation queue. Never add it to the exposed schemas of the Data API.';
revoke all on schema translation_private from public;

-- The worker refuses a database whose version is lower than the one it was built for.
create or replace function translation_private.schema_version() returns int
language sql immutable set search_path = ''
as $$ select 1 $$;
comment on function translation_private.schema_version() is 'Version of the installed script. Workers read it from every heartbeat.';

-- A refusal: SQLSTATE is the HTTP status (PT404 is 404), detail starts with a stable word that clients
-- match, message is a sentence that says what is allowed. Never class 40: PostgREST before 16 would
-- run the transaction again without end. And the message is one line of bounded length, whatever it
-- quotes: PostgREST writes it into the status line of its answer, where a line break would begin a header.
create or replace function translation_private.refuse(p_status int, p_word text, p_message text, p_hint text default null)
returns void language plpgsql set search_path = ''
as $$
begin
  raise exception using
    errcode = 'PT' || p_status,
    message = left(regexp_replace(p_message, '[[:cntrl:]]+', ' ', 'g'), 1000),
    detail = p_word,
    hint = coalesce(p_hint, '');
end $$;
comment on function translation_private.refuse(int, text, text, text) is
  'Raises a refusal: HTTP status, stable word, one sentence that says what is allowed.';

-- Who is asking: a signed-in user's id; null for the owner's side (service_role, cron, the SQL editor),
-- which may act on any job. A token of a client role without a subject is nobody, not the owner.
create or replace function translation_private.caller() returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_role text := coalesce((select auth.role()), '');
  v_user uuid := (select auth.uid());
begin
  if v_role in ('anon', 'authenticated') then
    if v_user is null or v_role = 'anon' then
      perform translation_private.refuse(401, 'sign_in_required', 'Sign in first: jobs belong to a user.');
    end if;
    return v_user;
  end if;
  return null;
end $$;
comment on function translation_private.caller() is
  'The signed-in user, or null for service_role, cron and the SQL editor. Raises 401 for a client without a user.';

-- ======== 00_upgrade

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

-- ======== 01_clock

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

-- ======== 02_jobs

-- 02_jobs: kinds of job, jobs, what waits for what, who holds a job, who tried it.
--
--                    ┌──────────── retrying ◄──────────┐ run_at, by promotion
--                    ▼                                 │
--   scheduled ──► pending ──claim──► processing ──record──► completed | failed
--                    ▲  ▲               │  │
--   blocked ─────────┘  └─release/rescue┘  └──cancel (from any of these)──► cancelled
--
-- Locks, everywhere in this script and always in this order: jobs by id, claims, items, balances, ledger.
-- Finished rows leave every index that a claim reads: all of them are partial on live states.

create table if not exists public.translation_job_types (
  name                 text primary key check (name ~ '^[a-z][a-z0-9_]{0,62}$'),
  price                int not null default 0 check (price between 0 and 1000000),
  max_attempts         int not null default 3 check (max_attempts between 1 and 20),
  item_timeout_seconds int not null default 300 check (item_timeout_seconds between 1 and 86400),
  default_priority     int not null default 5 check (default_priority between 1 and 10),
  user_max_priority    int not null default 5 check (user_max_priority between 1 and 10),
  user_may_enqueue     boolean not null default false,
  creates_per_minute   int not null default 120 check (creates_per_minute between 1 and 100000),
  max_waiting_per_user int not null default 1000 check (max_waiting_per_user between 1 and 1000000),
  enabled              boolean not null default true,
  description          text,
  retention_days       int not null default 90 constraint translation_job_types_retention_days_check check (retention_days between 0 and 36500)
);
alter table public.translation_job_types
  add column if not exists retention_days int not null default 90
    constraint translation_job_types_retention_days_check check (retention_days between 0 and 36500);
comment on table public.translation_job_types is
  'A kind of job. To charge for translations: update translation_job_types set price = 1 where name = ''translation''.';
comment on column public.translation_job_types.name is 'What a job says in job_type, and what a worker names in JOB_TYPES.';
comment on column public.translation_job_types.price is 'Credits for one item (one language). 0, as shipped: no balance is needed and nothing is written to the ledger.';
comment on column public.translation_job_types.max_attempts is 'Counted tries of one item, the first one included.';
comment on column public.translation_job_types.item_timeout_seconds is 'How long one item may take before the worker ends it.';
comment on column public.translation_job_types.default_priority is 'Priority of a job that names none. 10 is first.';
comment on column public.translation_job_types.user_max_priority is 'The highest priority a signed-in user may ask for.';
comment on column public.translation_job_types.user_may_enqueue is 'Whether signed-in users may create jobs of this kind themselves.';
comment on column public.translation_job_types.creates_per_minute is 'Jobs one user may create a minute; half of it at once.';
comment on column public.translation_job_types.max_waiting_per_user is 'Unfinished jobs one user may have.';
comment on column public.translation_job_types.enabled is 'Off: new jobs of this kind are refused. Jobs that exist go on.';
comment on column public.translation_job_types.description is 'For people.';
comment on column public.translation_job_types.retention_days is
  'Jobs of this kind are deleted so many days after their end; 0: never. Ledger, balances and statistics stay.';

insert into public.translation_job_types (name, item_timeout_seconds, user_may_enqueue, description) values
  ('translation', 3600, true, 'Text, Markdown or JSON into several languages; one item a language.'),
  ('sql_functions', 60, false, 'Named SQL functions, side by side; one item a function.'),
  ('http', 300, false, 'Calls to allow-listed endpoints; one item a call.')
on conflict (name) do nothing;

create table if not exists public.translation_jobs (
  id                uuid primary key default gen_random_uuid(),
  seq               bigint generated always as identity,
  user_id           uuid references auth.users (id) on delete cascade,
  subject           text check (char_length(subject) <= 200),
  title             text check (char_length(title) <= 200),
  metadata          jsonb not null default '{}',
  job_type          text not null default 'translation' references public.translation_job_types (name),
  status            text not null default 'pending' check (status in
                      ('pending', 'scheduled', 'blocked', 'processing', 'retrying', 'completed', 'failed', 'cancelled')),
  priority          int not null default 5 check (priority between 1 and 10),
  turn              bigint,
  turn_cost         bigint not null default 1 check (turn_cost > 0),
  content_kind      text not null default 'text' check (content_kind in ('text', 'markdown', 'html', 'json')),
  content           jsonb,
  content_chars     int not null default 0,
  source_language   text,
  target_languages  text[],
  options           jsonb not null default '{}',
  progress          int not null default 0 check (progress between 0 and 100),
  progress_message  text,
  eta_at            timestamptz,
  attempts          int not null default 0,
  max_attempts      int not null default 3,
  deliveries        int not null default 0,
  lost_count        int not null default 0,
  run_at            timestamptz,
  ready_at          timestamptz,
  deadline_at       timestamptz,
  failed_items      int not null default 0,
  credits_reserved  int not null default 0,
  credits_consumed  int not null default 0,
  credits_refunded  int not null default 0,
  error             jsonb,
  worker_id         text,
  found_by          text check (found_by in ('changes', 'broadcast', 'catch_up', 'timer', 'poll')),
  correlation_id    text check (char_length(correlation_id) <= 200),
  idempotency_key   text check (char_length(idempotency_key) between 1 and 200),
  request_hash      bytea,
  retry_of          uuid,
  revision          int not null default 0,
  created_at        timestamptz not null default now(),
  updated_at        timestamptz not null default now(),
  started_at        timestamptz,
  completed_at      timestamptz,
  cancelled_at      timestamptz,
  -- The sum rule: what was reserved is used, given back, or still open; and nothing stays open at the end.
  constraint translation_jobs_money_adds_up check (
    credits_consumed >= 0 and credits_refunded >= 0 and credits_consumed + credits_refunded <= credits_reserved),
  constraint translation_jobs_nothing_open_at_the_end check (
    status not in ('completed', 'failed', 'cancelled') or credits_consumed + credits_refunded = credits_reserved),
  constraint translation_jobs_pending_has_a_turn check (status <> 'pending' or turn is not null)
) with (
  -- Room on the page keeps a progress write HOT; the rest keeps vacuum close behind a busy queue.
  fillfactor = 75,
  autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off
);
comment on table public.translation_jobs is
  'A job: the queue, and what its user watches live. Read it under RLS; write it only through the procedures.';
comment on column public.translation_jobs.id is 'Public name of the job.';
comment on column public.translation_jobs.seq is 'Order of creation. Never changes; lists page by it.';
comment on column public.translation_jobs.user_id is 'Whose job it is. Null: the project''s own.';
comment on column public.translation_jobs.subject is 'What of the owner''s it is about, e.g. card:42.';
comment on column public.translation_jobs.title is 'What people see in lists.';
comment on column public.translation_jobs.metadata is 'Anything the owner wants to keep with the job.';
comment on column public.translation_jobs.job_type is 'Kind of job: translation_job_types.name.';
comment on column public.translation_jobs.status is 'pending, scheduled, blocked, processing, retrying; at the end completed (failed_items > 0: partly), failed or cancelled.';
comment on column public.translation_jobs.priority is '1 to 10, 10 first, strictly.';
comment on column public.translation_jobs.turn is 'Place in the fair order within one priority, stamped when the job becomes pending.';
comment on column public.translation_jobs.turn_cost is 'How far this job moves its user''s next turn: thousands of characters times items.';
comment on column public.translation_jobs.content_kind is 'text, markdown, html or json.';
comment on column public.translation_jobs.content is 'The source. Lists leave it out; read it with get_translation_source.';
comment on column public.translation_jobs.content_chars is 'Characters of the source that are text.';
comment on column public.translation_jobs.source_language is 'BCP 47; null: to be detected.';
comment on column public.translation_jobs.target_languages is 'BCP 47, one item each; null for other kinds of job.';
comment on column public.translation_jobs.options is 'Options of this kind of job.';
comment on column public.translation_jobs.progress is 'Percent, by source characters.';
comment on column public.translation_jobs.progress_message is 'What the worker says it is doing.';
comment on column public.translation_jobs.eta_at is 'When the worker expects to be done.';
comment on column public.translation_jobs.attempts is 'Counted tries: those of the item that needed most.';
comment on column public.translation_jobs.max_attempts is 'Counted tries an item may have.';
comment on column public.translation_jobs.deliveries is 'How often a worker claimed it, counted or not.';
comment on column public.translation_jobs.lost_count is 'Claims that ran out with nothing done. At 3 the job''s open items fail.';
comment on column public.translation_jobs.run_at is 'Not before this time (scheduled, retrying).';
comment on column public.translation_jobs.ready_at is 'When it last became claimable.';
comment on column public.translation_jobs.deadline_at is 'After this a throttled item is not tried again.';
comment on column public.translation_jobs.failed_items is 'Items that failed for good.';
comment on column public.translation_jobs.credits_reserved is 'Taken from the balance at creation = consumed + refunded + open.';
comment on column public.translation_jobs.credits_consumed is 'Charged for finished items.';
comment on column public.translation_jobs.credits_refunded is 'Given back.';
comment on column public.translation_jobs.error is '{class, message} of the first item that failed.';
comment on column public.translation_jobs.worker_id is 'Who works, or last worked, on it.';
comment on column public.translation_jobs.found_by is 'How the worker heard of it: changes, broadcast, catch_up, timer, poll.';
comment on column public.translation_jobs.correlation_id is 'The caller''s own id, on every log line of the job.';
comment on column public.translation_jobs.idempotency_key is 'Unique for its user until the job is purged.';
comment on column public.translation_jobs.request_hash is 'What the idempotency key stands for.';
comment on column public.translation_jobs.retry_of is 'The job whose failed items this one repeats.';
comment on column public.translation_jobs.revision is 'Changes of status by the procedures. A status that changes without it was edited by hand, and is refused.';
comment on column public.translation_jobs.created_at is 'When it was created.';
comment on column public.translation_jobs.updated_at is 'Last change of the row.';
comment on column public.translation_jobs.started_at is 'First claim.';
comment on column public.translation_jobs.completed_at is 'When it ended, in whichever state.';
comment on column public.translation_jobs.cancelled_at is 'When it was cancelled.';

-- A change of status is never HOT: it writes into every index that covers the row afterwards. So few indexes cover a
-- job that runs: its two keys, and two by status from which lists are put together. What else lists need covers ended
-- jobs only. The one on seq serves only who says seq > 0, as the overview does: the planner would rather walk along it,
-- past a million others, than find the few that a list asks for.
-- The index is the ORDER BY of the claim, type by type; nothing else may tempt the planner there.
create index if not exists translation_jobs_claim on public.translation_jobs (job_type, priority desc, turn, seq)
  where status = 'pending';
create index if not exists translation_jobs_due on public.translation_jobs (job_type, run_at)
  where status in ('scheduled', 'retrying');
-- Not pending alone: while nothing waits the statistics call both empty, and the planner would take either.
create index if not exists translation_jobs_last_turn on public.translation_jobs (user_id, turn)
  where status in ('pending', 'retrying');
create unique index if not exists translation_jobs_in_order on public.translation_jobs (seq) where seq > 0;
create index if not exists translation_jobs_by_type on public.translation_jobs (job_type, status, seq);
create index if not exists translation_jobs_by_user on public.translation_jobs (user_id, status, job_type, seq);
create index if not exists translation_jobs_by_subject on public.translation_jobs (subject, user_id, seq desc)
  where subject is not null and status in ('completed', 'failed', 'cancelled');
create index if not exists translation_jobs_by_time on public.translation_jobs (user_id, created_at desc)
  where status in ('completed', 'failed', 'cancelled');
create index if not exists translation_jobs_ended on public.translation_jobs (completed_at) where completed_at is not null;
create unique index if not exists translation_jobs_idempotency on public.translation_jobs (user_id, idempotency_key)
  nulls not distinct where idempotency_key is not null;
create unique index if not exists translation_jobs_retry_of on public.translation_jobs (retry_of) where retry_of is not null;
-- Of earlier versions of this script.
drop index if exists public.translation_jobs_live, public.translation_jobs_seq, public.translation_jobs_of_user,
  public.translation_jobs_of_user_by_status, public.translation_jobs_of_user_by_subject,
  public.translation_jobs_of_user_by_type, public.translation_jobs_of_user_by_time;

create table if not exists public.translation_job_dependencies (
  child_id      uuid not null references public.translation_jobs (id) on delete cascade,
  parent_id     uuid not null references public.translation_jobs (id) on delete cascade,
  after_failure text not null default 'cancel' check (after_failure in ('cancel', 'run')),
  name          text,
  primary key (child_id, parent_id),
  check (child_id <> parent_id)
);
alter table public.translation_job_dependencies add column if not exists name text;
create index if not exists translation_job_dependencies_of_parent on public.translation_job_dependencies (parent_id);
comment on table public.translation_job_dependencies is 'A job that waits for another one.';
comment on column public.translation_job_dependencies.child_id is 'The job that waits.';
comment on column public.translation_job_dependencies.parent_id is 'The job it waits for.';
comment on column public.translation_job_dependencies.after_failure is 'When the parent fails or is cancelled: cancel the child, or run it anyway.';
comment on column public.translation_job_dependencies.name is 'What a chain called the parent; null where it was named by its id.';

create sequence if not exists translation_private.claim_token;
comment on sequence translation_private.claim_token is 'Fencing tokens: each claim gets a higher one.';
create sequence if not exists translation_private.served_turn;
comment on sequence translation_private.served_turn is 'The highest turn claimed so far: virtual time of the fair order, without a hot row.';

create table if not exists public.translation_job_claims (
  job_id      uuid primary key references public.translation_jobs (id) on delete cascade,
  token       bigint not null,
  claim_id    uuid not null,
  worker_id   text not null,
  claimed_at  timestamptz not null,
  lease_until timestamptz not null,
  progressed  boolean not null default false
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
drop index if exists public.translation_job_claims_of_call;  -- of earlier versions; translation_job_attempts has it
comment on table public.translation_job_claims is
  'Who holds which job now. Holding the row is holding the job. Server only, on purpose without a policy: browsers never see a token.';
comment on column public.translation_job_claims.job_id is 'The job that is held.';
comment on column public.translation_job_claims.token is 'Fencing token; every write of the worker carries it.';
comment on column public.translation_job_claims.claim_id is 'The call that claimed it; the same call repeated gets the same jobs.';
comment on column public.translation_job_claims.worker_id is 'Who holds it.';
comment on column public.translation_job_claims.claimed_at is 'Since when.';
comment on column public.translation_job_claims.lease_until is 'When the hold runs out unless renewed. In no index, so that a renewal stays HOT.';
comment on column public.translation_job_claims.progressed is 'Whether anything was done since the claim.';

create table if not exists public.translation_job_attempts (
  job_id     uuid not null references public.translation_jobs (id) on delete cascade,
  token      bigint not null,
  delivery   int not null,
  worker_id  text not null,
  claim_id   uuid not null,
  found_by   text not null,
  found_ms   int not null,
  started_at timestamptz not null,
  ended_at   timestamptz,
  outcome    text check (outcome in ('completed', 'failed', 'retrying', 'released', 'lost', 'cancelled')),
  error      jsonb,
  primary key (job_id, token)
) with (fillfactor = 85);
create index if not exists translation_job_attempts_of_call on public.translation_job_attempts (claim_id);
comment on table public.translation_job_attempts is 'One try of a job by one worker: the timeline of a job.';
comment on column public.translation_job_attempts.job_id is 'The job.';
comment on column public.translation_job_attempts.token is 'Token of the claim.';
comment on column public.translation_job_attempts.delivery is 'The how manieth claim of the job this was.';
comment on column public.translation_job_attempts.worker_id is 'Who tried.';
comment on column public.translation_job_attempts.claim_id is 'The call that claimed it.';
comment on column public.translation_job_attempts.found_by is 'How the worker heard of the job.';
comment on column public.translation_job_attempts.found_ms is 'Milliseconds from claimable to claimed.';
comment on column public.translation_job_attempts.started_at is 'When it was claimed.';
comment on column public.translation_job_attempts.ended_at is 'When the try ended; null while it runs.';
comment on column public.translation_job_attempts.outcome is 'completed, failed, retrying, released, lost (lease ran out) or cancelled.';
comment on column public.translation_job_attempts.error is '{class, message} of the first item that failed in it.';

-- ======== 03_items

-- 03_items: what a job consists of, and what it has learned.
--
-- An item is one language of a translation, or one step of another kind of job. Items are the truth; the
-- job row is their summary. Items are not published to Realtime: a browser watches the job row.

create table if not exists public.translation_job_items (
  job_id         uuid not null references public.translation_jobs (id) on delete cascade,
  item           text not null check (char_length(item) between 1 and 200),
  position       int not null,
  user_id        uuid,
  status         text not null default 'pending' check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  attempts       int not null default 0,
  result         jsonb,
  warnings       jsonb not null default '[]',
  error          jsonb,
  price          int not null default 0 check (price >= 0),
  credits        int not null default 0,
  chunks_done    int not null default 0,
  chunks_total   int not null default 0,
  retry_at       timestamptz,
  recorded_token bigint,
  started_at     timestamptz,
  completed_at   timestamptz,
  progress       int not null default 0 constraint translation_job_items_progress_check check (progress between 0 and 100),
  eta_at         timestamptz,
  primary key (job_id, item),
  constraint translation_job_items_credits_within_price check (credits between 0 and price)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
alter table public.translation_job_items
  add column if not exists progress int not null default 0 constraint translation_job_items_progress_check check (progress between 0 and 100),
  add column if not exists eta_at timestamptz;
comment on table public.translation_job_items is 'One language of a job, or one step of another kind of job: the truth about what a job consists of.';
comment on column public.translation_job_items.job_id is 'The job.';
comment on column public.translation_job_items.item is 'The language, or the name of the step.';
comment on column public.translation_job_items.position is 'Order in which the user named the items.';
comment on column public.translation_job_items.user_id is 'Whose job it is; what row level security compares.';
comment on column public.translation_job_items.status is 'pending, processing, completed, failed or cancelled.';
comment on column public.translation_job_items.attempts is 'Counted tries so far.';
comment on column public.translation_job_items.result is '{content, provider, simulated, cached_chars, source_language}.';
comment on column public.translation_job_items.warnings is '[{code, message}]: what the checks noticed.';
comment on column public.translation_job_items.error is '{class, message} of the last failed try.';
comment on column public.translation_job_items.price is 'Credits reserved for it.';
comment on column public.translation_job_items.credits is 'While open what is reserved; at the end what was charged.';
comment on column public.translation_job_items.chunks_done is 'Chunks finished.';
comment on column public.translation_job_items.chunks_total is 'Chunks in all.';
comment on column public.translation_job_items.retry_at is 'An open item that failed is not handed out before this time.';
comment on column public.translation_job_items.recorded_token is 'Claim under which its last outcome was recorded: answers a repeated call.';
comment on column public.translation_job_items.started_at is 'First sign of work.';
comment on column public.translation_job_items.completed_at is 'When it ended, in whichever state.';
comment on column public.translation_job_items.progress is 'Percent of its characters that are done; 100 only when it is completed, 0 again when it has to be tried again.';
comment on column public.translation_job_items.eta_at is 'When the worker expects it to be done; of no meaning unless it is processing.';

create table if not exists public.translation_memory (
  id              bigint generated always as identity primary key,
  user_id         uuid references auth.users (id) on delete cascade,
  key             text not null check (char_length(key) = 64 and key !~ '[^0-9a-f]'),  -- a counted repetition takes ten times as long
  target_language text not null,
  target          text not null,
  origin_job      uuid not null,
  origin_item     text not null,
  created_at      timestamptz not null default now()
);
do $do$
begin
  if exists (
    select from pg_catalog.pg_constraint k
    where k.conrelid = 'public.translation_memory'::regclass and k.conname = 'translation_memory_key_check'
      and pg_catalog.pg_get_constraintdef(k.oid) like '%{64}%'
  ) then  -- the same rule in an older version's words: nothing to check again
    alter table public.translation_memory drop constraint translation_memory_key_check;
    alter table public.translation_memory add constraint translation_memory_key_check
      check (char_length(key) = 64 and key !~ '[^0-9a-f]') not valid;
    alter table public.translation_memory validate constraint translation_memory_key_check;
  end if;
end $do$;
create unique index if not exists translation_memory_key on public.translation_memory (user_id, key) nulls not distinct;
comment on table public.translation_memory is
  'One translated segment of one user, written after its checks passed: cache and checkpoint in one. Never shared between users.';
comment on column public.translation_memory.id is 'Row number.';
comment on column public.translation_memory.user_id is 'Whose segment; null: the project''s own.';
comment on column public.translation_memory.key is 'sha256 of everything the translation depends on; the source text itself is not stored.';
comment on column public.translation_memory.target_language is 'Language of the target.';
comment on column public.translation_memory.target is 'The translation.';
comment on column public.translation_memory.origin_job is 'Job that produced it. A hit is free only if that item was charged.';
comment on column public.translation_memory.origin_item is 'Item that produced it.';
comment on column public.translation_memory.created_at is 'When it was learned.';

create table if not exists public.translation_glossary (
  id               bigint generated always as identity primary key,
  user_id          uuid not null references auth.users (id) on delete cascade,
  source_language  text not null,
  target_language  text not null,
  term             text not null check (char_length(term) between 1 and 200),
  translation      text check (char_length(translation) <= 200),
  do_not_translate boolean not null default false,
  case_sensitive   boolean not null default false,
  created_at       timestamptz not null default now(),
  check (do_not_translate or translation is not null)
);
create unique index if not exists translation_glossary_term
  on public.translation_glossary (user_id, source_language, target_language, term);
comment on table public.translation_glossary is 'How one user wants a term translated, or that it must stay as it is.';
comment on column public.translation_glossary.id is 'Row number.';
comment on column public.translation_glossary.user_id is 'Whose term.';
comment on column public.translation_glossary.source_language is 'Language of the term.';
comment on column public.translation_glossary.target_language is 'Language it is translated into.';
comment on column public.translation_glossary.term is 'The term.';
comment on column public.translation_glossary.translation is 'Its translation; may be empty where do_not_translate is set.';
comment on column public.translation_glossary.do_not_translate is 'Leave the term as it is.';
comment on column public.translation_glossary.case_sensitive is 'Match upper and lower case exactly.';
comment on column public.translation_glossary.created_at is 'When it was added.';

create table if not exists public.translation_workers (
  id           text primary key check (char_length(id) between 1 and 200),
  mode         text not null default 'starting' check (mode in ('starting', 'realtime', 'polling', 'stopping')),
  mode_since   timestamptz not null default now(),
  started_at   timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  version      text,
  slots        int not null default 0,
  running      int not null default 0,
  stats        jsonb not null default '{}'
) with (fillfactor = 50);
comment on table public.translation_workers is
  'One running worker. Its heartbeat row coming back through Realtime is the worker''s proof that change capture lives.';
comment on column public.translation_workers.id is 'Name of the worker.';
comment on column public.translation_workers.mode is 'starting, realtime, polling or stopping.';
comment on column public.translation_workers.mode_since is 'Since when in this mode.';
comment on column public.translation_workers.started_at is 'First heartbeat.';
comment on column public.translation_workers.last_seen_at is 'Last heartbeat.';
comment on column public.translation_workers.version is 'Version of the worker.';
comment on column public.translation_workers.slots is 'Jobs it can run at once.';
comment on column public.translation_workers.running is 'Jobs it runs now.';
comment on column public.translation_workers.stats is 'What else it reports about itself.';

create table if not exists public.translation_languages (
  worker_id       text not null references public.translation_workers (id) on delete cascade,
  source_language text not null,
  target_language text not null,
  primary key (worker_id, source_language, target_language)
);
comment on table public.translation_languages is
  'Pairs that some worker offers; * is any language. An empty table refuses nothing, so jobs may be made before the first worker starts.';
comment on column public.translation_languages.worker_id is 'Who offers it.';
comment on column public.translation_languages.source_language is 'From; * for any.';
comment on column public.translation_languages.target_language is 'Into; * for any.';

-- ======== 04_credits

-- 04_credits: the ledger. Append-only; a movement of a job happens once per (job, item, kind).
--
-- Callers: create and enqueue (reserve), record, cancel and rescue (consume, refund), the operator (grant,
-- revoke). Locks: balance row, then ledger rows. No foreign key to users or jobs: neither a deleted user
-- nor a purge changes what was paid.
-- SQLSTATE: PT402 credits_short, PT422 amount_out_of_range.

create table if not exists public.translation_credits (
  user_id    uuid primary key,
  balance    bigint not null default 0 check (balance >= 0),
  updated_at timestamptz not null default now()
) with (fillfactor = 70);
comment on table public.translation_credits is 'A user''s balance = grants − revokes − reserves + refunds.';
comment on column public.translation_credits.user_id is 'Whose balance.';
comment on column public.translation_credits.balance is 'Credits that may be spent.';
comment on column public.translation_credits.updated_at is 'Last movement.';

create table if not exists public.translation_credit_ledger (
  id              bigint generated always as identity primary key,
  user_id         uuid not null,
  job_id          uuid,
  item            text,
  kind            text not null check (kind in ('grant', 'revoke', 'reserve', 'consume', 'refund')),
  amount          int not null check (amount > 0),
  note            text check (char_length(note) <= 500),
  idempotency_key text check (char_length(idempotency_key) between 1 and 200),
  created_at      timestamptz not null default now(),
  constraint translation_credit_ledger_names_its_item check ((kind in ('grant', 'revoke')) = (job_id is null and item is null))
);
create unique index if not exists translation_credit_ledger_once
  on public.translation_credit_ledger (job_id, item, kind) where job_id is not null;
create unique index if not exists translation_credit_ledger_idempotency
  on public.translation_credit_ledger (user_id, kind, idempotency_key) where idempotency_key is not null;
create index if not exists translation_credit_ledger_of_user on public.translation_credit_ledger (user_id, id desc);
comment on table public.translation_credit_ledger is 'Every movement of credits. Append-only.';
comment on column public.translation_credit_ledger.id is 'Order of the movements.';
comment on column public.translation_credit_ledger.user_id is 'Whose credits.';
comment on column public.translation_credit_ledger.job_id is 'For which job.';
comment on column public.translation_credit_ledger.item is 'For which item of it.';
comment on column public.translation_credit_ledger.kind is 'grant, revoke, reserve, consume or refund.';
comment on column public.translation_credit_ledger.amount is 'Always positive; the kind says the direction.';
comment on column public.translation_credit_ledger.note is 'What the operator wrote.';
comment on column public.translation_credit_ledger.idempotency_key is 'A repeated grant with the same key moves nothing.';
comment on column public.translation_credit_ledger.created_at is 'When.';

create or replace function translation_private.forbid_change() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.refuse(409, 'ledger_append_only',
    'The ledger is append-only: correct it with grant_translation_credits or revoke_translation_credits.');
  return null;
end $$;
comment on function translation_private.forbid_change() is 'Keeps the ledger append-only.';
create or replace trigger translation_credit_ledger_append_only
  before update or delete on public.translation_credit_ledger
  for each row execute function translation_private.forbid_change();

-- What an owner may replace is created only if absent: running this script again keeps his version.
do $do$
begin
  if to_regprocedure('public.price_translation_item(text, text, int, text, jsonb)') is null then
    execute $sql$
      create function public.price_translation_item(
        p_job_type text, p_content_kind text, p_chars int, p_item text, p_options jsonb) returns int
      language sql stable set search_path = ''
      as $f$ select price from public.translation_job_types where name = p_job_type $f$
    $sql$;
    comment on function public.price_translation_item(text, text, int, text, jsonb) is
      'Credits for one item. Yours to replace; the price must not depend on who will translate it.';
  end if;
  if to_regprocedure('public.hold_translation_balance(uuid, int)') is null then
    execute $sql$
      create function public.hold_translation_balance(p_user_id uuid, p_amount int) returns boolean
      language plpgsql set search_path = ''
      as $f$
      begin
        update public.translation_credits set balance = balance - p_amount, updated_at = translation_private.clock()
        where user_id = p_user_id and balance >= p_amount;
        return found;
      end $f$
    $sql$;
    comment on function public.hold_translation_balance(uuid, int) is
      'Takes an amount from a balance; false when it is short. Yours to replace where credits live elsewhere.';
  end if;
  if to_regprocedure('public.return_translation_balance(uuid, int)') is null then
    execute $sql$
      create function public.return_translation_balance(p_user_id uuid, p_amount int) returns void
      language sql set search_path = ''
      as $f$
        insert into public.translation_credits as c (user_id, balance, updated_at)
        values (p_user_id, p_amount, translation_private.clock())
        on conflict (user_id) do update set balance = c.balance + excluded.balance, updated_at = excluded.updated_at
      $f$
    $sql$;
    comment on function public.return_translation_balance(uuid, int) is
      'Gives an amount back to a balance. Yours to replace where credits live elsewhere.';
  end if;
end $do$;

-- Refunds of one transaction, user by user in a fixed order so that two settlements cannot deadlock.
create or replace function translation_private.return_balances(p_refunds jsonb) returns void
language plpgsql set search_path = ''
as $$
declare
  v_refund record;
begin
  for v_refund in
    select r.user_id, sum(r.amount)::int as amount
    from jsonb_to_recordset(p_refunds) as r (user_id uuid, amount int)
    where r.user_id is not null and r.amount > 0
    group by r.user_id order by r.user_id
  loop
    perform public.return_translation_balance(v_refund.user_id, v_refund.amount);
  end loop;
end $$;
comment on function translation_private.return_balances(jsonb) is 'Gives back [{user_id, amount}], one balance after the other in a fixed order.';

create or replace function translation_private.move_credits(
  p_user_id uuid, p_kind text, p_amount int, p_note text, p_idempotency_key text) returns bigint
language plpgsql set search_path = ''
as $$
declare
  v_new bigint;
  v_balance bigint;
  v_now timestamptz := translation_private.clock();
begin
  if p_user_id is null or p_amount is null or p_amount not between 1 and 1000000000 then
    perform translation_private.refuse(422, 'amount_out_of_range', 'Name a user, and an amount from 1 to 1000000000.');
  end if;
  insert into public.translation_credits (user_id, balance, updated_at) values (p_user_id, 0, v_now)
  on conflict (user_id) do nothing;
  select balance into v_balance from public.translation_credits where user_id = p_user_id for no key update;
  insert into public.translation_credit_ledger (user_id, kind, amount, note, idempotency_key, created_at)
  values (p_user_id, p_kind, p_amount, p_note, p_idempotency_key, v_now)
  on conflict (user_id, kind, idempotency_key) where idempotency_key is not null do nothing
  returning id into v_new;
  if v_new is null then
    if not exists (
      select from public.translation_credit_ledger
      where user_id = p_user_id and kind = p_kind and idempotency_key = p_idempotency_key and amount = p_amount
    ) then
      perform translation_private.refuse(409, 'idempotency_conflict',
        'This idempotency key was used for another amount: use a new key for a new movement.');
    end if;
    return v_balance;
  end if;
  if p_kind = 'revoke' and v_balance < p_amount then
    perform translation_private.refuse(402, 'credits_short', format('The balance is %s: at most that can be revoked.', v_balance));
  end if;
  update public.translation_credits
  set balance = balance + case p_kind when 'grant' then p_amount else -p_amount end, updated_at = v_now
  where user_id = p_user_id
  returning balance into v_balance;
  return v_balance;
end $$;
comment on function translation_private.move_credits(uuid, text, int, text, text) is 'A grant or a revocation, once per idempotency key. Returns the balance.';

create or replace function public.grant_translation_credits(
  p_user_id uuid, p_amount int, p_note text default null, p_idempotency_key text default null) returns bigint
language sql set search_path = ''
as $$ select translation_private.move_credits(p_user_id, 'grant', p_amount, p_note, p_idempotency_key) $$;
comment on function public.grant_translation_credits(uuid, int, text, text) is
  'Adds credits to a user''s balance and returns it. Give the payment''s id as idempotency key: a repeated webhook then grants once.';

create or replace function public.revoke_translation_credits(
  p_user_id uuid, p_amount int, p_note text default null, p_idempotency_key text default null) returns bigint
language sql set search_path = ''
as $$ select translation_private.move_credits(p_user_id, 'revoke', p_amount, p_note, p_idempotency_key) $$;
comment on function public.revoke_translation_credits(uuid, int, text, text) is 'Takes unspent credits away and returns the balance.';

-- ======== 05_enqueue

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

-- ======== 06_claim

-- 06_claim: a worker takes jobs, keeps them, gives them back.
--
-- Callers: workers (service_role). A claim waits for no row lock: it skips what is locked, so it can neither
-- block nor deadlock. Reclaiming lost jobs is 09_rescue, never an OR in this query.
--
-- Here and in every other hot procedure the planner may use index loops only. A pooled session plans a
-- statement once, often while the tables are empty, and would keep a sequential scan or a hash join for life;
-- a call's batch is small and the tables are large, always. And no jit: on Postgres before 18 a plan that must
-- use what was switched off all the same costs so much on paper that it would be compiled. A claim and a record keep
-- their plans (force_generic_plan): with loops over indexes there is but one, and making it anew for a single job
-- took a third of the call.

create or replace function translation_private.lease_of(p_lease_ms int) returns interval
language sql immutable set search_path = ''
as $$ select make_interval(secs => case when p_lease_ms is not null then least(greatest(p_lease_ms, 1000), 3600000) end / 1000.0) $$;
comment on function translation_private.lease_of(int) is 'How long a lease is that somebody asks for: a second to an hour. Null for null.';

-- Due jobs become pending: a statement of its own on its own index, bounded, for the types somebody takes.
create or replace function translation_private.promote(p_job_types text[], p_limit int, p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_count int;
begin
  update public.translation_jobs as j
  set status = 'pending', revision = j.revision + 1, turn = translation_private.next_turn(j.user_id, j.turn_cost), ready_at = p_now, updated_at = p_now
  where j.id in (
    select job.id from unnest(p_job_types) as wanted (job_type)
    cross join lateral (
      select due.id from public.translation_jobs due
      where due.job_type = wanted.job_type and due.status in ('scheduled', 'retrying') and due.run_at <= p_now
      order by due.run_at limit p_limit
      for no key update skip locked) as job);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function translation_private.promote(text[], int, timestamptz) is 'Scheduled and retrying jobs whose time has come, p_limit of each type: pending, with a turn. Returns how many.';

-- What a claim hands out, read back from the claim rows: the same for the first call and a repeated one. Milliseconds
-- are written out here, because as_ms is a call for each of them. It is json and not jsonb, since nobody looks into it
-- before it leaves: jsonb would sort every key of every job, and write each out again.
drop function if exists translation_private.claimed(text, uuid, timestamptz);  -- before p_floor
create or replace function translation_private.claimed(p_worker_id text, p_claim_id uuid, p_now timestamptz, p_floor jsonb)
returns setof json language sql stable set search_path = ''
as $$
  select json_build_object(
    'job_id', j.id, 'token', c.token, 'seq', j.seq, 'job_type', j.job_type, 'user_id', j.user_id, 'subject', j.subject,
    'title', j.title, 'metadata', j.metadata, 'content_kind', j.content_kind,
    'content', case when size.small then j.content end, 'content_inline', size.small, 'content_chars', j.content_chars,
    'source_language', j.source_language, 'options', j.options, 'priority', j.priority, 'correlation_id', j.correlation_id,
    'lease_ms', ceil(extract(epoch from c.lease_until - p_now) * 1000)::bigint, 'max_attempts', j.max_attempts,
    'item_timeout_ms', t.item_timeout_seconds * 1000, 'deadline_ms', ceil(extract(epoch from j.deadline_at - p_now) * 1000)::bigint,
    'found_by', j.found_by, 'found_ms', a.found_ms, 'deliveries', j.deliveries, 'items', i.items,
    'floor', case row_number() over (order by j.priority desc, j.turn, j.seq) when 1 then p_floor end)
  from public.translation_job_attempts a
  -- Offset 0, and no other index on that table: it is often empty when it is analyzed, and a planner that believes that
  -- reads all of it, with everything that died in it while somebody held an old snapshot.
  cross join lateral (
    select h.token, h.claimed_at, h.lease_until from public.translation_job_claims h
    where h.job_id = a.job_id and h.token = a.token offset 0) as c
  join public.translation_jobs j on j.id = a.job_id
  join public.translation_job_types t on t.name = j.job_type
  -- A source of many characters need not be unpacked to know that it is large.
  cross join lateral (select case when j.content_chars <= 8192 then coalesce(octet_length(j.content::text) <= 8192, true) else false end as small) as size
  cross join lateral (
    select coalesce(json_agg(json_build_object('item', i.item, 'attempts', i.attempts, 'chars', j.content_chars) order by i.position), '[]') as items
    from public.translation_job_items i
    where i.job_id = j.id and i.status in ('pending', 'processing')
      and i.recorded_token is distinct from c.token and (i.retry_at is null or i.retry_at <= c.claimed_at)) as i
  where a.claim_id = p_claim_id and a.worker_id = p_worker_id
  order by j.priority desc, j.turn, j.seq
$$;
comment on function translation_private.claimed(text, uuid, timestamptz, jsonb) is
  'The jobs a claim call holds now, with their open items. The first one says p_floor.';

-- Floors. While anybody holds an old snapshot (a report, a dump, a forgotten session), no vacuum can clear away what was
-- claimed since, and every claim would walk through all of it again. A floor lets it begin behind: the turn of a lane
-- (type and priority) below which nothing waits. It is state of the caller: it comes with a claim, goes back with the
-- next, and only makes that one cheaper. What keeps it safe, so that a user's jobs still start in order:
--   a turn that was reached is only a candidate. It becomes a floor when a later claim reaches it that began after all
--   transactions had ended which were in progress when its claim was known to have committed: a create may stamp a turn
--   now and commit it late, and what is given back goes beside jobs that an open claim has taken already;
--   a claim that comes back short looks again without floors, and so does every first claim after a second or, where
--   such a look takes long, after twenty times as long;
--   a job below its floor all the same (somebody moved it by hand) ends the floor of that lane when it is found.
drop function if exists translation_private.next_floor(jsonb, jsonb, xid8, timestamptz);  -- before p_until
create or replace function translation_private.next_floor(p_floor jsonb, p_reached jsonb, p_all_seen_to xid8, p_until timestamptz)
returns jsonb language plpgsql set search_path = ''
as $$
declare
  v_proven boolean := p_floor is null or coalesce((p_floor ->> 'seen')::xid8 <= p_all_seen_to, false);
  v_safe jsonb := coalesce(p_floor -> 'safe', '{}');
  v_next jsonb := coalesce(p_floor -> 'next', '{}');
  v_lane text;
  v_least bigint;
  v_most bigint;
begin
  for v_lane, v_least, v_most in
    select r.key, (r.value ->> 0)::bigint, (r.value ->> 1)::bigint from jsonb_each(p_reached) as r
  loop
    if v_least < (v_safe ->> v_lane)::bigint then
      v_safe := v_safe - v_lane;
      v_next := v_next - v_lane;
    end if;
    if v_proven and v_most >= coalesce((v_next ->> v_lane)::bigint, v_most) then
      if v_next ? v_lane then
        v_safe := jsonb_set(v_safe, array[v_lane], v_next -> v_lane);
      end if;
      v_next := jsonb_set(v_next, array[v_lane], to_jsonb(v_most));
    end if;
  end loop;
  -- The candidates of this claim get theirs from the next one: whoever hands them back has seen this one commit.
  return jsonb_build_object('safe', v_safe, 'next', v_next, 'until', p_until,
    'seen', case when not v_proven then coalesce(p_floor ->> 'seen', pg_snapshot_xmax(pg_current_snapshot())::text) end);
end $$;
comment on function translation_private.next_floor(jsonb, jsonb, xid8, timestamptz) is
  'What a claim has learned: {safe, next: {"type priority": turn}, seen: below it are the transactions that may still add below next, until: the floors are not to be trusted from then on}.';

-- The first p_limit waiting jobs, locked: priority by priority, within one the types by turn. The heads of each type
-- tell how many to take of which; then those are locked, type by type. Locking while looking would lock p_limit rows
-- of every type and hide them from other workers. Of a type in p_room no more than that many.
drop function if exists translation_private.pick(text[], int, jsonb);  -- before p_room
create or replace function translation_private.pick(p_job_types text[], p_limit int, p_safe jsonb, p_room jsonb default null)
returns table (place tid, lane text, turn bigint)
language plpgsql set search_path = ''
as $$
declare
  v_left int := p_limit;
  v_room jsonb := p_room;
  v_places tid[];
  v_lanes text[];
  v_turns bigint[];
begin
  for v_priority in reverse 10..1 loop
    exit when v_left <= 0;
    with wanted as (
      select w.job_type, w.job_type || ' ' || v_priority as lane, coalesce((p_safe ->> (w.job_type || ' ' || v_priority))::bigint, 0) as floor,
        case when v_room ? w.job_type then least(v_left, greatest(0, (v_room ->> w.job_type)::int)) else v_left end as room
      from unnest(p_job_types) as w (job_type)
    ), heads as (
      select head.job_type from wanted
      cross join lateral (
        select j.job_type, j.turn, j.seq from public.translation_jobs j
        where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
        order by j.turn, j.seq limit wanted.room) as head
      order by head.turn, head.seq limit v_left
    ), share as (
      select heads.job_type, count(*) as places from heads group by heads.job_type
    )
    select array_agg(job.place), array_agg(wanted.lane), array_agg(job.turn) into v_places, v_lanes, v_turns
    from share
    join wanted on wanted.job_type = share.job_type
    cross join lateral (
      select j.ctid as place, j.turn from public.translation_jobs j
      where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
      order by j.turn, j.seq limit share.places
      for no key update skip locked) as job;
    continue when v_places is null;
    return query select p.place, p.lane, p.turn from unnest(v_places, v_lanes, v_turns) as p (place, lane, turn);
    v_left := v_left - cardinality(v_places);
    if v_room is not null then
      select jsonb_object_agg(r.key, r.value::int - (select count(*) from unnest(v_lanes) as l (lane) where l.lane = r.key || ' ' || v_priority))
      into v_room from jsonb_each_text(v_room) as r;
    end if;
  end loop;
end $$;
comment on function translation_private.pick(text[], int, jsonb, jsonb) is
  'Locks up to p_limit waiting jobs in the order of the claim and says where they lie: valid until this transaction changes them. p_room: {"type": at most so many of it}.';

drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text);  -- before p_floor
drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb);  -- before p_terms
drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb, jsonb);  -- before json
create or replace function public.claim_translation_jobs(
  p_worker_id text, p_limit int, p_lease_ms int, p_job_types text[], p_claim_id uuid, p_found_by text default 'poll',
  p_floor jsonb default null, p_terms jsonb default null)
returns setof json
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_all_seen_to xid8 := pg_snapshot_xmin(pg_current_snapshot());
  v_limit int := least(greatest(coalesce(p_limit, 0), 0), 500);
  v_lease interval := translation_private.lease_of(coalesce(p_lease_ms, 30000));
  v_began_at timestamptz;
  v_found_by text := case when p_found_by in ('changes', 'broadcast', 'catch_up', 'timer', 'poll') then p_found_by else 'poll' end;
  v_until timestamptz := (p_floor ->> 'until')::timestamptz;
  v_safe jsonb := case when v_until > v_now then nullif(p_floor -> 'safe', '{}') end;
  v_room jsonb := (select jsonb_object_agg(t.key, (t.value ->> 'limit')::int) from jsonb_each(p_terms) as t where t.value ? 'limit');
  v_places tid[];
  v_reached jsonb;
  v_turn bigint;
begin
  if p_worker_id is null or p_claim_id is null then
    perform translation_private.refuse(422, 'claim_malformed', 'A claim needs p_worker_id and p_claim_id.');
  end if;
  -- The same call again, even while the first one is still running: wait for it, then answer as it did.
  perform pg_advisory_xact_lock(hashtextextended(p_claim_id::text, 0));
  if exists (select from public.translation_job_attempts where claim_id = p_claim_id) then
    return query select * from translation_private.claimed(p_worker_id, p_claim_id, v_now, null);
    return;
  end if;
  if translation_private.promote(p_job_types, 100, v_now) > v_limit then
    perform translation_private.announce('ready', null, 0, 1);
  end if;

  v_began_at := clock_timestamp();
  loop
    with picked as materialized (
      select * from translation_private.pick(p_job_types, v_limit, v_safe, v_room)
    ), lanes as (
      select picked.lane, jsonb_build_array(min(picked.turn), max(picked.turn)) as turns from picked group by picked.lane
    )
    select (select array_agg(picked.place) from picked), (select max(picked.turn) from picked),
           (select jsonb_object_agg(lanes.lane, lanes.turns) from lanes)
    into v_places, v_turn, v_reached;
    exit when v_safe is null or cardinality(v_places) = v_limit;
    v_safe := null;
  end loop;
  if v_places is null then
    return;
  end if;

  with taken as (
    update public.translation_jobs as j
    set status = 'processing', revision = j.revision + 1, worker_id = p_worker_id, found_by = v_found_by, deliveries = j.deliveries + 1,
        started_at = coalesce(j.started_at, v_now), updated_at = v_now
    where j.ctid = any (v_places)
    returning j.id, nextval('translation_private.claim_token') as token, j.deliveries, j.ready_at,
      case when p_terms is null then v_lease
           else coalesce(translation_private.lease_of((p_terms -> j.job_type ->> 'lease_ms')::int), v_lease) end as lease
  ), claim as (
    insert into public.translation_job_claims (job_id, token, claim_id, worker_id, claimed_at, lease_until)
    select taken.id, taken.token, p_claim_id, p_worker_id, v_now, v_now + taken.lease from taken
  )
  insert into public.translation_job_attempts (job_id, token, delivery, worker_id, claim_id, found_by, found_ms, started_at)
  select taken.id, taken.token, taken.deliveries, p_worker_id, p_claim_id, v_found_by,
         least(ceil(extract(epoch from v_now - taken.ready_at) * 1000), 2147483647)::int, v_now
  from taken;
  perform setval('translation_private.served_turn', v_turn)
  where v_turn > (select last_value from translation_private.served_turn);
  if v_safe is null then
    -- A second, and more if the look took long: of a worker's time it takes a twentieth at most.
    v_until := v_now + least(greatest(interval '1 second', 20 * (clock_timestamp() - v_began_at)), interval '30 seconds');
  end if;
  return query select * from translation_private.claimed(
    p_worker_id, p_claim_id, v_now, translation_private.next_floor(p_floor, v_reached, v_all_seen_to, v_until));
end $$;
comment on function public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb, jsonb) is
  'Takes up to p_limit jobs, the fairest first, each with a fresh token. The same p_claim_id again returns what the first call took and still holds. p_floor: what the first job of the last answer said under floor, or null. p_terms: {"type": {"limit": at most so many of it, "lease_ms": a lease of its own}}, both optional.';

-- Deploy or shutdown: back to the front of the queue, nothing counted.
create or replace function public.release_translation_jobs(p_worker_id text, p_leases jsonb) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ids uuid[];
begin
  perform translation_private.lock_jobs(array(select l.job_id from jsonb_to_recordset(p_leases) as l (job_id uuid)));
  with released as (
    delete from public.translation_job_claims c
    using jsonb_to_recordset(p_leases) as l (job_id uuid, token bigint)
    where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id
    returning c.job_id, c.token
  ), ended as (
    update public.translation_job_attempts a set ended_at = v_now, outcome = 'released'
    from released where a.job_id = released.job_id and a.token = released.token
  )
  select array_agg(job_id) into v_ids from released;
  perform translation_private.requeue(v_ids, v_now);
  return coalesce(cardinality(v_ids), 0);
end $$;
comment on function public.release_translation_jobs(text, jsonb) is
  'Gives jobs back unfinished: pending again, no counter moves, first to start. p_leases: [{job_id, token}]. Returns how many.';

create or replace function translation_private.requeue(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  if coalesce(cardinality(p_job_ids), 0) = 0 then
    return;
  end if;
  update public.translation_job_items set status = 'pending'
  where job_id = any (p_job_ids) and status = 'processing';
  update public.translation_jobs as j
  set status = 'pending', revision = j.revision + 1, ready_at = p_now,
      worker_id = null, progress_message = null, eta_at = null, updated_at = p_now,
      -- Other types and priorities may be far ahead of its own: beside the next of its lane, which no floor lies above.
      turn = least((select last_value from translation_private.served_turn), (
        select head.turn from public.translation_jobs head
        where head.job_type = j.job_type and head.status = 'pending' and head.priority = j.priority
        order by head.turn, head.seq limit 1))
  where j.id = any (p_job_ids);
  perform translation_private.announce('ready', p_job_ids[1], 0, cardinality(p_job_ids));
end $$;
comment on function translation_private.requeue(uuid[], timestamptz) is 'Pending with the served turn: starts next. The caller has ended the claims.';

-- ======== 07_record

-- 07_record: the one door through which results come in.
--
-- Callers: workers. Results, money, progress and the end of a job are one transaction; a call repeated
-- after its answer was lost changes nothing and answers the same. Set-based: many items of many jobs a call.
-- Locks: jobs by id (children that wait for them included), then claims, items, balances, ledger.

create or replace function translation_private.family(p_job_ids uuid[]) returns uuid[]
language sql stable set search_path = ''
as $$
  with recursive family as (
    select unnest(p_job_ids) as id
    union
    select d.child_id from family f join public.translation_job_dependencies d on d.parent_id = f.id
  ) select coalesce(array_agg(f.id), '{}') from family f
$$;
comment on function translation_private.family(uuid[]) is 'Jobs and whatever waits for them, directly or not.';

-- The jobs of a call and everything that may have to move with them, locked in one order. A child may be born
-- while we wait for its parent; locking it afterwards, out of order, is a deadlock waiting for its day. Rolling
-- the block back gives all its locks up, and we begin again with the larger family.
create or replace function translation_private.lock_jobs(p_job_ids uuid[]) returns void
language plpgsql set search_path = ''
as $$
declare
  v_family uuid[];
begin
  loop
    v_family := translation_private.family(p_job_ids);
    begin
      perform from public.translation_jobs j where j.id = any (v_family) order by j.id for no key update;
      if translation_private.family(p_job_ids) <@ v_family then
        return;
      end if;
      raise exception using errcode = 'TJ001', message = 'A child was born.';
    exception when sqlstate 'TJ001' then
      null;
    end;
  end loop;
end $$;
comment on function translation_private.lock_jobs(uuid[]) is 'Locks jobs and whatever waits for them, by id: the first lock of every call that ends something.';

-- Progress: the job row at most once a second (the worker sees to that), HOT; chunk counts on the items.
-- A row that somebody else has locked is skipped: progress is never worth waiting for. Offset 0: the claims are asked entry
-- by entry, because a planner that believes they are few would go through all of them for each.
create or replace function translation_private.write_progress(p_worker_id text, p_entries jsonb, p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[];
begin
  select array_agg(j.id) into v_ids from (
    select j.id from public.translation_jobs j
    where j.id in (
      select e.job_id from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text)
      cross join lateral (
        select from public.translation_job_claims h
        where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
      where e.item is null)
    order by j.id for no key update skip locked) as j;
  if v_ids is null then
    return;
  end if;
  -- A worker reports on the items of its claim; those that had ended before count as done.
  update public.translation_jobs j
  set progress = case when e.progress is null then j.progress else least(99, (
        select (sum(case when i.status in ('pending', 'processing') or i.recorded_token = e.token
                         then least(greatest(e.progress, 0), 100) else 100 end) / count(*))::int
        from public.translation_job_items i where i.job_id = j.id)) end,
      progress_message = left(e.message, 200),
      eta_at = p_now + case when e.eta_ms is not null then make_interval(secs => least(e.eta_ms, 604800000) / 1000.0) end, updated_at = p_now
  from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, progress int, message text, eta_ms bigint)
  cross join lateral (
    select from public.translation_job_claims h
    where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
  where j.id = e.job_id and j.id = any (v_ids) and e.item is null;
  with counted as (
    select e.job_id, e.token, i.item, i.chunks_done, i.chunks_total, case when i.progress is not null then least(greatest(i.progress, 0), 99) end as progress,
      p_now + case when i.eta_ms is not null then make_interval(secs => least(i.eta_ms, 604800000) / 1000.0) end as eta_at
    from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, items jsonb)
    cross join lateral (
      select from public.translation_job_claims h
      where h.job_id = e.job_id and h.token = e.token and h.worker_id = p_worker_id offset 0) as held
    cross join lateral jsonb_to_recordset(coalesce(e.items, '[]')) as i (item text, chunks_done int, chunks_total int, progress int, eta_ms bigint)
    where e.item is null and e.job_id = any (v_ids)
  ), moved as (
    update public.translation_job_items i
    set status = 'processing', started_at = coalesce(i.started_at, p_now),
        chunks_done = coalesce(counted.chunks_done, i.chunks_done), chunks_total = coalesce(counted.chunks_total, i.chunks_total),
        progress = coalesce(counted.progress, i.progress), eta_at = counted.eta_at
    from counted
    where i.job_id = counted.job_id and i.item = counted.item and i.status in ('pending', 'processing')
      -- Progress that a record has overtaken must not reopen what was recorded.
      and i.recorded_token is distinct from counted.token
      and (i.status, i.chunks_done, i.chunks_total, i.progress)
          is distinct from ('processing', counted.chunks_done, counted.chunks_total, coalesce(counted.progress, i.progress))
    returning i.job_id, i.chunks_done
  )
  update public.translation_job_claims c set progressed = true
  where not c.progressed and c.job_id in (select m.job_id from moved m where m.chunks_done > 0);
end $$;
comment on function translation_private.write_progress(text, jsonb, timestamptz) is 'Applies progress entries of claims this worker holds; skips rows that are locked.';

create or replace function public.record_translation_results(p_worker_id text, p_results jsonb) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_malformed boolean := jsonb_typeof(p_results) is distinct from 'array';
  v_has_progress boolean;
  v_jobs uuid[];
  v_items text[];
  v_answers text[];
  v_refunds jsonb;
  v_changed uuid[];
begin
  if not v_malformed then
    select count(*) > 500 or coalesce(bool_or(e.job_id is null or e.token is null or (
             e.item is not null and coalesce(e.outcome, '') not in ('completed', 'failed', 'retry', 'throttled'))), false),
           coalesce(bool_or(e.item is null), false), array_agg(e.job_id) filter (where e.item is not null)
    into v_malformed, v_has_progress, v_jobs
    from jsonb_to_recordset(p_results) as e (job_id uuid, token bigint, item text, outcome text);
  end if;
  if v_malformed or pg_column_size(p_results) > 8388608 then
    perform translation_private.refuse(422, 'results_malformed',
      'p_results is an array of at most 500 entries, each with job_id, token and, for an item, an outcome of completed, failed, retry, throttled.');
  end if;
  perform translation_private.lock_jobs(v_jobs);
  if v_has_progress then
    perform translation_private.write_progress(p_worker_id, p_results, v_now);
  end if;

  with entry as (
    select e.*, row_number() over (partition by e.job_id, e.item, e.token order by e.n) as nth
    from rows from (jsonb_to_recordset(p_results) as (
      job_id uuid, token bigint, item text, outcome text, result jsonb, warnings jsonb, error jsonb,
      billed_chars bigint, total_chars bigint, retry_after_ms bigint, elapsed_ms bigint, chunks_done int, chunks_total int)
    ) with ordinality as e (job_id, token, item, outcome, result, warnings, error, billed_chars, total_chars,
                            retry_after_ms, elapsed_ms, chunks_done, chunks_total, n)
    where e.item is not null
  ), judged as (
    select e.*, i.price, i.user_id,
      -- A counted try adds one; throttling never counts.
      coalesce(i.attempts, 0) + (e.outcome <> 'throttled')::int as attempts_now, j.max_attempts, j.deadline_at,
      -- Full jitter: a random moment inside a window that doubles with each try, five minutes at most.
      greatest(least(coalesce(e.retry_after_ms, 0), 86400000), case when e.outcome = 'retry'
        then (random() * least(300000, 1000 * 2 ^ coalesce(i.attempts, 0)))::bigint
        when e.retry_after_ms is null then 15000 else 1000 end) as wait_ms,
      case
        when c.job_id is not null and i.status in ('pending', 'processing') and i.recorded_token is distinct from e.token
          then case when e.nth > 1 then 'already' else 'recorded' end
        when i.recorded_token = e.token then 'already'
        when j.status = 'cancelled' then 'cancelled'
        else 'lost'
      end as answer
    from entry e
    left join public.translation_jobs j on j.id = e.job_id
    left join public.translation_job_items i on i.job_id = e.job_id and i.item = e.item
    left join public.translation_job_claims c on c.job_id = e.job_id and c.token = e.token and c.worker_id = p_worker_id
  ), decided as (
    select d.*,
      case
        when d.outcome = 'completed' then 'completed'
        when d.outcome = 'failed' or (d.outcome = 'retry' and d.attempts_now >= d.max_attempts)
          or (d.outcome = 'throttled' and v_now + make_interval(secs => d.wait_ms / 1000.0) > d.deadline_at) then 'failed'
        else 'pending'
      end as status_now,
      -- What is charged: the price times the share of the characters that is billed, rounded up.
      case when d.outcome <> 'completed' then 0
           when coalesce(d.total_chars, 0) <= 0 then case when d.billed_chars = 0 then 0 else d.price end
           else ceil(d.price * (least(greatest(coalesce(d.billed_chars, d.total_chars), 0), d.total_chars)::numeric / d.total_chars))::int
      end as charge
    from judged d
  ), changed as (
    update public.translation_job_items i
    set status = d.status_now, attempts = d.attempts_now, recorded_token = d.token,
        result = case when d.status_now = 'completed' then d.result end,
        warnings = coalesce(d.warnings, '[]'),
        error = case when d.status_now <> 'completed' then d.error end,
        credits = case when d.status_now = 'pending' then i.price else d.charge end,
        chunks_done = coalesce(d.chunks_done, i.chunks_done), chunks_total = coalesce(d.chunks_total, i.chunks_total),
        progress = case d.status_now when 'completed' then 100 when 'pending' then 0 else i.progress end,
        retry_at = case when d.status_now = 'pending' then v_now + make_interval(secs => d.wait_ms / 1000.0) end,
        started_at = coalesce(i.started_at, v_now - make_interval(secs => least(greatest(d.elapsed_ms, 0), 86400000) / 1000.0), v_now),
        completed_at = case when d.status_now <> 'pending' then v_now end
    from decided d
    where d.answer = 'recorded' and i.job_id = d.job_id and i.item = d.item
    returning i.job_id, i.item, i.user_id, i.price, i.credits, i.status
  ), charged as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select c.user_id, c.job_id, c.item, 'consume', c.credits, v_now from changed c
    where c.status = 'completed' and c.credits > 0
  ), refunded as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select c.user_id, c.job_id, c.item, 'refund', c.price - c.credits, v_now from changed c
    where c.status <> 'pending' and c.price > c.credits
    returning user_id, amount
  )
  select said.jobs, said.items, said.answers, (select array_agg(distinct c.job_id) from changed c),
         (select jsonb_agg(jsonb_build_object('user_id', r.user_id, 'amount', r.amount)) from refunded r)
  into v_jobs, v_items, v_answers, v_changed, v_refunds
  from (
    select array_agg(d.job_id order by d.n) as jobs, array_agg(d.item order by d.n) as items, array_agg(d.answer order by d.n) as answers
    from decided d) as said;

  if v_refunds is not null then
    perform translation_private.return_balances(v_refunds);
  end if;
  if v_changed is not null then
    perform translation_private.settle_jobs(v_changed, v_now);
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object('job_id', said.job_id, 'item', said.item, 'answer', said.answer, 'job_status', j.status) order by said.n)
    from unnest(v_jobs, v_items, v_answers) with ordinality as said (job_id, item, answer, n)
    left join public.translation_jobs j on j.id = said.job_id), '[]');
end $$;
comment on function public.record_translation_results(text, jsonb) is
  'Records outcomes of items (and progress) under the tokens of their claims. Answers each item: recorded, already, cancelled or lost.';

-- ======== 08_finish

-- 08_finish: the state of a job follows from its items; cancel and retry.
--
-- Callers: record, rescue, users. Every function here expects its jobs to be locked by lock_jobs.

-- Refunds and closes what is still open of some jobs. Returns how many items that were.
create or replace function translation_private.close_items(p_job_ids uuid[], p_status text, p_error jsonb, p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_refunds jsonb;
  v_count int;
begin
  with closed as (
    update public.translation_job_items
    set status = p_status, credits = 0, error = coalesce(p_error, error), retry_at = null, completed_at = p_now
    where job_id = any (p_job_ids) and status in ('pending', 'processing')
    returning user_id, job_id, item, price
  ), refunded as (
    insert into public.translation_credit_ledger (user_id, job_id, item, kind, amount, created_at)
    select user_id, job_id, item, 'refund', price, p_now from closed where price > 0
    returning user_id, amount
  )
  select (select count(*)::int from closed), (select jsonb_agg(jsonb_build_object('user_id', user_id, 'amount', amount)) from refunded)
  into v_count, v_refunds;
  if v_refunds is not null then
    perform translation_private.return_balances(v_refunds);
  end if;
  return v_count;
end $$;
comment on function translation_private.close_items(uuid[], text, jsonb, timestamptz) is 'Ends the open items of some jobs as failed or cancelled, with their refunds.';

-- The job rows after their items changed: sums, state, and the end of the claim when nothing is left to do.
create or replace function translation_private.settle_rows(p_job_ids uuid[], p_now timestamptz) returns uuid[]
language plpgsql set search_path = ''
as $$
declare
  v_ended uuid[];
  v_finished uuid[];
  v_retrying uuid[];
  v_due_ms bigint;
begin
  with tally as (
    select i.job_id,
      count(*) filter (where i.status in ('pending', 'processing')) as open,
      -- Still to come in this run: handed out with the claim and not yet recorded under its token.
      count(*) filter (where c.job_id is not null and i.status in ('pending', 'processing') and i.recorded_token is distinct from c.token
                         and (i.retry_at is null or i.retry_at <= c.claimed_at)) as running,
      count(*) filter (where i.status = 'completed') as completed,
      count(*) filter (where i.status = 'failed') as failed,
      count(*) filter (where i.status = 'cancelled') as cancelled,
      coalesce(sum(i.credits) filter (where i.status = 'completed'), 0)::int as consumed,
      coalesce(sum(i.price - i.credits) filter (where i.status in ('completed', 'failed', 'cancelled')), 0)::int as refunded,
      max(i.attempts) as attempts,
      min(i.retry_at) filter (where i.status in ('pending', 'processing')) as next_retry,
      (array_agg(i.error order by (i.status = 'failed') desc, i.position) filter (where i.error is not null))[1] as error
    from public.translation_job_items i
    left join public.translation_job_claims c on c.job_id = i.job_id
    where i.job_id = any (p_job_ids)
    group by i.job_id
  ), changed as (
    update public.translation_jobs j
    set status = case when t.open > 0 and t.running > 0 then j.status
                      when t.open > 0 then 'retrying'
                      when t.cancelled > 0 then 'cancelled'
                      when t.completed > 0 then 'completed' else 'failed' end,
        revision = j.revision + 1,
        attempts = t.attempts, failed_items = t.failed, credits_consumed = t.consumed, credits_refunded = t.refunded,
        error = t.error, updated_at = p_now,
        run_at = case when t.open > 0 and t.running = 0 then coalesce(t.next_retry, p_now) else j.run_at end,
        progress = case when t.open > 0 then j.progress when t.completed > 0 and t.cancelled = 0 then 100 else j.progress end,
        progress_message = case when t.open > 0 and t.running > 0 then j.progress_message end,
        eta_at = case when t.open > 0 and t.running > 0 then j.eta_at end,
        worker_id = case when t.open > 0 and t.running = 0 then null else j.worker_id end,
        completed_at = case when t.open = 0 then p_now end,
        cancelled_at = case when t.open = 0 and t.cancelled > 0 then p_now end
    from tally t
    where j.id = t.job_id and j.status not in ('completed', 'failed', 'cancelled')
    returning j.id, j.status, j.run_at
  )
  select array_agg(id) filter (where status in ('retrying', 'completed', 'failed', 'cancelled')),
         array_agg(id) filter (where status in ('completed', 'failed', 'cancelled')),
         array_agg(id) filter (where status = 'retrying'),
         min(translation_private.as_ms(run_at - p_now)) filter (where status = 'retrying')
  into v_ended, v_finished, v_retrying, v_due_ms
  from changed;

  if v_ended is not null then
    with gone as (
      delete from public.translation_job_claims where job_id = any (v_ended) returning job_id, token
    )
    update public.translation_job_attempts a
    set ended_at = p_now, outcome = j.status, error = j.error
    from gone join public.translation_jobs j on j.id = gone.job_id
    where a.job_id = gone.job_id and a.token = gone.token;
  end if;
  if v_retrying is not null then
    perform translation_private.announce('ready', v_retrying[1], greatest(v_due_ms, 0), cardinality(v_retrying));
  end if;
  return v_finished;
end $$;
comment on function translation_private.settle_rows(uuid[], timestamptz) is
  'Brings job rows in line with their items; ends claim and attempt when the run or the job is over. Returns the jobs that have ended.';

-- Generation by generation, in a loop: a call for each would end at the stack's depth in a chain of hundreds.
create or replace function translation_private.settle_jobs(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[] := p_job_ids;
begin
  loop
    v_ids := translation_private.settle_rows(v_ids, p_now);
    exit when v_ids is null;
    v_ids := translation_private.move_children(v_ids, p_now);
    exit when v_ids is null;
  end loop;
end $$;
comment on function translation_private.settle_jobs(uuid[], timestamptz) is
  'Brings jobs in line with their items, and with them whatever waits for those that have ended.';

create or replace function translation_private.start_children(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  update public.translation_jobs j
  set status = case when j.run_at > p_now then 'scheduled' else 'pending' end, revision = j.revision + 1,
      turn = case when j.run_at > p_now then null else translation_private.next_turn(j.user_id, j.turn_cost) end,
      ready_at = p_now, deadline_at = greatest(j.run_at, p_now) + interval '24 hours', updated_at = p_now
  where j.id = any (p_job_ids);
  perform translation_private.announce('ready', p_job_ids[1], 0, cardinality(p_job_ids));
end $$;
comment on function translation_private.start_children(uuid[], timestamptz) is 'Blocked jobs that wait for nothing any more: pending, or scheduled.';

create or replace function translation_private.cancel_children(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.close_items(p_job_ids, 'cancelled',
    '{"class": "bad_request", "message": "A job it waited for did not complete."}', p_now);
end $$;
comment on function translation_private.cancel_children(uuid[], timestamptz) is
  'Items of blocked jobs whose parent did not complete: cancelled and refunded. The caller settles the jobs.';

-- Children of jobs that have ended: unblocked when every parent completed, cancelled when one did not.
create or replace function translation_private.move_children(p_parent_ids uuid[], p_now timestamptz) returns uuid[]
language plpgsql set search_path = ''
as $$
declare
  v_cancel uuid[];
  v_ready uuid[];
begin
  select array_agg(child.id) filter (where child.broken), array_agg(child.id) filter (where not child.broken and child.waits = 0)
  into v_cancel, v_ready
  from (
    select c.id,
      bool_or(p.status in ('failed', 'cancelled') and d.after_failure = 'cancel') as broken,
      count(*) filter (where p.status not in ('completed', 'failed', 'cancelled')) as waits
    from (select distinct e.child_id from public.translation_job_dependencies e where e.parent_id = any (p_parent_ids)) as moved
    -- Offset 0: a plan that is kept would rather begin with all blocked jobs there are, whosever they may be.
    cross join lateral (select j.id from public.translation_jobs j where j.id = moved.child_id and j.status = 'blocked' offset 0) as c
    join public.translation_job_dependencies d on d.child_id = c.id
    join public.translation_jobs p on p.id = d.parent_id
    group by c.id) as child;
  if v_ready is not null then
    perform translation_private.start_children(v_ready, p_now);
  end if;
  if v_cancel is not null then
    perform translation_private.cancel_children(v_cancel, p_now);
  end if;
  return v_cancel;
end $$;
comment on function translation_private.move_children(uuid[], timestamptz) is
  'What waits for jobs that have just ended: starts, or its items are cancelled and refunded. Returns the jobs that are to be settled then.';

-- A parent that is deleted before its end (its user was) did not complete: what waits for it must not wait for
-- ever. The trigger's name makes it fire before the foreign keys' own, while the edges still stand; a child that
-- goes in the same statement is already gone.
create or replace function translation_private.release_orphans() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_cancel uuid[];
  v_run uuid[];
begin
  select array_agg(c.id) filter (where d.after_failure = 'cancel'), array_agg(c.id) filter (where d.after_failure = 'run')
  into v_cancel, v_run
  from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
  where d.parent_id = old.id and c.status = 'blocked';
  perform translation_private.lock_jobs(v_cancel || v_run);
  if v_cancel is not null then
    perform translation_private.cancel_children(v_cancel, v_now);
    perform translation_private.settle_jobs(v_cancel, v_now);
  end if;
  select array_agg(c.id) into v_run from public.translation_jobs c
  where c.id = any (v_run) and c.status = 'blocked' and not exists (
    select from public.translation_job_dependencies d join public.translation_jobs p on p.id = d.parent_id
    where d.child_id = c.id and p.completed_at is null);
  if v_run is not null then
    perform translation_private.start_children(v_run, v_now);
  end if;
  return null;
end $$;
comment on function translation_private.release_orphans() is 'Cancels and refunds, or starts, what waited for a job that was deleted before its end.';
create or replace trigger "BEFORE_RI_translation_jobs_orphans"
  after delete on public.translation_jobs for each row when (old.completed_at is null)
  execute function translation_private.release_orphans();

create or replace function translation_private.cancel_job(p_job_id uuid) returns public.translation_jobs
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_user uuid := translation_private.caller();
  v_job public.translation_jobs;
begin
  perform from public.translation_jobs where id = p_job_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  perform translation_private.lock_jobs(array[p_job_id]);
  select * into v_job from public.translation_jobs where id = p_job_id;
  if v_job.status not in ('completed', 'failed', 'cancelled') then
    perform translation_private.close_items(array[p_job_id], 'cancelled', null, v_now);
    perform translation_private.settle_jobs(array[p_job_id], v_now);
    if v_job.status = 'processing' then
      perform translation_private.announce('cancelled', p_job_id, null, 1);
    end if;
    select * into v_job from public.translation_jobs where id = p_job_id;
  end if;
  return translation_private.without_content(v_job);
end $$;
comment on function translation_private.cancel_job(uuid) is 'Definer, because users have no write grant; checks that the job is the caller''s.';

create or replace function public.cancel_translation_job(p_job_id uuid) returns public.translation_jobs
language sql set search_path = ''
as $$ select translation_private.cancel_job(p_job_id) $$;
comment on function public.cancel_translation_job(uuid) is
  'Final at once: unfinished items are refunded, finished ones kept and paid. A job that has ended is returned unchanged.';

-- What a repeated job waits for: the parents of the first one, or what repeats those of them that did not complete.
create or replace function translation_private.parents_again(p_job_id uuid, p_user_id uuid)
returns table (parents uuid[], names text[], after_failure jsonb) language sql stable set search_path = ''
as $$
  with recursive again as (
    select d.parent_id as first, d.parent_id as id, d.name, d.after_failure, 0 as nth
    from public.translation_job_dependencies d where d.child_id = p_job_id
    union all
    select a.first, next.id, a.name, a.after_failure, a.nth + 1
    from again a join public.translation_jobs p on p.id = a.id and p.status in ('failed', 'cancelled')
    join public.translation_jobs next on next.retry_of = a.id
  ), latest as (
    select distinct on (a.first) a.id, a.name, a.after_failure from again a order by a.first, a.nth desc
  )
  select array_agg(l.id order by l.id), array_agg(l.name order by l.id), jsonb_object_agg(l.id, l.after_failure) filter (where l.after_failure <> 'cancel')
  from latest l join public.translation_jobs p on p.id = l.id
  where p_user_id is null or p.user_id = p_user_id
$$;
comment on function translation_private.parents_again(uuid, uuid) is
  'Parents for the retry of a job, with their names and what an option says of them; with a user only his own.';

create or replace function translation_private.retry_job(p_job_id uuid) returns public.translation_jobs
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_user uuid := translation_private.caller();
  v_job public.translation_jobs;
  v_again public.translation_jobs;
  v_items text[];
  v_after record;
begin
  -- No lock on a job yet: the advisory lock that orders two retries must come before every row lock.
  perform pg_advisory_xact_lock(hashtextextended('translation retry ' || p_job_id, 0));
  select * into v_job from public.translation_jobs where id = p_job_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  select * into v_again from public.translation_jobs where retry_of = p_job_id;
  if found then
    return translation_private.without_content(v_again);
  end if;
  if v_job.status not in ('completed', 'failed', 'cancelled') then
    perform translation_private.refuse(409, 'job_not_finished', 'The job has not ended yet: it retries by itself, or can be cancelled.');
  end if;
  select array_agg(item order by position) into v_items from public.translation_job_items
  where job_id = p_job_id and status in ('failed', 'cancelled');
  if v_items is null then
    perform translation_private.refuse(409, 'nothing_to_retry', 'Every item of the job completed: there is nothing to repeat.');
  end if;
  select * into v_after from translation_private.parents_again(p_job_id, v_user);
  return translation_private.add_job(
    v_user is not null, v_job.user_id, v_job.job_type, v_job.content, v_items, v_job.source_language, v_job.content_kind,
    case when v_user is null then v_job.priority end,
    (v_job.options - 'after_failure') || case when v_after.after_failure is null then '{}' else jsonb_build_object('after_failure', v_after.after_failure) end,
    null, null, v_job.correlation_id, v_job.subject, v_job.title, v_job.metadata, v_after.parents, p_job_id, v_after.names);
end $$;
comment on function translation_private.retry_job(uuid) is 'Definer, because users have no write grant; checks that the job is the caller''s.';

create or replace function public.retry_translation_job(p_job_id uuid) returns public.translation_jobs
language sql set search_path = ''
as $$ select translation_private.retry_job(p_job_id) $$;
comment on function public.retry_translation_job(uuid) is
  'One new job for the failed and cancelled items of a job that has ended. Calling it again returns the same new job. What waited for others waits for what repeats those.';

-- ======== 09_rescue

-- 09_rescue: leases that ran out, and the heartbeat that keeps the others.
--
-- Callers: every worker's heartbeat; cron where no worker lives. Bounded per call; a job somebody else has
-- locked is left for the next call. Each job in a subtransaction of its own: one that cannot be rescued (an
-- owner's trigger raises, say) never holds up the others.

create or replace function translation_private.rescue(p_limit int, p_spared uuid[], p_now timestamptz) returns int
language plpgsql set search_path = ''
as $$
declare
  v_claim record;
  v_count int := 0;
begin
  for v_claim in
    select c.job_id from public.translation_job_claims c
    where c.lease_until < p_now and c.job_id <> all (p_spared)
    order by c.lease_until limit p_limit
  loop
    begin
      v_count := v_count + translation_private.rescue_job(v_claim.job_id, p_now)::int;
    exception when others then
      raise warning 'translation job % could not be rescued: %', v_claim.job_id, sqlerrm;
    end;
  end loop;
  return v_count;
end $$;
comment on function translation_private.rescue(int, uuid[], timestamptz) is 'Rescues up to p_limit jobs whose lease ran out, but not the spared ones.';

create or replace function public.rescue_translation_jobs(p_limit int default 20) returns int
language sql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$ select translation_private.rescue(least(greatest(coalesce(p_limit, 20), 1), 100), '{}', translation_private.clock()) $$;
comment on function public.rescue_translation_jobs(int) is
  'Takes jobs back from workers whose lease ran out. Returns how many.';

create or replace function translation_private.rescue_job(p_job_id uuid, p_now timestamptz) returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_claim public.translation_job_claims;
  v_lost int;
begin
  if exists (select from public.translation_job_dependencies where parent_id = p_job_id) then
    perform translation_private.lock_jobs(array[p_job_id]);  -- it may end here, and its children with it
  else
    perform from public.translation_jobs where id = p_job_id for no key update skip locked;
    if not found then
      return false;
    end if;
  end if;
  delete from public.translation_job_claims where job_id = p_job_id and lease_until < p_now returning * into v_claim;
  if not found then
    return false;
  end if;
  update public.translation_job_attempts set ended_at = p_now, outcome = 'lost'
  where job_id = p_job_id and token = v_claim.token;
  update public.translation_jobs
  set lost_count = lost_count + (not v_claim.progressed and not exists (
        select from public.translation_job_items i where i.job_id = p_job_id and i.recorded_token = v_claim.token))::int
  where id = p_job_id returning lost_count into v_lost;
  if v_lost < 3 then
    perform translation_private.requeue(array[p_job_id], p_now);
  else
    perform translation_private.close_items(array[p_job_id], 'failed',
      '{"class": "internal", "message": "Three workers in a row stopped while working on this job."}', p_now);
    perform translation_private.settle_jobs(array[p_job_id], p_now);
  end if;
  return true;
end $$;
comment on function translation_private.rescue_job(uuid, timestamptz) is
  'One job whose lease ran out: pending again with the served turn, or, lost for the third time with nothing done, failed and refunded.';

create or replace function public.heartbeat_translation_worker(p_worker_id text, p_report jsonb) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_lease interval := translation_private.lease_of(coalesce((p_report ->> 'lease_ms')::int, 30000));
  v_leases jsonb := coalesce(p_report -> 'leases', '[]');
  v_types text[] := array(select jsonb_array_elements_text(coalesce(p_report -> 'job_types', '[]')));
  v_rescued int;
  v_promoted int;
  v_gone jsonb;
begin
  if coalesce(p_worker_id, '') = '' or jsonb_typeof(p_report) is distinct from 'object' then
    perform translation_private.refuse(422, 'heartbeat_malformed', 'A heartbeat needs p_worker_id and a JSON object p_report.');
  end if;
  insert into public.translation_workers as w (id, mode, mode_since, started_at, last_seen_at, version, slots, running, stats)
  values (
    p_worker_id, coalesce(p_report ->> 'mode', 'starting'),
    v_now - make_interval(secs => coalesce((p_report ->> 'mode_ms')::bigint, 0) / 1000.0), v_now, v_now, p_report ->> 'version',
    coalesce((p_report ->> 'slots')::int, 0), coalesce((p_report ->> 'running')::int, 0), coalesce(p_report -> 'stats', '{}'))
  on conflict (id) do update set
    mode = excluded.mode, mode_since = case when w.mode = excluded.mode then w.mode_since else excluded.mode_since end,
    last_seen_at = excluded.last_seen_at, version = excluded.version, slots = excluded.slots, running = excluded.running,
    stats = excluded.stats;
  if jsonb_typeof(p_report -> 'languages') = 'array' then
    perform translation_private.offer_languages(p_worker_id, p_report -> 'languages');
  end if;
  if p_report ->> 'mode' = 'stopping' then
    delete from public.translation_languages where worker_id = p_worker_id;
  end if;

  -- What may wait for a lock comes first, while we hold none that another call waits for: the rescue. Leases
  -- of this very report are spared: late is not lost as long as nobody else has taken the job.
  -- Offset 0, here and below: lease by lease. A planner that believes the claims are few would go through all of them
  -- for each lease.
  v_rescued := translation_private.rescue(20, array(
    select l.job_id from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint)
    cross join lateral (
      select from public.translation_job_claims c
      where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id offset 0) as held), v_now);
  v_promoted := translation_private.promote(v_types, 100, v_now);
  if v_promoted > 0 then
    perform translation_private.announce('ready', null, 0, v_promoted);
  end if;
  -- Progress (jobs), then leases (claims), skipping what is locked: a claim that somebody has locked is being
  -- ended, or will be renewed by the next beat.
  if jsonb_array_length(coalesce(p_report -> 'progress', '[]')) > 0 then
    perform translation_private.write_progress(p_worker_id, p_report -> 'progress', v_now);
  end if;
  update public.translation_job_claims c set lease_until = v_now + coalesce(translation_private.lease_of(mine.lease_ms), v_lease)
  from (
    select held.job_id, l.lease_ms from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint, lease_ms int)
    cross join lateral (
      select h.job_id from public.translation_job_claims h
      where h.job_id = l.job_id and h.token = l.token and h.worker_id = p_worker_id for no key update skip locked) as held) as mine
  where c.job_id = mine.job_id;
  select jsonb_agg(jsonb_build_object('job_id', l.job_id, 'cancelled', coalesce(j.status = 'cancelled', false))) into v_gone
  from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint)
  left join public.translation_jobs j on j.id = l.job_id
  where not exists (
    select from public.translation_job_claims c
    where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id offset 0);

  if p_report ->> 'probe' = 'true' then
    perform translation_private.broadcast('beat', jsonb_build_object('worker_id', p_worker_id));
  end if;
  delete from public.translation_workers
  where id in (
    select id from public.translation_workers where last_seen_at < v_now - interval '1 day'
    limit 20 for update skip locked);

  perform translation_private.roll_up(v_now);
  return jsonb_build_object(
    'schema_version', translation_private.schema_version(),
    'unknown_types', (
      select jsonb_agg(h.job_type) from jsonb_array_elements_text(coalesce(p_report -> 'handlers', '[]')) as h (job_type)
      where not exists (select from public.translation_job_types t where t.name = h.job_type)),
    'lost', coalesce((select jsonb_agg(g -> 'job_id') from jsonb_array_elements(v_gone) as g where not (g -> 'cancelled')::boolean), '[]'),
    'cancelled', coalesce((select jsonb_agg(g -> 'job_id') from jsonb_array_elements(v_gone) as g where (g -> 'cancelled')::boolean), '[]'),
    'waiting', exists (
      select from unnest(v_types) as t (job_type)
      cross join lateral (select from public.translation_jobs j where j.job_type = t.job_type and j.status = 'pending' limit 1) as j),
    'next_due_ms', (
      select greatest(0, translation_private.as_ms(min(due.run_at) - v_now)) from unnest(v_types) as t (job_type)
      cross join lateral (
        select j.run_at from public.translation_jobs j
        where j.job_type = t.job_type and j.status in ('scheduled', 'retrying') order by j.run_at limit 1) as due
      having min(due.run_at) is not null),
    'next_rescue_ms', (
      select greatest(0, translation_private.as_ms(c.lease_until - v_now)) from public.translation_job_claims c
      where c.worker_id <> p_worker_id order by c.lease_until limit 1),
    'chores_ms', translation_private.chores_ms(v_now),
    'rescued', v_rescued, 'promoted', v_promoted,
    'workers', (select count(*) from public.translation_workers where last_seen_at > v_now - interval '90 seconds' and mode <> 'stopping'));
end $$;
comment on function public.heartbeat_translation_worker(text, jsonb) is
  'One call for a whole worker: its row, its leases, its progress; bounded rescue and promotion; and what the worker should know.';

create or replace function translation_private.offer_languages(p_worker_id text, p_pairs jsonb) returns void
language plpgsql set search_path = ''
as $$
begin
  delete from public.translation_languages l
  -- NOT IN is hashed whatever the planner may join with; two thousand pairs in a nested loop take most of a second.
  where l.worker_id = p_worker_id and (l.source_language, l.target_language) not in (
    select pair ->> 0, pair ->> 1 from jsonb_array_elements(p_pairs) as pair
    where pair ->> 0 is not null and pair ->> 1 is not null);
  insert into public.translation_languages (worker_id, source_language, target_language)
  select distinct p_worker_id, pair ->> 0, pair ->> 1 from jsonb_array_elements(p_pairs) as pair
  where pair ->> 0 is not null and pair ->> 1 is not null
  on conflict do nothing;
end $$;
comment on function translation_private.offer_languages(text, jsonb) is 'Replaces the pairs one worker offers: [[source, target], …].';

-- Memory: cache and checkpoint. Under the token of the claim, so that a worker that lost the job adds nothing.
create or replace function translation_private.is_paid(p_job_id uuid, p_item text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from public.translation_credit_ledger l where l.job_id = p_job_id and l.item = p_item and l.kind = 'consume')
$$;
comment on function translation_private.is_paid(uuid, text) is 'Whether an item was charged: what it brought is then free for its user.';

create or replace function public.recall_translation_memory(
  p_worker_id text, p_job_id uuid, p_token bigint, p_target_language text, p_keys text[]) returns setof jsonb
language sql stable set search_path = ''
as $$
  -- Written out instead of calling is_paid, which would be planned and called again for each of 500 rows.
  select jsonb_build_object('key', m.key, 'target', m.target, 'free', exists (
    select from public.translation_credit_ledger l
    where l.job_id = m.origin_job and l.item = m.origin_item and l.kind = 'consume'))
  from public.translation_job_claims c
  join public.translation_jobs j on j.id = c.job_id
  -- One of the two finds something; IS NOT DISTINCT FROM would find it without an index.
  cross join lateral (
    select o.key, o.target, o.target_language, o.origin_job, o.origin_item from public.translation_memory o
    where o.user_id = j.user_id and o.key = any (p_keys[1:500])
    union all
    select o.key, o.target, o.target_language, o.origin_job, o.origin_item from public.translation_memory o
    where j.user_id is null and o.user_id is null and o.key = any (p_keys[1:500])) as m
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id and m.target_language = p_target_language
$$;
comment on function public.recall_translation_memory(text, uuid, bigint, text, text[]) is
  'What this job''s user has translated before: {key, target, free}. Free only if the item that produced it was charged. 500 keys a call.';

create or replace function public.remember_translation_memory(
  p_worker_id text, p_job_id uuid, p_token bigint, p_item text, p_segments jsonb) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_user uuid;
  v_count int;
begin
  -- Share, so that the claim cannot end between this check and the commit; record waits for us, not we for it.
  perform from public.translation_job_claims c
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id for no key update;
  if not found then
    return -1;
  end if;
  update public.translation_job_claims set progressed = true where job_id = p_job_id and not progressed;
  select user_id into v_user from public.translation_jobs where id = p_job_id;
  insert into public.translation_memory as m (user_id, key, target_language, target, origin_job, origin_item, created_at)
  select distinct on (s.key) v_user, s.key, p_item, s.target, p_job_id, p_item, v_now
  from jsonb_to_recordset(p_segments) as s (key text, target text)
  where s.key is not null and s.target is not null
  order by s.key
  on conflict (user_id, key) do update
  -- The newest text wins: it was asked for because the older one did not pass. And somebody has to have paid before
  -- a segment is free: while nobody has, the last one who pays is its origin.
  set target = excluded.target,
      (origin_job, origin_item) = (
        select case when paid then m.origin_job else excluded.origin_job end, case when paid then m.origin_item else excluded.origin_item end
        from translation_private.is_paid(m.origin_job, m.origin_item) as paid)
  where m.target <> excluded.target
     or ((m.origin_job, m.origin_item) <> (excluded.origin_job, excluded.origin_item)
         and not translation_private.is_paid(m.origin_job, m.origin_item));
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.remember_translation_memory(text, uuid, bigint, text, jsonb) is
  'Keeps checked segments of an item: [{key, target}]. Returns how many were kept; -1 when the claim is gone.';

-- Glossary: what the user of a claimed job wants said, a thousand terms a call. A term for pt also serves pt-BR;
-- which of two wins is the worker's to decide. A job that leaves its source language open gets the terms of all.
create or replace function public.recall_translation_glossary(
  p_worker_id text, p_job_id uuid, p_token bigint, p_target_languages text[], p_after_id bigint default 0) returns setof jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object('id', g.id, 'source_language', g.source_language, 'target_language', g.target_language, 'term', g.term,
    'translation', g.translation, 'do_not_translate', g.do_not_translate, 'case_sensitive', g.case_sensitive)
  from public.translation_job_claims c
  join public.translation_jobs j on j.id = c.job_id
  join public.translation_glossary g on g.user_id = j.user_id
  where c.job_id = p_job_id and c.token = p_token and c.worker_id = p_worker_id and g.id > coalesce(p_after_id, 0)
    and (j.source_language is null or g.source_language in (j.source_language, split_part(j.source_language, '-', 1)))
    and g.target_language = any (
      array(select language from unnest(p_target_languages[1:50]) as t (tag) cross join unnest(array[tag, split_part(tag, '-', 1)]) as language))
  order by g.id limit 1000
$$;
comment on function public.recall_translation_glossary(text, uuid, bigint, text[], bigint) is
  'The terms of a claimed job''s user for these languages, by id: {id, source_language, target_language, term, translation, do_not_translate, case_sensitive}. 1000 a call.';

-- ======== 10_progress

-- 10_progress: what people read. Sources and results travel only through their own calls.
--
-- Callers: users under row level security (invoker), the worker's stream (service_role).

-- Parents and children are named only if they are of the same user: the stream reads as the owner and hands on to users.
-- By id and column by column: a row that is handed on whole would bring its source along, out of TOAST, only to drop it.
create or replace function translation_private.job_document(p_job_id uuid) returns jsonb
language sql stable set search_path = '' set enable_seqscan = off set jit = off
as $$
  select jsonb_build_object(
    'id', j.id, 'seq', j.seq, 'user_id', j.user_id, 'subject', j.subject, 'title', j.title, 'metadata', j.metadata,
    'job_type', j.job_type, 'status', j.status, 'priority', j.priority, 'content_kind', j.content_kind, 'content_chars', j.content_chars,
    'source_language', j.source_language, 'target_languages', j.target_languages, 'options', j.options, 'progress', j.progress,
    'progress_message', j.progress_message, 'eta_at', j.eta_at, 'attempts', j.attempts, 'max_attempts', j.max_attempts,
    'deliveries', j.deliveries, 'lost_count', j.lost_count, 'run_at', j.run_at, 'ready_at', j.ready_at, 'deadline_at', j.deadline_at,
    'failed_items', j.failed_items) || jsonb_build_object(
    'credits_reserved', j.credits_reserved, 'credits_consumed', j.credits_consumed, 'credits_refunded', j.credits_refunded,
    'error', j.error, 'worker_id', j.worker_id, 'found_by', j.found_by, 'correlation_id', j.correlation_id,
    'idempotency_key', j.idempotency_key, 'retry_of', j.retry_of, 'revision', j.revision, 'created_at', j.created_at,
    'updated_at', j.updated_at, 'started_at', j.started_at, 'completed_at', j.completed_at, 'cancelled_at', j.cancelled_at,
    'as_of', translation_private.clock(),
    'retried_by', case when j.completed_at is not null then (
      select again.id from public.translation_jobs again where again.retry_of = j.id) end,
    'parents', coalesce((
      select jsonb_agg(jsonb_build_object('id', p.id, 'name', d.name, 'title', p.title, 'job_type', p.job_type, 'status', p.status,
        'failed_items', p.failed_items) order by p.seq)
      from (select e.parent_id, e.name from public.translation_job_dependencies e where e.child_id = j.id limit 50) as d
      join public.translation_jobs p on p.id = d.parent_id and p.user_id is not distinct from j.user_id), '[]'),
    'children', coalesce((
      select jsonb_agg(jsonb_build_object('id', c.id, 'title', c.title, 'job_type', c.job_type, 'status', c.status,
        'failed_items', c.failed_items) order by c.seq)
      from (select e.child_id from public.translation_job_dependencies e where e.parent_id = j.id limit 50) as d
      join public.translation_jobs c on c.id = d.child_id and c.user_id is not distinct from j.user_id), '[]'),
    'items', coalesce((
      select jsonb_agg(jsonb_build_object(
        'item', i.item, 'status', i.status, 'attempts', i.attempts, 'warnings', i.warnings, 'error', i.error,
        'price', i.price, 'credits', i.credits, 'chunks_done', i.chunks_done, 'chunks_total', i.chunks_total, 'retry_at', i.retry_at,
        'progress', i.progress, 'eta_at', case when i.status = 'processing' then i.eta_at end,
        'started_at', i.started_at, 'completed_at', i.completed_at, 'provider', i.result -> 'provider',
        'simulated', i.result -> 'simulated', 'cached_chars', i.result -> 'cached_chars') order by i.position)
      from public.translation_job_items i where i.job_id = j.id), '[]'))
  from public.translation_jobs j where j.id = p_job_id
$$;
comment on function translation_private.job_document(uuid) is
  'A job with its items, without source and results; as_of is the time it was read. Null when there is none.';

create or replace function public.get_translation_job(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job jsonb := translation_private.job_document(p_job_id);
begin
  if v_job is null then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return v_job - 'as_of';
end $$;
comment on function public.get_translation_job(uuid) is 'One job with its items, without source and results.';

create or replace function public.watch_translation_jobs(p_job_ids uuid[]) returns setof jsonb
language sql stable set search_path = ''
as $$
  select translation_private.job_document(j.id) from public.translation_jobs j
  where j.id = any (p_job_ids[1:1000]) order by j.seq
$$;
comment on function public.watch_translation_jobs(uuid[]) is 'Up to 1000 jobs with their items in one call.';

-- One call a second for all listeners of a worker, so the answer is one value (a list would end at the API's thousandth
-- row) and says no more than an id of what did not change. What is asked for and has ended is told whatever its date: that is
-- of when the call that ended it began, and such a call may wait for a lock longer than anybody looks back. The plan is held:
-- each user and state is a few steps on one index, and endings come from the index of all endings, of which a few seconds hold few.
create or replace function public.watch_translation_users(
  p_user_ids uuid[], p_job_ids uuid[] default null, p_changed_within_ms bigint default null) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_users uuid[] := p_user_ids[1:1000];
  v_since timestamptz := translation_private.clock() - make_interval(secs => least(p_changed_within_ms, 600000) / 1000.0);
  v_ids uuid[];
  v_fresh uuid[];
  v_quiet uuid[];
begin
  select array_agg(distinct found.id) into v_ids from (
    select piece.id from unnest(v_users) as u (id)
    cross join unnest(array['processing', 'retrying', 'pending', 'scheduled', 'blocked']) as s (status)
    cross join lateral (
      select j.id from public.translation_jobs j where j.user_id = u.id and j.status = s.status order by j.seq desc limit 200) as piece
    union all
    select unnest(p_job_ids[1:50000])) as found;
  if p_changed_within_ms is not null then
    with ended as materialized (select j.id, j.user_id from public.translation_jobs j where j.completed_at >= v_since)
    select array_agg(distinct id) into v_ids from (select unnest(v_ids) as id union all select e.id from ended e where e.user_id = any (v_users)) as found;
  end if;
  select array_agg(j.id order by j.seq) filter (where not is_quiet), array_agg(j.id) filter (where is_quiet)
  into v_fresh, v_quiet
  from unnest(v_ids) as found (id) join public.translation_jobs j on j.id = found.id
  cross join lateral (
    select p_changed_within_ms is not null and j.updated_at < v_since and j.completed_at is null as is_quiet) as said;
  return jsonb_build_object(
    'as_of', translation_private.clock(),
    'jobs', coalesce((
      select jsonb_agg(translation_private.job_document(fresh.id) order by fresh.n) from unnest(v_fresh) with ordinality as fresh (id, n)), '[]'),
    'quiet', coalesce(to_jsonb(v_quiet), '[]'),
    'credits', coalesce((
      select jsonb_object_agg(u.id, jsonb_build_object(
        'balance', coalesce((select c.balance from public.translation_credits c where c.user_id = u.id), 0),
        'reserved', coalesce((
          select sum(j.credits_reserved - j.credits_consumed - j.credits_refunded) from public.translation_jobs j
          where j.user_id = u.id and j.status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying')), 0)))
      from unnest(v_users) as u (id)), '{}'));
end $$;
comment on function public.watch_translation_users(uuid[], uuid[], bigint) is
  'For a live stream: what up to 1000 users have unfinished (the newest 200 of each state) and what is named: {as_of, jobs, quiet: ids of those that have not ended and did not change within the time, credits: {user: {balance, reserved}}}. With a time also jobs that ended within it.';

create or replace function translation_private.job_type_names() returns text[]
language sql stable security definer set search_path = ''
as $$ select array_agg(name) from public.translation_job_types $$;
comment on function translation_private.job_type_names() is 'Definer, because users may not read the prices that stand beside the names.';

-- A list is put together from one short piece for each status and type, each a few steps on one index: as quick for a
-- rare one as for a common one, for a user as for the owner of a million jobs. A subject or a time comes first among
-- ended jobs, which are many, and is looked for piece by piece among the others, which are few. A text is in no index,
-- so it is looked for among the newest 2000 of each piece; so are completed jobs
-- with failed items.
create or replace function translation_private.page_of_jobs(
  p_status text[], p_job_type text, p_subject text, p_since timestamptz, p_limit int, p_before_seq bigint, p_until timestamptz, p_search text,
  p_partly boolean)
returns setof uuid
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_statuses text[] := coalesce(p_status, array['pending', 'scheduled', 'blocked', 'processing', 'retrying', 'completed', 'failed', 'cancelled']);
  v_ended text[] := array['completed', 'failed', 'cancelled'];
  v_sought boolean := p_subject is not null or p_since is not null;
  v_types text[] := case when p_job_type is null then translation_private.job_type_names() else array[p_job_type] end;
  v_before bigint := coalesce(p_before_seq, 9223372036854775807);
  v_before_ended bigint := v_before;
  v_filters text := concat(
    case when p_subject is not null then ' and j.subject = $4' end, case when p_since is not null then ' and j.created_at >= $5' end,
    case when p_until is not null then ' and j.created_at < $8' end);
  v_page text := ' order by j.seq desc limit ' || case when p_search is null and p_partly is null then '$7' else '2000' end;
  v_search text := concat(' where true',
    case when p_search is not null then ' and strpos(lower(concat_ws(E''\n'', piece.title, piece.subject, piece.id, piece.correlation_id)), lower($9)) > 0' end,
    case when p_partly is not null then ' and (piece.status <> ''completed'' or (piece.failed_items > 0) = $10)' end);
begin
  if p_until is not null and not v_sought and (select auth.uid()) is not null then
    -- A user's million jobs after that time are not read one by one: jobs are numbered about in the order of their times.
    execute 'select coalesce(max(newest.seq), 0) + 1 from (
      select j.seq from public.translation_jobs j
      where j.status in (''completed'', ''failed'', ''cancelled'') and j.created_at < $1 order by j.created_at desc limit 1000) as newest'
    into v_before_ended using p_until;
    v_before_ended := least(v_before, v_before_ended);
  end if;
  -- Only what is asked for stands in the statement, so that each filter finds its own index.
  return query execute
    'select j.id from (
       select piece.id, piece.seq from unnest($1) as s (status) cross join unnest($3) as t (job_type)
       cross join lateral (
         select j.id, j.seq, j.status, j.failed_items, j.title, j.subject, j.correlation_id from public.translation_jobs j
         where j.status = s.status and j.job_type = t.job_type and j.seq < case when s.status = any ($12) then $11 else $6 end'
    || v_filters || v_page || ') as piece' || v_search
    || case when v_sought then '
       union all (
         select piece.id, piece.seq from (
           select j.id, j.seq, j.status, j.failed_items, j.title, j.subject, j.correlation_id from public.translation_jobs j
           where j.status in (''completed'', ''failed'', ''cancelled'') and j.status = any ($2) and j.seq < $6'
       || case when p_job_type is not null then ' and j.job_type = $3[1]' else '' end
       || case when p_since is not null then ' and j.completed_at >= $5' else '' end || v_filters || v_page || ') as piece' || v_search || ')' else '' end || '
       order by seq desc limit $7) as j order by j.seq desc'
  using (select array_agg(distinct s) from unnest(v_statuses) as s where not (v_sought and s = any (v_ended))),
    v_statuses, v_types, p_subject, p_since, v_before, least(greatest(coalesce(p_limit, 50), 1), 200), p_until, p_search, p_partly,
    v_before_ended, v_ended;
end $$;
comment on function translation_private.page_of_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean) is
  'Which jobs stand on a page, newest first.';

create or replace function public.list_translation_jobs(
  p_status text[] default null, p_job_type text default null, p_subject text default null, p_since timestamptz default null,
  p_limit int default 50, p_before_seq bigint default null, p_until timestamptz default null, p_search text default null)
returns setof public.translation_jobs
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
  -- Planned each time: a plan made while the table was empty may stay on the wrong index.
  return query execute '
    select job.* from unnest($1) with ordinality as page (id, n)
    cross join lateral (select * from public.translation_jobs where id = page.id offset 0) as j
    cross join lateral translation_private.without_content(j) as job order by page.n'
  using array(select translation_private.page_of_jobs(p_status, p_job_type, p_subject, p_since, p_limit, p_before_seq, p_until, p_search, null));
end $$;
comment on function public.list_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text) is
  'Jobs, newest first, 200 at most; the next page starts before the last seq. Without sources. By status and type it is quick for everybody; by subject and time for a user. A text is looked for in title, subject and ids of the newest 2000 of each state.';

create or replace function public.show_translation_jobs(
  p_status text[] default null, p_job_type text default null, p_subject text default null, p_since timestamptz default null,
  p_limit int default 50, p_before_seq bigint default null, p_until timestamptz default null, p_search text default null,
  p_partly boolean default null) returns setof jsonb
language sql stable set search_path = ''
as $$
  select translation_private.job_document(page.id)
  from translation_private.page_of_jobs(p_status, p_job_type, p_subject, p_since, p_limit, p_before_seq, p_until, p_search, p_partly)
    with ordinality as page (id, n)
  order by page.n
$$;
comment on function public.show_translation_jobs(text[], text, text, timestamptz, int, bigint, timestamptz, text, boolean) is
  'The same page as list_translation_jobs, each job with its items: what a screen shows. p_partly: of completed jobs only those with failed items (true) or without (false), among the newest 2000.';

create or replace function public.count_translation_jobs(p_subject text default null) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_one_by_one constant text := '
    select s.status, piece.failed_items from unnest($2) as s (status)
    cross join lateral (select j.failed_items from public.translation_jobs j where j.status = s.status';
  v_counts jsonb;
begin
  -- The ended jobs of one subject are together in an index of their own, whatever their state.
  execute 'select jsonb_object_agg(n.name, n.jobs) from (
      select case when found.status = ''completed'' and found.failed_items > 0 then ''partly'' else found.status end as name, least(count(*), 1000) as jobs
      from (' || v_one_by_one || case when p_subject is null then ' limit 1000) as piece' else ' and j.subject = $1 limit 1000) as piece
        union all (
          select j.status, j.failed_items from public.translation_jobs j
          where j.status in (''completed'', ''failed'', ''cancelled'') and j.subject = $1 limit 3000)' end || ') as found
      group by name) as n'
  into v_counts
  using p_subject, array['pending', 'scheduled', 'blocked', 'processing', 'retrying']
    || case when p_subject is null then array['completed', 'failed', 'cancelled'] else array[]::text[] end;
  v_counts := '{"pending": 0, "scheduled": 0, "blocked": 0, "processing": 0, "retrying": 0, "completed": 0, "partly": 0, "failed": 0, "cancelled": 0}'
    || coalesce(v_counts, '{}');
  return jsonb_build_object(
    'active', v_counts - array['completed', 'partly', 'failed', 'cancelled'],
    'finished', v_counts - array['pending', 'scheduled', 'blocked', 'processing', 'retrying'],
    'capped', 1000);
end $$;
comment on function public.count_translation_jobs(text) is
  'How many jobs the caller has in each state, all or of one subject: {active, finished, capped}. Counting a state stops at capped.';

create or replace function public.get_translation_attempts(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object(
      'delivery', a.delivery, 'started_at', a.started_at, 'ended_at', a.ended_at, 'outcome', a.outcome, 'found_by', a.found_by,
      'found_ms', a.found_ms, 'error', a.error) order by a.delivery)
    from (select delivery, started_at, ended_at, outcome, found_by, found_ms, error from public.translation_job_attempts
          where job_id = p_job_id order by delivery desc limit 1000) as a), '[]');
end $$;
comment on function public.get_translation_attempts(uuid) is 'The timeline of a job: its latest 1000 tries, oldest first.';

create or replace function public.get_translation_movements(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return coalesce((
    select jsonb_agg(jsonb_build_object('item', l.item, 'kind', l.kind, 'amount', l.amount, 'created_at', l.created_at) order by l.id)
    from public.translation_credit_ledger l where l.job_id = p_job_id), '[]');
end $$;
comment on function public.get_translation_movements(uuid) is 'The lines of the ledger about one job, oldest first: at most three an item.';

create or replace function public.list_translation_languages() returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_array(pair.source_language, pair.target_language) order by pair.source_language, pair.target_language), '[]')
  from (select distinct l.source_language, l.target_language from public.translation_languages l limit 10000) as pair
$$;
comment on function public.list_translation_languages() is 'The pairs on offer as [[source, target]], * being any language. Empty: nobody has said yet, and any is taken.';

create or replace function public.get_translation_source(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb;
begin
  select content into v_content from public.translation_jobs where id = p_job_id;
  if not found then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  return v_content;
end $$;
comment on function public.get_translation_source(uuid) is 'The source of a job.';

create or replace function public.get_translation_result(p_job_id uuid, p_item text) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_item public.translation_job_items;
begin
  select * into v_item from public.translation_job_items where job_id = p_job_id and item = p_item;
  if not found then
    perform translation_private.refuse(404, 'item_not_found', 'There is no such job, or it has no such item.');
  elsif v_item.status <> 'completed' then
    perform translation_private.refuse(409, 'item_not_finished', format('The item is %s: it has no result.', v_item.status));
  end if;
  return v_item.result || jsonb_build_object('warnings', v_item.warnings, 'credits', v_item.credits);
end $$;
comment on function public.get_translation_result(uuid, text) is 'The result of one finished item: {content, provider, simulated, cached_chars, source_language, warnings, credits}.';

create or replace function public.get_translation_credits() returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'balance', coalesce((select c.balance from public.translation_credits c where c.user_id = (select auth.uid())), 0),
    'reserved', coalesce((
      select sum(j.credits_reserved - j.credits_consumed - j.credits_refunded) from public.translation_jobs j
      where j.user_id = (select auth.uid()) and j.status in ('pending', 'scheduled', 'blocked', 'processing', 'retrying')), 0))
$$;
comment on function public.get_translation_credits() is 'The caller''s credits: {balance: free to spend, reserved: held by unfinished jobs}.';

-- ======== 11_realtime

-- 11_realtime: how workers and browsers hear of it.
--
-- Two roads to a worker. Change capture (the publication) carries the INSERT of a job and the worker's own
-- heartbeat row. The broadcast road is realtime.send: an insert that commits with us and is streamed at
-- commit. A statement trigger announces inserts; a job that becomes pending in any other way is announced by
-- the procedure that does it, because a trigger with transition tables on UPDATE would copy every progress
-- write. No NOTIFY: it takes a database-wide lock at commit.
-- A message is a hint: a job id and when it is due. Never content, never a token.

create or replace function translation_private.broadcast(p_event text, p_payload jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  -- Definer, because only the owner may be trusted to write realtime.messages on every project.
  if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null then
    perform realtime.send(p_payload, p_event, 'translation_jobs', true);
  end if;
end $$;
comment on function translation_private.broadcast(text, jsonb) is 'One message on the private topic translation_jobs, sent if this transaction commits.';

create or replace function translation_private.announce(p_event text, p_job_id uuid, p_due_in_ms bigint, p_jobs int) returns void
language plpgsql set search_path = ''
as $$
begin
  perform translation_private.broadcast(p_event, case p_event
    when 'ready' then jsonb_build_object('job_id', p_job_id, 'jobs', p_jobs, 'due_in_ms', p_due_in_ms)
    else jsonb_build_object('job_id', p_job_id) end);
end $$;
comment on function translation_private.announce(text, uuid, bigint, int) is 'Tells workers that jobs are ready (or will be), or that one was cancelled.';

create or replace function translation_private.announce_inserted() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_first record;
begin
  select id, count(*) over () as jobs,
         greatest(0, coalesce(translation_private.as_ms(run_at - translation_private.clock()), 0)) as due_in_ms
  into v_first from inserted where status in ('pending', 'scheduled')
  order by (status = 'pending') desc, run_at, seq limit 1;
  if found then
    -- new: the other road tells of it too, while a job that comes back is told of here alone.
    perform translation_private.broadcast('ready', jsonb_build_object(
      'job_id', v_first.id, 'jobs', v_first.jobs, 'due_in_ms', v_first.due_in_ms, 'new', true));
  end if;
  return null;
end $$;
comment on function translation_private.announce_inserted() is 'One message a statement, however many jobs it made.';
-- A procedure that makes many jobs, one statement each, says so itself at its end.
create or replace trigger translation_jobs_announce
  after insert on public.translation_jobs referencing new table as inserted
  for each statement when (current_setting('translation.announce', true) is distinct from 'later')
  execute function translation_private.announce_inserted();

do $do$
declare
  v_table text;
begin
  if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
    raise notice 'There is no publication supabase_realtime: workers will hear of jobs by broadcast and by polling only.';
    return;
  end if;
  foreach v_table in array array['translation_jobs', 'translation_workers'] loop
    if not exists (
      select from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime' and schemaname = 'public' and tablename = v_table
    ) then
      execute format('alter publication supabase_realtime add table public.%I', v_table);
    end if;
  end loop;
end $do$;

-- ======== 12_chains

-- 12_chains: jobs that wait for each other, made in one call, and what a step gets from those before it.
--
-- Callers: service_role, cron and the SQL editor (enqueue), workers (parents).
-- Locks: the advisory locks of all users and keys named, in their order; then parents outside the chain, by id; then as
-- one enqueue after the other. A parent is always made before what waits for it.
-- SQLSTATE: PT404 job_not_found, PT422 jobs_malformed, chain_cycle, chain_name_unknown, chain_name_repeated, parents_too_many.

-- One message for many jobs made in one transaction, as the trigger would send one for each statement.
create or replace function translation_private.announce_made(p_job_ids uuid[], p_now timestamptz) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_jobs int;
  v_due_at timestamptz;
begin
  select count(*)::int, min(case j.status when 'pending' then p_now else j.run_at end) into v_jobs, v_due_at
  from public.translation_jobs j where j.id = any (p_job_ids) and j.status in ('pending', 'scheduled');
  if v_jobs > 0 then
    perform translation_private.announce('ready', p_job_ids[1], greatest(0, translation_private.as_ms(v_due_at - p_now)), v_jobs);
  end if;
end $$;
comment on function translation_private.announce_made(uuid[], timestamptz) is 'Tells workers once of all these jobs that are, or will be, to be done.';

-- Steps are numbers here: their places in the call. An edge is a step and one that comes before it.
create or replace function translation_private.chain_order(p_names text[], p_steps int[], p_befores int[]) returns int[]
language plpgsql immutable set search_path = ''
as $$
declare
  v_order int[];
  v_open int[];
  v_next int := 1;
  v_step int;
begin
  select array_agg(coalesce(e.befores, 0) order by s.n),
         coalesce(array_agg(s.n order by s.n) filter (where e.befores is null), '{}')
  into v_open, v_order
  from generate_series(1, cardinality(p_names)) as s (n)
  left join (select step, count(*)::int as befores from unnest(p_steps) as step group by step) as e on e.step = s.n;
  while v_next <= cardinality(v_order) loop
    for v_step in
      select e.step from unnest(p_steps, p_befores) as e (step, before) where e.before = v_order[v_next] order by e.step
    loop
      v_open[v_step] := v_open[v_step] - 1;
      if v_open[v_step] = 0 then
        v_order := v_order || v_step;
      end if;
    end loop;
    v_next := v_next + 1;
  end loop;
  if cardinality(v_order) < cardinality(p_names) then
    perform translation_private.refuse(422, 'chain_cycle', format('These jobs wait for each other: %s.', (
      select string_agg(left(p_names[s.n], 40), ', ' order by s.n) from (
        select n from generate_series(1, cardinality(p_names)) as n where n <> all (v_order) limit 10) as s)));
  end if;
  return v_order;
end $$;
comment on function translation_private.chain_order(text[], int[], int[]) is 'The steps of a chain, each after those it waits for. Refuses a circle.';

create or replace function translation_private.check_chain(p_jobs jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_name text;
begin
  if jsonb_typeof(p_jobs) is distinct from 'array' or jsonb_array_length(p_jobs) not between 1 and 500
     or exists (select from jsonb_array_elements(p_jobs) as e where jsonb_typeof(e.value) <> 'object')
     or exists (
       select from jsonb_to_recordset(p_jobs) as e (p_name text)
       where e.p_name is null or char_length(e.p_name) not between 1 and 100) then
    perform translation_private.refuse(422, 'jobs_malformed',
      'p_jobs is an array of 1 to 500 objects, each with a p_name of 1 to 100 characters and the arguments of enqueue_translation_job.');
  end if;
  if (select sum(coalesce(cardinality(e.p_after_names), 0) + coalesce(cardinality(e.p_after), 0))
      from jsonb_to_recordset(p_jobs) as e (p_after_names text[], p_after uuid[])) > 5000 then
    perform translation_private.refuse(422, 'parents_too_many', 'The jobs of a chain may name 5000 parents at most, all together.');
  end if;
  select e.p_name into v_name from jsonb_to_recordset(p_jobs) as e (p_name text) group by e.p_name having count(*) > 1 limit 1;
  if found then
    perform translation_private.refuse(422, 'chain_name_repeated', format('Two jobs of the chain are called %s: give each a name of its own.', left(v_name, 100)));
  end if;
  select after into v_name from jsonb_to_recordset(p_jobs) as e (p_after_names text[]), unnest(e.p_after_names) as after
  where after is null or after not in (select c.p_name from jsonb_to_recordset(p_jobs) as c (p_name text)) limit 1;
  if found then
    perform translation_private.refuse(422, 'chain_name_unknown', format('No job of the chain is called %s.', coalesce(left(v_name, 100), 'null')));
  end if;
end $$;
comment on function translation_private.check_chain(jsonb) is 'Refuses what is no chain, before anything of it is made.';

-- All locks that the jobs of a chain or of a batch will take, in the order in which every other call takes them.
create or replace function translation_private.lock_batch(p_jobs jsonb) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_owner text;
begin
  for v_owner in
    select coalesce(e.p_user_id::text, e.p_idempotency_key) as owner
    from jsonb_to_recordset(p_jobs) as e (p_user_id uuid, p_idempotency_key text)
    where coalesce(e.p_user_id::text, e.p_idempotency_key) is not null
    group by e.p_user_id, owner order by e.p_user_id, owner
  loop
    perform pg_advisory_xact_lock(hashtextextended('translation ' || v_owner, 0));
  end loop;
  perform from public.translation_jobs j
  where j.id in (select parent from jsonb_to_recordset(p_jobs) as e (p_after uuid[]), unnest(e.p_after) as parent)
  order by j.id for share;
end $$;
comment on function translation_private.lock_batch(jsonb) is 'Locks the users and keys of a chain or a batch, then the parents outside it.';

create or replace function public.enqueue_translation_chain(p_jobs jsonb) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_names text[];
  v_steps int[];
  v_befores int[];
  v_order int[];
  v_step int;
  v_entry record;
  v_job public.translation_jobs;
  v_ids uuid[];
  v_made jsonb := jsonb_build_object();
begin
  perform translation_private.check_chain(p_jobs);
  select array_agg(e.job ->> 'p_name' order by e.n) into v_names from jsonb_array_elements(p_jobs) with ordinality as e (job, n);
  select array_agg(edge.step), array_agg(edge.before) into v_steps, v_befores
  from (
    select distinct e.n::int as step, array_position(v_names, after) as before
    from jsonb_array_elements(p_jobs) with ordinality as e (job, n)
    cross join lateral jsonb_to_record(e.job) as r (p_after_names text[])
    cross join lateral unnest(r.p_after_names) as after) as edge;
  v_order := translation_private.chain_order(v_names, coalesce(v_steps, '{}'), coalesce(v_befores, '{}'));
  perform translation_private.lock_batch(p_jobs);

  v_ids := array_fill(null::uuid, array[cardinality(v_names)]);
  perform set_config('translation.announce', 'later', true);
  foreach v_step in array v_order loop
    select * into v_entry from jsonb_to_record(p_jobs -> v_step - 1) as (
      p_job_type text, p_content jsonb, p_items text[], p_user_id uuid, p_source_language text, p_content_kind text, p_priority int,
      p_options jsonb, p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text,
      p_metadata jsonb, p_after uuid[], p_after_names text[]);
    v_job := translation_private.add_job(
      false, v_entry.p_user_id, v_entry.p_job_type, v_entry.p_content, v_entry.p_items, v_entry.p_source_language,
      coalesce(v_entry.p_content_kind, 'text'), v_entry.p_priority, v_entry.p_options, v_entry.p_idempotency_key, v_entry.p_run_at,
      v_entry.p_correlation_id, v_entry.p_subject, coalesce(v_entry.p_title, v_names[v_step]), v_entry.p_metadata,
      array(select v_ids[array_position(v_names, after)] from unnest(v_entry.p_after_names) with ordinality as a (after, n) order by n) || v_entry.p_after,
      null, v_entry.p_after_names);
    v_ids[v_step] := v_job.id;
    v_made := v_made || jsonb_build_object(v_names[v_step], to_jsonb(v_job) - array['content', 'request_hash']);
  end loop;
  perform set_config('translation.announce', '', true);
  perform translation_private.announce_made(v_ids, translation_private.clock());
  return v_made;
end $$;
comment on function public.enqueue_translation_chain(jsonb) is
  'Up to 500 jobs that wait for each other, all or none: objects with the arguments of enqueue_translation_job, a p_name, and p_after_names. In any order. Returns {name: job}.';

-- What a step gets from those before it. Results travel with it up to a megabyte a page, the smallest first; a larger one
-- is named, and is read by itself with get_translation_result. Sizes as stored are looked at first: what is left out is not unpacked.
create or replace function public.get_translation_parents(p_job_id uuid, p_after_seq bigint default 0) returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_most constant int := 1048576;
  v_page jsonb;
begin
  if not exists (select from public.translation_jobs where id = p_job_id) then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  with parent as materialized (
    select p.id, p.seq, p.job_type, p.title, p.subject, p.status, p.error, d.name
    from public.translation_job_dependencies d join public.translation_jobs p on p.id = d.parent_id
    where d.child_id = p_job_id and p.seq > p_after_seq order by p.seq limit 50
  ), stored as materialized (
    select i.job_id, i.item, p.seq, i.position, coalesce(pg_column_size(i.result), 0) as bytes
    from parent p join public.translation_job_items i on i.job_id = p.id
  ), close as materialized (
    select s.job_id, s.item, s.seq, s.position,
      sum(s.bytes) filter (where s.bytes <= v_most) over (order by s.bytes, s.seq, s.position) <= v_most and s.bytes <= v_most as here
    from stored s
  ), weighed as materialized (
    select c.job_id, c.item, c.seq, c.position, i.status, i.error, case when c.here then i.result end as result, c.here,
      case when c.here then coalesce(octet_length(i.result::text), 0) else v_most + 1 end as bytes
    from close c join public.translation_job_items i on i.job_id = c.job_id and i.item = c.item
  ), fitting as (
    select w.*, w.bytes <= v_most and sum(w.bytes) filter (where w.bytes <= v_most) over (order by w.bytes, w.seq, w.position) <= v_most as fits
    from weighed w
  ), item as (
    select f.job_id, jsonb_agg(
      jsonb_build_object('item', f.item, 'status', f.status, 'error', f.error, 'result', case when f.fits then f.result end,
        'has_more', f.status = 'completed' and not f.fits) order by f.position) as items
    from fitting f group by f.job_id
  )
  select jsonb_agg(jsonb_build_object(
      'id', p.id, 'seq', p.seq, 'name', p.name, 'job_type', p.job_type, 'title', p.title, 'subject', p.subject,
      'status', p.status, 'error', p.error, 'items', coalesce(item.items, '[]')) order by p.seq)
  into v_page from parent p left join item on item.job_id = p.id;
  return coalesce(v_page, '[]');
end $$;
comment on function public.get_translation_parents(uuid, bigint) is
  'The jobs this one came after, oldest first, 50 a call, with their items and results: [{id, seq, name, job_type, title, subject, status, error, items: [{item, status, error, result, has_more}]}]. A megabyte of results a call; where has_more is true, get_translation_result has it.';

-- ======== 12_intake

-- 12_intake: jobs out of Supabase Queues (pgmq).
--
-- Callers: service_role, cron and the SQL editor; workers through do_translation_chores.
-- A message is read, becomes a job and is archived in one transaction, so each becomes exactly one: before the commit
-- nothing has happened to it, and after it the message is gone from the queue. The job's idempotency key is
-- pgmq:<queue>:<msg_id>. A message that cannot become a job is archived too, with the reason kept beside it; one that
-- met a passing trouble stays. Each in a subtransaction of its own: none holds up the others.
-- Definer, because a project's own role may use pgmq where service_role was not granted it. Only what is listed in
-- translation_queues is read.
-- SQLSTATE: PT404 queue_unknown, PT422 pgmq_missing; of a message: message_malformed, and whatever enqueue refuses.

create table if not exists public.translation_queues (
  name           text primary key check (char_length(name) between 1 and 100),
  job_type       text not null references public.translation_job_types (name),
  message_is     text not null default 'arguments' check (message_is in ('arguments', 'content')),
  defaults       jsonb not null default '{}' check (jsonb_typeof(defaults) = 'object'),
  may_name_user  boolean not null default false,
  worker_seconds int default 10 check (worker_seconds between 1 and 86400),
  enabled        boolean not null default true,
  description    text
);
create index if not exists translation_queues_of_type on public.translation_queues (job_type);
comment on table public.translation_queues is 'Queues of pgmq whose messages become jobs.';
comment on column public.translation_queues.name is 'The queue''s name in pgmq.';
comment on column public.translation_queues.job_type is 'What its messages become.';
comment on column public.translation_queues.message_is is 'arguments: a message is an object with arguments of enqueue_translation_job, without their p_. content: all of it is the content of a job.';
comment on column public.translation_queues.defaults is 'Arguments that a message does not name itself, e.g. {"items": ["es"], "priority": 3}.';
comment on column public.translation_queues.may_name_user is 'Whether a message may say whose job it becomes. Only where nobody but your servers may send to the queue.';
comment on column public.translation_queues.worker_seconds is 'How often workers look into it; null: they do not, because cron does.';
comment on column public.translation_queues.enabled is 'Off: its messages stay where they are.';
comment on column public.translation_queues.description is 'For people.';

create table if not exists public.translation_queue_refusals (
  queue      text not null,
  msg_id     bigint not null,
  word       text not null,
  message    text,
  refused_at timestamptz not null,
  primary key (queue, msg_id)
);
create index if not exists translation_queue_refusals_by_time on public.translation_queue_refusals (refused_at);
comment on table public.translation_queue_refusals is
  'Messages that could not become jobs. The messages themselves are in the queue''s archive, pgmq.a_<queue>. Kept for 90 days.';
comment on column public.translation_queue_refusals.queue is 'The queue.';
comment on column public.translation_queue_refusals.msg_id is 'The message, by its number in the archive.';
comment on column public.translation_queue_refusals.word is 'The stable word of the refusal.';
comment on column public.translation_queue_refusals.message is 'What is allowed, in a sentence.';
comment on column public.translation_queue_refusals.refused_at is 'When.';

create or replace function translation_private.take_message(p_queue public.translation_queues, p_msg_id bigint, p_message jsonb) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_fields constant text[] := array['content', 'items', 'user_id', 'source_language', 'content_kind', 'priority', 'options', 'run_at',
    'correlation_id', 'subject', 'title', 'metadata', 'after'];
  v_said jsonb := case p_queue.message_is when 'content' then jsonb_build_object('content', p_message) else p_message end;
  v_unknown text;
  v_job record;
begin
  if jsonb_typeof(v_said) is distinct from 'object' then
    perform translation_private.refuse(422, 'message_malformed', 'A message of this queue is a JSON object with arguments of enqueue_translation_job.');
  end if;
  select key into v_unknown from jsonb_object_keys(v_said) as key where key <> all (v_fields) limit 1;
  if found then
    perform translation_private.refuse(422, 'message_malformed',
      format('%s is no field of a message: it may have %s.', left(v_unknown, 40), array_to_string(v_fields, ', ')));
  elsif v_said ? 'user_id' and not p_queue.may_name_user then
    perform translation_private.refuse(422, 'message_malformed', 'Messages of this queue may not name a user: translation_queues.may_name_user is off.');
  end if;
  select * into v_job from jsonb_to_record(p_queue.defaults || v_said) as (
    content jsonb, items text[], user_id uuid, source_language text, content_kind text, priority int, options jsonb, run_at timestamptz,
    correlation_id text, subject text, title text, metadata jsonb, after uuid[]);
  return (translation_private.add_job(
    false, v_job.user_id, p_queue.job_type, v_job.content, v_job.items, v_job.source_language, coalesce(v_job.content_kind, 'text'),
    v_job.priority, v_job.options, format('pgmq:%s:%s', p_queue.name, p_msg_id), v_job.run_at, v_job.correlation_id, v_job.subject,
    v_job.title, v_job.metadata, v_job.after)).id;
end $$;
comment on function translation_private.take_message(public.translation_queues, bigint, jsonb) is 'One message becomes a job; refuses what cannot.';

create or replace function translation_private.pgmq() returns text
language sql stable set search_path = ''
as $$ select n.nspname::text from pg_catalog.pg_namespace n where n.nspname = 'pgmq' $$;
comment on function translation_private.pgmq() is 'The schema of pgmq, or null where the project has none.';

create or replace function translation_private.read_queue(p_queue text, p_limit int)
returns setof jsonb language plpgsql set search_path = ''
as $$
declare
  v_pgmq text := translation_private.pgmq();
begin
  if v_pgmq is null then
    perform translation_private.refuse(422, 'pgmq_missing', 'This project has no pgmq: switch on Queues under Integrations in the dashboard.');
  end if;
  -- Hidden for ten seconds: what is not finished in this call is seen again soon.
  return query execute format(
    'select jsonb_build_object(''msg_id'', m.msg_id, ''read_ct'', m.read_ct, ''message'', m.message) from %I.read($1, 10, $2) as m order by m.msg_id',
    v_pgmq)
  using p_queue, p_limit;
exception when undefined_table then
  perform translation_private.refuse(404, 'queue_unknown', format('pgmq has no queue %s: pgmq.create makes it.', left(p_queue, 60)));
end $$;
comment on function translation_private.read_queue(text, int) is 'The next messages of a queue, oldest first, locked by this transaction: {msg_id, read_ct, message}.';

create or replace function translation_private.take_queue(p_queue text, p_limit int) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_began constant timestamptz := clock_timestamp();
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 500);
  v_queue public.translation_queues;
  v_next record;
  v_taken uuid[] := array[]::uuid[];
  v_pgmq text := translation_private.pgmq();
  v_read int := 0;
  v_refused int := 0;
  v_left int := 0;
  v_state text;
  v_word text;
  v_sentence text;
begin
  select * into v_queue from public.translation_queues where name = p_queue;
  if not found then
    perform translation_private.refuse(404, 'queue_unknown', format('%s is not in translation_queues.', coalesce(left(p_queue, 60), 'null')));
  elsif not v_queue.enabled then
    return jsonb_build_object('queue', v_queue.name, 'read', 0, 'taken', 0, 'refused', 0, 'left', 0, 'more', false);
  end if;
  perform set_config('translation.announce', 'later', true);
  for v_next in
    select (r ->> 'msg_id')::bigint as msg_id, (r ->> 'read_ct')::int as read_ct, r -> 'message' as message
    from translation_private.read_queue(v_queue.name, v_limit) as r
  loop
    v_read := v_read + 1;
    if clock_timestamp() > v_began + interval '4 seconds' then
      v_left := v_left + 1;
      continue;
    end if;
    begin
      v_taken := v_taken || translation_private.take_message(v_queue, v_next.msg_id, v_next.message);
    exception when others then
      get stacked diagnostics v_state = returned_sqlstate, v_word = pg_exception_detail, v_sentence = message_text;
      -- A lock or the disk: it may work the next time, but not for ever.
      if v_state !~ '^(PT|22|23|P0)' and v_next.read_ct < 20 then
        v_left := v_left + 1;
        continue;
      end if;
      insert into public.translation_queue_refusals as r (queue, msg_id, word, message, refused_at)
      values (v_queue.name, v_next.msg_id, case when v_state like 'PT%' then split_part(v_word, ' ', 1) else 'message_malformed' end,
              case when v_state like 'PT%' then left(v_sentence, 500) else format('The database could not read it (%s).', v_state) end, v_now)
      on conflict (queue, msg_id) do update set word = excluded.word, message = excluded.message, refused_at = excluded.refused_at;
      v_refused := v_refused + 1;
    end;
    execute format('select %I.archive($1, $2)', v_pgmq) using v_queue.name, v_next.msg_id;
  end loop;
  perform set_config('translation.announce', '', true);
  perform translation_private.announce_made(v_taken, v_now);
  return jsonb_build_object('queue', v_queue.name, 'read', v_read, 'taken', cardinality(v_taken), 'refused', v_refused, 'left', v_left,
    'more', v_read = v_limit);
end $$;
comment on function translation_private.take_queue(text, int) is 'Definer, because service_role may not be granted pgmq: reads only queues that the owner has listed.';

create or replace function public.take_translation_queue(p_queue text, p_limit int default 100) returns jsonb
language sql set search_path = ''
as $$ select translation_private.take_queue(p_queue, p_limit) $$;
comment on function public.take_translation_queue(text, int) is
  'Turns up to p_limit (at most 500) messages of a queue of pgmq into jobs and archives them, in one transaction: {queue, read, taken, refused, left, more}. What cannot become a job is archived too, and explained in translation_queue_refusals.';

-- ======== 12_kinds

-- 12_kinds: what jobs of type sql_functions and http may reach, and what is checked when they are made.
--
-- Callers: create and typed rows (the checks), workers (what is allowed now), the owner (the two lists).
-- An allow-list is the whole permission: a job names a function or an endpoint, never an address. The worker asks again
-- before each call, so that what was taken off a list is refused from then on.
-- SQLSTATE: PT422 function_not_allowed, function_unknown, function_too_slow, endpoint_not_allowed, content_invalid,
-- option_unknown, option_invalid, items_invalid.

-- The time limits that these types came with before there were lists. Nobody can have had jobs of them.
update public.translation_job_types set item_timeout_seconds = 90
where name = 'sql_functions' and item_timeout_seconds = 60 and to_regclass('public.translation_sql_functions') is null;
update public.translation_job_types set item_timeout_seconds = 3600
where name = 'http' and item_timeout_seconds = 300 and to_regclass('public.translation_http_endpoints') is null;

create table if not exists public.translation_sql_functions (
  name        text primary key check (name ~ '^[a-z_][a-z0-9_]{0,62}$'),
  description text,
  enabled     boolean not null default true,
  created_at  timestamptz not null default now(),
  -- All procedures of this script have the word in their names, and none of them is work.
  constraint translation_sql_functions_none_of_the_queue check (position('translation' in name) = 0)
);
comment on table public.translation_sql_functions is
  'Functions of schema public that jobs of type sql_functions may call, as service_role. Written by the owner only; row level security without a policy is meant.';
comment on column public.translation_sql_functions.name is 'The function''s name, without schema and arguments. The queue''s own procedures cannot be listed.';
comment on column public.translation_sql_functions.description is 'For people.';
comment on column public.translation_sql_functions.enabled is 'Off: refused from now on, also for jobs that wait.';
comment on column public.translation_sql_functions.created_at is 'When it was listed.';

create table if not exists public.translation_http_endpoints (
  name            text primary key check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  url             text not null,
  methods         text[] not null default '{POST}'
                    check (cardinality(methods) > 0 and methods <@ array['GET', 'POST', 'PUT', 'PATCH', 'DELETE']),
  timeout_seconds int not null default 300 check (timeout_seconds between 1 and 3600),
  allow_private   boolean not null default false,
  enabled         boolean not null default true,
  description     text,
  created_at      timestamptz not null default now(),
  -- A token goes with the call: no plain http over the internet, no password in the address, nothing after the path.
  constraint translation_http_endpoints_address check (
    char_length(url) <= 2000 and url ~ '^https?://[^\s/?#@\\]+(/[^\s?#\\]*)?$' and (allow_private or url like 'https:%'))
);
comment on table public.translation_http_endpoints is
  'Addresses that jobs of type http may call. Written by the owner only; tokens and signing secrets stay with the worker. Row level security without a policy is meant.';
comment on column public.translation_http_endpoints.name is 'What jobs call it, and what HTTP_TOKENS and HTTP_SECRETS of the worker name.';
comment on column public.translation_http_endpoints.url is 'https address without query; a job may add a path. http only where allow_private is on.';
comment on column public.translation_http_endpoints.methods is 'Allowed methods; the first is the default.';
comment on column public.translation_http_endpoints.timeout_seconds is 'How long one call may take. item_timeout_seconds of the type http is the limit above it.';
comment on column public.translation_http_endpoints.allow_private is 'Whether it may resolve to a private or loopback address. Link-local ones, where clouds keep their credentials, never.';
comment on column public.translation_http_endpoints.enabled is 'Off: refused from now on, also for jobs that wait.';
comment on column public.translation_http_endpoints.description is 'For people.';
comment on column public.translation_http_endpoints.created_at is 'When it was listed.';

-- The owner's `alter function … set statement_timeout`, which the API applies to the whole call.
create or replace function translation_private.timeout_ms(p_config text[]) returns bigint
language sql immutable set search_path = ''
as $$
  select (part[1]::numeric * case part[2] when 'us' then 0.001 when 's' then 1000 when 'min' then 60000 when 'h' then 3600000
            when 'd' then 86400000 else 1 end)::bigint
  from unnest(p_config) as setting, regexp_match(setting, '^statement_timeout=\s*([0-9.]+)\s*(us|ms|s|min|h|d)?\s*$') as part
$$;
comment on function translation_private.timeout_ms(text[]) is 'The statement_timeout among the settings of a function, in ms; null without one, 0 for no limit.';

create or replace function public.list_translation_functions(p_names text[] default null)
returns table (name text, description text, enabled boolean, is_callable boolean, timeout_ms bigint)
language sql stable set search_path = ''
as $$
  select f.name, f.description, f.enabled, coalesce(found.is_callable, false), found.timeout_ms
  from public.translation_sql_functions f
  cross join lateral (
    select bool_or(pg_catalog.has_function_privilege('service_role', p.oid, 'execute')) as is_callable,
           max(case t.ms when 0 then 9223372036854775807 else t.ms end) as timeout_ms
    from pg_catalog.pg_proc p cross join lateral (select translation_private.timeout_ms(p.proconfig) as ms) as t
    where p.proname = f.name::name and p.pronamespace = 'public'::regnamespace and p.prokind = 'f') as found
  where p_names is null or f.name = any (p_names)
  order by f.name limit 1000
$$;
comment on function public.list_translation_functions(text[]) is
  'The listed SQL functions (all, or those named): whether service_role may call them, and their own statement_timeout in ms (null: the role''s).';

create or replace function public.list_translation_endpoints(p_names text[] default null)
returns table (name text, url text, methods text[], timeout_seconds int, allow_private boolean, enabled boolean, description text)
language sql stable set search_path = ''
as $$
  select e.name, e.url, e.methods, e.timeout_seconds, e.allow_private, e.enabled, e.description
  from public.translation_http_endpoints e
  where p_names is null or e.name = any (p_names)
  order by e.name limit 1000
$$;
comment on function public.list_translation_endpoints(text[]) is 'The listed endpoints: all, or those named.';

-- The checks of one kind of job, beside those that all have. Every refusal names the cure.
create or replace function translation_private.check_keys(p_what text, p_object jsonb, p_known text[]) returns void
language plpgsql immutable set search_path = ''
as $$
declare
  v_unknown text;
begin
  if jsonb_typeof(p_object) is distinct from 'object' then
    perform translation_private.refuse(422, 'content_invalid', format('%s is a JSON object.', p_what));
  end if;
  select key into v_unknown from jsonb_object_keys(p_object) as key where key <> all (p_known) limit 1;
  if found then
    perform translation_private.refuse(422, 'content_invalid',
      format('%s has no %s: it takes %s.', p_what, left(v_unknown, 40), array_to_string(p_known, ', ')));
  end if;
end $$;
comment on function translation_private.check_keys(text, jsonb, text[]) is 'Refuses what is no object, and keys it does not have.';

create or replace function translation_private.check_endpoints(p_names text[]) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_name text;
begin
  select wanted.name into v_name from unnest(p_names) with ordinality as wanted (name, n)
  where not exists (select from public.translation_http_endpoints e where e.name = wanted.name and e.enabled)
  order by wanted.n limit 1;
  if found then
    perform translation_private.refuse(422, 'endpoint_not_allowed',
      format('%s is not on the list of endpoints that jobs may call.', coalesce(left(v_name, 80), 'null')),
      'insert into public.translation_http_endpoints (name, url) values (''cards'', ''https://example.com/api/cards'');');
  end if;
end $$;
comment on function translation_private.check_endpoints(text[]) is 'Refuses endpoints that are not listed.';

create or replace function translation_private.check_sql_functions(p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb := coalesce(nullif(p_content, 'null'), '{}');
  v_each jsonb;
  v_wish jsonb := p_options -> 'invalidate';
  v_unknown text;
  v_item record;
begin
  perform translation_private.check_keys('The content of sql_functions', v_content, array['args', 'each']);
  for v_each in
    select value from jsonb_each(v_content) where value <> 'null'
    union all select value from jsonb_each(case jsonb_typeof(v_content -> 'each') when 'object' then v_content -> 'each' else '{}' end)
  loop
    if jsonb_typeof(v_each) <> 'object' then
      perform translation_private.refuse(422, 'content_invalid', 'args is an object of arguments for all functions; each has one for each function''s name.');
    end if;
  end loop;
  for v_item in
    select wanted.item, f.name is not null and f.enabled as is_allowed, f.is_callable, f.timeout_ms
    from unnest(p_items) with ordinality as wanted (item, n)
    left join public.list_translation_functions(p_items) as f on f.name = wanted.item
    order by wanted.n
  loop
    if not v_item.is_allowed then
      perform translation_private.refuse(422, 'function_not_allowed',
        format('%s is not on the list of SQL functions that jobs may call: name the functions as items.', left(v_item.item, 80)),
        format('insert into public.translation_sql_functions (name) values (%L);', left(v_item.item, 80)));
    elsif not v_item.is_callable then
      perform translation_private.refuse(422, 'function_unknown',
        format('There is no function public.%s that service_role may call.', v_item.item),
        format('grant execute on function public.%I to service_role;', v_item.item));
    elsif v_item.timeout_ms > 60000 then
      perform translation_private.refuse(422, 'function_too_slow',
        format('public.%s has a statement_timeout of more than 60 seconds, longer than a call of the API may take: run it with pg_cron.', v_item.item),
        format('select cron.schedule(%L, ''0 3 * * *'', ''select public.%I()'');', v_item.item, v_item.item));
    end if;
  end loop;
  select key into v_unknown from jsonb_object_keys(p_options) as key where key not in ('invalidate', 'after_failure') limit 1;
  if found then
    perform translation_private.refuse(422, 'option_unknown', format('Option %s is not known: sql_functions has invalidate.', left(v_unknown, 40)));
  end if;
  if v_wish is not null then
    if jsonb_typeof(v_wish) <> 'object' or exists (select from jsonb_object_keys(v_wish) as key where key not in ('endpoints', 'tags'))
       or jsonb_typeof(v_wish -> 'endpoints') is distinct from 'array' or jsonb_array_length(v_wish -> 'endpoints') not between 1 and 20
       or jsonb_typeof(coalesce(v_wish -> 'tags', '[]')) <> 'array'
       or jsonb_path_exists(v_wish, '$.tags[*] ? (@.type() != "string")') then
      perform translation_private.refuse(422, 'option_invalid', 'invalidate is {"endpoints": [1 to 20 names of translation_http_endpoints], "tags": [strings]}.');
    end if;
    perform translation_private.check_endpoints(array(select jsonb_array_elements_text(v_wish -> 'endpoints')));
  end if;
end $$;
comment on function translation_private.check_sql_functions(jsonb, text[], jsonb) is 'What a job of type sql_functions may ask for.';

create or replace function translation_private.check_path(p_part jsonb) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_part ? 'path' and (jsonb_typeof(p_part -> 'path') <> 'string' or p_part ->> 'path' !~ '^/[^\s?#\\]*$'
                          or p_part ->> 'path' ~ '/\.{1,2}(/|$)' or char_length(p_part ->> 'path') > 500) then
    perform translation_private.refuse(422, 'content_invalid',
      'path begins with a slash, has 500 characters at most, no query, no spaces and no dots for a segment.');
  end if;
end $$;
comment on function translation_private.check_path(jsonb) is 'Refuses a path that could lead away from its endpoint.';

create or replace function translation_private.check_http(p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
declare
  v_content jsonb := coalesce(nullif(p_content, 'null'), '{}');
  v_each jsonb;
  v_names text[];
  v_unknown text;
begin
  perform translation_private.check_keys('The content of http', v_content, array['endpoint', 'method', 'path', 'body', 'each']);
  perform translation_private.check_path(v_content);
  if v_content ? 'each' and jsonb_typeof(v_content -> 'each') <> 'object' then
    perform translation_private.refuse(422, 'content_invalid', 'each is an object: an item''s name and its own {path, body}.');
  end if;
  for v_each in select value from jsonb_each(coalesce(v_content -> 'each', '{}')) loop
    perform translation_private.check_keys('An entry of each', v_each, array['path', 'body']);
    perform translation_private.check_path(v_each);
  end loop;
  v_names := case when v_content ? 'endpoint' then array[v_content ->> 'endpoint'] else p_items end;
  perform translation_private.check_endpoints(v_names);
  if v_content ? 'method' and exists (
    select from public.translation_http_endpoints e where e.name = any (v_names) and coalesce(v_content ->> 'method', '') <> all (e.methods)
  ) then
    perform translation_private.refuse(422, 'content_invalid', 'method is one of the endpoint''s methods.');
  end if;
  select key into v_unknown from jsonb_object_keys(p_options) as key where key <> 'after_failure' limit 1;
  if found then
    perform translation_private.refuse(422, 'option_unknown', format('Option %s is not known: http has none of its own.', left(v_unknown, 40)));
  end if;
end $$;
comment on function translation_private.check_http(jsonb, text[], jsonb) is 'What a job of type http may ask for.';

create or replace function translation_private.check_kind(p_job_type text, p_content jsonb, p_items text[], p_options jsonb) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if p_job_type = 'sql_functions' then
    perform translation_private.check_sql_functions(p_content, p_items, p_options);
  elsif p_job_type = 'http' then
    perform translation_private.check_http(p_content, p_items, p_options);
  end if;
end $$;
comment on function translation_private.check_kind(text, jsonb, text[], jsonb) is 'The checks that only one type of job has.';

-- A job of its own, so that a cache that does not answer is tried again, is seen, and fails nothing but itself. It waits
-- for the functions and runs whatever became of them: some may have changed what is cached. Nobody's, so never priced.
create or replace function translation_private.add_invalidation(p_job public.translation_jobs) returns void
language plpgsql set search_path = ''
as $$
declare
  v_wish jsonb := p_job.options -> 'invalidate';
begin
  if p_job.job_type <> 'sql_functions' or v_wish is null then
    return;
  end if;
  perform translation_private.add_job(
    false, null, 'http', jsonb_build_object('body', jsonb_build_object('tags', coalesce(v_wish -> 'tags', '[]'), 'job_id', p_job.id)),
    array(select distinct jsonb_array_elements_text(v_wish -> 'endpoints')), null, 'json', p_job.priority, '{"after_failure": "run"}', null, null,
    p_job.correlation_id, p_job.subject, left('Cache invalidation' || coalesce(': ' || p_job.title, ''), 200), '{}', array[p_job.id]);
end $$;
comment on function translation_private.add_invalidation(public.translation_jobs) is 'The calls that a job of type sql_functions asked for after its end: a job of type http that waits for it.';

-- ======== 12_notices

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

-- ======== 12_operate

-- 12_operate: what an owner does with a queue: look, put back, clear out, and a glossary for users.
--
-- Callers: service_role, cron and the SQL editor; the glossary also signed-in users. Everything is bounded:
-- counts of what has ended are capped, batches are small, because each deleted row is an event to every
-- subscriber of the table.
-- SQLSTATE: PT404 term_not_found, PT422 jobs_malformed, term_invalid.

-- Many jobs in one call and one transaction: all or none, one message to the workers.
create or replace function public.enqueue_translation_jobs(p_jobs jsonb) returns setof public.translation_jobs
language plpgsql set search_path = ''
as $$
declare
  v_entry record;
  v_job public.translation_jobs;
  v_now timestamptz := translation_private.clock();
  v_first uuid;
  v_due_at timestamptz;
  v_due int := 0;
begin
  if jsonb_typeof(p_jobs) is distinct from 'array' or jsonb_array_length(p_jobs) not between 1 and 500 then
    perform translation_private.refuse(422, 'jobs_malformed', 'p_jobs is an array of 1 to 500 objects with the arguments of enqueue_translation_job.');
  end if;
  -- Before the first balance: whoever waits for a user's lock must not hold what somebody else waits for.
  perform translation_private.lock_batch(p_jobs);
  perform set_config('translation.announce', 'later', true);
  for v_entry in
    select e.* from rows from (jsonb_to_recordset(p_jobs) as (
      p_job_type text, p_content jsonb, p_items text[], p_user_id uuid, p_source_language text, p_content_kind text, p_priority int,
      p_options jsonb, p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text,
      p_metadata jsonb, p_after uuid[])) with ordinality as e
    -- User by user: balances have one order in every call.
    order by e.p_user_id, e.p_idempotency_key, e.ordinality
  loop
    v_job := translation_private.add_job(
      false, v_entry.p_user_id, v_entry.p_job_type, v_entry.p_content, v_entry.p_items, v_entry.p_source_language,
      coalesce(v_entry.p_content_kind, 'text'), v_entry.p_priority, v_entry.p_options, v_entry.p_idempotency_key, v_entry.p_run_at,
      v_entry.p_correlation_id, v_entry.p_subject, v_entry.p_title, v_entry.p_metadata, v_entry.p_after);
    if v_job.status in ('pending', 'scheduled') then
      v_first := coalesce(v_first, v_job.id);
      v_due_at := least(v_due_at, case v_job.status when 'pending' then v_now else v_job.run_at end);
      v_due := v_due + 1;
    end if;
    return next v_job;
  end loop;
  perform set_config('translation.announce', '', true);
  if v_due > 0 then
    perform translation_private.announce('ready', v_first, greatest(0, translation_private.as_ms(v_due_at - v_now)), v_due);
  end if;
end $$;
comment on function public.enqueue_translation_jobs(jsonb) is
  'Up to 500 jobs at once, all or none: an array of objects with the arguments of enqueue_translation_job. Rows in no order: give each an idempotency key or subject.';

create or replace function public.requeue_translation_jobs(p_job_ids uuid[]) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ids uuid[];
begin
  perform translation_private.lock_jobs(p_job_ids);
  select array_agg(id) into v_ids from public.translation_jobs
  where id = any (p_job_ids) and status in ('scheduled', 'retrying', 'processing');
  with gone as (
    delete from public.translation_job_claims where job_id = any (v_ids) returning job_id, token
  )
  update public.translation_job_attempts a set ended_at = v_now, outcome = 'released'
  from gone where a.job_id = gone.job_id and a.token = gone.token;
  update public.translation_job_items set retry_at = null
  where job_id = any (v_ids) and status in ('pending', 'processing') and retry_at is not null;
  perform translation_private.requeue(v_ids, v_now);
  return coalesce(cardinality(v_ids), 0);
end $$;
comment on function public.requeue_translation_jobs(uuid[]) is
  'Runs jobs now: scheduled and retrying ones at once, a running one is taken from its worker. Jobs that have ended or wait for others are left alone. Returns how many.';

-- What waits for a job keeps it. Of each kind the jobs that were made first are looked at, 5000 of each end: what is
-- kept for ever costs nothing then, however much of it there is.
create or replace function translation_private.kept_too_long(p_status text[], p_limit int, p_now timestamptz) returns setof uuid
language sql stable set search_path = ''
as $$
  select old.id from public.translation_job_types t
  cross join unnest(p_status) as s (status)
  cross join lateral (
    select first.id, first.completed_at from (
      select j.id, j.completed_at from public.translation_jobs j
      where j.job_type = t.name and j.status = s.status order by j.seq limit 5000) as first
    where first.completed_at < p_now - make_interval(days => t.retention_days)
      and not exists (
        select from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
        where d.parent_id = first.id and c.completed_at is null)
    limit p_limit) as old
  where t.retention_days > 0 limit p_limit
$$;
comment on function translation_private.kept_too_long(text[], int, timestamptz) is 'Jobs that ended longer ago than their kind is kept.';

create or replace function public.purge_translation_jobs(
  p_days int default null, p_status text[] default array['completed', 'failed', 'cancelled'], p_limit int default 100) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 100);
  v_count int;
begin
  if p_days <= 0 then
    return 0;
  end if;
  delete from public.translation_jobs
  where id in (
    select j.id from public.translation_jobs j
    where j.id = any (case when p_days is null then array(
        select translation_private.kept_too_long(array(
          select distinct s from unnest(p_status) as s where s in ('completed', 'failed', 'cancelled')), v_limit, v_now))
      else array(
        select old.id from public.translation_jobs old
        where old.completed_at < v_now - make_interval(days => p_days) and old.status = any (p_status)
          and old.status in ('completed', 'failed', 'cancelled')
          and not exists (
            select from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
            where d.parent_id = old.id and c.completed_at is null)
        order by old.completed_at limit v_limit) end)
    for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.purge_translation_jobs(int, text[], int) is
  'Deletes at most 100 jobs that ended longer ago than their type''s retention_days, or than p_days (0: none). Ledger, balances, statistics and memory stay. Returns how many; call it again until 0.';

create or replace function public.translation_queue_stats() returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_sort = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_ended jsonb;
begin
  select jsonb_build_object(
      'jobs', coalesce(jsonb_object_agg(ended.status, ended.jobs), '{}'),
      'credits', jsonb_build_object('reserved', coalesce(sum(ended.reserved), 0), 'consumed', coalesce(sum(ended.consumed), 0),
                                    'refunded', coalesce(sum(ended.refunded), 0)))
  into v_ended
  from (
    select recent.status, count(*) as jobs, sum(recent.credits_reserved) as reserved, sum(recent.credits_consumed) as consumed,
      sum(recent.credits_refunded) as refunded
    from (
      select j.status, j.credits_reserved, j.credits_consumed, j.credits_refunded from public.translation_jobs j
      where j.completed_at > v_now - interval '1 hour' order by j.completed_at desc limit 10001) as recent
    group by recent.status) as ended;
  return jsonb_build_object(
    -- Counts are capped, type by type: a number nobody reads to the last digit.
    'live', (
      select coalesce(jsonb_object_agg(live.status, live.jobs), '{}') from (
        select s.status, sum(capped.jobs) as jobs from public.translation_job_types t
        cross join unnest(array['pending', 'scheduled', 'blocked', 'processing', 'retrying']) as s (status)
        cross join lateral (
          select count(*) as jobs from (
            select from public.translation_jobs j where j.job_type = t.name and j.status = s.status limit 10001) as head) as capped
        where t.name not like 'translation\_probe\_%' and capped.jobs > 0
        group by s.status) as live),
    'waiting_by_type', (
      select coalesce(jsonb_object_agg(t.name, waiting.jobs), '{}') from public.translation_job_types t
      cross join lateral (
        select count(*) as jobs from (
          select from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' limit 10001) as capped) as waiting
      where t.name not like 'translation\_probe\_%'),
    'oldest_waiting_ms', (
      select translation_private.as_ms(v_now - min(oldest.ready_at)) from public.translation_job_types t
      cross join lateral (
        select j.ready_at from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' order by j.seq limit 100) as oldest
      where t.name not like 'translation\_probe\_%'),
    'ended_in_an_hour', v_ended -> 'jobs',
    'credits_in_an_hour', v_ended -> 'credits',
    -- How many numbers were given: only grows, whatever is purged.
    'created', (select case when numbers.is_called then numbers.last_value else 0 end from public.translation_jobs_seq_seq as numbers),
    'stuck', (
      select count(*) from public.translation_job_claims c join public.translation_jobs j on j.id = c.job_id
      where c.lease_until < v_now or (j.updated_at < v_now - interval '10 minutes' and c.claimed_at < v_now - interval '10 minutes')),
    'claims', (select count(*) from public.translation_job_claims),
    'workers', (
      select coalesce(jsonb_object_agg(w.mode, w.n), '{}') from (
        select mode, count(*) as n from public.translation_workers
        where last_seen_at > v_now - interval '90 seconds' group by mode) as w));
end $$;
comment on function public.translation_queue_stats() is
  'The queue in numbers: live jobs by state, waiting by type, oldest waiting; ended and their credits in the last hour; created ever; stuck, claims, workers. Counts of a type stop at 10001.';

-- Glossary
create or replace function translation_private.set_term(
  p_source_language text, p_target_language text, p_term text, p_translation text, p_do_not_translate boolean, p_case_sensitive boolean
) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
  v_source text := translation_private.canonical_language(p_source_language);
  v_target text := translation_private.canonical_language(p_target_language);
  v_id bigint;
begin
  if v_user is null then
    perform translation_private.refuse(401, 'sign_in_required', 'A glossary belongs to a signed-in user.');
  elsif v_source is null or v_target is null then
    perform translation_private.refuse(422, 'language_invalid', 'Give both languages as BCP 47 tags such as en or pt-BR.');
  elsif coalesce(char_length(btrim(p_term)), 0) not between 1 and 200 or char_length(p_translation) > 200
     or (not coalesce(p_do_not_translate, false) and coalesce(btrim(p_translation), '') = '') then
    perform translation_private.refuse(422, 'term_invalid', 'A term has 1 to 200 characters, and a translation unless it is not to be translated.');
  end if;
  insert into public.translation_glossary as g
    (user_id, source_language, target_language, term, translation, do_not_translate, case_sensitive)
  values (v_user, v_source, v_target, btrim(p_term), nullif(btrim(p_translation), ''), coalesce(p_do_not_translate, false),
          coalesce(p_case_sensitive, false))
  on conflict (user_id, source_language, target_language, term) do update
  set translation = excluded.translation, do_not_translate = excluded.do_not_translate, case_sensitive = excluded.case_sensitive
  returning g.id into v_id;
  return v_id;
end $$;
comment on function translation_private.set_term(text, text, text, text, boolean, boolean) is 'Definer, because users have no write grant; the user is taken from the token.';

create or replace function public.set_translation_term(
  p_source_language text, p_target_language text, p_term text, p_translation text default null,
  p_do_not_translate boolean default false, p_case_sensitive boolean default false) returns bigint
language sql set search_path = ''
as $$ select translation_private.set_term(p_source_language, p_target_language, p_term, p_translation, p_do_not_translate, p_case_sensitive) $$;
comment on function public.set_translation_term(text, text, text, text, boolean, boolean) is
  'Adds or replaces a term of the caller''s glossary; returns its id.';

create or replace function translation_private.delete_term(p_id bigint) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_user uuid := translation_private.caller();
begin
  delete from public.translation_glossary where id = p_id and (v_user is null or user_id = v_user);
  if not found then
    perform translation_private.refuse(404, 'term_not_found', 'There is no such term.');
  end if;
end $$;
comment on function translation_private.delete_term(bigint) is 'Definer, because users have no write grant; checks that the term is the caller''s.';

create or replace function public.delete_translation_term(p_id bigint) returns void
language sql set search_path = ''
as $$ select translation_private.delete_term(p_id) $$;
comment on function public.delete_translation_term(bigint) is 'Removes a term from the caller''s glossary.';

-- One readable row a job, for the table view of the dashboard and for people's own queries.
create or replace view public.translation_jobs_overview with (security_invoker = true) as
select j.seq, coalesce(j.title, j.subject, j.job_type) as job, j.status, j.progress || ' %' as progress, items.languages, j.worker_id as worker,
  j.found_by, j.attempts, j.error ->> 'message' as error,
  case when j.credits_reserved > 0
    then format('%s = %s used + %s back + %s open', j.credits_reserved, j.credits_consumed, j.credits_refunded,
                j.credits_reserved - j.credits_consumed - j.credits_refunded) end as credits,
  j.created_at, j.started_at - j.created_at as waited, coalesce(j.completed_at, now()) - j.started_at as ran, j.user_id, j.id
from public.translation_jobs j
cross join lateral (
  select string_agg(i.item || ' ' || case i.status
      when 'completed' then 'done' || case when i.warnings <> '[]' then ' (' || jsonb_array_length(i.warnings) || ' warnings)' else '' end
      when 'processing' then coalesce(100 * i.chunks_done / nullif(i.chunks_total, 0), 0) || ' %'
      else i.status end, ', ' order by i.position) as languages
  from public.translation_job_items i where i.job_id = j.id) as items
where j.seq > 0;  -- all of them; it lets the newest be found by their index
comment on view public.translation_jobs_overview is 'A job, its languages, its worker and its money in one readable row.';

-- Where pg_cron is switched on. Named jobs are made once: change or remove them as you like.
do $do$
begin
  if exists (select from pg_catalog.pg_extension where extname = 'pg_cron') then
    if not exists (select from cron.job where jobname = 'translation-rescue') then
      perform cron.schedule('translation-rescue', '* * * * *', $cron$
        select public.rescue_translation_jobs(100) where not exists (
          select from public.translation_workers where last_seen_at > now() - interval '90 seconds' and mode <> 'stopping')
      $cron$);
    end if;
    if not exists (select from cron.job where jobname = 'translation-purge') then
      -- A hundred a minute for an hour each night; each deleted row is an event to every subscriber.
      perform cron.schedule('translation-purge', '* 3 * * *', 'select public.purge_translation_jobs()');
    end if;
  end if;
end $do$;

-- ======== 12_ops

-- 12_ops: what the operator view looks at, and what an operator does in it.
--
-- Callers: service_role alone. The panel's server checks who is an operator, and names them here: whatever changes a job
-- or shows a source leaves a row in translation_operator_actions, in the same transaction.
-- Every look is bounded, whatever the queue holds: it reads a page, the newest thousand failures, or the rollups below.
-- SQLSTATE: PT404 job_not_found, PT422 action_unknown, jobs_too_many, range_unknown, signature_unknown.

-- Rollups: numbers about jobs that have ended, kept up by heartbeats, so that neither a plot nor a purge needs the jobs.

create table if not exists public.translation_stats_hours (
  hour             timestamptz not null,
  job_type         text not null,
  status           text not null check (status in ('completed', 'partly', 'failed', 'cancelled')),
  jobs             bigint not null default 0,
  chars            bigint not null default 0,
  credits_consumed bigint not null default 0,
  credits_refunded bigint not null default 0,
  primary key (hour, job_type, status)
);
comment on table public.translation_stats_hours is
  'How many jobs ended in which hour, and what became of them. Stays when the jobs are purged.';
comment on column public.translation_stats_hours.hour is 'Start of the hour in which they ended.';
comment on column public.translation_stats_hours.job_type is 'Kind of job.';
comment on column public.translation_stats_hours.status is 'completed, partly (completed with failed items), failed or cancelled.';
comment on column public.translation_stats_hours.jobs is 'Jobs that ended so.';
comment on column public.translation_stats_hours.chars is 'Characters of their sources, once for each item that completed.';
comment on column public.translation_stats_hours.credits_consumed is 'Credits charged for them.';
comment on column public.translation_stats_hours.credits_refunded is 'Credits given back.';

-- The same for the plots, finer and for a while: a minute for two hours, ten minutes for two days, an hour for eight days.
create table if not exists translation_private.series (
  step_seconds int not null,
  at           timestamptz not null,
  measure      text not null,
  label        text not null,
  amount       bigint not null,
  primary key (step_seconds, at, measure, label)
) with (fillfactor = 70);
comment on table translation_private.series is
  'Numbers of the plots: ended (by state), error (by class), chars, wait and run (by bucket of a quarter of a doubling), depth (by state).';

create table if not exists translation_private.rolled_up (
  one   boolean primary key default true check (one),
  until timestamptz not null,
  depth timestamptz not null
) with (fillfactor = 50);
comment on table translation_private.rolled_up is 'How far the rollups are: jobs that ended until then are counted; depth was last looked at then. Both at infinity: there are none.';
insert into translation_private.rolled_up (until, depth)
select translation_private.clock() - interval '8 days', '-infinity' where not exists (select from translation_private.rolled_up);

-- One heartbeat at a time, and for a bounded time each; what is left waits for the next. Ten seconds behind, because a
-- job is dated by the start of the transaction that ended it. Where nothing ended, nothing is written.
create or replace function translation_private.roll_up(p_now timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_enough timestamptz := pg_catalog.clock_timestamp() + interval '0.04 seconds';
  v_state translation_private.rolled_up;
  v_is_due boolean;
  v_batch int;
  v_jobs int := 0;
begin
  select * into v_state from translation_private.rolled_up;
  -- A minute ago, or in a future that was taken back.
  v_is_due := v_state.depth <= p_now - interval '1 minute' or (v_state.depth > p_now and v_state.depth < 'infinity');
  perform from public.translation_jobs j where j.completed_at > v_state.until and j.completed_at <= p_now - interval '10 seconds' limit 1;
  if not found and not v_is_due then
    return 0;
  end if;
  perform from translation_private.rolled_up for update skip locked;
  if not found then
    return 0;
  end if;
  loop
    v_batch := translation_private.roll_up_some(p_now - interval '10 seconds');
    v_jobs := v_jobs + v_batch;
    exit when v_batch = 0 or pg_catalog.clock_timestamp() > v_enough;
  end loop;
  if v_is_due then
    perform translation_private.note_depth(p_now);
  end if;
  return v_jobs;
end $$;
comment on function translation_private.roll_up(timestamptz) is
  'Adds jobs that have ended to the rollups, for about 40 ms at most, and notes once a minute how long the queue is. Returns how many jobs.';

create or replace function translation_private.roll_up_some(p_until timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_after timestamptz := (select r.until from translation_private.rolled_up r);
  v_until timestamptz;
begin
  -- To the moment of the two thousandth, and all of that moment: they ended in one transaction.
  select max(batch.completed_at) into v_until from (
    select j.completed_at from public.translation_jobs j
    where j.completed_at > v_after and j.completed_at <= p_until order by j.completed_at limit 2000) as batch;
  if v_until is null then
    return 0;
  end if;
  update translation_private.rolled_up set until = v_until where one;
  return translation_private.count_ended(v_after, v_until);
end $$;
comment on function translation_private.roll_up_some(timestamptz) is 'Adds about 2000 jobs that have ended to the rollups, the oldest first. Returns how many.';

-- A delay is counted as the number of quarters of a doubling above a millisecond, so a percentile is right to a tenth.
create or replace function translation_private.count_ended(p_after timestamptz, p_until timestamptz) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_jobs int;
begin
  with ended as materialized (
    select j.completed_at, j.job_type, j.credits_consumed, j.credits_refunded,
      case when j.status = 'completed' and j.failed_items > 0 then 'partly' else j.status end as status,
      case when j.failed_items > 0 then coalesce(j.error ->> 'class', 'internal') end as error_class,
      case when j.status = 'completed'
        then j.content_chars::bigint * greatest(coalesce(cardinality(j.target_languages), 1) - j.failed_items, 0) else 0 end as chars,
      -- A job that was put back has lost the time from which it first waited.
      case when j.ready_at <= j.started_at
        then floor(4 * ln(greatest(extract(epoch from j.started_at - j.ready_at)::float8 * 1000, 1)) / ln(2::float8))::int end as wait,
      case when j.status in ('completed', 'failed')
        then floor(4 * ln(greatest(extract(epoch from j.completed_at - j.started_at)::float8 * 1000, 1)) / ln(2::float8))::int end as run
    from public.translation_jobs j
    where j.completed_at > p_after and j.completed_at <= p_until and j.job_type not like 'translation\_probe\_%'
  ), hours as (
    insert into public.translation_stats_hours as h (hour, job_type, status, jobs, chars, credits_consumed, credits_refunded)
    select date_bin('1 hour', e.completed_at, 'epoch'), e.job_type, e.status, count(*), sum(e.chars), sum(e.credits_consumed), sum(e.credits_refunded)
    from ended e group by 1, 2, 3
    on conflict (hour, job_type, status) do update set
      jobs = h.jobs + excluded.jobs, chars = h.chars + excluded.chars,
      credits_consumed = h.credits_consumed + excluded.credits_consumed, credits_refunded = h.credits_refunded + excluded.credits_refunded
  ), tallied as materialized (  -- each job once for each of its labels
    select date_bin('1 minute', e.completed_at, 'epoch') as at, grouping(e.status, e.error_class, e.wait, e.run) as absent,
      coalesce(e.status, e.error_class, e.wait::text, e.run::text) as label, count(*) as jobs, sum(e.chars)::bigint as chars
    from ended e group by grouping sets ((1, e.status), (1, e.error_class), (1, e.wait), (1, e.run))
  ), minutes as (
    select t.at, case t.absent when 7 then 'ended' when 11 then 'error' when 13 then 'wait' else 'run' end as measure, t.label, t.jobs as amount
    from tallied t where t.label is not null
    union all
    select t.at, 'chars', 'all', sum(t.chars) from tallied t where t.absent = 7 group by t.at having sum(t.chars) > 0
  ), written as (
    insert into translation_private.series as s (step_seconds, at, measure, label, amount)
    select step, date_bin(make_interval(secs => step), m.at, 'epoch'), m.measure, m.label, sum(m.amount)::bigint
    from minutes m cross join unnest(array[60, 600, 3600]) as step
    group by 1, 2, 3, 4
    on conflict (step_seconds, at, measure, label) do update set amount = s.amount + excluded.amount
  )
  select count(*) into v_jobs from ended;
  return v_jobs;
end $$;
comment on function translation_private.count_ended(timestamptz, timestamptz) is 'Adds the jobs that ended in a span of time to the rollups. Returns how many.';

-- The longest queue of each step is what a plot shows. An empty one is no row.
create or replace function translation_private.note_depth(p_now timestamptz) returns void
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_noted int;
begin
  insert into translation_private.series as s (step_seconds, at, measure, label, amount)
  select step, date_bin(make_interval(secs => step), p_now, 'epoch'), 'depth', live.status, live.jobs
  from (
    select states.status, sum(capped.jobs)::bigint as jobs from public.translation_job_types t
    cross join unnest(array['pending', 'processing', 'retrying']) as states (status)
    cross join lateral (
      select count(*) as jobs from (
        select from public.translation_jobs j where j.job_type = t.name and j.status = states.status limit 1001) as head) as capped
    where t.name not like 'translation\_probe\_%' and capped.jobs > 0
    group by states.status) as live
  cross join unnest(array[60, 600, 3600]) as step
  on conflict (step_seconds, at, measure, label) do update set amount = greatest(s.amount, excluded.amount);
  get diagnostics v_noted = row_count;
  if v_noted = 0 and not exists (select from translation_private.series) then
    return;  -- a project where nothing happens is written to by nobody
  end if;
  delete from translation_private.series s
  where s.step_seconds = 60 and s.at < p_now - interval '2 hours' or s.step_seconds = 600 and s.at < p_now - interval '2 days'
     or s.step_seconds = 3600 and s.at < p_now - interval '8 days';
  update translation_private.rolled_up set depth = p_now where one;
end $$;
comment on function translation_private.note_depth(timestamptz) is 'Notes how many jobs wait, run and are tried again (1001 of a type at most), and drops what the plots no longer show.';

-- A window of the rollups, every measure on the same axis. Volatile, because it brings them up to date first.
create or replace function public.translation_series(p_range text default 'hour') returns jsonb
language plpgsql set search_path = '' set jit = off set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_step int := case p_range when 'hour' then 60 when 'day' then 600 when 'week' then 3600 end;
  v_points int := case p_range when 'hour' then 60 when 'day' then 144 when 'week' then 168 end;
  v_last timestamptz;
  v_from timestamptz;
begin
  if v_step is null then
    perform translation_private.refuse(422, 'range_unknown', 'A range is hour, day or week.');
  end if;
  perform translation_private.roll_up(v_now);
  v_last := date_bin(make_interval(secs => v_step), v_now, 'epoch');
  v_from := v_last - make_interval(secs => v_step * (v_points - 1));
  return (
    with seen as materialized (
      select s.at, s.measure, s.label, s.amount from translation_private.series s
      where s.step_seconds = v_step and s.at between v_from and v_last
    ), axis as (
      select v_from + make_interval(secs => v_step * n) as at, n from generate_series(0, v_points - 1) as n
    ), counted as (
      select names.measure, names.label, jsonb_agg(coalesce(s.amount, 0) order by a.n) as amounts
      from (select distinct measure, label from seen where measure in ('ended', 'error', 'chars', 'depth')) as names
      cross join axis a left join seen s on s.at = a.at and s.measure = names.measure and s.label = names.label
      group by names.measure, names.label
    ), climbing as (
      select s.at, s.measure, s.label::int as bucket,
        sum(s.amount) over (partition by s.at, s.measure order by s.label::int) as below, sum(s.amount) over (partition by s.at, s.measure) as jobs
      from seen s where s.measure in ('wait', 'run')
    ), percentiles as (
      select c.at, c.measure, q.name, round(2 ^ ((min(c.bucket) + 0.5) / 4.0))::bigint as ms
      from climbing c cross join (values ('p50', 0.5), ('p95', 0.95), ('p99', 0.99)) as q (name, share)
      where c.below >= c.jobs * q.share
      group by c.at, c.measure, q.name
    ), delays as (
      select names.measure, names.name, jsonb_agg(p.ms order by a.n) as amounts
      from (select distinct measure, name from percentiles) as names
      cross join axis a left join percentiles p on p.at = a.at and p.measure = names.measure and p.name = names.name
      group by names.measure, names.name
    )
    select jsonb_build_object(
      'as_of', v_now, 'from', v_from, 'step_seconds', v_step, 'points', v_points,
      'rolled_up_until', (select r.until from translation_private.rolled_up r),
      'measures', (select coalesce(jsonb_object_agg(m.measure, m.labels), '{}') from (
        select all_of.measure, jsonb_object_agg(all_of.label, all_of.amounts) as labels
        from (select * from counted union all select * from delays) as all_of group by all_of.measure) as m)));
end $$;
comment on function public.translation_series(text) is
  'The plots of an hour, a day or a week: {from, step_seconds, points, measures: {ended, error, chars, depth, wait, run}}, each {label: [one number a point]}; wait and run are p50, p95, p99 in ms, null where nothing ended.';

-- Failures, grouped by what they have in common.

create index if not exists translation_jobs_failed on public.translation_jobs (completed_at desc)
  where failed_items > 0 and completed_at is not null;

create or replace function translation_private.failure_text(p_message text) returns text
language sql immutable set search_path = ''
as $$
  -- Addresses, quoted texts, ids, numbers: what makes two messages of one fault differ.
  select left(regexp_replace(regexp_replace(regexp_replace(regexp_replace(left(coalesce(p_message, ''), 1000),
      '[a-z][a-z0-9+.-]*://[^\s"''<>]+', '<url>', 'gi'),
      '"[^"]*"|“[^”]*”|«[^»]*»|''[^'']{2,}''', '<text>', 'g'),
      '\m(?=[0-9a-f-]*[0-9])[0-9a-f]{8}[0-9a-f-]*\M', '<id>', 'gi'),
      '[0-9]+([.,:][0-9]+)*', '<n>', 'g'), 200)
$$;
comment on function translation_private.failure_text(text) is 'A message without what differs from case to case: its first 200 characters, with placeholders.';

-- The latest thousand failed items of jobs that ended within a day.
create or replace function translation_private.failures(p_now timestamptz)
returns table (job_id uuid, item text, user_id uuid, job_type text, completed_at timestamptz, class text, provider text, message text, signature text)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with failed as materialized (
    select i.job_id, i.item, j.user_id, j.job_type, j.completed_at, coalesce(i.error ->> 'class', 'internal') as class,
      i.error ->> 'provider' as provider, coalesce(i.error ->> 'message', '') as message
    from (
      select n.id, n.user_id, n.job_type, n.completed_at from public.translation_jobs n
      where n.failed_items > 0 and n.completed_at is not null and n.completed_at > p_now - interval '1 day'
      order by n.completed_at desc limit 1000) as j
    join public.translation_job_items i on i.job_id = j.id and i.status = 'failed'
    order by j.completed_at desc, i.job_id, i.position limit 1000
  )
  select f.job_id, f.item, f.user_id, f.job_type, f.completed_at, f.class, f.provider, f.message,
    left(md5(concat_ws('|', f.class, coalesce(f.provider, '-'), translation_private.failure_text(f.message))), 16)
  from failed f;
end $$;
comment on function translation_private.failures(timestamptz) is 'The latest 1000 failed items of jobs that ended in 24 hours, each with the signature of its fault.';

create or replace function public.list_translation_failures() returns jsonb
language plpgsql stable set search_path = '' set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  return (
    with failed as materialized (
      select f.* from translation_private.failures(v_now) as f
    ), open as materialized (
      select jobs.job_id from (select distinct f.job_id from failed f) as jobs
      where not exists (select from public.translation_jobs again where again.retry_of = jobs.job_id)
    ), grouped as (
      select f.signature, min(f.class) as class, min(f.provider) as provider, count(*) as items, count(distinct f.job_id) as jobs,
        count(distinct o.job_id) as retriable, count(distinct f.user_id) as users, min(f.completed_at) as first_seen, max(f.completed_at) as last_seen,
        (array_agg(distinct f.item))[1:20] as names, (array_agg(f.message order by f.completed_at desc))[1] as sample,
        (array_agg(f.job_id order by f.completed_at desc))[1] as sample_job,
        array[count(*) filter (where f.completed_at <= v_now - interval '20 hours'),
              count(*) filter (where f.completed_at > v_now - interval '20 hours' and f.completed_at <= v_now - interval '16 hours'),
              count(*) filter (where f.completed_at > v_now - interval '16 hours' and f.completed_at <= v_now - interval '12 hours'),
              count(*) filter (where f.completed_at > v_now - interval '12 hours' and f.completed_at <= v_now - interval '8 hours'),
              count(*) filter (where f.completed_at > v_now - interval '8 hours' and f.completed_at <= v_now - interval '4 hours'),
              count(*) filter (where f.completed_at > v_now - interval '4 hours')] as course
      from failed f left join open o on o.job_id = f.job_id
      group by f.signature order by items desc, last_seen desc limit 100
    )
    select jsonb_build_object(
      'as_of', v_now, 'window_hours', 24, 'window_items', 1000, 'items', (select count(*) from failed),
      'groups', coalesce((
        select jsonb_agg(jsonb_build_object(
          'signature', g.signature, 'class', g.class, 'provider', g.provider, 'message', translation_private.failure_text(g.sample),
          'sample', left(g.sample, 500), 'sample_job', g.sample_job, 'items', g.items, 'jobs', g.jobs, 'retriable', g.retriable,
          'users', g.users, 'names', g.names, 'first_seen', g.first_seen, 'last_seen', g.last_seen, 'course', g.course)
          order by g.items desc, g.last_seen desc)
        from grouped g), '[]')));
end $$;
comment on function public.list_translation_failures() is
  'Failed items grouped by their fault, of the latest 1000 in 24 hours: signature, class, provider, message with placeholders, a sample, counts of items, jobs, users and of jobs nobody retried yet.';

-- Who works, and on what.
create or replace function public.list_translation_workers() returns jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set statement_timeout = '2s'
as $$
declare
  v_now timestamptz := translation_private.clock();
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
        'id', w.id, 'version', w.version, 'mode', w.mode, 'mode_since', w.mode_since, 'started_at', w.started_at, 'last_seen_at', w.last_seen_at,
        'silent_seconds', floor(extract(epoch from v_now - w.last_seen_at)), 'stale', w.last_seen_at < v_now - interval '90 seconds',
        'slots', w.slots, 'running', w.running, 'stats', w.stats, 'jobs', held.jobs) order by w.last_seen_at desc), '[]')
    from (select * from public.translation_workers n order by n.last_seen_at desc limit 50) as w
    cross join lateral (
      select coalesce(jsonb_agg(jsonb_build_object(
          'id', c.job_id, 'seq', j.seq, 'job_type', j.job_type, 'title', coalesce(j.title, j.subject), 'progress', j.progress,
          'claimed_at', c.claimed_at, 'lease_left_ms', translation_private.as_ms(c.lease_until - v_now)) order by c.claimed_at), '[]') as jobs
      from (select * from public.translation_job_claims k where k.worker_id = w.id order by k.claimed_at limit 20) as c
      join public.translation_jobs j on j.id = c.job_id) as held);
end $$;
comment on function public.list_translation_workers() is 'The 50 workers last heard of, each with the jobs it holds (20 at most).';

-- Jobs of everybody, without sources.
create or replace function public.list_translation_jobs_of_all(
  p_status text[] default null, p_job_type text default null, p_user_id uuid default null, p_class text default null, p_subject text default null,
  p_search text default null, p_limit int default 50, p_before_seq bigint default null) returns setof jsonb
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set statement_timeout = '2s'
as $$
declare
  v_states text[] := array(
    select distinct s.status from unnest(coalesce(p_status,
      array['pending', 'scheduled', 'blocked', 'processing', 'retrying', 'completed', 'failed', 'cancelled'])) as s (status));
  v_types text[] := case when p_job_type is null then translation_private.job_type_names() else array[p_job_type] end;
  v_before bigint := coalesce(p_before_seq, 9223372036854775807);
  v_limit int := least(greatest(coalesce(p_limit, 50), 1), 200);
  v_ids uuid[];
begin
  if p_class is not null then
    -- A class of error is in no index: it is looked for among the 2000 that failed last, and the newest 500 of a type that are tried again.
    execute 'select array_agg(page.id order by page.seq desc) from (
        select j.id, j.seq from (
          (select n.* from public.translation_jobs n where n.failed_items > 0 and n.completed_at is not null order by n.completed_at desc limit 2000)
          union all
          select r.* from unnest($2) as t (name) cross join lateral (
            select n.* from public.translation_jobs n where n.job_type = t.name and n.status = ''retrying'' order by n.seq desc limit 500) as r) as j
        where j.status = any ($1) and j.job_type = any ($2) and j.seq < $3 and j.error ->> ''class'' = $4'
      || case when p_user_id is not null then ' and j.user_id = $5' else '' end
      || case when p_subject is not null then ' and j.subject = $6' else '' end
      || ' order by j.seq desc limit $7) as page'
    into v_ids using v_states, v_types, v_before, p_class, p_user_id, p_subject, v_limit;
  elsif p_user_id is not null then
    -- Piece by piece along the index of users; a subject or a text among the newest 2000 of each.
    execute 'select array_agg(page.id order by page.seq desc) from (
        select j.id, j.seq from unnest($1) as s (status) cross join unnest($2) as t (name) cross join lateral (
          select n.id, n.seq, n.subject, n.title, n.correlation_id from public.translation_jobs n
          where n.user_id = $4 and n.status = s.status and n.job_type = t.name and n.seq < $3 order by n.seq desc limit '
      || case when p_subject is null and p_search is null then '$7' else '2000' end || ') as j where true'
      || case when p_subject is not null then ' and j.subject = $5' else '' end
      || case when p_search is not null then ' and strpos(lower(concat_ws(E''\n'', j.title, j.subject, j.id, j.correlation_id)), lower($6)) > 0' else '' end
      || ' order by j.seq desc limit $7) as page'
    into v_ids using v_states, v_types, v_before, p_user_id, p_subject, p_search, v_limit;
  else
    v_ids := array(select translation_private.page_of_jobs(v_states, p_job_type, p_subject, null, v_limit, v_before, null, p_search, null));
  end if;
  return query select translation_private.job_document(page.id) from unnest(v_ids) with ordinality as page (id, n) order by page.n;
end $$;
comment on function public.list_translation_jobs_of_all(text[], text, uuid, text, text, text, int, bigint) is
  'Jobs of all users, newest first, with their items and without sources; 200 at most. A class of error is looked for among the 2000 jobs that failed last, a text among the newest 2000 of each state.';

create or replace function public.list_translation_endings(p_limit int default 10) returns jsonb
language sql stable set search_path = '' set enable_seqscan = off set enable_sort = off set jit = off
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', j.id, 'seq', j.seq, 'job_type', j.job_type, 'title', coalesce(j.title, j.subject), 'status', j.status, 'failed_items', j.failed_items,
    'items', coalesce(cardinality(j.target_languages), 0), 'error', j.error, 'created_at', j.created_at, 'started_at', j.started_at,
    'completed_at', j.completed_at, 'waited_ms', translation_private.as_ms(j.started_at - j.created_at),
    'ran_ms', translation_private.as_ms(j.completed_at - j.started_at)) order by j.completed_at desc), '[]')
  from (
    select n.id, n.seq, n.job_type, n.title, n.subject, n.status, n.failed_items, n.target_languages, n.error, n.created_at, n.started_at, n.completed_at
    from public.translation_jobs n where n.completed_at is not null order by n.completed_at desc limit least(greatest(coalesce(p_limit, 10), 1), 100)) as j
$$;
comment on function public.list_translation_endings(int) is 'The jobs that ended last, with how long they waited and ran.';

-- What operators do. A row for each time, whether or not it changed anything.
create table if not exists public.translation_operator_actions (
  id          bigint generated always as identity primary key,
  operator_id uuid not null,
  action      text not null check (action in ('retry', 'cancel', 'requeue', 'retry_failures', 'reveal', 'run_trigger')),
  target      text check (char_length(target) <= 200),
  jobs        int not null default 0,
  details     jsonb not null default '{}',
  created_at  timestamptz not null
);
comment on table public.translation_operator_actions is 'What operators did in the panel: who, what, when, to how many jobs. Append-only for the API.';
comment on column public.translation_operator_actions.id is 'Row number.';
comment on column public.translation_operator_actions.operator_id is 'The signed-in user who did it.';
comment on column public.translation_operator_actions.action is 'retry, cancel, requeue (jobs by id), retry_failures (a group), reveal (a source was shown), run_trigger.';
comment on column public.translation_operator_actions.target is 'A job''s id, the signature of a group, the name of a trigger.';
comment on column public.translation_operator_actions.jobs is 'Jobs that it changed or showed.';
comment on column public.translation_operator_actions.details is 'What else is known: ids asked for, refusals by word.';
comment on column public.translation_operator_actions.created_at is 'When.';

create or replace function translation_private.note_action(p_operator uuid, p_action text, p_target text, p_jobs int, p_details jsonb) returns void
language sql set search_path = ''
as $$
  insert into public.translation_operator_actions (operator_id, action, target, jobs, details, created_at)
  values (p_operator, p_action, left(p_target, 200), p_jobs, coalesce(p_details, '{}'), translation_private.clock())
$$;
comment on function translation_private.note_action(uuid, text, text, int, jsonb) is 'Writes down what an operator did.';

create or replace function public.list_translation_operator_actions(p_limit int default 50) returns jsonb
language sql stable set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(a) order by a.id desc), '[]') from (
    select * from public.translation_operator_actions n order by n.id desc limit least(greatest(coalesce(p_limit, 50), 1), 200)) as a
$$;
comment on function public.list_translation_operator_actions(int) is 'What operators did last.';

-- Retries jobs one by one: a refusal of one (its user has no credits left) does not hold up the others. The advisory
-- locks of all come first, in one order, and the users' own in one order after them: as every other call takes them.
create or replace function translation_private.retry_each(p_job_ids uuid[]) returns jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_job record;
  v_word text;
  v_code text;
  v_retried int := 0;
  v_refused jsonb := '{}'::jsonb;
begin
  perform pg_advisory_xact_lock(keys.key)
  from (select hashtextextended('translation retry ' || named.id, 0) as key from unnest(p_job_ids) as named (id) order by 1) as keys;
  for v_job in
    select j.id from public.translation_jobs j
    where j.id = any (p_job_ids) and not exists (select from public.translation_jobs again where again.retry_of = j.id)
    order by j.user_id, j.id
  loop
    begin
      perform public.retry_translation_job(v_job.id);
      v_retried := v_retried + 1;
    exception when others then
      get stacked diagnostics v_code = returned_sqlstate, v_word = pg_exception_detail;
      if v_code not like 'PT%' then
        raise warning 'translation job % could not be retried: %', v_job.id, sqlerrm;
        v_word := 'internal';
      end if;
      v_word := split_part(v_word, ' ', 1);
      v_refused := v_refused || jsonb_build_object(v_word, coalesce((v_refused ->> v_word)::int, 0) + 1);
    end;
  end loop;
  return jsonb_build_object('jobs', v_retried, 'refused', v_refused);
end $$;
comment on function translation_private.retry_each(uuid[]) is 'Retries each of some jobs that was not retried yet: {jobs: how many, refused: {word: how many}}.';

create or replace function translation_private.cancel_all(p_job_ids uuid[]) returns int
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_live uuid[];
  v_running uuid[];
begin
  perform translation_private.lock_jobs(p_job_ids);
  select array_agg(j.id order by j.id), array_agg(j.id) filter (where j.status = 'processing') into v_live, v_running
  from public.translation_jobs j where j.id = any (p_job_ids) and j.status not in ('completed', 'failed', 'cancelled');
  if v_live is null then
    return 0;
  end if;
  perform translation_private.close_items(v_live, 'cancelled', null, v_now);
  perform translation_private.settle_jobs(v_live, v_now);
  perform translation_private.announce('cancelled', running.id, null, 1) from unnest(v_running) as running (id);
  return cardinality(v_live);
end $$;
comment on function translation_private.cancel_all(uuid[]) is 'Cancels those of some jobs that have not ended, as cancel_translation_job does. Returns how many.';

create or replace function public.operate_translation_jobs(p_operator uuid, p_action text, p_job_ids uuid[]) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_done jsonb;
begin
  if coalesce(cardinality(p_job_ids), 0) not between 1 and 100 then
    perform translation_private.refuse(422, 'jobs_too_many', 'Name 1 to 100 jobs.');
  end if;
  case p_action
    when 'retry' then v_done := translation_private.retry_each(p_job_ids);
    when 'cancel' then v_done := jsonb_build_object('jobs', translation_private.cancel_all(p_job_ids), 'refused', '{}'::jsonb);
    when 'requeue' then v_done := jsonb_build_object('jobs', public.requeue_translation_jobs(p_job_ids), 'refused', '{}'::jsonb);
    else perform translation_private.refuse(422, 'action_unknown', 'An operator can retry, cancel or requeue jobs.');
  end case;
  perform translation_private.note_action(p_operator, p_action, case when cardinality(p_job_ids) = 1 then p_job_ids[1]::text end,
    (v_done ->> 'jobs')::int, jsonb_build_object('asked', to_jsonb(p_job_ids), 'refused', v_done -> 'refused'));
  return v_done;
end $$;
comment on function public.operate_translation_jobs(uuid, text, uuid[]) is
  'Retries, cancels or requeues up to 100 jobs for an operator, and notes it: {jobs: how many it changed, refused: {word: how many}}.';

create or replace function public.retry_translation_failures(p_operator uuid, p_signature text, p_limit int default 100) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_ids uuid[];
  v_open int;
  v_done jsonb;
begin
  select array_agg(found.job_id order by found.last_seen desc) into v_ids from (
    select f.job_id, max(f.completed_at) as last_seen from translation_private.failures(translation_private.clock()) as f
    where f.signature = p_signature group by f.job_id) as found;
  if v_ids is null then
    perform translation_private.refuse(422, 'signature_unknown', 'No failure of the last 24 hours has this signature any more: look at the list again.');
  end if;
  select array_agg(open.id), count(*) into v_ids, v_open from (
    select named.id from unnest(v_ids) with ordinality as named (id, n)
    where not exists (select from public.translation_jobs again where again.retry_of = named.id) order by named.n) as open;
  v_done := translation_private.retry_each(v_ids[1:least(greatest(coalesce(p_limit, 100), 1), 100)]);
  v_done := v_done || jsonb_build_object('left', v_open - (v_done ->> 'jobs')::int);
  perform translation_private.note_action(p_operator, 'retry_failures', p_signature, (v_done ->> 'jobs')::int, v_done - 'jobs');
  return v_done;
end $$;
comment on function public.retry_translation_failures(uuid, text, int) is
  'Retries the jobs of one group of failures, 100 at most, looking again which of them there are: {jobs, refused: {word: how many}, left}.';

create or replace function public.reveal_translation_source(p_operator uuid, p_job_id uuid) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_source jsonb;
begin
  select jsonb_build_object('content', j.content, 'content_kind', j.content_kind) into v_source from public.translation_jobs j where j.id = p_job_id;
  if v_source is null then
    perform translation_private.refuse(404, 'job_not_found', 'There is no such job.');
  end if;
  perform translation_private.note_action(p_operator, 'reveal', p_job_id::text, 1, null);
  return v_source;
end $$;
comment on function public.reveal_translation_source(uuid, uuid) is 'Shows an operator the source of a job, and notes that it did: {content, content_kind}.';

create or replace function public.start_translation_trigger(p_operator uuid, p_name text, p_idempotency_key text default null) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_job jsonb;
begin
  select to_jsonb(started) into v_job from public.run_translation_trigger(p_name => p_name, p_idempotency_key => p_idempotency_key) as started;
  perform translation_private.note_action(p_operator, 'run_trigger', p_name, 1, jsonb_build_object('job_id', v_job ->> 'id'));
  return v_job;
end $$;
comment on function public.start_translation_trigger(uuid, text, text) is 'Runs a trigger now for an operator, and notes it. Returns the job.';

-- ======== 12_retention

-- 12_retention: what somebody has to do for the whole project now and then: clear out, and look into queues.
--
-- Callers: workers, when their heartbeat says that something is due; cron may do the same. One row a chore tells when
-- it is due again, and holding that row is doing it: of many workers one does, and the others go on.
-- A call takes a hundred jobs away at most, because each deleted row is an event to every subscriber. While there are
-- more, the next call follows five seconds later: 70 000 an hour.

create table if not exists translation_private.chores (
  name   text primary key,
  due_at timestamptz not null
) with (fillfactor = 50);
comment on table translation_private.chores is 'When each chore is due again.';
insert into translation_private.chores (name, due_at) values ('purge', now() + interval '1 day'), ('intake', '-infinity') on conflict (name) do nothing;

-- Milliseconds until a chore is due: what every heartbeat says, so it is a look at two rows and an empty table.
create or replace function translation_private.chores_ms(p_now timestamptz) returns bigint
language sql stable set search_path = ''
as $$
  select greatest(0, translation_private.as_ms(greatest(min(c.due_at), p_now) - p_now)) from translation_private.chores c
  where c.name <> 'intake' or exists (select from public.translation_queues q where q.enabled and q.worker_seconds is not null)
$$;
comment on function translation_private.chores_ms(timestamptz) is 'When the next chore is due, in milliseconds; 0 is now.';

create or replace function translation_private.take_queues(p_limit int) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_name text;
  v_all jsonb := jsonb_build_array();
begin
  for v_name in select q.name from public.translation_queues q where q.enabled and q.worker_seconds is not null order by q.name loop
    begin
      v_all := v_all || translation_private.take_queue(v_name, p_limit);
    exception when others then
      raise warning 'translation queue % could not be read: %', v_name, sqlerrm;
      v_all := v_all || jsonb_build_object('queue', v_name, 'error', left(sqlerrm, 200), 'more', false);
    end;
  end loop;
  return v_all;
end $$;
comment on function translation_private.take_queues(int) is 'Looks into every queue that workers look into; one that cannot be read does not hold up the others.';

create or replace function public.do_translation_chores(p_limit int default 100) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_limit int := least(greatest(coalesce(p_limit, 100), 1), 100);
  v_queues jsonb := jsonb_build_array();
  v_purged int := 0;
begin
  -- The intake first: it may wait for a user's lock, and the purge waits for nothing.
  perform from translation_private.chores where name = 'intake' and due_at <= v_now for update skip locked;
  if found and exists (select from public.translation_queues q where q.enabled and q.worker_seconds is not null) then
    v_queues := translation_private.take_queues(v_limit);
    update translation_private.chores set due_at = v_now + make_interval(secs =>
      case when v_queues @> '[{"more": true}]' then 0
           else (select min(q.worker_seconds) from public.translation_queues q where q.enabled) end)
    where name = 'intake';
  end if;
  perform from translation_private.chores where name = 'purge' and due_at <= v_now for update skip locked;
  if found then
    begin
      v_purged := public.purge_translation_jobs(p_limit => v_limit);
      delete from public.translation_queue_refusals where (queue, msg_id) in (
        select r.queue, r.msg_id from public.translation_queue_refusals r
        where r.refused_at < v_now - interval '90 days' order by r.refused_at limit v_limit);
    exception when others then
      raise warning 'translation jobs could not be purged: %', sqlerrm;
    end;
    update translation_private.chores
    set due_at = v_now + case when v_purged >= v_limit then interval '5 seconds' else interval '1 hour' end where name = 'purge';
  end if;
  return jsonb_build_object('queues', v_queues, 'purged', v_purged, 'again_ms', translation_private.chores_ms(v_now));
end $$;
comment on function public.do_translation_chores(int) is
  'What is due for the whole project: messages of queues become jobs, and jobs that are kept too long are deleted, p_limit of each at most. Returns {queues, purged, again_ms}.';

-- ======== 12_triggers

-- 12_triggers: jobs that the project itself starts, by name: from an admin page, from cron, when something matches.
--
-- A trigger is a recipe of a job. The owner writes the rows (table editor, SQL, service_role); whoever has the service
-- key runs them, and the list says what became of each one's last job. A trigger has no clock of its own: pg_cron, a
-- database webhook or a button runs it.
-- Locks: the job is made before the trigger's own row is touched, so that a slow create holds up no other run for long.
-- SQLSTATE: PT404 trigger_not_found, PT409 trigger_disabled, trigger_off, and whatever enqueue refuses.

create table if not exists public.translation_triggers (
  name            text primary key check (name ~ '^[a-z][a-z0-9_:.-]{0,62}$'),
  kind            text not null check (kind in ('admin', 'cron', 'match')),
  job_type        text not null default 'translation' references public.translation_job_types (name),
  content         jsonb,
  items           text[],
  source_language text,
  content_kind    text not null default 'text' check (content_kind in ('text', 'markdown', 'html', 'json')),
  options         jsonb not null default '{}' check (jsonb_typeof(options) = 'object'),
  priority        int check (priority between 1 and 10),
  subject         text check (char_length(subject) <= 200),
  title           text check (char_length(title) <= 200),
  enabled         boolean not null default true,
  description     text,
  last_run_at     timestamptz,
  last_job_id     uuid references public.translation_jobs (id) on delete set null
);
create index if not exists translation_triggers_job_type on public.translation_triggers (job_type);
create index if not exists translation_triggers_last_job on public.translation_triggers (last_job_id);
comment on table public.translation_triggers is
  'Jobs that the project starts by name: select run_translation_trigger(''nightly-cards''). What became of the last ones: list_translation_triggers().';
comment on column public.translation_triggers.name is 'What run_translation_trigger is given.';
comment on column public.translation_triggers.kind is 'Who starts it: admin (a person waits), cron (a clock), match (something in the data). Decides the priority and which of the JOBS_ENABLED_… switches is asked.';
comment on column public.translation_triggers.job_type is 'Kind of job that it makes.';
comment on column public.translation_triggers.content is 'The job''s content, unless a run brings its own.';
comment on column public.translation_triggers.items is 'Items of the job; the target languages of a translation.';
comment on column public.translation_triggers.source_language is 'Of a translation; null: unknown.';
comment on column public.translation_triggers.content_kind is 'text, markdown, html or json.';
comment on column public.translation_triggers.options is 'Options of the job.';
comment on column public.translation_triggers.priority is 'Null: by its kind: admin 8, match 6, cron 3.';
comment on column public.translation_triggers.subject is 'What of the owner''s its jobs are about.';
comment on column public.translation_triggers.title is 'For people; null: the trigger''s name.';
comment on column public.translation_triggers.enabled is 'Off: running it is refused.';
comment on column public.translation_triggers.description is 'For people.';
comment on column public.translation_triggers.last_run_at is 'When it last made a job.';
comment on column public.translation_triggers.last_job_id is 'That job, until it is purged.';

create or replace function translation_private.trigger_priority(p_kind text) returns int
language sql immutable set search_path = ''
as $$ select case p_kind when 'admin' then 8 when 'match' then 6 when 'cron' then 3 end $$;
comment on function translation_private.trigger_priority(text) is 'Somebody waits for an admin''s job, nobody for one of the night.';

create or replace function public.run_translation_trigger(
  p_name text, p_idempotency_key text default null, p_content jsonb default null, p_correlation_id text default null,
  p_kinds text[] default null
) returns public.translation_jobs
language plpgsql set search_path = ''
as $$
declare
  v_trigger public.translation_triggers;
  v_job public.translation_jobs;
begin
  select * into v_trigger from public.translation_triggers where name = p_name;
  if not found then
    perform translation_private.refuse(404, 'trigger_not_found', 'There is no such trigger: they are rows of translation_triggers.');
  elsif not v_trigger.enabled then
    perform translation_private.refuse(409, 'trigger_disabled', format('Trigger %s is switched off: set enabled in translation_triggers.', v_trigger.name));
  elsif v_trigger.kind <> all (p_kinds) then
    perform translation_private.refuse(409, 'trigger_off', format('Triggers of kind %s make no jobs at the moment: p_kinds leaves them out.', v_trigger.kind));
  end if;
  select * into v_job from public.enqueue_translation_job(
    p_job_type => v_trigger.job_type,
    p_content => coalesce(p_content, v_trigger.content),
    p_items => v_trigger.items,
    p_source_language => v_trigger.source_language,
    p_content_kind => v_trigger.content_kind,
    p_priority => coalesce(v_trigger.priority, translation_private.trigger_priority(v_trigger.kind)),
    p_options => v_trigger.options,
    -- Two triggers of one night may both be given its date.
    p_idempotency_key => v_trigger.name || ':' || p_idempotency_key,
    p_correlation_id => p_correlation_id,
    p_subject => v_trigger.subject,
    p_title => coalesce(v_trigger.title, v_trigger.name),
    p_metadata => jsonb_build_object('trigger', v_trigger.name, 'trigger_kind', v_trigger.kind));
  -- A repeated call brings an older job, which is not a run.
  update public.translation_triggers set last_run_at = v_job.created_at, last_job_id = v_job.id
  where name = v_trigger.name and (last_run_at is null or last_run_at <= v_job.created_at);
  return v_job;
end $$;
comment on function public.run_translation_trigger(text, text, jsonb, text, text[]) is
  'Makes the job of a trigger now. The same idempotency key makes it once; it is the trigger''s own: another trigger may use it too. p_kinds: refuse a trigger of another kind.';

create or replace function public.list_translation_triggers() returns table (
  name text, kind text, job_type text, priority int, enabled boolean, title text, description text, items text[],
  state text, last_run_at timestamptz, last_job_id uuid, last_status text, last_progress int, last_completed_at timestamptz, last_error jsonb)
language sql stable set search_path = ''
as $$
  select t.name, t.kind, t.job_type, coalesce(t.priority, translation_private.trigger_priority(t.kind)), t.enabled,
    coalesce(t.title, t.name), t.description, t.items,
    case
      when t.last_run_at is null then 'never'
      when j.id is null then 'purged'
      when j.status = 'completed' and j.failed_items > 0 then 'partly'
      when j.status = 'completed' then 'succeeded'
      when j.status in ('failed', 'cancelled') then j.status
      else 'running' end,
    t.last_run_at, j.id, j.status, j.progress, j.completed_at, j.error
  from public.translation_triggers t left join public.translation_jobs j on j.id = t.last_job_id
  order by t.name limit 1000
$$;
comment on function public.list_translation_triggers() is
  'The triggers by name, and what became of the last job of each: state is never, running, succeeded, partly, failed, cancelled or purged.';

create or replace function public.find_translation_job(p_idempotency_key text, p_user_id uuid default null, p_trigger text default null) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_key text := coalesce(p_trigger || ':', '') || p_idempotency_key;
  v_id uuid;
begin
  if p_user_id is null then  -- apart, because IS NOT DISTINCT FROM cannot use an index
    select id into v_id from public.translation_jobs where user_id is null and idempotency_key = v_key;
  else
    select id into v_id from public.translation_jobs where user_id = p_user_id and idempotency_key = v_key;
  end if;
  return v_id;
end $$;
comment on function public.find_translation_job(text, uuid, text) is
  'The job that was made under an idempotency key: of a user, of nobody, or of a trigger. Null: none was, or it is purged.';

-- ======== 12_watch

-- 12_watch: what wakes an operator, and what `worker verify` reads and tries.
--
-- Callers: service_role, cron and the SQL editor. Nothing here changes a job of anybody. Every look is bounded, so
-- that it may be called each minute on a queue of any size: the newest thousand that ended, the oldest hundred of
-- each type that wait.
-- SQLSTATE: PT422 probe_malformed.

-- An index gives every order that is asked for here; a sort would read all that waits to find a hundred.
create or replace function public.translation_alerts(
  p_realtime_down_seconds int default 300, p_pending_seconds int default 300,
  p_failure_percent numeric default 10, p_failure_jobs int default 10, p_window_seconds int default 3600,
  p_queue_depth int default 20, p_average_seconds int default 120, p_stale_seconds int default 90)
returns table (alert text, severity text, message text, cure text, value numeric, threshold numeric, details jsonb)
language plpgsql stable set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
  set enable_sort = off set jit = off
as $$
#variable_conflict use_column
declare
  v_now timestamptz := translation_private.clock();
  v_window timestamptz := v_now - make_interval(secs => p_window_seconds);
  v_alive timestamptz := v_now - make_interval(secs => p_stale_seconds);
begin
  return query
  select 'realtime_down', 'critical', format('%s worker(s) have not heard Realtime for %s s; they poll.', count(*), max(deaf.seconds)),
    'Look for "Realtime not heard" in the worker''s log: it names the cure. `worker verify` tries the whole road.',
    max(deaf.seconds), p_realtime_down_seconds::numeric, jsonb_build_object('workers', jsonb_agg(deaf.id))
  from (
    select w.id, floor(extract(epoch from v_now - w.mode_since)) as seconds from public.translation_workers w
    where w.last_seen_at > v_alive and w.mode in ('starting', 'polling')
      and w.mode_since < v_now - make_interval(secs => p_realtime_down_seconds) limit 100) as deaf
  having count(*) > 0;

  return query
  select 'jobs_pending', 'critical', format('Jobs have waited for up to %s s: %s.', max(late.seconds),
      string_agg(late.job_type || case when late.taken then '' else ' (no running worker has a handler for it)' end, ', ' order by late.job_type)),
    'Is a worker running that takes these types (translation_workers, JOB_TYPES, WORKER_MODULES)? If all are busy, start another one.',
    max(late.seconds), p_pending_seconds::numeric, jsonb_object_agg(late.job_type, late.seconds)
  from (
    select t.name as job_type, floor(extract(epoch from v_now - min(oldest.ready_at))) as seconds,
      -- One that says nothing about its handlers is older than this script.
      exists (select from public.translation_workers w where w.last_seen_at > v_alive and w.mode <> 'stopping'
        and coalesce(w.stats -> 'handlers' ? t.name, true)) as taken
    from public.translation_job_types t
    cross join lateral (
      select j.ready_at from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' order by j.seq limit 100) as oldest
    where t.name not like 'translation\_probe\_%'
    group by t.name) as late
  where late.seconds > p_pending_seconds
  having count(*) > 0;

  -- A job counts as failed if any of its items did: a language that always fails must not hide behind four that work.
  return query
  select 'failure_rate', 'critical', format('%s %% of %s jobs that ended failed, in whole or in part.', round(tally.percent, 1), tally.jobs),
    'Group the reasons with question 7 of sql/inspect.sql; `auth` and `quota_exhausted` are the provider''s account.',
    round(tally.percent, 1), p_failure_percent, jsonb_build_object('jobs', tally.jobs, 'failed', tally.failed)
  from (
    select count(*) as jobs, count(*) filter (where recent.failed_items > 0) as failed,
      100.0 * count(*) filter (where recent.failed_items > 0) / greatest(count(*), 1) as percent
    from (
      select j.status, j.failed_items from public.translation_jobs j
      where j.completed_at > v_window order by j.completed_at desc limit 1000) as recent
    where recent.status in ('completed', 'failed')) as tally
  where tally.jobs >= p_failure_jobs and tally.percent > p_failure_percent;

  return query
  select 'queue_depth', 'warning', format('%s%s jobs wait.', case when max(waiting.jobs) > 1000 then 'At least ' else '' end, sum(waiting.jobs)),
    'If it grows, start another worker, or raise MAX_CONCURRENT_JOBS.',
    sum(waiting.jobs), p_queue_depth::numeric, jsonb_object_agg(waiting.job_type, waiting.jobs)
  from (
    select t.name as job_type, capped.jobs from public.translation_job_types t
    cross join lateral (
      select count(*) as jobs from (
        select from public.translation_jobs j where j.job_type = t.name and j.status = 'pending' limit 1001) as head) as capped
    where capped.jobs > 0 and t.name not like 'translation\_probe\_%') as waiting
  having sum(waiting.jobs) > p_queue_depth;

  -- Of the last 200 translations; a language is judged by three items or more. Waits between tries are in it.
  return query
  select 'slow_languages', 'warning', format('%s language(s) take more than %s s on average.', count(*), p_average_seconds),
    'Look at the provider: its limits, its pauses (`worker_provider_…` metrics). Long documents alone are no fault: raise the threshold.',
    max(slow.seconds), p_average_seconds::numeric, jsonb_object_agg(slow.item, slow.seconds)
  from (
    select i.item, round(avg(extract(epoch from i.completed_at - i.started_at)), 1) as seconds
    from (
      select recent.id from (
        select j.id, j.job_type from public.translation_jobs j
        where j.completed_at > v_window order by j.completed_at desc limit 1000) as recent
      where recent.job_type = 'translation' limit 200) as done
    join public.translation_job_items i on i.job_id = done.id and i.status = 'completed'
    group by i.item having count(*) >= 3) as slow
  where slow.seconds > p_average_seconds
  having count(*) > 0;

  -- The last 200 movements: their jobs, and the balances of the last ten users among them that have at most 2000
  -- movements. Balances that the owner keeps elsewhere are not ours to judge.
  return query
  with moved as materialized (
    select l.user_id, l.job_id, l.id from public.translation_credit_ledger l order by l.id desc limit 200
  ), jobs as (
    select j.id from (select distinct moved.job_id from moved where moved.job_id is not null) as named
    join public.translation_jobs j on j.id = named.job_id
    cross join lateral (
      select coalesce(sum(l.amount) filter (where l.kind = 'reserve'), 0) as reserved,
        coalesce(sum(l.amount) filter (where l.kind = 'consume'), 0) as consumed,
        coalesce(sum(l.amount) filter (where l.kind = 'refund'), 0) as refunded
      from public.translation_credit_ledger l where l.job_id = j.id) as sums
    where (j.credits_reserved, j.credits_consumed, j.credits_refunded) is distinct from (sums.reserved, sums.consumed, sums.refunded)
  ), users as (
    select c.user_id from (
      select latest.user_id from (select moved.user_id, max(moved.id) as id from moved group by moved.user_id) as latest
      order by latest.id desc limit 10) as named
    join public.translation_credits c on c.user_id = named.user_id
    cross join lateral (
      select count(*) as movements,
        sum(case last.kind when 'grant' then last.amount when 'refund' then last.amount when 'consume' then 0 else -last.amount end) as balance
      from (
        select l.kind, l.amount from public.translation_credit_ledger l
        where l.user_id = named.user_id order by l.id desc limit 2001) as last) as sums
    where sums.movements <= 2000 and c.balance <> sums.balance
      and (select bool_and(p.prosrc like '%public.translation_credits%') from pg_catalog.pg_proc p
           where p.pronamespace = 'public'::regnamespace and p.proname in ('hold_translation_balance', 'return_translation_balance'))
  ), wrong as (
    select (select count(*) from jobs) + (select count(*) from users) as n
  )
  select 'ledger_difference', 'critical', format('The ledger does not add up for %s job(s) or user(s).', wrong.n),
    'Questions 9 and 10 of sql/inspect.sql show the sums. Somebody wrote to a table by hand: correct it with grant_ or revoke_translation_credits.',
    wrong.n::numeric, 0::numeric,
    jsonb_build_object('jobs', (select coalesce(jsonb_agg(jobs.id), '[]') from jobs), 'users', (select coalesce(jsonb_agg(users.user_id), '[]') from users))
  from wrong where wrong.n > 0;

  -- One that was replaced is old news after an hour, unless nobody has taken its place.
  return query
  select 'stale_worker', 'warning', format('%s worker(s) fell silent without saying good-bye.', count(*)),
    'Start it again; if it is gone for good: delete from public.translation_workers where id = ''…'';',
    max(silent.seconds), p_stale_seconds::numeric, jsonb_object_agg(silent.id, silent.seconds)
  from (
    select w.id, floor(extract(epoch from v_now - w.last_seen_at)) as seconds from public.translation_workers w
    where w.last_seen_at <= v_alive and w.mode <> 'stopping'
      and (w.last_seen_at > v_now - interval '1 hour' or not exists (
        select from public.translation_workers a where a.last_seen_at > v_alive and a.mode <> 'stopping'))
    limit 100) as silent
  having count(*) > 0;

  return query
  select 'quota_exhausted', 'warning', format('%s job(s) wait for, or failed by, a provider whose quota is used up.', sum(held.jobs)),
    'Raise the provider''s quota, or name a second one in TRANSLATOR. Waiting jobs go on by themselves until their deadline.',
    sum(held.jobs), 0::numeric, jsonb_object_agg(held.job_type, held.jobs)
  from (
    select blocked.job_type, count(*) as jobs from (
      select t.name as job_type, retrying.error from public.translation_job_types t
      cross join lateral (
        select j.error from public.translation_jobs j
        where j.job_type = t.name and j.status = 'retrying' order by j.seq limit 100) as retrying
      union all
      select ended.job_type, ended.error from (
        select j.job_type, j.error from public.translation_jobs j
        where j.completed_at > v_window order by j.completed_at desc limit 1000) as ended) as blocked
    where blocked.error ->> 'class' = 'quota_exhausted'
    group by blocked.job_type) as held
  having count(*) > 0;
end $$;
comment on function public.translation_alerts(int, int, numeric, int, int, int, int, int) is
  'What an operator should know now, worst first by kind; no rows: all is well. Each row: alert, severity, message, cure, value, threshold, details.';

-- The catalogs as a plain answer, for whoever has an address and a key but no database connection.
create or replace function public.translation_self_check() returns jsonb
language sql stable set search_path = ''
as $$
  with roles as (
    select unnest(array['anon', 'authenticated', 'service_role']) as role
  ), ours as (
    select p.oid, p.oid::regprocedure::text as name, p.prosrc, p.proconfig, p.prosecdef,
      p.prorettype = 'pg_catalog.trigger'::regtype as is_trigger
    from pg_catalog.pg_proc p
    where p.pronamespace = 'translation_private'::regnamespace
       or (p.pronamespace = 'public'::regnamespace and p.proname like '%translation%')
  ), tables as (
    select c.oid, c.relkind, c.relrowsecurity, c.reloptions, c.relname,
      case c.relnamespace when 'public'::regnamespace then c.relname::text else 'translation_private.' || c.relname end as name
    from pg_catalog.pg_class c
    where (c.relkind in ('r', 'v') and c.relnamespace = 'public'::regnamespace and c.relname like 'translation\_%')
       or (c.relkind = 'r' and c.relnamespace = 'translation_private'::regnamespace)
  )
  select jsonb_build_object(
    'schema_version', translation_private.schema_version(),
    'now', translation_private.clock(),
    'role', current_user,
    'functions', (
      select jsonb_object_agg(o.name, jsonb_build_object(
        -- An editor may have written other line ends.
        'source', md5(replace(o.prosrc, chr(13), '')), 'settings', to_jsonb(o.proconfig), 'definer', o.prosecdef,
        'may', (select coalesce(jsonb_agg(r.role order by r.role), '[]') from roles r
                where not o.is_trigger and has_function_privilege(r.role, o.oid, 'execute'))))
      from ours o),
    'tables', (
      select jsonb_object_agg(t.name, jsonb_build_object(
        'row_security', case t.relkind when 'r' then t.relrowsecurity else coalesce(t.reloptions @> array['security_invoker=true'], false) end,
        'published', exists (select from pg_catalog.pg_publication_tables p
                             where p.pubname = 'supabase_realtime' and p.schemaname = 'public' and p.tablename = t.relname),
        'policies', (
          select coalesce(jsonb_object_agg(p.policyname, concat_ws(' ', lower(p.permissive), lower(p.cmd), array_to_string(p.roles, ','),
            'using ' || p.qual, 'check ' || p.with_check)), '{}')
          from pg_catalog.pg_policies p where p.schemaname = 'public' and p.tablename = t.relname),
        'triggers', (select coalesce(jsonb_agg(g.tgname order by g.tgname), '[]') from pg_catalog.pg_trigger g
                     where g.tgrelid = t.oid and not g.tgisinternal and g.tgenabled <> 'D'),
        'may', (select coalesce(jsonb_object_agg(r.role, m.commands), '{}') from roles r
                cross join lateral (
                  select jsonb_agg(x) as commands from unnest(array['select', 'insert', 'update', 'delete', 'truncate']) as x
                  where has_table_privilege(r.role, t.oid, x)) as m
                where m.commands is not null),
        -- What is granted column by column and not already for the whole table.
        'may_columns', (select coalesce(jsonb_object_agg(r.role, m.columns), '{}') from roles r
                cross join lateral (
                  select jsonb_agg(x || ' ' || a.attname order by x, a.attname) as columns
                  from unnest(array['select', 'insert', 'update']) as x
                  join pg_catalog.pg_attribute a on a.attrelid = t.oid and a.attnum > 0 and not a.attisdropped
                  where has_column_privilege(r.role, t.oid, a.attnum, x) and not has_table_privilege(r.role, t.oid, x)) as m
                where m.columns is not null)))
      from tables t),
    'publication', (
      select jsonb_build_object('insert', p.pubinsert, 'update', p.pubupdate)
      from pg_catalog.pg_publication p where p.pubname = 'supabase_realtime'),
    'realtime_send', to_regprocedure('realtime.send(jsonb, text, text, boolean)') is not null,
    'cron', (select count(*) > 0 from pg_catalog.pg_extension where extname = 'pg_cron'),
    'job_types', (select jsonb_object_agg(t.name, jsonb_build_object('enabled', t.enabled, 'price', t.price)) from public.translation_job_types t),
    'credits_held', exists (select from public.translation_credits c where c.balance > 0),
    'queues', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', q.name, 'enabled', q.enabled, 'exists', there.queue is not null,
        'readable', coalesce((
          select bool_and(has_table_privilege(p.proowner, there.queue, command)) from pg_catalog.pg_proc p
          cross join unnest(array['select', 'update', 'delete']) as command
          where p.oid = 'translation_private.take_queue(text, int)'::regprocedure), false),
        'refused', (select count(*) from (
          select from public.translation_queue_refusals r
          where r.queue = q.name and r.refused_at > translation_private.clock() - interval '1 day' limit 1000) as lately)) order by q.name), '[]')
      from public.translation_queues q
      -- By the catalog: a name may not be looked up in a schema that one may not use.
      left join lateral (
        select c.oid as queue from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'pgmq' and c.relname = 'q_' || lower(q.name)) as there on true),
    'workers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'id', w.id, 'mode', w.mode, 'version', w.version,
        'silent_seconds', floor(extract(epoch from translation_private.clock() - w.last_seen_at)))), '[]')
      from (
        select * from public.translation_workers n where n.mode <> 'stopping' order by n.last_seen_at desc limit 100) as w))
$$;
comment on function public.translation_self_check() is
  'What is installed here: version, functions with a hash of their text and who may call them, tables with row security, grants, policies, triggers, publication; and which workers there are.';

-- The probe of `worker verify`: one job of a type that only this probe has, so that no worker takes it. It goes through
-- the same procedures as every other job, belongs to nobody and costs nothing. Its turn is the one being served: it
-- moves nobody's place. What a probe that was killed left behind goes with the next one.
create or replace function translation_private.remove_probes(p_types text[], p_limit int) returns void
language plpgsql set search_path = '' set enable_seqscan = off
as $$
begin
  delete from public.translation_jobs where id in (
    select j.id from public.translation_jobs j where j.job_type = any (p_types) limit p_limit);
  delete from public.translation_job_types where name = any (p_types);
  delete from public.translation_workers where id = any (p_types);
end $$;
comment on function translation_private.remove_probes(text[], int) is 'Takes probes away: their job, their type, and the row of the worker that they pretend to be.';

create or replace function translation_private.check_probe(p_probe text) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_probe is null or p_probe !~ '^translation_probe_[0-9a-f]{16}$' then
    perform translation_private.refuse(422, 'probe_malformed', 'A probe is called translation_probe_ and 16 hexadecimal digits.');
  end if;
end $$;
comment on function translation_private.check_probe(text) is 'Refuses a name that is not a probe''s.';

create or replace function public.start_translation_probe(p_probe text) returns uuid
language plpgsql set search_path = '' set enable_seqscan = off
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_job_id uuid;
begin
  perform translation_private.check_probe(p_probe);
  perform translation_private.remove_probes(array(
    select t.name from public.translation_job_types t
    join public.translation_jobs j on j.job_type = t.name and j.created_at < v_now - interval '10 minutes'
    where t.name like 'translation\_probe\_%' limit 10), 10);
  insert into public.translation_job_types (name, description) values (p_probe, 'The probe of worker verify; it goes when that ends.');
  insert into public.translation_jobs (job_type, title, status, turn, content, ready_at, deadline_at, revision, created_at, updated_at)
  values (p_probe, 'worker verify', 'pending', (select last_value from translation_private.served_turn), '{}', v_now,
          v_now + interval '1 hour', 1, v_now, v_now)
  returning id into v_job_id;
  insert into public.translation_job_items (job_id, item, position) values (v_job_id, 'run', 1);
  return v_job_id;
end $$;
comment on function public.start_translation_probe(text) is
  'For worker verify: makes one job of a job type of this very name, which no other worker takes. Returns its id.';

create or replace function public.end_translation_probe(p_probe text) returns void
language plpgsql set search_path = '' set enable_seqscan = off
as $$
begin
  perform translation_private.check_probe(p_probe);
  perform translation_private.remove_probes(array[p_probe], 10);
end $$;
comment on function public.end_translation_probe(text) is 'For worker verify: takes the probe away without a trace. A repeated call changes nothing.';


-- ======== 13_security

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

commit;
