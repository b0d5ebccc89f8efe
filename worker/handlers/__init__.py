"""
Which handler does which type of job.

Those that come with the worker do one item at a time (`base.Handler`). The owner's own do a whole job (`own`) and
register themselves when `WORKER_MODULES` imports them.
"""

from worker.handlers.base import Handler, ItemContext, JobContext
from worker.handlers.own import OwnHandler, handler, registered

__all__ = ["Handler", "ItemContext", "JobContext", "OwnHandler", "handler", "registered"]
