"""The generator of rendered scenes: what its users, training and the quality benchmark, rely on."""

import numpy as np
import pytest
import torch

from shared.models.embedded.training.canvas import Canvas, Light
from shared.models.embedded.training.scenes import KINDS, photographed, render, render_batch
from shared.models.embedded.training.shapes import ellipse, fur, limb, placed
from shared.models.embedded.training.textures import Material, noise_fields

FLAT = Light(0.0, 0.0, 1.0, 1.0, (1.0, 1.0, 1.0))
RED = Material((0.8, 0.2, 0.1), (0.8, 0.2, 0.1), grain=0.0)


def canvas(width: int, height: int) -> Canvas:
    return Canvas(noise_fields(np.random.default_rng(0), height, width, torch.device("cpu")), FLAT)


def test_the_same_seed_and_size_give_the_same_scene():
    first, second = render(7, (120, 96)), render(7, (120, 96))
    for name in ("image", "alpha", "foreground", "background"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_another_seed_gives_another_scene():
    assert np.abs(render(7, (96, 96)).image.astype(int) - render(8, (96, 96)).image).mean() > 5


@pytest.mark.parametrize("size", [(96, 96), (160, 97), (97, 301)])
def test_a_scene_has_the_size_types_and_ranges_it_promises(size: tuple[int, int]):
    scene = render(3, size)
    shape = (size[1], size[0])
    assert scene.alpha.shape == shape
    assert scene.alpha.dtype == np.float32
    assert 0 <= scene.alpha.min() <= scene.alpha.max() <= 1
    for layer in (scene.image, scene.foreground, scene.background):
        assert layer.shape == (*shape, 3)
        assert layer.dtype == np.uint8


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_scene_is_the_composite_of_its_layers(kind: str):
    scene = render(11, (128, 128), kind=kind)
    alpha = scene.alpha[..., None]
    composite = alpha * scene.foreground + (1 - alpha) * scene.background
    assert np.abs(composite - scene.image).max() <= 1.01
    assert 0.003 < scene.alpha.mean() < 0.995


def test_a_camera_changes_the_image_and_never_the_truth():
    clean, taken = render(5, (128, 128)), render(5, (128, 128), camera=True)
    np.testing.assert_array_equal(clean.alpha, taken.alpha)
    np.testing.assert_array_equal(clean.foreground, taken.foreground)
    assert 0.2 < np.abs(clean.image.astype(int) - taken.image).mean() < 20


def test_a_camera_keeps_red_red():
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 200
    taken = photographed(red, np.random.default_rng(0))
    assert taken[..., 0].mean() > 180
    assert taken[..., 2].mean() < 30


def test_a_scene_of_twice_the_size_shows_the_same_subject():
    small, large = render(21, (128, 128), kind="vehicle"), render(21, (256, 256), kind="vehicle")
    halved = large.alpha.reshape(128, 2, 128, 2).mean((1, 3))
    assert np.abs(halved - small.alpha).mean() < 0.01


def test_foreground_colours_continue_unchanged_beyond_the_edge():
    drawn = canvas(96, 96)
    drawn.draw([ellipse(48, 48, 25, 20, RED, roundness=0.0)])
    inside = drawn.filled()[:, 48, 48]
    colours = drawn.filled().permute(1, 2, 0)
    assert float((colours[drawn.alpha > 0.01] - inside).abs().max()) < 0.01
    assert float((colours - inside).abs().max()) < 0.05


def test_a_disc_covers_the_area_of_a_disc():
    drawn = canvas(100, 100)
    drawn.draw([ellipse(50.3, 49.6, 30, 30, RED)])
    assert float(drawn.alpha.sum()) == pytest.approx(np.pi * 30**2, rel=0.005)


def test_a_hole_is_open():
    drawn = canvas(100, 100)
    drawn.draw([ellipse(50, 50, 30, 30, RED, hole=0.5)])
    assert float(drawn.alpha[50, 50]) == 0
    assert float(drawn.alpha.sum()) == pytest.approx(np.pi * (30**2 - 15**2), rel=0.01)


def test_a_limb_reaches_from_start_to_end_with_its_two_radii():
    drawn = canvas(100, 100)
    drawn.draw([limb((30, 50), (70, 50), 5, 10, RED)])
    assert float(drawn.alpha[:, 30].sum()) == pytest.approx(10, abs=0.5)
    assert float(drawn.alpha[:, 70].sum()) == pytest.approx(20, abs=0.5)
    assert float(drawn.alpha[50].sum()) == pytest.approx(55, abs=0.5)


def test_mirroring_a_bent_limb_mirrors_its_pixels():
    parts = [limb((-10, -20), (15, 20), 3, 6, RED, bend=8)]
    left, right = canvas(100, 100), canvas(100, 100)
    left.draw(placed(parts, 50, 50, 1.0))
    right.draw(placed(parts, 50, 50, 1.0, mirror=True))
    assert float((left.alpha - right.alpha.flip(1)).abs().max()) < 1e-3


def test_fur_grows_out_of_the_part_that_bears_it():
    body = ellipse(50, 50, 25, 25, RED)
    bare, furred = canvas(100, 100), canvas(100, 100)
    bare.draw([body])
    furred.draw([body, fur(np.random.default_rng(1), body, 800, 12.0, width=1.0)])
    outside = (bare.alpha == 0) & (furred.alpha > 0.02)
    assert int(outside.sum()) > 300
    reach = torch.nonzero(outside).float().sub(49.5).norm(dim=1).max()
    assert 28 < float(reach) < 41
    assert bool((furred.alpha[outside] < 0.98).any())


def test_a_batch_holds_square_layers_of_each_seed():
    layers = render_batch([4, 9], 64, torch.device("cpu"))
    assert layers.image().shape == (2, 3, 64, 64)
    assert layers.alpha.shape == (2, 1, 64, 64)
    again = render_batch([9], 64, torch.device("cpu"))
    torch.testing.assert_close(again.alpha[0], layers.alpha[1])


def test_a_size_too_small_and_an_unknown_kind_are_refused():
    with pytest.raises(ValueError, match="32 pixels"):
        render(0, (31, 96))
    with pytest.raises(ValueError, match="dragon"):
        render(0, (96, 96), kind="dragon")
