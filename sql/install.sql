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
-- run the transaction again without end.
create or replace function translation_private.refuse(p_status int, p_word text, p_message text, p_hint text default null)
returns void language plpgsql set search_path = ''
as $$
begin
  raise exception using
    errcode = 'PT' || p_status,
    message = p_message,
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
  description          text
);
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
  primary key (child_id, parent_id),
  check (child_id <> parent_id)
);
create index if not exists translation_job_dependencies_of_parent on public.translation_job_dependencies (parent_id);
comment on table public.translation_job_dependencies is 'A job that waits for another one.';
comment on column public.translation_job_dependencies.child_id is 'The job that waits.';
comment on column public.translation_job_dependencies.parent_id is 'The job it waits for.';
comment on column public.translation_job_dependencies.after_failure is 'When the parent fails or is cancelled: cancel the child, or run it anyway.';

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
    where key not in ('formality', 'do_not_translate', 'max_warnings', 'second_provider', 'simulate') limit 1;
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

-- Parents a new job waits for: locked against ending until we are committed, in id order.
create or replace function translation_private.check_parents(p_parents uuid[], p_user_id uuid, p_by_user boolean) returns boolean
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
    if v_parent.status in ('failed', 'cancelled') then
      perform translation_private.refuse(409, 'parent_failed', 'A job named in p_after has failed or was cancelled: retry that one first.');
    end if;
    v_waits := v_waits or v_parent.status <> 'completed';
  end loop;
  if v_seen <> (select count(distinct p) from unnest(p_parents) as p) then
    perform translation_private.refuse(404, 'parent_not_found', 'A job named in p_after does not exist.');
  end if;
  return v_waits;
end $$;
comment on function translation_private.check_parents(uuid[], uuid, boolean) is 'Locks the parents of a new job and says whether it has to wait for them.';

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
  p_correlation_id text, p_subject text, p_title text, p_metadata jsonb, p_after uuid[], p_retry_of uuid default null
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
  v_waits := translation_private.check_parents(p_after, p_user_id, p_by_user);

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
  insert into public.translation_job_dependencies (child_id, parent_id)
  select distinct v_job.id, parent from unnest(p_after) as parent;
  return translation_private.without_content(v_job);
end $$;
comment on function translation_private.add_job(boolean, uuid, text, jsonb, text[], text, text, int, jsonb, text, timestamptz, text, text, text, jsonb, uuid[], uuid) is
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
-- use what was switched off all the same costs so much on paper that it would be compiled.

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
-- are written out here, because as_ms is a call for each of them.
create or replace function translation_private.claimed(p_worker_id text, p_claim_id uuid, p_now timestamptz)
returns setof jsonb language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'job_id', j.id, 'token', c.token, 'seq', j.seq, 'job_type', j.job_type, 'user_id', j.user_id, 'subject', j.subject,
    'title', j.title, 'metadata', j.metadata, 'content_kind', j.content_kind,
    'content', case when size.small then j.content end, 'content_inline', size.small, 'content_chars', j.content_chars,
    'source_language', j.source_language, 'options', j.options, 'priority', j.priority, 'correlation_id', j.correlation_id,
    'lease_ms', ceil(extract(epoch from c.lease_until - p_now) * 1000)::bigint, 'max_attempts', j.max_attempts,
    'item_timeout_ms', t.item_timeout_seconds * 1000, 'deadline_ms', ceil(extract(epoch from j.deadline_at - p_now) * 1000)::bigint,
    'found_by', j.found_by, 'found_ms', a.found_ms, 'deliveries', j.deliveries, 'items', i.items)
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
    select coalesce(jsonb_agg(jsonb_build_object('item', i.item, 'attempts', i.attempts, 'chars', j.content_chars) order by i.position), '[]') as items
    from public.translation_job_items i
    where i.job_id = j.id and i.status in ('pending', 'processing')
      and i.recorded_token is distinct from c.token and (i.retry_at is null or i.retry_at <= c.claimed_at)) as i
  where a.claim_id = p_claim_id and a.worker_id = p_worker_id
  order by j.priority desc, j.turn, j.seq
$$;
comment on function translation_private.claimed(text, uuid, timestamptz) is 'The jobs a claim call holds now, with their open items.';

