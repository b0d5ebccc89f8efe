"""What a person reads, and what verify compares with."""

import json

import pytest

from scripts.catalog import KEPT
from tests.conftest import INSTALL, ROOT
from tests.support.database import Database
from worker import errors, settings
from worker.terminal import verify as terminal
from worker.verify import Finding, catalog


def test_a_finding_is_a_line_and_its_cures_are_below() -> None:
    finding = Finding("triggers", False, "one is missing", "alter table a;\nalter table b;")

    assert terminal.lines(finding) == [
        "✗ triggers          one is missing",
        "    → alter table a;",
        "    → alter table b;",
    ]


def test_the_shipped_catalog_is_of_the_shipped_script(db: Database) -> None:
    """Hashes, grants, policies: what a fresh project says of itself."""
    db.run(INSTALL)  # the clock of the tests is another function
    db.run("drop table translation_private.test_clock; drop trigger fill_museum_card on public.translation_job_items")
    installed = db.value("select public.translation_self_check()")
    shipped = catalog.shipped()
    assert {name: installed[name] for name in KEPT} == {name: shipped[name] for name in KEPT}, "run scripts/build-sql"
    assert json.loads((ROOT / "sql/catalog.json").read_text()) == shipped


def test_thresholds_of_alerts_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALERT_PENDING_SECONDS", "0")
    with pytest.raises(errors.ConfigurationError, match="ALERT_PENDING_SECONDS is '0'; allowed: a whole number"):
        settings.load_alerts(None)

    monkeypatch.setenv("ALERT_PENDING_SECONDS", "60")
    assert settings.load_alerts(None).arguments()["p_pending_seconds"] == 60
