"""
What a person can do about a database that refuses us: one sentence each.
"""

from typing import Final

from worker import errors

# The gateway's own status for a project that was paused.
_PAUSED: Final = "540"


def needs_a_person(error: BaseException | None) -> bool:
    """Whether *error* neither passes by itself nor depends on what was asked."""
    if isinstance(error, errors.StoreUnavailable):
        return str(error) == _PAUSED
    return isinstance(error, errors.StoreUnauthorized | errors.SqlMissing | errors.SqlTooOld)


def cure(error: errors.StoreError) -> str:
    """One sentence for the person who can help."""
    match error:
        case errors.SqlMissing():
            return (
                "The project has no translation queue yet: paste the output of `worker sql` into the SQL "
                "editor, or run `worker sql --apply DATABASE_URL`."
            )
        case errors.SqlTooOld():
            return (
                "The installed SQL is older than this worker: paste the output of `worker sql` into the SQL "
                "editor again; re-running it is the upgrade."
            )
        case errors.StoreUnauthorized():
            return (
                f"SUPABASE_URL or SUPABASE_SECRET_KEY is wrong ({error}): use the project's address and its "
                "secret (sb_secret_…) or service_role key."
            )
        case errors.StoreRefused():
            return f"The database refused the heartbeat ({error.code}): {error.message}"
        case errors.StoreUnavailable() if needs_a_person(error):
            return "The project is paused: restore it in the dashboard."
        case _:
            return f"SUPABASE_URL does not answer ({error}): check the address, and that the project is not paused."