-- Floors. While anybody holds an old snapshot (a report, a dump, a forgotten session), no vacuum can clear away what was
-- claimed since, and every claim would walk through all of it again. A floor lets it begin behind: the turn of a lane
-- (type and priority) below which nothing waits. It is state of the caller: it comes with a claim, goes back with the
-- next, and only makes that one cheaper. What keeps it safe, so that a user's jobs still start in order:
--   a turn that was reached is only a candidate. It becomes a floor when a claim without floors, begun after all
--   transactions of that time had ended, reaches it again: a create may stamp a turn now and commit it late;
--   a claim that comes back short looks again without floors, and so does every first claim after a second;
--   a job below its floor all the same (somebody moved it by hand) ends the floor of that lane when it is found.
create or replace function translation_private.next_floor(p_floor jsonb, p_reached jsonb, p_all_seen_to xid8, p_now timestamptz)
returns jsonb language plpgsql set search_path = ''
as $$
declare
  v_proven boolean := coalesce((p_floor ->> 'seen')::xid8 <= p_all_seen_to, true);
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
  return jsonb_build_object('safe', v_safe, 'next', v_next, 'until', p_now + interval '1 second',
    'seen', case when v_proven then pg_snapshot_xmax(pg_current_snapshot())::text else p_floor ->> 'seen' end);
end $$;
comment on function translation_private.next_floor(jsonb, jsonb, xid8, timestamptz) is
  'What a claim without floors has learned: {safe, next: {"type priority": turn}, seen: transactions that may still add below next, until}.';

-- The first p_limit waiting jobs, locked: priority by priority, within one the types by turn. The heads of each type
-- tell how many to take of which; then those are locked, type by type. Locking while looking would lock p_limit rows
-- of every type and hide them from other workers.
create or replace function translation_private.pick(p_job_types text[], p_limit int, p_safe jsonb)
returns table (place tid, lane text, turn bigint)
language plpgsql set search_path = ''
as $$
declare
  v_left int := p_limit;
  v_found int;
begin
  for v_priority in reverse 10..1 loop
    return query
    with wanted as (
      select w.job_type, w.job_type || ' ' || v_priority as lane, coalesce((p_safe ->> (w.job_type || ' ' || v_priority))::bigint, 0) as floor
      from unnest(p_job_types) as w (job_type)
    ), heads as (
      select head.job_type from wanted
      cross join lateral (
        select j.job_type, j.turn, j.seq from public.translation_jobs j
        where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
        order by j.turn, j.seq limit v_left) as head
      order by head.turn, head.seq limit v_left
    ), share as (
      select heads.job_type, count(*) as places from heads group by heads.job_type
    )
    select job.place, wanted.lane, job.turn from share
    join wanted on wanted.job_type = share.job_type
    cross join lateral (
      select j.ctid as place, j.turn from public.translation_jobs j
      where j.job_type = wanted.job_type and j.status = 'pending' and j.priority = v_priority and j.turn >= wanted.floor
      order by j.turn, j.seq limit share.places
      for no key update skip locked) as job;
    get diagnostics v_found = row_count;
    v_left := v_left - v_found;
    exit when v_left = 0;
  end loop;
end $$;
comment on function translation_private.pick(text[], int, jsonb) is
  'Locks up to p_limit waiting jobs in the order of the claim and says where they lie: valid until this transaction changes them.';

drop function if exists public.claim_translation_jobs(text, int, int, text[], uuid, text);  -- before p_floor
create or replace function public.claim_translation_jobs(
  p_worker_id text, p_limit int, p_lease_ms int, p_job_types text[], p_claim_id uuid, p_found_by text default 'poll',
  p_floor jsonb default null)
