"""Foreground colours: the background leaves the edge, the subject's own pixels stay as they were."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared import foreground
from shared.local_colours import LocalColours
from tests.composites import colour_error, composite, full_blur_fusion, hairy_disc


def cleaned(image, alpha):
    return foreground.estimate_foreground(image, alpha, LocalColours.estimate(image, alpha))


SCENES = [("chelsea", "coffee"), ("astronaut", "rocket"), ("coffee", "chelsea"), ("rocket", "astronaut")]


@pytest.mark.parametrize(("subject", "background"), SCENES)
def test_cleaning_halves_the_colour_error_and_is_no_worse_than_blur_fusion_on_the_whole_image(subject, background):
    scene = composite(hairy_disc(700, 600), subject=subject, background=background)
    ours = colour_error(cleaned(scene.image, scene.alpha), scene)
    untouched = colour_error(foreground.with_own_colours(scene.image, scene.alpha), scene)
    assert ours <= untouched / 2
    assert ours <= colour_error(full_blur_fusion(scene.image, scene.alpha), scene)


def test_a_better_matte_gives_the_colours_that_it_would_have_given_from_the_start():
    scene = composite(hairy_disc(700, 600))
    coarse = cv2.GaussianBlur(scene.alpha, (0, 0), 2)
    updated = LocalColours.estimate(scene.image, coarse).updated(scene.alpha)
    error = colour_error(foreground.estimate_foreground(scene.image, scene.alpha, updated), scene)
    assert error <= 1.2 * colour_error(cleaned(scene.image, scene.alpha), scene)


def test_opaque_pixels_keep_the_upload_s_colour_exactly():
    scene = composite(hairy_disc(500, 400))
    rgba = cleaned(scene.image, scene.alpha)
    assert (rgba[..., :3] == scene.image)[scene.alpha == 255].all()
    assert (rgba[..., 3] == scene.alpha).all()


def test_a_flat_red_subject_on_flat_green_comes_back_red():
    alpha = hairy_disc(300, 300)
    share = alpha[..., None] / 255
    image = np.rint(share * np.array([200, 30, 20]) + (1 - share) * np.array([10, 180, 40])).astype(np.uint8)
    rgba = cleaned(image, alpha)
    seen = rgba[alpha > 25, :3].astype(int)
    assert np.abs(seen - [200, 30, 20]).mean() < 1
    assert np.abs(seen - [200, 30, 20]).max() < 40


def test_colour_under_transparency_is_zero_but_for_a_few_pixels_of_the_subject_s_beside_the_edge():
    alpha = np.zeros((200, 200), np.uint8)
    alpha[80:120, 80:120] = 255
    image = np.full((200, 200, 3), (10, 180, 40), np.uint8)
    image[80:120, 80:120] = (200, 30, 20)
    rgba = cleaned(image, alpha)
    beside = cv2.dilate(alpha, np.ones((9, 9), np.uint8)) - alpha
    assert (rgba[beside > 0] == (200, 30, 20, 0)).all()
    assert (rgba[(alpha == 0) & (beside == 0)] == 0).all()


def test_scaling_the_cutout_down_does_not_darken_its_edge():
    alpha = np.zeros((240, 240), np.uint8)
    alpha[61:180, 61:180] = 255
    image = np.full((240, 240, 3), 200, np.uint8)
    half = cv2.resize(cleaned(image, alpha), (120, 120), interpolation=cv2.INTER_AREA)
    assert (half[half[..., 3] > 0][:, :3] == 200).all()


def test_without_cleaning_the_upload_s_colours_stay_and_the_hidden_ones_still_go():
    scene = composite(hairy_disc(300, 200))
    rgba = foreground.with_own_colours(scene.image, scene.alpha)
    assert (rgba[..., :3] == scene.image)[scene.alpha > 0].all()
    assert (rgba[cv2.dilate(scene.alpha, np.ones((9, 9), np.uint8)) == 0] == 0).all()


def test_an_upload_that_is_transparent_itself_keeps_its_colours_where_the_matte_is_sure():
    scene = composite(hairy_disc(300, 300))
    own = np.tile(np.linspace(0, 255, 300).astype(np.uint8), (300, 1))
    alpha = cv2.multiply(scene.alpha, own, scale=1 / 255)
    rgba = foreground.multiply_alpha(cleaned(scene.image, scene.alpha), own)
    assert (rgba[..., :3] == scene.image)[(scene.alpha == 255) & (alpha > 0)].all()
    assert (rgba[..., 3] == alpha).all()


@pytest.mark.parametrize(("width", "height"), [(328, 264), (64, 64), (136, 704)])
def test_tiles_leave_no_seam(width, height):
    """Mirrored, the image meets another grid of tiles."""
    scene = composite(hairy_disc(width, height))
    straight = cleaned(scene.image, scene.alpha).astype(int)
    mirrored = cleaned(np.ascontiguousarray(scene.image[::-1, ::-1]), np.ascontiguousarray(scene.alpha[::-1, ::-1]))
    assert np.abs(straight - mirrored[::-1, ::-1]).max() <= 1


@settings(deadline=None)
@given(alpha=npst.arrays(np.uint8, npst.array_shapes(min_dims=2, max_dims=2, max_side=80)), clean=st.booleans())
def test_any_alpha_of_any_size_passes_and_keeps_what_is_opaque(alpha, clean):
    image = np.random.default_rng(0).integers(0, 256, (*alpha.shape, 3), np.uint8)
    image.flags.writeable = alpha.flags.writeable = False
    rgba = cleaned(image, alpha) if clean else foreground.with_own_colours(image, alpha)
    assert (rgba[..., 3] == alpha).all()
    assert (rgba[..., :3] == image)[alpha == 255].all()


def test_an_image_of_20000_by_200_pixels_passes():
    alpha = np.tile(np.clip(np.arange(20_000) - 9000, 0, 255).astype(np.uint8), (200, 1))
    rgba = cleaned(np.full((200, 20_000, 3), 90, np.uint8), alpha)
    assert np.abs(rgba[alpha > 0][:, :3].astype(int) - 90).max() <= 1


def test_an_almost_opaque_pixel_keeps_its_own_colour_and_not_its_neighbours_mean():
    rgb = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
    alpha = np.full((120, 120), 242, np.uint8)
    alpha[:20], alpha[100:] = 0, 255
    rgba = cleaned(rgb, alpha)
    moved = np.abs(rgba[30:90, :, :3].astype(int) - rgb[30:90])
    assert moved.mean() < 0.3 * np.abs(rgb[30:90].astype(int) - 127).mean()
