"""
What fits into one call of a provider: so many texts, so many bytes.
"""

from collections.abc import Iterator, Sequence

from worker.translators.base import TooLong


def batches(texts: Sequence[str], *, count_max: int, bytes_max: int, provider: str) -> Iterator[Sequence[str]]:
    """
    *texts* in order, in as few batches as fit.

    Raises:
        TooLong: one text alone does not fit.
    """
    batch: list[str] = []
    used = 0
    for text in texts:
        size = len(text.encode("utf-8", errors="replace"))
        if size > bytes_max:
            raise TooLong("bad_request", f"The text is longer than {provider} takes at once.")
        if batch and (len(batch) == count_max or used + size > bytes_max):
            yield batch
            batch, used = [], 0
        batch.append(text)
        used += size
    if batch:
        yield batch
