"""Programs that drive other queues through their public interfaces; each runs where only its own packages are."""
