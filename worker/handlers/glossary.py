"""
The glossary of one item: which of the user's terms concern its language, and which of them occur in a text.

Owns the choice between terms that compete (`pt-BR` before `pt`) and the search. Never changes a text: what must
stay as it is goes to the pipeline as terms, what must be said in a certain way goes to the translator.
"""

from collections.abc import Iterable, Iterator, Mapping

from worker.models import GlossaryTerm
from worker.text import languages, protect
from worker.text.protect import Term

Pairs = tuple[tuple[str, str], ...]


class Glossary:
    """The terms for one direction. Immutable; safe from a thread."""

    def __init__(self, terms: Iterable[GlossaryTerm], source_language: str | None, target_language: str) -> None:
        """*source_language* None: it is not known, so the terms of every source language count."""
        chosen = list(_best(terms, source_language, target_language))
        self.kept = tuple(_term(term) for term in chosen if term.do_not_translate)
        """What is not to be translated, in a stable order."""
        self._pairs: Mapping[Term, tuple[str, str]] = {
            _term(term): (term.term, term.translation)
            for term in chosen
            if not term.do_not_translate and term.translation
        }
        self._finder = protect.term_finder(tuple(self._pairs)) if self._pairs else None
        self._by_wording = {
            term.text if term.case_sensitive else term.text.lower(): pair for term, pair in self._pairs.items()
        }

    def pairs_in(self, text: str) -> Pairs:
        """The (term, translation) pairs whose term occurs in *text*, each once and sorted."""
        if self._finder is None:
            return ()
        found = {match.group() for match in self._finder.finditer(text)}
        pairs = (self._by_wording.get(word) or self._by_wording.get(word.lower()) for word in found)
        return tuple(sorted({pair for pair in pairs if pair}))

    def pairs_in_any(self, texts: Iterable[str]) -> Pairs:
        return tuple(sorted({pair for text in texts for pair in self.pairs_in(text)}))


def _term(term: GlossaryTerm) -> Term:
    return Term(term.term, term.case_sensitive)


def _best(terms: Iterable[GlossaryTerm], source_language: str | None, target_language: str) -> Iterator[GlossaryTerm]:
    """One entry for each wording, the one whose languages fit best, sorted by wording."""
    best: dict[str, tuple[int, GlossaryTerm]] = {}
    for term in terms:
        source_fit = _fit(term.source_language, source_language) if source_language else 1
        target_fit = _fit(term.target_language, target_language)
        if source_fit and target_fit and source_fit + target_fit > best.get(term.term, (0, term))[0]:
            best[term.term] = (source_fit + target_fit, term)
    return (best[wording][1] for wording in sorted(best))


def _fit(offered: str, wanted: str) -> int:
    """2: the very language; 1: the same without its region; 0: another one."""
    if languages.same(offered, wanted):
        return 2
    return int(languages.same(offered, languages.base(wanted)))
