"""Renditions: sizes as asked, subjects where asked, and colours that no crop, scale or canvas darkens."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidOptions
from shared.options import CutOptions
from shared.records import Cutout, Subject
from shared.rendition import MOST_ZOOM, render, resized
from tests.images import picture, rgb_profile, soft_disc

VISIBLE = 26  # alpha from which a pixel counts as subject in these tests' boxes


def box_of(alpha):
    down, across = np.nonzero(alpha >= VISIBLE)
    return int(across.min()), int(down.min()), int(across.max()) + 1, int(down.max()) + 1


def cutout(rgb, alpha, icc_profile=b""):
    certain = (alpha == 0) | (alpha == 255)
    subject = Subject(
        coverage=float(alpha.mean()) / 255, uncertain=float(1 - certain.mean()), box=box_of(alpha), confidence=0.75
    )
    return Cutout(rgba=np.dstack([rgb, alpha]), subject=subject, icc_profile=icc_profile)


def asked(cut, **texts):
    return render(cut, CutOptions.from_texts(texts))


def disc(width=400, height=300, radius=0.2):
    return cutout(picture(width, height), soft_disc(width, height, radius, softness=0.05))


def grey_disc(width, height, grey=128):
    """A subject of one colour with a soft edge; black hides under its transparent part, as the product leaves it."""
    alpha = soft_disc(width, height, 0.3, softness=0.2)
    rgb = np.full((height, width, 3), grey, np.uint8)
    rgb[alpha == 0] = 0
    return cutout(rgb, alpha)


@st.composite
def cutouts(draw):
    """Any picture with any opaque or soft rectangle as its subject."""
    width, height = draw(st.integers(2, 60)), draw(st.integers(2, 60))
    left, top = draw(st.integers(0, width - 2)), draw(st.integers(0, height - 2))
    right, bottom = draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height))
    alpha = np.zeros((height, width), np.uint8)
    alpha[top:bottom, left:right] = draw(st.integers(VISIBLE, 255))
    return cutout(picture(width, height), alpha)


@st.composite
def requests(draw):
    crop = draw(st.booleans())
    texts = {
        "crop": str(crop),
        "crop_margin": draw(st.sampled_from(["0", "3px", "10%", "0 7px", "50% 0 20% 5%"])) if crop else "0",
        "size": draw(st.sampled_from(["", "1x1", "40x30", "30x90", "200x100"])),
        "scale": draw(st.sampled_from(["", "10%", "80%", "100%"])),
        "position": draw(st.sampled_from(["", "center", "0%", "100% 0%", "30% 70%"])),
        "bg_color": draw(st.sampled_from(["", "white", "#102030"])),
    }
    return CutOptions.from_texts(texts)


@pytest.mark.parametrize(
    "texts", [{}, {"channels": "alpha"}, {"format": "webp"}, {"crop": "false", "size": "original"}]
)
def test_nothing_asked_gives_the_same_object(texts):
    cut = disc()
    assert asked(cut, **texts) is cut


@settings(max_examples=150, deadline=None)
@given(cutouts(), requests())
def test_every_request_gives_a_frame_of_the_size_asked_and_a_true_subject(cut, options):
    left, top, right, bottom = cut.subject.box
    try:
        result = render(cut, options)
    except InvalidOptions:
        # a subject of a pixel or two is averaged away, or lies beyond the corner that its centre is put on
        assert min(right - left, bottom - top) <= 2 or min(options.size) < 90
        return
    if options.size != (0, 0):
        assert (result.width, result.height) == options.size
    elif not options.crop:
        assert (result.width, result.height) == (cut.width, cut.height)
    else:
        assert result.width >= right - left
        assert result.height >= bottom - top
    assert result.subject.confidence == cut.subject.confidence
    x0, y0, x1, y1 = result.subject.box
    assert 0 <= x0 <= x1 <= result.width
    assert 0 <= y0 <= y1 <= result.height
    if options.bg_color:
        assert result.rgba[..., 3].min() == 255
    else:
        assert result.subject.coverage == pytest.approx(result.rgba[..., 3].mean() / 255)
        certain = np.isin(result.rgba[..., 3], (0, 255)).mean()
        assert result.subject.uncertain == pytest.approx(1 - certain)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 70), st.integers(1, 70))
def test_what_is_opaque_stays_opaque_and_what_is_empty_stays_empty(width, height, new_width, new_height):
    opaque = np.dstack([picture(width, height), np.full((height, width), 255, np.uint8)])
    assert resized(opaque, (new_width, new_height))[..., 3].min() == 255
    assert not resized(np.zeros_like(opaque), (new_width, new_height)).any()


@settings(max_examples=60, deadline=None)
@given(st.integers(8, 70), st.integers(8, 70), st.integers(1, 150), st.integers(1, 150), st.integers(0, 255))
def test_no_edge_becomes_darker_or_brighter(width, height, new_width, new_height, grey):
    result = resized(grey_disc(width, height, grey).rgba, (new_width, new_height))
    shown = result[result[..., 3] > 0][:, :3].astype(int)
    assert np.abs(shown - grey).max(initial=0) <= 1


@pytest.mark.parametrize("scale", ["10%", "35%", "100%"])
@pytest.mark.parametrize("size", ["120x120", "400x300"])
@pytest.mark.parametrize("paper", ["black", "white", "lime"])
def test_a_scaled_cutout_on_paper_has_no_line_around_it(scale, size, paper):
    result = asked(grey_disc(90, 80), size=size, scale=scale, bg_color=paper).rgba[..., :3].astype(int)
    colour = np.array({"black": (0, 0, 0), "white": (255, 255, 255), "lime": (0, 255, 0)}[paper])
    low, high = np.minimum(colour, 128), np.maximum(colour, 128)
    assert (result >= low - 1).all()
    assert (result <= high + 1).all()


def test_a_crop_is_the_subjects_box_with_its_own_pixels():
    cut = disc()
    left, top, right, bottom = cut.subject.box
    result = asked(cut, crop="true")
    np.testing.assert_array_equal(result.rgba, cut.rgba[top:bottom, left:right])
    assert result.subject.box == (0, 0, right - left, bottom - top)


@pytest.mark.parametrize(
    ("margin", "sides"),
    [
        ("7", (7, 7, 7, 7)),
        ("1px 2px 3px 4px", (1, 2, 3, 4)),
        ("10% 50%", (10, 60, 10, 60)),  # of a subject of 120 x 100
    ],
)
def test_a_margin_is_free_space_around_the_subject(margin, sides):
    alpha = np.zeros((300, 400), np.uint8)
    alpha[100:200, 150:270] = 255
    top, right, bottom, left = sides
    result = asked(cutout(picture(400, 300), alpha), crop="true", crop_margin=margin)
    assert (result.width, result.height) == (120 + left + right, 100 + top + bottom)
    assert result.subject.box == (left, top, left + 120, top + 100) == box_of(result.rgba[..., 3])


def test_a_margin_goes_past_the_edge_of_the_image():
    alpha = np.full((20, 30), 255, np.uint8)
    result = asked(cutout(picture(30, 20), alpha), crop="true", crop_margin="5px")
    assert result.rgba.shape == (30, 40, 4)
    assert result.subject.box == (5, 5, 35, 25)
    assert not result.rgba[:5].any()
    np.testing.assert_array_equal(result.rgba[5:25, 5:35, :3], picture(30, 20))


def test_a_margin_that_makes_too_large_a_frame_is_named():
    with pytest.raises(InvalidOptions, match="crop_margin"):
        asked(disc(), crop="true", crop_margin="10000px")


def test_a_larger_canvas_leaves_every_pixel_as_it_is_in_the_middle():
    cut = disc()
    result = asked(cut, size="1000x500")
    np.testing.assert_array_equal(result.rgba[100:400, 300:700], cut.rgba)
    assert result.rgba[..., 3].sum() == cut.rgba[..., 3].sum()


def test_a_smaller_canvas_shows_the_whole_image_in_its_proportions():
    alpha = np.full((300, 400), 255, np.uint8)
    result = asked(cutout(picture(400, 300), alpha), size="100x100")
    opaque = result.rgba[..., 3] == 255
    assert box_of(result.rgba[..., 3]) == (0, 12, 100, 87) or box_of(result.rgba[..., 3]) == (0, 13, 100, 88)
    assert opaque.any(axis=1).sum() == 75


@pytest.mark.parametrize("scale", ["25%", "50%", "100%"])
@pytest.mark.parametrize("size", ["", "640x480", "150x400"])
def test_the_subject_fills_its_share_of_the_canvas_in_the_middle(scale, size):
    result = asked(disc(), scale=scale, size=size)
    left, top, right, bottom = box_of(result.rgba[..., 3])
    share = max((right - left) / result.width, (bottom - top) / result.height)
    assert share == pytest.approx(float(scale[:-1]) / 100, abs=3 / min(result.width, result.height))
    assert abs((left + right) / 2 - result.width / 2) <= 1.5
    assert abs((top + bottom) / 2 - result.height / 2) <= 1.5
    assert np.abs(np.subtract(result.subject.box, (left, top, right, bottom))).max() <= 2


@pytest.mark.parametrize(("position", "x", "y"), [("30% 60%", 0.3, 0.6), ("center", 0.5, 0.5), ("40%", 0.4, 0.4)])
@pytest.mark.parametrize("more", [{}, {"size": "600x700"}, {"scale": "30%"}, {"size": "100x120", "scale": "20%"}])
def test_the_centre_of_the_subject_goes_where_it_was_asked(position, x, y, more):
    result = asked(disc(radius=0.1), position=position, **more)
    left, top, right, bottom = box_of(result.rgba[..., 3])
    assert abs((left + right) / 2 - x * result.width) <= 1.5
    assert abs((top + bottom) / 2 - y * result.height) <= 1.5


def test_a_window_into_an_enlarged_image_is_that_image():
    rgb = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    alpha = np.random.default_rng(1).integers(0, VISIBLE, (40, 40), np.uint8)
    alpha[10:30, 10:30] = 200
    cut = cutout(rgb, alpha)
    whole = resized(cut.rgba, (80, 80))
    np.testing.assert_array_equal(asked(cut, scale="100%").rgba, whole[20:60, 20:60])


@pytest.mark.parametrize("position", ["30% 60%", "30.15% 60.2%", "center"])
def test_a_position_alone_moves_pixels_without_changing_them(position):
    cut = disc(radius=0.1)
    left, top, right, bottom = cut.subject.box
    result = asked(cut, position=position)
    x0, y0, x1, y1 = result.subject.box
    np.testing.assert_array_equal(result.rgba[y0:y1, x0:x1], cut.rgba[top:bottom, left:right])


def test_a_subject_beyond_the_canvas_is_cut_off():
    result = asked(disc(), position="0% 100%")
    assert result.subject.box[0] == 0
    assert result.subject.box[3] == result.height
    assert result.subject.coverage < disc().subject.coverage / 3


@pytest.mark.parametrize("texts", [{"position": "100%"}, {"crop": "true", "size": "1x1"}])
def test_a_frame_that_shows_nothing_of_the_subject_is_an_invalid_option(texts):
    alpha = np.zeros((60, 60), np.uint8)
    alpha[20:40, 20:40] = 255
    alpha[20:40, 20:35] = 0  # visible pixels only at the right end of the subject's box
    cut = replace(cutout(picture(60, 60), alpha), subject=Subject(box=(20, 20, 40, 40)))
    if "crop" in texts:
        cut = replace(cut, rgba=cut.rgba // 200)  # alpha 1 at most: averaged with as much emptiness, 0
    with pytest.raises(InvalidOptions, match="nothing of the subject"):
        asked(cut, **texts)


def test_what_a_crop_removed_does_not_come_back_on_the_canvas():
    alpha = np.zeros((50, 50), np.uint8)
    alpha[20:30, 20:30] = 255
    alpha[2, 2] = VISIBLE - 1  # too faint to count as subject
    result = asked(cutout(picture(50, 50), alpha), crop="true", size="60x60")
    assert result.rgba[..., 3].sum() == 255 * 100


def test_a_tiny_subject_is_enlarged_up_to_a_limit_and_the_message_says_so():
    alpha = np.zeros((20, 20), np.uint8)
    alpha[10, 10] = 255
    result = asked(cutout(picture(20, 20), alpha), scale="100%", size="3000x2000")
    left, top, right, bottom = result.subject.box
    assert (right - left, bottom - top) == (MOST_ZOOM, MOST_ZOOM)
    assert "32 times" in result.notes["scale"]
    assert result.rgba.shape == (2000, 3000, 4)


def test_a_background_is_laid_under_by_alpha():
    rgb = np.full((1, 256, 3), (200, 100, 0), np.uint8)
    alpha = np.arange(256, dtype=np.uint8)[None]
    result = asked(cutout(rgb, alpha), bg_color="#0a1420").rgba[0]
    weight = np.arange(256)[:, None] / 255
    expected = weight * (200, 100, 0) + (1 - weight) * (10, 20, 32)
    assert np.abs(result[:, :3] - expected).max() <= 0.5 + 1e-9
    assert (result[:, 3] == 255).all()


def test_a_background_keeps_the_subjects_statistics_and_leaves_the_cutout_alone():
    cut = disc()
    before = cut.rgba.copy()
    result = asked(cut, bg_color="red")
    assert result.subject == cut.subject
    np.testing.assert_array_equal(cut.rgba, before)


def test_a_background_is_given_in_srgb_whatever_the_images_colours_are():
    cut = cutout(np.zeros((4, 4, 3), np.uint8), np.eye(4, dtype=np.uint8) * 255, rgb_profile())
    corner = asked(cut, bg_color="#ff0000").rgba[0, 3, :3]
    assert np.abs(corner.astype(int) - (234, 51, 35)).max() <= 1  # sRGB's red in Display P3
    assert asked(cut, bg_color="#ff0000").icc_profile == cut.icc_profile


def test_options_work_together_in_their_order():
    texts = {"crop": "true", "crop_margin": "20%", "size": "500x500", "scale": "60%", "position": "50% 70%"}
    result = asked(disc(), **texts, bg_color="white")
    assert result.rgba.shape == (500, 500, 4)
    left, top, right, bottom = result.subject.box
    assert abs(right - left - 300) <= 2
    assert abs((top + bottom) / 2 - 350) <= 2
    assert (result.rgba[0] == 255).all()
