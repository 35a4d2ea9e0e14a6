"""The pixel pipeline: bytes to cutout. No cloud client, no environment variables.

`events`, `messages` and `report` hold formats of the cloud: CloudEvents, Pub/Sub messages, object metadata.
"""
