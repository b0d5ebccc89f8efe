-- What a reader can tell of pgmq: its names, its signatures, what hides a message and what moves it. See pgmq.py.

create schema pgmq;
create type pgmq.message_record as (
  msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb, headers jsonb);

create function pgmq."create"(queue_name text) returns void language plpgsql as $$
begin
  execute format('create table pgmq.%I (msg_id bigint primary key generated always as identity, read_ct int not null default 0,
    enqueued_at timestamptz not null default now(), vt timestamptz not null, message jsonb, headers jsonb)', 'q_' || queue_name);
  execute format('create table pgmq.%I (msg_id bigint primary key, read_ct int not null default 0,
    enqueued_at timestamptz not null default now(), archived_at timestamptz not null default now(), vt timestamptz not null,
    message jsonb, headers jsonb)', 'a_' || queue_name);
end $$;

create function pgmq.send(queue_name text, msg jsonb, delay integer default 0) returns setof bigint language plpgsql as $$
begin
  return query execute format('insert into pgmq.%I (vt, message) values (clock_timestamp() + make_interval(secs => $2), $1)
    returning msg_id', 'q_' || queue_name) using msg, delay;
end $$;

create function pgmq.read(queue_name text, vt integer, qty integer, conditional jsonb default '{}')
returns setof pgmq.message_record language plpgsql as $$
begin
  return query execute format('update pgmq.%1$I q set vt = clock_timestamp() + make_interval(secs => $1), read_ct = read_ct + 1
    where msg_id in (select msg_id from pgmq.%1$I where vt <= clock_timestamp() order by msg_id limit $2 for update skip locked)
    returning q.msg_id, q.read_ct, q.enqueued_at, q.vt, q.message, q.headers', 'q_' || queue_name) using vt, qty;
end $$;

create function pgmq.archive(queue_name text, msg_id bigint) returns boolean language plpgsql as $$
declare
  v_done boolean;
begin
  execute format('with gone as (delete from pgmq.%I q where q.msg_id = $1 returning *)
    insert into pgmq.%I (msg_id, vt, read_ct, enqueued_at, message, headers)
    select gone.msg_id, vt, read_ct, enqueued_at, message, headers from gone returning true', 'q_' || queue_name, 'a_' || queue_name)
  into v_done using msg_id;
  return coalesce(v_done, false);
end $$;

create function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint language sql as $$
  select m from unnest(msg_ids) as m where pgmq.archive(queue_name, m) $$;
