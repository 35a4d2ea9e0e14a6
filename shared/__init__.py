"""The pixel pipeline: bytes to cutout, without cloud and without environment."""
