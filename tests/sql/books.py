"""
What the model knows of money, memory and glossary: balances, the ledger, and which segments somebody has paid for.

Owns the sums; knows nothing of states. The rule: a segment is free once the item that produced it was charged.
"""

from collections.abc import Iterable, Sequence

from tests.sql.rows import Job, Refusal


class Books:
    """Balances and movements of every user, and what was translated for him before."""

    def __init__(self) -> None:
        self.prices = {"translation": 0, "chore": 0}
        self.balances: dict[str, int] = {}
        self.ledger: list[tuple[str, str | None, str | None, str, int]] = []
        # (user, segment) → its language, and the item it is owed to
        self.memory: dict[tuple[str | None, str], tuple[str, tuple[str, str]]] = {}
        self.terms: dict[int, tuple[str, str]] = {}  # id → user, term
        self._movements: dict[tuple[str, str, str], int] = {}

    def move(self, user: str, kind: str, amount: int, key: str | None) -> int:
        """Grant or revoke. Returns the balance."""
        if key is not None and (user, kind, key) in self._movements:
            if self._movements[user, kind, key] != amount:
                raise Refusal("idempotency_conflict")
            return self.balances[user]
        change = amount if kind == "grant" else -amount
        if self.balances.get(user, 0) + change < 0:
            raise Refusal("credits_short")
        self.balances[user] = self.balances.get(user, 0) + change
        self.ledger.append((user, None, None, kind, amount))
        if key is not None:
            self._movements[user, kind, key] = amount
        return self.balances[user]

    def reserve(self, user: str | None, job_id: str, items: Sequence[str], price: int) -> None:
        if not user or not price:
            return
        if self.balances[user] < price * len(items):
            raise Refusal("credits_short")
        self.balances[user] -= price * len(items)
        self.ledger += [(user, job_id, item, "reserve", price) for item in items]

    def settle(self, job: Job, name: str, charge: int) -> None:
        """An item has ended: *charge* of its price is used, the rest goes back."""
        price = job.items[name].price
        if job.user and charge:
            self.ledger.append((job.user, job.id, name, "consume", charge))
        if job.user and price > charge:
            self.ledger.append((job.user, job.id, name, "refund", price - charge))
            self.balances[job.user] += price - charge

    # Memory

    def _paid_for(self, origin: tuple[str, str]) -> bool:
        return any((job, item, kind) == (*origin, "consume") for _, job, item, kind, _ in self.ledger)

    def remember(self, user: str | None, keys: Iterable[str], origin: tuple[str, str]) -> int:
        """Returns how many segments are new, or are from now on owed to *origin*."""
        moved = 0
        for key in keys:
            known = self.memory.get((user, key))
            if known is None or (known[1] != origin and not self._paid_for(known[1])):
                self.memory[user, key] = known[0] if known else origin[1], origin
                moved += 1
        return moved

    def recall(self, user: str | None, keys: Iterable[str], language: str) -> dict[str, bool]:
        """Segments that are known, and whether each is free."""
        known = {key: self.memory[user, key] for key in keys if (user, key) in self.memory}
        return {key: self._paid_for(origin) for key, (kept, origin) in known.items() if kept == language}

    def forget(self, user: str) -> None:
        """The user is deleted: what was paid stays."""
        self.memory = {name: kept for name, kept in self.memory.items() if name[0] != user}
        self.terms = {number: term for number, term in self.terms.items() if term[0] != user}

    # Glossary

    def set_term(self, user: str, term: str, new_id: int) -> int:
        """*new_id* is the database's choice, used if the term is new. Returns its id."""
        number = next((number for number, kept in self.terms.items() if kept == (user, term)), new_id)
        self.terms[number] = user, term
        return number

    def delete_term(self, user: str, number: int) -> None:
        if self.terms.get(number, ("", ""))[0] != user:
            raise Refusal("term_not_found")
        del self.terms[number]

    def terms_of(self, user: str | None) -> list[int]:
        return sorted(number for number, (owner, _) in self.terms.items() if owner == user)
