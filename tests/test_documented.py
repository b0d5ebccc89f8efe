"""
What the documents say exists: settings, commands, refusals, procedures, metrics, links; and their SQL runs.

A name that changes in the code and not in the documents fails here, and the other way round.
"""

import ast
import importlib
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from pydantic_core import PydanticUndefined

from tests.support.database import Database
from worker import cli, errors, models
from worker.counters import Counters
from worker.settings import AlertSettings, DeskSettings, Settings
from worker.web import queue_metrics
from worker.web.metrics import Gauges, WorkerCollector

ROOT = Path(__file__).parent.parent
DOCUMENTS = (
    "README.md",
    "REALTIME.md",
    "CHANGELOG.md",
    "docs/deploy.md",
    "docs/testing.md",
    "docs/alerts.md",
    "docs/upgrading.md",
    "docs/kinds.md",
    "docs/handlers.md",
    "docs/app.md",
    "docs/triggers.md",
    "docs/performance.md",
    "docs/proof.md",
)
SQL = "\n".join(path.read_text() for path in sorted((ROOT / "sql").glob("[0-9][0-9]_*.sql")))

SETTINGS = {**Settings.model_fields, **AlertSettings.model_fields}

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_ROW = re.compile(r"^\|(.+)\|$", re.MULTILINE)
_CELL = re.compile(r"(?<!\\)\|")


def text(document: str) -> str:
    return (ROOT / document).read_text()


def blocks(document: str, language: str) -> list[str]:
    return [code for _, name, code in _FENCE.findall(text(document)) if name == language]


def inline_code(document: str) -> set[str]:
    return set(_CODE.findall(_FENCE.sub("", text(document))))


def rows(document: str) -> Iterator[list[str]]:
    """The cells of every table row."""
    for row in _ROW.findall(_FENCE.sub("", text(document))):
        yield [cell.strip() for cell in _CELL.split(row)]


def first_names(cell: str) -> list[str]:
    return _CODE.findall(cell)


# Settings


def documented_settings() -> dict[str, str]:
    """Each setting's default as the table of the README has it; empty when it has none."""
    return {names[0]: row[1] for row in rows("README.md") if (names := first_names(row[0])) and names[0].isupper()}


def shown(default: Any) -> str:
    if default in (None, (), ...) or default is PydanticUndefined:
        return ""
    return (
        f"{default:g}"
        if isinstance(default, float)
        else str(default).lower()
        if isinstance(default, bool)
        else str(default)
    )


def test_readme_lists_every_setting_and_no_other() -> None:
    assert set(documented_settings()) == {name.upper() for name in SETTINGS}


def test_readme_has_the_defaults_of_the_settings() -> None:
    defaults = {name.upper(): shown(field.default) for name, field in SETTINGS.items()}

    assert documented_settings() == defaults


def test_env_example_has_every_setting_and_no_other() -> None:
    named = re.findall(r"^#? ?([A-Z][A-Z_]+)=", text(".env.example"), re.MULTILINE)

    assert sorted(named) == sorted(name.upper() for name in SETTINGS)


def test_settings_of_the_jobs_command_are_in_the_readme() -> None:
    assert {name.upper() for name in DeskSettings.model_fields} <= inline_code("README.md")


