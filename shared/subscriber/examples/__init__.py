"""Subscribers of the completion topic, each a small HTTP server for a push subscription: start from one of them."""
