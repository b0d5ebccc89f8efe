"""Who may do what, through every door, held to one page: `permissions.toml`."""
