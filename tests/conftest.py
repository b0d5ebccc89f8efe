"""Fixtures only: one Postgres for the run, a database of its own for every test that asks."""

import asyncio
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support.database import TEST_CLOCK, Database
from worker.devstack import platform
from worker.devstack.postgres import Cluster

# How hard properties are tried. No deadline: a busy machine must not fail a build. And always the same examples: of one
# commit each build has to say the same. Others are drawn by the nightly profile, which needs a longer limit for each
# test: HYPOTHESIS_PROFILE=nightly scripts/test --timeout 3600 tests/text
hypothesis.settings.register_profile("default", max_examples=200, deadline=None, derandomize=True)
hypothesis.settings.register_profile("nightly", max_examples=10_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Who starts us in the background of a script ignores SIGINT for us, and every process of a test would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
INSTALL = (ROOT / "sql/install.sql").read_text()
EXAMPLE = (ROOT / "sql/examples/museum_cards.sql").read_text()

# A kind of job that nothing but its items is checked of.
CHORE = """insert into public.translation_job_types (name, description) values ('chore', 'Whatever is no translation.')
           on conflict (name) do nothing;"""

# Versions that come with the test requirements; POSTGRES names one of these, or an installed one of Debian's.
PACKAGED = ("16", "18")

# A skipped test is a failure where skipping is not allowed, unless it says that a registry did not answer.
REGISTRY = "registry: "


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("STRICT_SKIPS") != "1" or reporter is None:
        return
    reasons = [str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])]
    if any(REGISTRY not in reason for reason in reasons):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_unconfigure(config: pytest.Config) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return
    for reason in sorted({str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])}):
        reporter.write_line(f"NOT RUN: {reason}")


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A Postgres server for the whole run."""
    major = os.environ.get("POSTGRES", "18")
    home = tmp_path_factory.mktemp("cluster")
    if major in PACKAGED:
        cluster = Cluster(home, major=int(major))
    else:
        cluster = Cluster(home, bin_dir=Path(f"/usr/lib/postgresql/{major}/bin"))
    with cluster as running:
        yield running


@pytest.fixture(scope="session")
def template(cluster: Cluster) -> str:
    """A database with the project's SQL and the test clock, from which tests get their copies."""
    name = "template_project"

    async def make() -> None:
        await cluster.create_database(name)
        await platform.install(cluster, name)
        await platform.apply_sql(cluster, name, INSTALL)
        await platform.apply_sql(cluster, name, EXAMPLE)
        await platform.apply_sql(cluster, name, CHORE)
        await platform.apply_sql(cluster, name, TEST_CLOCK)

    asyncio.run(make())
    return name


@pytest.fixture
def db(cluster: Cluster, template: str) -> Iterator[Database]:
    """A fresh project."""
    name = f"test_{next(_numbers)}"
    asyncio.run(cluster.create_database(name, template))
    database = Database(cluster.url("postgres", name), cluster.url(database=name))
    yield database
    database.close()
    asyncio.run(cluster.drop_database(name))
