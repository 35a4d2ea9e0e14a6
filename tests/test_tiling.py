"""Images in tiles: every wanted pixel once, no more tiles than needed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from shared.models.tiling import even_tiles, squares

wanted_pixels = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=40))


@given(wanted=wanted_pixels, side=st.sampled_from([4, 8, 16]), multiple=st.sampled_from([1, 2, 4]))
def test_every_wanted_pixel_is_in_exactly_one_tile_of_one_size(wanted, side, multiple):
    for cut in (even_tiles(wanted, side=side, margin=3, multiple=multiple), squares(wanted, side=side, margin=3)):
        count = np.zeros(wanted.shape, np.uint8)
        for tile in cut:
            tile.within(count)[...] += 1
            assert tile.crop(count).shape == (tile.height + 6, tile.width + 6)
        assert (count[wanted] == 1).all()
        assert count.max(initial=0) <= 1
        assert len({(tile.height, tile.width) for tile in cut}) <= 1
        assert all(tile.within(wanted.view(np.uint8)).any() and max(tile.height, tile.width) <= side for tile in cut)


def test_even_tiles_begin_at_the_subject_and_divide_it_evenly():
    wanted = np.zeros((100, 100), np.bool_)
    wanted[20:50, 31:41] = True
    cut = even_tiles(wanted, side=16, margin=0, multiple=2)
    assert [(tile.top, tile.left, tile.height, tile.width) for tile in cut] == [(20, 31, 16, 10), (36, 31, 16, 10)]
