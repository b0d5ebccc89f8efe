"""The background worker of a Supabase project."""

from worker.handlers import handler as handler

__version__ = "0.1.0"
