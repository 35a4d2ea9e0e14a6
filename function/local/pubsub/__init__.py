"""The topics of the local run: the Pub/Sub gRPC API on a loopback port."""
