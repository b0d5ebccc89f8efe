"""
The plural categories of languages: which there are beside `other`, and whole numbers that fall into each.

Facts of Unicode CLDR, read from the rules in Babel 2.18.0 (numbers 0 to 999) when this file was written; no
library is needed to use them. A category without a number here is used for millions or fractions only. A
language that is not listed has `other` alone, as has one nobody knows.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache

from worker.text import languages

Categories = Mapping[str, tuple[int, ...]]

# Categories with their numbers, the smallest first and zero last | the languages that have just these.
_CARDINAL = """
one:1 | af an asa ast az bal bem bez bg brx ce cgg chr ckb da de dv ee el en eo et eu fi fo fur fy gl gsw ha haw
    hu ia io jgo jmc ka kaj kcg kk kkj kl ks ksb ku ky lb lg lij mas mgo ml mn mr nb nd ne nl nn nnh no nr ny nyn om
    or os pap ps rm rof rwk saq sc sd sdh seh sn so sq ss ssy st sv sw syr ta te teo tig tk tn tr ts ug ur uz ve vo
    vun wae xh xog yi
one:1,0 | ak am as bho bn csw doi fa ff gu hi hy kab kn ln mg nso pa pcm si ti wa zu
one:1 two:2 | he iu naq sat se sma smj smn sms
one:1 many: | ca es it lld pt-PT scn vec
one:1,0 many: | fr ht pt
one:1,101,201,301 two:2,102,202,302 few:3,4,103,104 | dsb hsb sl
one:1,21,31,41 few:2,3,4,22 | bs hr sr
one:1,21,31,41 few:2,3,4,22 many:5,6,7,8 | be ru uk
zero:0 one:1 | blo ksh lag
one:1 few:2,3,4 many: | cs sk
one:1,2,3,5 | ceb fil
one:1,21,31,41 | is mk
zero:10,11,12,13 one:1,21,31,41 | lv prg
one:1 few:2,3,4,22 many:5,6,7,8 | pl
one:1 few:2,3,4,5 | ro
one:1 two:2 few:3,4,5,6 many:11,12,13,14 | mt
one:1 two:2 few:3,4,5,6 many:7,8,9,10 | ga
one:1,0 few:2,3,4,5 | shi
one:1,11 two:2,12 few:3,4,5,6 | gd
one:1,11,12,13 | tzm
one:1,11,21,31 two:2,12,22,32 few:20,40,60,80 many: | gv
one:1,21,31,41 few:2,3,4,5 many: | lt
one:1,21,31,41 two:2,22,32,42 few:3,4,9,23 many: | br
zero:0 one:1 two:2 few:3 many:6 | cy
zero:0 one:1 two:2 few:3,4,5,6 many:11,12,13,14 | ar
zero:0 one:1 two:2,22,42,62 few:3,23,43,63 many:21,41,61,81 | kw
"""
_ORDINAL = """
one:1 | bal fil fr ga ht hy lo ms ro vi
many:8,11,80,800 | it lld sc scn vec
one:1,5,7,8 two:2,3 few:4 many:6 | as bn or
one:1 two:2,3 few:4 many:6 | gu hi
few:2,3,22,23 | be
few:3,23,33,43 | uk
few:6,9,10,16 | tk
many:6,9,10,16 | kk
many:8,11,80,81 | lij
one:1 many:2,3,4,5 | ka
one:1 many:4,24,34,44 | sq
one:1 two:2,3 few:4 | mr
one:1,11 two:2,12 few:3,13 | gd
one:1,2,21,22 | sv
one:1,2,3,4 | ne
one:1,2,3,4 many:5,105,205,305 | kw
one:1,2,5,7 few:3,4,13,14 many:6,16,26,36 | az
one:1,21,31,41 two:2,22,32,42 few:3,23,33,43 | en
one:1,21,31,41 two:2,22,32,42 many:7,8,27,28 | mk
one:1,3 two:2 few:4 | ca
one:1,5 | hu
zero:0 one:1 few:2,3,4,5 | blo
zero:7,8,9,0 one:1 two:2 few:3,4 many:5,6 | cy
"""


def categories(language: str, *, ordinal: bool = False) -> Categories:
    """The categories of *language* beside `other`, each with up to four whole numbers that fall into it."""
    table = _table(ordinal)
    if not ordinal and language.lower().replace("_", "-") == "pt-pt":
        return table["pt-PT"]
    return table.get(languages.base(language), {})


@lru_cache(maxsize=2)
def _table(ordinal: bool) -> Mapping[str, Categories]:
    return dict(_read(_ORDINAL if ordinal else _CARDINAL))


def _read(lines: str) -> Iterator[tuple[str, Categories]]:
    for line in lines.replace("\n    ", " ").strip().splitlines():
        described, _, listed = line.partition("|")
        found: dict[str, tuple[int, ...]] = {}
        for entry in described.split():
            category, _, examples = entry.partition(":")
            found[category] = tuple(int(number) for number in examples.split(",") if number)
        for language in listed.split():
            yield language, found
