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
