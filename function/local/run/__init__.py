"""The local run: files in, outcomes and results out, through a local cloud and the real server."""
