"""
One module a measurement, each with `async def run(home: Path, args: Sequence[str]) -> Figures`.

*home* is an empty folder that is thrown away afterwards; *args* is what followed the bench's name on the command
line. A bench prints what it found as it goes, and returns the same as plain numbers.
"""
