"""A handler of an owner's own that fails with the customer's text in its error."""

from typing import Any

from worker.handlers import handler


@handler("loud")
async def loud(ctx: Any, payload: Any) -> Any:
    raise RuntimeError(f"cannot read {payload} of job {ctx.job.id}")
