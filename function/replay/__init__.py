"""Failures go through the service again, once their cause is mended."""
