"""The small built-in demo model: its weights, the generator of rendered scenes, and the training that made it."""
