"""Jobs that wait for each other: made in one call, what they get from one another, what a failure does to the rest."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.sql.conftest import Claim, Create
from tests.support.database import Database, Refused, Row, outcomes

Record = Callable[..., list[str]]
Job = Callable[[str], Row]


@pytest.fixture
def steps(db: Database) -> None:
    """A kind of job for steps, of no price."""
    db.run("insert into public.translation_job_types (name) values ('step')")


def step(name: str, *after: str, **more: Any) -> Row:
    """A job of a chain, in the words of the call."""
    return {"p_name": name, "p_after_names": list(after), "p_job_type": "step", "p_content": {"step": name}} | {
        f"p_{key}": value for key, value in more.items()
    }


def chain(db: Database, *jobs: Row) -> dict[str, Row]:
    made: dict[str, Row] = db.rpc("enqueue_translation_chain", p_jobs=list(jobs))
    return made


def finish(claim: Claim, record: Record, outcome: str = "completed", **more: Any) -> list[str]:
    """Do as a worker does: everything that waits now. The titles of what was done."""
    held = claim(limit=500, job_types=["step"])
    for job in held:
        record(outcomes(job, outcome, **more))
    return sorted(str(job["title"]) for job in held)


def states(db: Database, made: dict[str, Row]) -> dict[str, str]:
    rows = db.run("select id::text, status from public.translation_jobs")
    by_id = {row["id"]: row["status"] for row in rows}
    return {name: by_id[job["id"]] for name, job in made.items()}


@pytest.mark.usefixtures("steps")
def test_a_chain_runs_in_its_order_whatever_the_order_of_the_call(db: Database, claim: Claim, record: Record) -> None:
    made = chain(
        db, step("upload", "procedure", "cover"), step("procedure", "transcribe"), step("cover"), step("transcribe")
    )

    assert {name: (job["title"], job["status"]) for name, job in made.items()} == {
        "transcribe": ("transcribe", "pending"),
        "cover": ("cover", "pending"),
        "procedure": ("procedure", "blocked"),
        "upload": ("upload", "blocked"),
    }
    rounds = [finish(claim, record) for _ in range(4)]
    assert rounds == [["cover", "transcribe"], ["procedure"], ["upload"], []]


@pytest.mark.usefixtures("steps")
def test_a_chain_is_told_to_the_workers_once(db: Database) -> None:
    chain(db, step("a"), step("b"), step("c", "a", "b"))

    with psycopg.connect(db.admin_url) as admin:
        sent = admin.execute("select payload from realtime.messages where event = 'ready'").fetchall()
    assert [payload["jobs"] for (payload,) in sent] == [2]


@pytest.mark.usefixtures("steps")
def test_a_repeated_chain_is_the_same_chain(db: Database) -> None:
    jobs = [
        step("b", "a", idempotency_key="night:b", options={"after_failure": {"a": "run"}}),
        step("a", idempotency_key="night:a"),
    ]

    first, second = chain(db, *jobs), chain(db, *jobs)

    assert {name: job["id"] for name, job in first.items()} == {name: job["id"] for name, job in second.items()}
    assert db.value("select count(*) from public.translation_job_dependencies") == 1


NO_CHAINS: list[tuple[str, list[Any]]] = [
    ("chain_cycle", [step("a", "b"), step("b", "c"), step("c", "a"), step("d")]),
    ("chain_cycle", [step("a", "a")]),
    ("chain_name_unknown", [step("a"), step("b", "A")]),
    ("chain_name_repeated", [step("a"), step("b", "a"), step("a")]),
    ("jobs_malformed", []),
    ("jobs_malformed", [{"p_job_type": "step", "p_content": {}}]),
    ("jobs_malformed", [step("")]),
    ("jobs_malformed", ["a"]),
    ("jobs_malformed", [step(str(n)) for n in range(501)]),
    ("parents_too_many", [step(str(n), *(str(m) for m in range(n))) for n in range(102)]),
    ("job_type_unknown", [step("a"), step("b", "a", job_type="nonsense")]),
    ("parent_not_found", [step("a"), step("b", "a", after=["00000000-0000-0000-0000-00000000dead"])]),
    ("option_invalid", [step("a"), step("b", "a", options={"after_failure": "perhaps"})]),
    ("option_invalid", [step("a"), step("b", "a", options={"after_failure": {"c": "run"}})]),
    ("option_invalid", [step("a"), step("b", "a", options={"after_failure": {"a": 1}})]),
]


@pytest.mark.usefixtures("steps")
def test_what_is_no_chain_is_refused_and_nothing_is_made(db: Database) -> None:
    for word, jobs in NO_CHAINS:
        with pytest.raises(Refused) as refused:
            db.rpc("enqueue_translation_chain", p_jobs=jobs)
        status = "PT404" if word == "parent_not_found" else "PT422"
        assert (refused.value.word, refused.value.code) == (word, status), jobs

    assert db.value("select count(*) from public.translation_jobs") == 0


@pytest.mark.usefixtures("steps")
def test_a_cycle_names_who_waits_for_whom(db: Database) -> None:
    with pytest.raises(Refused, match="These jobs wait for each other: b, c"):
        chain(db, step("a"), step("b", "a", "c"), step("c", "b"))


@pytest.mark.usefixtures("steps")
def test_a_step_gets_the_results_of_all_steps_before_it(db: Database, claim: Claim, record: Record, user: str) -> None:
    made = chain(
        db,
        step("final", "words", "pictures", user_id=user),
        step("words", items=["en", "de"], user_id=user, subject="video:7"),
        step("pictures", user_id=user),
    )
    for job in claim(limit=2, job_types=["step"]):
        record(outcomes(job, "completed", result={"content": {"of": job["title"]}}))

    parents = db.rpc("get_translation_parents", p_job_id=made["final"]["id"])

    assert [(p["name"], p["title"], p["status"], p["subject"]) for p in parents] == [
        ("words", "words", "completed", "video:7"),
        ("pictures", "pictures", "completed", None),
    ]
    assert [(i["item"], i["result"]["content"], i["has_more"]) for p in parents for i in p["items"]] == [
        ("en", {"of": "words"}, False),
        ("de", {"of": "words"}, False),
        ("run", {"of": "pictures"}, False),
    ]
    assert db.rpc("get_translation_parents", p_job_id=made["words"]["id"]) == []
    assert db.rpc("get_translation_parents", p_job_id=made["final"]["id"], p_after_seq=parents[-1]["seq"]) == []
    with pytest.raises(Refused, match="job_not_found"):
        db.rpc("get_translation_parents", p_job_id="00000000-0000-0000-0000-00000000dead")


@pytest.mark.usefixtures("steps")
def test_results_beyond_a_megabyte_are_named_and_left_to_be_read_by_themselves(
    db: Database, claim: Claim, record: Record
) -> None:
    sizes = {"small": 10, "huge": 1_100_000, "half": 600_000, "other half": 500_000, "last": 20}
    made = chain(db, step("final", "work"), step("work", items=[*sizes]))
    (work,) = claim(job_types=["step"])
    for item, size in sizes.items():
        record(outcomes(work, "completed", [item], result={"content": "x" * size}))

    ((parent),) = db.rpc("get_translation_parents", p_job_id=made["final"]["id"])

    assert [item["item"] for item in parent["items"] if item["has_more"]] == ["huge", "half"]
    assert [item["item"] for item in parent["items"] if item["result"] is None] == ["huge", "half"]
    whole = db.rpc("get_translation_result", p_job_id=parent["id"], p_item="huge")
    assert len(whole["content"]) == sizes["huge"]


@pytest.mark.usefixtures("steps")
def test_an_optional_step_may_fail_and_the_next_one_sees_that_it_did(
    db: Database, claim: Claim, record: Record
) -> None:
    made = chain(
        db,
        step("cover"),
        step("transcribe"),
        step("upload", "cover", "transcribe", options={"after_failure": {"cover": "run"}}),
        step("tidy", "upload", options={"after_failure": "run"}),
    )
    cover, transcribe = claim(limit=2, job_types=["step"])

    record(outcomes(cover, "failed"))
    assert states(db, made)["upload"] == "blocked"
    record(outcomes(transcribe, "completed"))

    assert states(db, made) | {"upload": "?"} == {
        "cover": "failed", "transcribe": "completed", "upload": "?", "tidy": "blocked"}  # fmt: skip
    parents = db.rpc("get_translation_parents", p_job_id=made["upload"]["id"])
    assert {p["name"]: (p["status"], p["items"][0]["error"]) for p in parents} == {
        "cover": ("failed", {"class": "internal", "message": "It did not work."}),
        "transcribe": ("completed", None),
    }
    assert finish(claim, record, "failed") == ["upload"]
    assert finish(claim, record) == ["tidy"]


@pytest.mark.parametrize("said", ["run", "by id"])
def test_a_user_may_say_run_anyway_even_of_a_parent_that_has_failed(
    create: Create, claim: Claim, record: Record, said: str
) -> None:
    parent, other = create("es"), create("es")
    record(outcomes(claim()[0], "failed"))
    options = {"after_failure": "run" if said == "run" else {parent["id"]: "run"}}

    with pytest.raises(Refused, match="parent_failed"):
        create("fr", after=[parent["id"]])
    waits = create("fr", after=[parent["id"], other["id"]], options=options)
    starts = create("fr", after=[parent["id"]], options=options)

    assert (waits["status"], starts["status"]) == ("blocked", "pending")


def test_after_failure_belongs_to_what_a_key_stands_for(create: Create) -> None:
    parent = create("es")["id"]
    create("fr", after=[parent], idempotency_key="k", options={"after_failure": "run"})

    with pytest.raises(Refused, match="idempotency_conflict"):
        create("fr", after=[parent], idempotency_key="k")


def test_another_users_job_is_no_parent(db: Database, create: Create) -> None:
    parent = create("es")["id"]
    stranger = db.user(credits=100)

    with pytest.raises(Refused) as theirs:
        create("fr", as_=stranger, after=[parent], options={"after_failure": {parent: "run"}})

    assert theirs.value.word == "parent_not_found"


@pytest.mark.usefixtures("steps")
def test_a_retried_step_waits_for_what_repeats_the_steps_before_it(db: Database, claim: Claim, record: Record) -> None:
    made = chain(db, step("a"), step("x"), step("b", "a", "x", options={"after_failure": {"x": "run"}}), step("c", "b"))
    for job in claim(limit=2, job_types=["step"]):
        record(outcomes(job, "failed"))
    assert states(db, made) == {"a": "failed", "x": "failed", "b": "cancelled", "c": "cancelled"}

    def retry(name: str) -> Row:
        row: Row = db.rpc("retry_translation_job", p_job_id=made[name]["id"])
        return row

    with pytest.raises(Refused, match="parent_failed"):
        retry("b")
    again = {name: retry(name) for name in ("a", "b", "c")}

    assert [again[name]["status"] for name in "abc"] == ["pending", "blocked", "blocked"]
    assert [finish(claim, record) for _ in range(4)] == [["a"], ["b"], ["c"], []]
    parents = db.rpc("get_translation_parents", p_job_id=again["b"]["id"])
    assert [(p["name"], p["status"]) for p in parents] == [("x", "failed"), ("a", "completed")]


@pytest.mark.usefixtures("steps")
def test_cancelling_the_first_of_five_hundred_steps_cancels_them_all(db: Database, user: str, claim: Claim) -> None:
    """One after the other, each priced: no depth of a stack is reached, and all is refunded."""
    db.price(1, "step")
    db.rpc("grant_translation_credits", p_user_id=user, p_amount=400)
    names = [f"s{n}" for n in range(500)]
    before = [[], *([name] for name in names)]
    made = chain(db, *(step(name, *after, user_id=user) for name, after in zip(names, before, strict=False)))
    assert db.rpc("get_translation_credits", user) == {"balance": 0, "reserved": 500}
    claim(job_types=["step"])

    db.rpc("cancel_translation_job", user, p_job_id=made["s0"]["id"])

    assert set(states(db, made).values()) == {"cancelled"}
    assert db.rpc("get_translation_credits", user) == {"balance": 500, "reserved": 0}
    db.check_money()


@pytest.mark.usefixtures("steps")
@pytest.mark.parametrize(("outcome", "status"), [("completed", "pending"), ("failed", "cancelled")])
def test_a_thousand_children_go_with_their_parent(
    db: Database, claim: Claim, record: Record, outcome: str, status: str
) -> None:
    parent = db.rpc("enqueue_translation_job", p_job_type="step", p_content={})["id"]
    for _ in range(2):
        db.rpc(
            "enqueue_translation_jobs",
            p_jobs=[{"p_job_type": "step", "p_content": {}, "p_after": [parent]} for _ in range(500)],
        )

    record(outcomes(claim(job_types=["step"])[0], outcome))

    left = db.run("select status, count(*)::int as jobs from public.translation_jobs where id <> %s group by 1", parent)
    assert left == [{"status": status, "jobs": 1000}]


@pytest.mark.usefixtures("steps")
def test_a_document_names_its_neighbours_of_the_same_user_and_no_others(db: Database, user: str, claim: Claim) -> None:
    stranger = db.user(credits=100)
    made = chain(
        db,
        step("a", user_id=user),
        step("b", "a", user_id=user),
        step("theirs", "a", user_id=stranger),
        step("c", "b", "theirs", user_id=user),
    )

    def neighbours(job: Row) -> tuple[list[Any], list[Any]]:
        return [(p["name"], p["status"]) for p in job["parents"]], [c["title"] for c in job["children"]]

    for as_ in (user, None):  # row level security, and the stream that reads for users
        seen = {name: db.rpc("get_translation_job", as_, p_job_id=made[name]["id"]) for name in ("a", "b", "c")}
        assert {name: neighbours(job) for name, job in seen.items()} == {
            "a": ([], ["b"]),
            "b": ([("a", "pending")], ["c"]),
            "c": ([("b", "blocked")], []),
        }
    assert neighbours(db.rpc("watch_translation_jobs", p_job_ids=[made["theirs"]["id"]])[0]) == ([], [])


@pytest.mark.usefixtures("steps")
def test_a_family_is_found_without_reading_other_families(db: Database, claim: Claim) -> None:
    """Ending a parent, and what a child reads of it, beside two thousand other chains; never analyzed."""
    db.run(
        """with made as (
             insert into public.translation_jobs (job_type, status, revision, turn, completed_at)
             select 'step', case when n % 2 = 0 then 'completed' else 'blocked' end, 1, n,
               case when n % 2 = 0 then now() end
             from generate_series(1, 4000) as n returning id, turn)
           insert into public.translation_job_dependencies (child_id, parent_id)
           select c.id, p.id from made c join made p on p.turn = c.turn + 1 and c.turn % 2 = 1"""
    )
    made = chain(db, step("a"), *(step(f"c{n}", "a") for n in range(5)))
    (held,) = claim(job_types=["step"])
    calls: dict[str, Row] = {
        "record_translation_results": {"p_worker_id": "w1", "p_results": outcomes(held, "completed")},
        "get_translation_parents": {"p_job_id": made["c3"]["id"]},
        "get_translation_job": {"p_job_id": made["a"]["id"]},
    }

    for function, arguments in calls.items():
        with db.session() as session:
            session.rpc(function, **arguments)
            read = session.run(
                """select relname, seq_scan, coalesce(idx_tup_fetch, 0) as rows from pg_stat_xact_user_tables
                   where relname in ('translation_jobs', 'translation_job_dependencies', 'translation_job_items')"""
            )
        assert {row["relname"]: row["seq_scan"] for row in read if row["seq_scan"]} == {}, function
        assert max(row["rows"] for row in read) < 150, (function, read)
