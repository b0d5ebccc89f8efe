-- An owner's table that fills itself: museum cards with their translations in one jsonb column.
--
-- A card is translated by a job whose subject is 'museum_card:<id>'. The moment a language is settled, in
-- that very transaction, the trigger below writes it into the card: no polling, no webhook, no half-written
-- card after a crash. If this trigger raises, that one job fails with class internal and is refunded.
-- Paste it after install.sql; it may be run again.

begin;

create table if not exists public.museum_cards (
  id           bigint generated always as identity primary key,
  user_id      uuid not null references auth.users (id) on delete cascade,
  card         jsonb not null,
  translations jsonb not null default '{}',
  updated_at   timestamptz not null default now()
);
create index if not exists museum_cards_of_user on public.museum_cards (user_id);
comment on table public.museum_cards is 'Example: cards of a museum, translated in place.';

alter table public.museum_cards enable row level security;
revoke all on table public.museum_cards from anon, authenticated, service_role;
grant select, insert on table public.museum_cards to authenticated;
grant select, insert, update, delete on table public.museum_cards to service_role;
drop policy if exists museum_cards_own on public.museum_cards;
create policy museum_cards_own on public.museum_cards for select to authenticated using ((select auth.uid()) = user_id);
drop policy if exists museum_cards_add on public.museum_cards;
create policy museum_cards_add on public.museum_cards for insert to authenticated with check ((select auth.uid()) = user_id);

-- Definer, because the worker that settles the language has no business with your tables.
create or replace function public.fill_museum_card() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  update public.museum_cards c
  set translations = c.translations || jsonb_build_object(new.item, new.result -> 'content'), updated_at = now()
  from public.translation_jobs j
  where j.id = new.job_id and j.subject like 'museum\_card:%'
    and c.id = substring(j.subject from '^museum_card:([0-9]{1,18})$')::bigint and c.user_id = j.user_id;
  return null;
end $$;
comment on function public.fill_museum_card() is 'Writes a finished language into its card.';
revoke execute on function public.fill_museum_card() from public, anon, authenticated, service_role;
create or replace trigger fill_museum_card
  after update of status on public.translation_job_items for each row
  when (new.status = 'completed' and old.status <> 'completed')
  execute function public.fill_museum_card();

commit;
