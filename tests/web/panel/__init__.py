"""The panel in a real browser: most of it against a server that says what a test wants, some against the real one."""
