"""The Eventarc stand-in of the local run: finalize events, posted to the service at least once."""