returns setof jsonb
language plpgsql set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
  set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_all_seen_to xid8 := pg_snapshot_xmin(pg_current_snapshot());
  v_limit int := least(greatest(coalesce(p_limit, 0), 0), 500);
  v_lease interval := make_interval(secs => least(greatest(coalesce(p_lease_ms, 30000), 1000), 3600000) / 1000.0);
  v_found_by text := case when p_found_by in ('changes', 'broadcast', 'catch_up', 'timer', 'poll') then p_found_by else 'poll' end;
  v_safe jsonb := case when (p_floor ->> 'until')::timestamptz > v_now then nullif(p_floor -> 'safe', '{}') end;
  v_floor jsonb := p_floor;
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
    return query select * from translation_private.claimed(p_worker_id, p_claim_id, v_now);
    return;
  end if;
  if translation_private.promote(p_job_types, 100, v_now) > v_limit then
    perform translation_private.announce('ready', null, 0, 1);
  end if;

  loop
    with picked as materialized (
      select * from translation_private.pick(p_job_types, v_limit, v_safe)
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
    returning j.id, nextval('translation_private.claim_token') as token, j.deliveries, j.ready_at
  ), claim as (
    insert into public.translation_job_claims (job_id, token, claim_id, worker_id, claimed_at, lease_until)
    select taken.id, taken.token, p_claim_id, p_worker_id, v_now, v_now + v_lease from taken
  )
  insert into public.translation_job_attempts (job_id, token, delivery, worker_id, claim_id, found_by, found_ms, started_at)
  select taken.id, taken.token, taken.deliveries, p_worker_id, p_claim_id, v_found_by,
         least(ceil(extract(epoch from v_now - taken.ready_at) * 1000), 2147483647)::int, v_now
  from taken;
  perform setval('translation_private.served_turn', v_turn)
  where v_turn > (select last_value from translation_private.served_turn);
  if v_safe is null then
    v_floor := translation_private.next_floor(p_floor, v_reached, v_all_seen_to, v_now);
  end if;
  return query
  select case held.n when 1 then held.job || jsonb_build_object('floor', v_floor) else held.job end
  from translation_private.claimed(p_worker_id, p_claim_id, v_now) with ordinality as held (job, n);
end $$;
comment on function public.claim_translation_jobs(text, int, int, text[], uuid, text, jsonb) is
  'Takes up to p_limit jobs, the fairest first, each with a fresh token. The same p_claim_id again returns what the first call took and still holds. p_floor: what the first job of the last answer said under floor, or null.';

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
-- A row that somebody else has locked is skipped: progress is never worth waiting for.
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
      join public.translation_job_claims c on c.job_id = e.job_id and c.token = e.token and c.worker_id = p_worker_id
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
      eta_at = p_now + make_interval(secs => least(e.eta_ms, 604800000) / 1000.0), updated_at = p_now
  from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, progress int, message text, eta_ms bigint)
  join public.translation_job_claims c on c.job_id = e.job_id and c.token = e.token and c.worker_id = p_worker_id
  where j.id = e.job_id and j.id = any (v_ids) and e.item is null;
  with counted as (
    select e.job_id, e.token, i.item, i.chunks_done, i.chunks_total, case when i.progress is not null then least(greatest(i.progress, 0), 99) end as progress,
      p_now + make_interval(secs => least(i.eta_ms, 604800000) / 1000.0) as eta_at
    from jsonb_to_recordset(p_entries) as e (job_id uuid, token bigint, item text, items jsonb)
    join public.translation_job_claims c on c.job_id = e.job_id and c.token = e.token and c.worker_id = p_worker_id
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
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_answers jsonb;
  v_refunds jsonb;
  v_changed uuid[];
begin
  if jsonb_typeof(p_results) is distinct from 'array' or jsonb_array_length(p_results) > 500
     or octet_length(p_results::text) > 8388608 or exists (
       select from jsonb_to_recordset(p_results) as e (job_id uuid, token bigint, item text, outcome text)
       where e.job_id is null or e.token is null
          or (e.item is not null and coalesce(e.outcome, '') not in ('completed', 'failed', 'retry', 'throttled')))
  then
    perform translation_private.refuse(422, 'results_malformed',
      'p_results is an array of at most 500 entries, each with job_id, token and, for an item, an outcome of completed, failed, retry, throttled.');
  end if;
  perform translation_private.lock_jobs(array(
    select e.job_id from jsonb_to_recordset(p_results) as e (job_id uuid, item text) where e.item is not null));
  if exists (select from jsonb_to_recordset(p_results) as e (item text) where e.item is null) then
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
  select (select jsonb_agg(jsonb_build_object('job_id', d.job_id, 'item', d.item, 'answer', d.answer) order by d.n) from decided d),
         (select array_agg(distinct c.job_id) from changed c),
         (select jsonb_agg(jsonb_build_object('user_id', r.user_id, 'amount', r.amount)) from refunded r)
  into v_answers, v_changed, v_refunds;

  if v_refunds is not null then
    perform translation_private.return_balances(v_refunds);
  end if;
  if v_changed is not null then
    perform translation_private.settle_jobs(v_changed, v_now);
  end if;
  return coalesce((
    select jsonb_agg(answer.value || jsonb_build_object('job_status', j.status) order by answer.n)
    from jsonb_array_elements(v_answers) with ordinality as answer (value, n)
    left join public.translation_jobs j on j.id = (answer.value ->> 'job_id')::uuid), '[]');
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
create or replace function translation_private.settle_jobs(p_job_ids uuid[], p_now timestamptz) returns void
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
  if v_finished is not null then
    perform translation_private.settle_children(v_finished, p_now);
  end if;
end $$;
comment on function translation_private.settle_jobs(uuid[], timestamptz) is
  'Brings job rows in line with their items; ends claim and attempt when the run or the job is over.';

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
  perform translation_private.settle_jobs(p_job_ids, p_now);
end $$;
comment on function translation_private.cancel_children(uuid[], timestamptz) is 'Blocked jobs whose parent did not complete: cancelled and refunded.';

-- Children of jobs that have ended: unblocked when every parent completed, cancelled when one did not.
create or replace function translation_private.settle_children(p_parent_ids uuid[], p_now timestamptz) returns void
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
    from public.translation_jobs c
    join public.translation_job_dependencies d on d.child_id = c.id
    join public.translation_jobs p on p.id = d.parent_id
    where c.status = 'blocked'
      and c.id in (select e.child_id from public.translation_job_dependencies e where e.parent_id = any (p_parent_ids))
    group by c.id) as child;
  if v_ready is not null then
    perform translation_private.start_children(v_ready, p_now);
  end if;
  if v_cancel is not null then
    perform translation_private.cancel_children(v_cancel, p_now);
  end if;
