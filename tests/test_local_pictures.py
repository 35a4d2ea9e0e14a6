"""Before and after, side by side."""

import numpy as np
import pytest
from PIL import Image

from function.local.run.pictures import DARK, GAP, LIGHT, TALLEST, WIDEST, before_after


@pytest.fixture
def files(tmp_path):
    """An upload of one colour and its result: left half opaque, right half transparent."""

    def make(width, height):
        Image.new("RGB", (width, height), (200, 30, 30)).save(tmp_path / "upload.jpg", quality=100)
        rgba = np.full((height, width, 4), (200, 30, 30, 255), np.uint8)
        rgba[:, width // 2 :] = 0
        Image.fromarray(rgba).save(tmp_path / "result.png")
        before_after(tmp_path / "upload.jpg", tmp_path / "result.png", tmp_path / "picture.png")
        return Image.open(tmp_path / "picture.png")

    return make


def test_the_upload_is_left_and_the_cutout_right_on_a_checkerboard(files):
    picture = np.asarray(files(120, 60))
    assert picture.shape == (60, 2 * 120 + GAP, 3)
    assert np.abs(picture[:, :120].astype(int) - (200, 30, 30)).max() <= 3
    after = picture[:, 120 + GAP :]
    assert (after[:, :60] == (200, 30, 30)).all()
    assert set(np.unique(after[:, 60:])) == {DARK, LIGHT}


@pytest.mark.parametrize("size", [(3000, 500), (500, 3000), (5000, 1), (1, 5000)])
def test_large_images_are_shown_smaller_in_proportion(files, size):
    picture = files(*size)
    assert picture.width <= WIDEST
    assert picture.height <= TALLEST
    assert picture.width >= 2 + GAP


def test_small_images_are_not_enlarged(files):
    assert files(2, 1).size == (2 * 2 + GAP, 1)
