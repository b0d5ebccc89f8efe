-- Work that comes again: a job every night, made by pg_cron.
--
-- The period stands in the idempotency key: run twice in one night, by hand or after a restart, it is one job. Give each
-- piece of work a name of its own, and as fine a period as it comes: to_char(now(), 'IYYY-IW') for weeks,
-- date_trunc('hour', now()) for hours. A job that was purged may be made again, so keep jobs longer than their period.
-- Times of pg_cron are UTC unless its settings say otherwise.

select cron.schedule('nightly-notice', '30 3 * * *', $cron$
  select public.enqueue_translation_job(
    'translation', '"The ferry leaves at noon."', array['es', 'fr'], p_source_language => 'en',
    p_subject => 'notice:ferry', p_idempotency_key => 'nightly-notice:' || (now() at time zone 'utc')::date)
$cron$);