end $$;
comment on function translation_private.settle_children(uuid[], timestamptz) is 'What waits for jobs that have just ended: starts, or is cancelled and refunded.';

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

create or replace function translation_private.retry_job(p_job_id uuid) returns public.translation_jobs
language plpgsql security definer set search_path = '' set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_user uuid := translation_private.caller();
  v_job public.translation_jobs;
  v_again public.translation_jobs;
  v_items text[];
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
  return translation_private.add_job(
    v_user is not null, v_job.user_id, v_job.job_type, v_job.content, v_items, v_job.source_language, v_job.content_kind,
    case when v_user is null then v_job.priority end, v_job.options, null, null, v_job.correlation_id, v_job.subject, v_job.title, v_job.metadata, null, p_job_id);
end $$;
comment on function translation_private.retry_job(uuid) is 'Definer, because users have no write grant; checks that the job is the caller''s.';

create or replace function public.retry_translation_job(p_job_id uuid) returns public.translation_jobs
language sql set search_path = ''
as $$ select translation_private.retry_job(p_job_id) $$;
comment on function public.retry_translation_job(uuid) is
  'One new job for the failed and cancelled items of a job that has ended. Calling it again returns the same new job.';

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
  v_lease interval := make_interval(secs => least(greatest(coalesce((p_report ->> 'lease_ms')::int, 30000), 1000), 3600000) / 1000.0);
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
  v_rescued := translation_private.rescue(20, array(
    select c.job_id from public.translation_job_claims c
    join jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint) on l.job_id = c.job_id and l.token = c.token
    where c.worker_id = p_worker_id), v_now);
  v_promoted := translation_private.promote(v_types, 100, v_now);
  if v_promoted > 0 then
    perform translation_private.announce('ready', null, 0, v_promoted);
  end if;
  -- Progress (jobs), then leases (claims), skipping what is locked: a claim that somebody has locked is being
  -- ended, or will be renewed by the next beat.
  if jsonb_array_length(coalesce(p_report -> 'progress', '[]')) > 0 then
    perform translation_private.write_progress(p_worker_id, p_report -> 'progress', v_now);
  end if;
  update public.translation_job_claims c set lease_until = v_now + v_lease
  where c.job_id in (
    select held.job_id from public.translation_job_claims held
    join jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint) on l.job_id = held.job_id and l.token = held.token
    where held.worker_id = p_worker_id
    order by held.job_id for no key update of held skip locked);
  select jsonb_agg(jsonb_build_object('job_id', l.job_id, 'cancelled', coalesce(j.status = 'cancelled', false))) into v_gone
  from jsonb_to_recordset(v_leases) as l (job_id uuid, token bigint)
  left join public.translation_jobs j on j.id = l.job_id
  where not exists (
    select from public.translation_job_claims c
    where c.job_id = l.job_id and c.token = l.token and c.worker_id = p_worker_id);

  if p_report ->> 'probe' = 'true' then
    perform translation_private.broadcast('beat', jsonb_build_object('worker_id', p_worker_id));
  end if;
  delete from public.translation_workers
  where id in (
    select id from public.translation_workers where last_seen_at < v_now - interval '1 day'
    limit 20 for update skip locked);

  return jsonb_build_object(
    'schema_version', translation_private.schema_version(),
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
-- row) and says no more than an id of what did not change. The plan is held: each user and state is a few steps on one
-- index, and endings come from the index of all endings, of which a few seconds hold few.
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
  select array_agg(j.id order by j.seq) filter (where p_changed_within_ms is null or j.updated_at >= v_since),
         array_agg(j.id) filter (where j.updated_at < v_since)
  into v_fresh, v_quiet
  from unnest(v_ids) as found (id) join public.translation_jobs j on j.id = found.id;
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
  'For a live stream: what up to 1000 users have unfinished (the newest 200 of each state) and what is named: {as_of, jobs, quiet: ids of those that did not change within the time, credits: {user: {balance, reserved}}}. With a time also jobs that ended within it.';

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
  perform set_config('translation.announce', 'later', true);
  for v_entry in
    select e.* from rows from (jsonb_to_recordset(p_jobs) as (
      p_job_type text, p_content jsonb, p_items text[], p_user_id uuid, p_source_language text, p_content_kind text, p_priority int,
      p_options jsonb, p_idempotency_key text, p_run_at timestamptz, p_correlation_id text, p_subject text, p_title text,
      p_metadata jsonb, p_after uuid[])) with ordinality as e
    -- In the order of the users' locks, so that two batches cannot deadlock.
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

