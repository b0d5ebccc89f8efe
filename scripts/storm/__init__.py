"""
The chaos run: workers under steady load, whatever may happen to them in random order, and the books checked afterwards.

`plan` draws from a seed what happens when, `faults` knows how each trouble is made, `ground` is the stack as a process
that can be hurt, `crew` the workers, `users` the load, `books` what must hold when the dust has settled, `course` tells
it in order, `table` what came out.
"""
