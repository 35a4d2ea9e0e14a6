"""The networks: the only place where torch is imported."""