create or replace function public.purge_translation_jobs(
  p_days int default 90, p_status text[] default array['completed', 'failed', 'cancelled'], p_limit int default 100) returns int
language plpgsql set search_path = ''
as $$
declare
  v_now timestamptz := translation_private.clock();
  v_count int;
begin
  if coalesce(p_days, 0) <= 0 then
    return 0;
  end if;
  delete from public.translation_jobs
  where id in (
    select j.id from public.translation_jobs j
    where j.completed_at < v_now - make_interval(days => p_days) and j.status = any (p_status)
      and j.status in ('completed', 'failed', 'cancelled')
      and not exists (
        select from public.translation_job_dependencies d join public.translation_jobs c on c.id = d.child_id
        where d.parent_id = j.id and c.completed_at is null)
    order by j.completed_at limit least(greatest(coalesce(p_limit, 100), 1), 100)
    for update skip locked);
  get diagnostics v_count = row_count;
  return v_count;
end $$;
comment on function public.purge_translation_jobs(int, text[], int) is
  'Deletes at most 100 jobs that ended more than p_days ago (0: none). Ledger, balances and memory stay. Returns how many; call it again until 0.';

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
      perform cron.schedule('translation-purge', '* 3 * * *', 'select public.purge_translation_jobs(p_days => 90)');
    end if;
  end if;
end $do$;

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
  select 'jobs_pending', 'critical', format('Jobs have waited for up to %s s.', max(late.seconds)),
    'Is a worker running that takes these types (translation_workers, JOB_TYPES)? If all are busy, start another one.',
    max(late.seconds), p_pending_seconds::numeric, jsonb_object_agg(late.job_type, late.seconds)
  from (
    select t.name as job_type, floor(extract(epoch from v_now - min(oldest.ready_at))) as seconds from public.translation_job_types t
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
    'translation_job_attempts', 'translation_memory', 'translation_glossary', 'translation_workers', 'translation_languages',
    'translation_credits', 'translation_credit_ledger'
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
revoke update, delete on table public.translation_credit_ledger from service_role;
grant select on sequence public.translation_jobs_seq_seq to service_role;  -- how many jobs there ever were
alter table translation_private.create_budget enable row level security;
revoke all on table translation_private.create_budget from public, anon, authenticated, service_role;
grant select, insert, update, delete on table translation_private.create_budget to service_role;
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
         'recall_translation_glossary',
         'enqueue_translation_jobs', 'requeue_translation_jobs', 'purge_translation_jobs', 'translation_queue_stats', 'translation_self_check',
         'translation_alerts', 'start_translation_probe', 'end_translation_probe',
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
