"""The fault matrix on paper: its rows can be ordered, its table says what was measured, the log is read right."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from scripts.matrix import journal, table
from scripts.matrix.lane import Result
from scripts.matrix.rows import ROWS, Row
from worker.devstack.orders import Order

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ROWS)
def test_the_orders_of_a_row_exist_and_last_as_long_as_it_says(name: str) -> None:
    row = ROWS[name]

    assert row.orders or row.sabotage
    for order in map(Order.read, row.orders):
        assert order.seconds == (row.lasts or None)


def test_the_table_in_realtime_md_has_every_row() -> None:
    _, _, rest = (ROOT / "REALTIME.md").read_text().partition(table.BEGIN)
    told = rest.partition(table.END)[0]

    assert [row.title for row in ROWS.values() if f"| {row.title} |" not in told] == []


def test_only_what_is_between_the_markers_is_written(tmp_path: Path) -> None:
    document = tmp_path / "REALTIME.md"
    document.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    result = Result(
        "hung",
        Row("hung", noticed=35),
        noticed=29.04,
        again=1.2,
        modes=["realtime", "polling"],
        inserted=70,
        inserted_in_all=73,
        processed=72,
    )
    table.write(document, table.section([result], date(2026, 11, 22), "scripts/faults"))
    text = document.read_text()

    assert text.startswith(f"before\n{table.BEGIN}\n")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "| hung | 29.0 s (35) | `polling` | 1.2 s (18) | 70 | 72 of 73 | 0 | 0.00 s |" in text
    assert "73 jobs in all, 1 of them lost or done twice." in text
    assert "old" not in text


def test_a_document_without_markers_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("nothing here")
    with pytest.raises(ValueError, match="has no"):
        table.write(document, "text")

    assert document.read_text() == "nothing here"


def line(message: str, at: float, severity: str = "INFO", **fields: Any) -> str:
    time = datetime.fromtimestamp(at, UTC).isoformat()
    return json.dumps({**fields, "severity": severity, "time": time, "message": message}) + "\n"


def test_a_growing_log_is_read_once_and_half_lines_wait(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    read = journal.Journal(path)
    whole = line(journal.POLLING, 3.0, reason="socket closed 1006")
    path.write_text(line(journal.REALTIME, 1.0) + line("Job run ended", 2.0) + whole[:20])
    read.look()
    before = list(read.turns)
    with path.open("a") as log:
        log.write(whole[20:] + line("Heartbeat not accepted", 4.0, "ERROR") + "Traceback\n")
    read.look()

    assert [turn.mode for turn in before] == ["realtime"]
    assert read.turns[1:] == [journal.Turn(3.0, "polling", "socket closed 1006")]
    assert list(read.after(3.0, "polling")) == read.turns[1:]
    assert read.errors == ["Heartbeat not accepted {}", "Traceback"]
