"""The whole pipeline with a translator that only marks the words, as the tests of each format use it."""

from typing import Any

from worker import text
from worker.text import checks
from worker.text.plan import Plan
from worker.translators.pseudo import pseudo


def identical(content: Any, kind: str) -> Any:
    """*content*, parsed and assembled again."""
    document = text.parse(content, kind)
    return document.assemble([segment.text for segment in document.segments])


def translated(content: Any, kind: str, target: str = "es") -> Any:
    """*content* in pseudo text, every answer checked."""
    plan = Plan(text.parse(content, kind))
    pair = checks.Pair("en", target, simulated=True)
    answers = {
        name: checks.accept(piece.protected, pseudo(piece.protected.text, target), pair)
        for name, piece in plan.wanted(target).items()
    }
    return plan.assemble(answers, target)


def sent(content: Any, kind: str, target: str = "es") -> list[str]:
    """What a translator would see."""
    return [piece.protected.text for piece in Plan(text.parse(content, kind)).wanted(target).values()]
