"""
The script that installs the queue: where it is, and how it is applied.
"""

from importlib import resources
from pathlib import Path

from worker import errors


def script() -> str:
    """The whole of install.sql: out of the wheel, or out of the checkout this package is run from."""
    packaged = resources.files("worker").joinpath("sql", "install.sql")
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = Path(__file__).resolve().parents[2] / "sql" / "install.sql"
    if checkout.is_file():
        return checkout.read_text(encoding="utf-8")
    raise errors.ConfigurationError("install.sql is neither in this installation nor beside it.")


def apply(database_url: str) -> None:
    """
    Apply the script as one message, and so as one transaction: all of it or nothing.

    Raises:
        ConfigurationError: psycopg is missing, or the database cannot be reached.
        WorkerError: the database refused the script.
    """
    try:
        import psycopg
    except ImportError as error:
        raise errors.ConfigurationError(
            "Applying the SQL from here needs psycopg: pip install 'psycopg[binary]'. "
            "Or paste the output of `worker sql` into the SQL editor."
        ) from error
    try:
        with psycopg.connect(database_url, autocommit=True, connect_timeout=10) as connection:
            connection.execute(script().encode())  # without parameters: a simple query of many statements
    except psycopg.OperationalError as error:
        raise errors.ConfigurationError(f"The database cannot be reached: {error}") from error
    except psycopg.Error as error:
        raise errors.WorkerError(f"The database refused the script: {error}") from error
