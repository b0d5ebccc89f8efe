-- Messages of Supabase Queues become translation jobs, exactly one each.
--
-- Switch on Queues in the dashboard first (Integrations). Workers look into each queue of this list every worker_seconds;
-- what could not become a job is explained in translation_queue_refusals, and lies in the queue's archive.

select pgmq.create('notices');

insert into public.translation_queues (name, job_type, defaults, description)
values ('notices', 'translation', '{"items": ["es", "fr"], "source_language": "en"}', 'Notices of the shop.')
on conflict (name) do nothing;

-- From then on this is a job. A message names the arguments of enqueue_translation_job, without their p_.
select pgmq.send('notices', '{"content": "The ferry leaves at noon.", "subject": "notice:7"}');

-- Without a worker that runs all the time (scale to zero), or to have it sooner, let pg_cron look instead:
-- update public.translation_queues set worker_seconds = null where name = 'notices';
-- select cron.schedule('take-notices', '5 seconds', $$ select public.take_translation_queue('notices') $$);
