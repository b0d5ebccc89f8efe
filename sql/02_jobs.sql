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
