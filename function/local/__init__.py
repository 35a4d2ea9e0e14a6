"""The local run: an object store, topics and an Eventarc stand-in on loopback, around the real server.

with LocalCloud() as cloud, ServerProcess(cloud.environment(), log=path) as server:
    cloud.eventarc.connect(server.url)
    ...  # upload with google.cloud.storage, then cloud.topics.wait_for(...)
"""

from function.local.cloud import LocalCloud
from function.local.eventarc.delivery import Eventarc, RetryPolicy, Transport
from function.local.pubsub.topic import LocalTopics, PublishedMessage
from function.local.server_process import ServerFailed, ServerProcess
from function.local.storage.store import LocalStore

__all__ = [
    "Eventarc",
    "LocalCloud",
    "LocalStore",
    "LocalTopics",
    "PublishedMessage",
    "RetryPolicy",
    "ServerFailed",
    "ServerProcess",
    "Transport",
]
