"""
`worker verify`: tries every prerequisite of a live project with an address and a key alone, and names each cure.

Changes nothing that stays: the one job it makes is of a type of its own and is taken away again. Never raises for
what is wrong with the project; that is a finding.
"""

from worker.verify.finding import Finding
from worker.verify.run import verify

__all__ = ["Finding", "verify"]
