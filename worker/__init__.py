"""The background worker of a Supabase project."""

__version__ = "0.1.0"
