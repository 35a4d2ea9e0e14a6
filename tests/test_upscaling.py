"""An enlarged cutout: opacity without ringing, colours without the background's."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shared.upscaling import bleed, enlarge_alpha


@given(alpha=arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12))), scale=st.sampled_from([2, 4]))
def test_enlarged_opacity_never_leaves_what_is_around_it(alpha: np.ndarray, scale: int) -> None:
    enlarged = enlarge_alpha(alpha, scale)
    padded = np.pad(alpha, 1, mode="edge")
    around = np.stack([padded[i : i + alpha.shape[0], j : j + alpha.shape[1]] for i in range(3) for j in range(3)])
    low, high = (np.repeat(np.repeat(a, scale, 0), scale, 1) for a in (around.min(0), around.max(0)))
    assert ((enlarged >= low) & (enlarged <= high)).all()


@given(rgba=arrays(np.uint8, st.tuples(st.integers(1, 24), st.integers(1, 24), st.just(4))))
def test_bleeding_changes_no_visible_pixel_and_leaves_the_range_of_visible_colours_never(rgba: np.ndarray) -> None:
    colour = bleed(rgba)
    visible = rgba[:, :, 3] > 0
    assert (colour[visible] == rgba[visible][:, :3]).all()
    if visible.any():
        for channel in range(3):
            values = rgba[visible][:, channel]
            assert int(colour[:, :, channel].min()) >= int(values.min()) - 1
            assert int(colour[:, :, channel].max()) <= int(values.max()) + 1
