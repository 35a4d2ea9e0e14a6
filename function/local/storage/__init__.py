"""The object store of the local run: the Cloud Storage JSON API on a loopback port."""
