"""
The worker's own tests again, with a real PostgREST where the stack's gateway was: a job's whole way, cancel, retry,
answers lost after their commit, the HTTP side with its live stream.

Realtime and Auth stay the stack's. The tests are those of `tests/acceptance`, to the letter.
"""

from tests.acceptance.conftest import project, server, workers
from tests.acceptance.test_corridor import (
    test_a_cancelled_job_stops_its_worker_and_keeps_what_was_finished,
    test_a_create_whose_answer_was_lost_is_repeated_without_a_second_job,
    test_a_handler_that_raises_anything_ends_one_item_not_the_worker,
    test_a_job_is_heard_of_translated_and_settled,
    test_answers_lost_after_commit_double_nothing_and_leave_nothing_stuck,
)
from tests.acceptance.test_portal import test_a_job_goes_in_by_http_and_is_seen_to_its_end

__all__ = [
    "project",
    "server",
    "test_a_cancelled_job_stops_its_worker_and_keeps_what_was_finished",
    "test_a_create_whose_answer_was_lost_is_repeated_without_a_second_job",
    "test_a_handler_that_raises_anything_ends_one_item_not_the_worker",
    "test_a_job_goes_in_by_http_and_is_seen_to_its_end",
    "test_a_job_is_heard_of_translated_and_settled",
    "test_answers_lost_after_commit_double_nothing_and_leave_nothing_stuck",
    "workers",
]
