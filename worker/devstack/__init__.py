"""
The local stack: a stand-in for a hosted project, for laptops, CI and tests.

It speaks the real protocols on one port (REST, Realtime, Auth) in front of an embedded Postgres and knows nothing
about what the project stores there: tables, functions and policies arrive as SQL text from the caller. Postgres does
the security, the JSON and the typing; what is written here is routing, frames and patience. Never for production.
"""