# Commands


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Every line of a shell block and every inline code that calls a command of ours."""
    for document in DOCUMENTS:
        lines = [line for block in blocks(document, "sh") for line in block.replace("\\\n", "").splitlines()]
        for line in [*lines, *inline_code(document)]:
            if re.match(r"(\.venv/bin/)?worker(\s|$)|scripts/|\.ci/", line.strip()):
                yield document, shlex.split(line, comments=True)


def command_and_rest(words: list[str]) -> tuple[Any, list[str]]:
    command: Any = typer.main.get_command(cli.app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def test_commands_and_options_that_are_shown_exist() -> None:
    unknown = []
    for document, (program, *words) in shown_commands():
        if not program.endswith("worker"):
            continue
        command, rest = command_and_rest(words)
        options = {option for parameter in command.params for option in parameter.opts}
        if hasattr(command, "commands") and rest and not rest[0].startswith("-"):
            unknown.append(f"{document}: worker {' '.join(words)}")
        unknown += [f"{document}: {word}" for word in rest if word.startswith("--") and word not in options]

    assert unknown == []


def test_scripts_that_are_shown_can_be_run() -> None:
    programs = {program for _, (program, *_) in shown_commands() if "/" in program and ".venv" not in program}

    assert {program for program in programs if not (ROOT / program).is_file()} == set()
    scripts = {program for program in programs if "." not in Path(program).name}
    assert {program for program in scripts if not (ROOT / program).stat().st_mode & 0o100} == set()


def test_every_command_is_in_the_readme_or_changelog() -> None:
    """A command nobody can find might as well not exist."""
    shown = text("README.md") + text("CHANGELOG.md")

    assert [name for name in typer.main.get_command(cli.app).commands if f"worker {name}" not in shown] == []  # type: ignore[attr-defined]


# Refusals and errors


def test_refusal_words_of_the_sql_are_in_realtime_md_and_no_others() -> None:
    raised = {(word, f"PT{status}") for status, word in re.findall(r"refuse\((\d+), '([a-z_]+)", SQL)}
    tabled = {
        (names[0], row[1]) for row in rows("REALTIME.md") if row[1].startswith("PT") and (names := first_names(row[0]))
    }

    assert tabled == raised


def test_every_alert_is_in_the_runbook_with_its_severity() -> None:
    rules = re.findall(r"alert: (\w+).*?severity: (\w+)", text("scripts/monitoring/alerts.yml"), re.DOTALL)
    fired = set(re.findall(r"select '(\w+)', '(critical|warning)'", SQL))
    tabled = {(names[0], row[1]) for row in rows("REALTIME.md") if len(row) == 5 and (names := first_names(row[0]))}

    # Those of the rules that only give an alert of the database another name have its line.
    twins = {"RealtimeDown", "JobsPending", "FailureRate", "QueueDepth", "SlowLanguage", "QuotaExhausted"}
    assert {entry for entry in tabled if entry[1] in ("critical", "warning")} == fired | {
        (name, severity) for name, severity in rules if name.removeprefix("Translation") not in twins
    }


def test_error_classes_and_what_follows_are_in_the_readme() -> None:
    tabled = [classes for row in rows("README.md") if (classes := set(first_names(row[0]))) & errors.ERROR_CLASSES]
    by_disposition: dict[str, set[str]] = {}
    for name, disposition in models.DISPOSITIONS.items():
        by_disposition.setdefault(disposition, set()).add(name)

    assert sorted(map(sorted, tabled)) == sorted(map(sorted, by_disposition.values()))


def test_options_in_the_readme_are_known_to_the_database() -> None:
    listed = re.search(r"where key not in \(([^)]+)\)", SQL)
    assert listed
    known = set(re.findall(r"'(\w+)'", listed[1]))
    section = text("README.md").split("`p_options` of a translation:")[1].split("Translators")[0]

    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) <= known


# The database


def test_sql_in_the_readme_runs(db: Database) -> None:
    db.run("insert into auth.users (id, email) values (gen_random_uuid(), 'ada@example.com')")
    for statement in blocks("README.md", "sql"):
        db.run(statement)

    assert db.value("select balance from public.translation_credits") == 100
    db.check_money()


def test_sql_about_handlers_and_chains_runs(db: Database) -> None:
    for statement in blocks("docs/handlers.md", "sql"):
        db.run(statement)

    assert db.value("select count(*) from public.translation_jobs where job_type = 'thumbnail'") == 1
    assert db.value("select count(*) from public.translation_jobs where status = 'blocked'") == 2


def test_sql_in_realtime_md_runs(db: Database) -> None:
    for statement in blocks("REALTIME.md", "sql"):
        db.run(statement)

    published = db.run(blocks("REALTIME.md", "sql")[-1].split(";")[1])
    assert {row["tablename"] for row in published} == {"translation_jobs", "translation_workers"}


def test_procedures_tables_and_columns_that_are_named_exist(db: Database) -> None:
    known = {
        row["name"]
        for row in db.run(
            """select proname::text as name from pg_catalog.pg_proc where pronamespace = 'public'::regnamespace
               union select unnest(proargnames) from pg_catalog.pg_proc where pronamespace = 'public'::regnamespace
               union select relname::text from pg_catalog.pg_class where relnamespace = 'public'::regnamespace
               union select c.relname || '.' || a.attname from pg_catalog.pg_class c
               join pg_catalog.pg_attribute a on a.attrelid = c.oid where c.relnamespace = 'public'::regnamespace"""
        )
    }
    named = {
        name
        for document in DOCUMENTS
        for name in inline_code(document)
        if re.fullmatch(r"[a-z_.]*translation_[a-z_.]*|p_[a-z_]+|[a-z]+_translation_[a-z]+", name)
    }

    assert named - known == set()


def test_arguments_of_calls_that_are_shown_exist(db: Database) -> None:
    calls = re.findall(r"""rpc\(["'](\w+)["'], \{(.*?)\}\)""", text("README.md"), re.DOTALL)
    unknown = {
        f"{function}: {argument}"
        for function, arguments in calls
        for argument in re.findall(r"\bp_\w+", arguments)
        if argument not in db.signature(function)[0]
    }

    assert len(calls) >= 4
    assert unknown == set()


# The rest


_COUNTS = {"created": 1, "stuck": 0, "claims": 0, "oldest_waiting_ms": 0}
_STATS: dict[str, Any] = {
    key: {} for key in ("live", "waiting_by_type", "ended_in_an_hour", "credits_in_an_hour", "workers")
}


def test_metrics_that_are_named_exist() -> None:
    collector = WorkerCollector(Counters(), lambda: Gauges(True, "realtime", 0, 3, 0.0))
    found = [*collector.collect(), *queue_metrics.families({**_STATS, **_COUNTS})]
    names = {name for metric in found for name in (metric.name, f"{metric.name}_total")}
    named = {name for document in DOCUMENTS for name in inline_code(document) if re.fullmatch(r"worker_[a-z_]+", name)}

    assert named - names == set()


@pytest.mark.parametrize("block", [block for document in DOCUMENTS for block in blocks(document, "python")])
def test_python_that_is_shown_is_valid_and_imports_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [name.name for name in node.names if not hasattr(module, name.name)] == []


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_within_the_repository_lead_somewhere(document: str) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", _FENCE.sub("", text(document))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)

    assert broken == []


def files() -> Iterator[Path]:
    """What is in the repository, or would be with the next commit; without git, all but hidden folders."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if listed.returncode == 0:
        paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    else:
        paths = [
            path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts[len(ROOT.parts) :])
        ]
    return (path for path in paths if path.is_file())


def test_no_file_knows_a_machine_or_a_package_registry() -> None:
    """Written so that the patterns do not find themselves."""
    foreign = re.compile(
        rb"(?<![\w.$}~-])/(?:wor[k]|roo[t]|hom[e]|User[s])/[\w.]|/op[t]/(?:pypi|wheel)"
        rb"|py[p]i\.org|pythonhoste[d]|registry\.npm[j]s"
    )
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in files()
        if (match := foreign.search(path.read_bytes()))
    ]

    assert found == []
