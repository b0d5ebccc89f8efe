"""
Queues of pgmq that are to become jobs: whether each can be read, and whether what came could be used.

Pure: *facts* is the answer of `translation_self_check`.
"""

from collections.abc import Mapping
from typing import Any

from worker.verify.finding import Finding, judged, skipped

Facts = Mapping[str, Any]
Fault = tuple[str, str]


def queues(facts: Facts) -> Finding:
    listed = facts.get("queues")
    if listed is None:
        return skipped("queues", "the installed translation_self_check does not tell")
    taken = [queue for queue in listed if queue["enabled"]]
    if not taken:
        return skipped("queues", "no queue of pgmq is listed in translation_queues")
    names = ", ".join(queue["name"] for queue in taken[:5])
    return judged("queues", names, [fault for queue in taken if (fault := _fault(queue))])


def _fault(queue: Facts) -> Fault | None:
    name = queue["name"].replace("'", "''")
    if not queue["exists"]:
        cure = f"Switch on Queues (dashboard, Integrations), then: select pgmq.create('{name}');"
        return f"pgmq has no queue {queue['name']}", cure
    if not queue["readable"]:
        cure = "grant usage on schema pgmq to postgres; grant all on all tables in schema pgmq to postgres;"
        return f"role postgres may not read {queue['name']}", cure
    if queue["refused"]:
        cure = (
            "select * from public.translation_queue_refusals"
            f" where queue = '{name}' order by refused_at desc; each message is in its archive."
        )
        return f"{queue['refused']} messages of {queue['name']} could not become jobs within a day", cure
    return None
