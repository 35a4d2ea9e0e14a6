"""Trains and draws the embedded model. Nothing that serves an image imports this package."""
