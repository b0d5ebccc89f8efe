"""
Tests for your handlers: a few lines that run one for real, against a database, and show what became of the job.

    import asyncio

    from worker import testing


    def test_a_picture_is_made_in_each_size() -> None:
        async def made() -> testing.Job:
            async with testing.project(modules=["thumbnails"]) as project:
                return await project.run("thumbnail", {"image": "cards/42.png"}, items=["64", "128"])

        job = asyncio.run(made())

        assert job.status == "completed"
        assert job.items["64"].result == {"path": "cards/42-64.png"}

The database is the local stack's, started for the block; for many tests, start one with `testing.stack()` and hand it
to each `testing.project(stack)`. Claims, leases, retries and results go the way they go in production; only Realtime is
left out, since a test knows itself when there is work. It needs `pip install 'supabase-realtime-worker[stack]'`.
"""

from worker.testing.project import Item, Job, Project, project
from worker.testing.stack import stack

__all__ = ["Item", "Job", "Project", "project", "stack"]
