"""Objects that were in a bucket before the service, cut by the same handler."""
