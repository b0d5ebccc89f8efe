"""The HTTP side: what platforms, Prometheus and people ask of a running worker."""
