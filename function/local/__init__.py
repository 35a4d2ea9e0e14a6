"""The local run: an object store, a topic and an Eventarc stand-in on loopback, around the real server."""
