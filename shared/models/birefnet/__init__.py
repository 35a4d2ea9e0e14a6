"""BiRefNet: our implementation of the architecture, its loading and its use on images."""

from shared.models.birefnet.config import BiRefNetConfig
from shared.models.birefnet.network import BiRefNet

__all__ = ["BiRefNet", "BiRefNetConfig"]
