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
