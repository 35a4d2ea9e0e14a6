"""gunicorn configuration: the production server, whose decoder processes have the tests' broken reader of GIF files."""

from function.server import *  # noqa: F403 - the configuration is the server's own
from shared.decoder_pool import PRELOAD

PRELOAD.append("tests.hostile_decoders")  # the fork server imports it, and every decoder process has what it changed
