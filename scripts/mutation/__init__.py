"""
Mutations of the code that holds state and money, and whether the tests notice: `scripts/mutate`.

A mutant is one small edit of one file, made in memory only: a Python module is changed while it is imported, a part of
the SQL while it is applied to a database of its own. Nothing in the checkout is ever written but the report.
"""
