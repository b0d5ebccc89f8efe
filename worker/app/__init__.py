"""
The composition root of `worker run`: the only package that knows all parts, and that reads the settings.

`service` runs the parts and stops them in order, `on_request` only while a request is open, which is a `drain`; `parts`
makes what does the work; `crew` is who claims, works and hands in; `vitals` says how the worker fares; `doors` is the
HTTP side. Nothing below it knows that it exists.
"""

from worker.app.service import App, drain, run

__all__ = ["App", "drain", "run"]
