"""
What the tests take of the code: branches of the SQL functions, and the committed report of both kinds of branches.

`scripts/coverage` runs it. For Python, coverage.py counts; for SQL, the profiler of plpgsql_check counts statements and
the branches are made of its counts here.
"""
