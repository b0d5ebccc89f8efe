"""Every trouble that only a person can end comes with one sentence that says how."""

import pytest

from worker import errors
from worker.cures import cure


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (errors.SqlMissing("PGRST202"), "`worker sql`"),
        (errors.SqlTooOld("schema version 0"), "`worker sql`"),
        (errors.StoreUnauthorized("PGRST301"), "SUPABASE_SECRET_KEY"),
        (errors.StoreUnavailable("ConnectError"), "SUPABASE_URL"),
        (errors.StoreRefused("PT422", "heartbeat_malformed", "A heartbeat needs more."), "A heartbeat needs more."),
    ],
)
def test_the_sentence_names_the_cure(error: errors.StoreError, word: str) -> None:
    assert word in cure(error)
    assert "\n" not in cure(error)
