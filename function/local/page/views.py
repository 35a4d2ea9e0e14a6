"""Pictures as a browser shows them: uploads in any format that the service reads, results in any that it writes."""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shared.decoder_pool import DecoderPool
from shared.png import write_png
from shared.records import SourceImage

THUMBNAIL = 192  # pixels of the longer side


class Views:
    """PNG files of uploads, as the service sees them. Decodes as the service does, in a process of its own."""

    def __init__(self, decoder: DecoderPool, *, max_pixels: int) -> None:
        self._decoder, self._max_pixels = decoder, max_pixels

    def upload(self, file: Path) -> bytes:
        """Upright, at its own size, with its colour profile. Raises RejectedUpload as the service does."""
        image = self._decode(file)
        return write_png(_pixels(image), icc_profile=image.icc_profile)

    def thumbnail(self, file: Path) -> bytes:
        """The same, small. Raises RejectedUpload."""
        image = self._decode(file)
        small = Image.fromarray(_pixels(image))
        small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
        return write_png(np.asarray(small), icc_profile=image.icc_profile)

    def _decode(self, file: Path) -> SourceImage:
        return self._decoder(file.read_bytes(), max_pixels=self._max_pixels, name=file.name)


def zipped_result(file: Path) -> bytes:
    """One PNG from the colour and the alpha of output_format=zip."""
    with zipfile.ZipFile(file) as members:
        colour = Image.open(io.BytesIO(members.read("color.jpg")))
        alpha = Image.open(io.BytesIO(members.read("alpha.png")))
        pixels = np.dstack([np.asarray(colour.convert("RGB")), np.asarray(alpha.convert("L"))])
    return write_png(pixels, icc_profile=colour.info.get("icc_profile", b""))


def _pixels(image: SourceImage) -> NDArray[np.uint8]:
    return image.rgb if image.alpha is None else np.dstack([image.rgb, image.alpha])
