"""Copies of a database that is ready, and their end."""

from typing import Any

import psycopg
from psycopg import sql


def copy(connection: psycopg.Connection[Any], name: str, source: str) -> None:
    """Make database *name* as *source* is now."""
    statement = "create database {} template {} owner postgres strategy file_copy"
    connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(source)))


def drop(connection: psycopg.Connection[Any], name: str) -> None:
    """End database *name* and whoever is in it; nothing where there is none."""
    connection.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))
