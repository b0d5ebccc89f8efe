"""The HTTP side: routes, streams and the panel."""
