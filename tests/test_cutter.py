"""From an image to a cutout: the real steps around a segmenter that reads the subject from the red channel."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from shared.cutter import Cutter
from shared.errors import InvalidOptions, NoSubject, ShuttingDown
from shared.models.scaling import to_network
from shared.options import CutOptions
from shared.records import ModelInfo, SourceImage
from shared.upscaling import enlarge_alpha
from tests.composites import composite, hairy_disc, photograph
from tests.images import SRGB, rgb_profile


class RedIsSubject:
    """A network of 256 x 256 that takes red for subject; remembers what it was given."""

    size = (256, 256)

    def __init__(self, *, trained_on_alpha=False):
        self.trained_on_alpha = trained_on_alpha
        self.info = ModelInfo(id="red", revision="1", sha256="ab" * 32, device="cpu", dtype="float32")
        self.seen = []

    def __call__(self, batch):
        self.seen.extend(batch)
        return [image[..., 0].astype(np.float32) / 255 for image in batch]


class RedNotWhiteIsSubject(RedIsSubject):
    """The same on a ground of any grey."""

    def __call__(self, batch):
        self.seen.extend(batch)
        return [(cv2.subtract(image[..., 0], image[..., 1]) > 20).astype(np.float32) for image in batch]


class Doubling:
    """An enlarger that repeats pixels."""

    sha256 = "cd" * 32

    def enlarge(self, rgb, *, scale, wanted=None):
        return rgb.repeat(scale, axis=0).repeat(scale, axis=1)


class Eroding:
    """A matting network that makes everything a little less opaque."""

    sha256 = "ef" * 32

    def __call__(self, rgb, alpha):
        assert rgb.shape[:2] == alpha.shape
        return alpha // 2 + 64


@pytest.fixture
def segmenter():
    return RedIsSubject()


@pytest.fixture
def opened():
    """Opens cutters, and stops them at the end."""
    cutters = []

    def open_cutter(segmenter=None, **parts):
        cutters.append(Cutter(segmenter or RedIsSubject(), **parts))
        return cutters[-1]

    yield open_cutter
    for cutter in cutters:
        cutter.stop()


@pytest.fixture
def cutter(opened, segmenter):
    return opened(segmenter, max_batch=4)


def red_square(width, height, *, alpha=None):
    """A red square, a quarter of a blue image."""
    rgb = np.full((height, width, 3), (0, 40, 200), np.uint8)
    rgb[height // 4 : height - height // 4, width // 4 : width - width // 4] = (255, 30, 20)
    return SourceImage(rgb=rgb, alpha=alpha)


def test_a_cutout_has_the_upload_s_size_and_colours_and_says_where_the_subject_is(cutter):
    image = red_square(640, 480)
    cutout = cutter(image, CutOptions())
    alpha = cutout.rgba[..., 3]
    assert (cutout.width, cutout.height) == (640, 480)
    assert (cutout.rgba[..., :3] == image.rgb)[alpha == 255].all()
    assert (alpha[130:350, 170:470] == 255).all()
    assert (alpha[:110] == 0).all()
    assert cutout.subject.coverage == pytest.approx(0.25, abs=0.01)
    assert np.abs(np.array(cutout.subject.box) - (160, 120, 480, 360)).max() <= 2
    assert cutout.subject.confidence > 0.9
    assert set(cutout.timings_ms) == {"segment", "matte", "upscale"}
    assert not cutout.rgba.flags.writeable


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (255, 257), (20_000, 200), (8000, 6000)])
def test_an_image_of_any_size_is_cut_at_its_own_size(cutter, width, height):
    cutout = cutter(red_square(width, height), CutOptions())
    assert cutout.rgba.shape == (height, width, 4)
    assert cutout.rgba[height // 2, width // 2].tolist() == [255, 30, 20, 255]
    assert cutout.rgba[0, 0, 3] == (0 if width * height > 10 else 255)  # red_square is all red below 4 x 4


def test_an_image_of_one_red_pixel_is_all_subject(cutter):
    cutout = cutter(SourceImage(rgb=np.array([[[255, 9, 9]]], np.uint8)), CutOptions())
    assert cutout.rgba.tolist() == [[[255, 9, 9, 255]]]


def test_an_image_without_subject_is_refused(cutter):
    with pytest.raises(NoSubject):
        cutter(SourceImage(rgb=np.full((50, 50, 3), 40, np.uint8)), CutOptions())


def test_the_upload_s_own_alpha_is_multiplied_in(opened):
    cutter = opened(RedNotWhiteIsSubject())
    own = np.tile(np.linspace(40, 255, 640).astype(np.uint8), (480, 1))
    opaque = cutter(red_square(640, 480), CutOptions()).rgba
    cut = cutter(red_square(640, 480, alpha=own), CutOptions())
    cutout, subject = cut.rgba, cut.subject
    inside = cv2.erode(opaque[..., 3], np.ones((15, 15), np.uint8)) == 255
    assert (cutout[..., 3] == own)[inside].all()
    assert (cutout[..., 3] <= own + 1).all()
    assert cutout[:100, :, 3].max() == 0
    assert subject.coverage == pytest.approx(cutout[..., 3].mean() / 255)
    assert (cutout[200, 300] == (255, 30, 20, own[200, 300])).all()


@pytest.mark.parametrize("level", [1, 90, 127, 128])
def test_presence_and_box_are_decided_on_the_matte_whatever_the_upload_s_own_alpha_is(opened, level):
    cutout = opened(RedNotWhiteIsSubject())(
        red_square(640, 480, alpha=np.full((480, 640), level, np.uint8)), CutOptions()
    )
    assert cutout.rgba[..., 3].max() == level
    assert np.abs(np.array(cutout.subject.box) - (160, 120, 480, 360)).max() <= 2
    assert (cutout.rgba[240, 320, :3] == (255, 30, 20)).all()


def test_an_upload_that_is_invisible_holds_no_subject(cutter):
    with pytest.raises(NoSubject):
        cutter(red_square(64, 64, alpha=np.zeros((64, 64), np.uint8)), CutOptions())


def test_existing_alpha_can_be_kept_as_the_result_without_any_cut(cutter, segmenter):
    own = np.zeros((480, 640), np.uint8)
    own[40:100, 30:90] = 90
    keep = CutOptions.from_texts({"existing_alpha": "keep"})
    cutout = cutter(red_square(640, 480, alpha=own), keep)
    assert (cutout.rgba[..., 3] == own).all()
    assert cutout.subject.box == (30, 40, 90, 100)
    assert not segmenter.seen
    opaque = cutter(red_square(640, 480), keep).rgba
    assert (opaque == cutter(red_square(640, 480), CutOptions()).rgba).all()


def test_the_network_sees_srgb_and_the_cutout_keeps_the_upload_s_own_numbers_and_profile(segmenter, cutter):
    profile = rgb_profile(SRGB[::-1])  # blue and red change places
    image = SourceImage(rgb=np.ascontiguousarray(red_square(300, 300).rgb[..., ::-1]), icc_profile=profile)
    cutout = cutter(image, CutOptions())
    assert cutout.icc_profile == profile
    assert np.abs(segmenter.seen[0].astype(int) - to_network(image.rgb, (256, 256))[..., ::-1]).max() <= 2
    assert (cutout.rgba[150, 150, :3] == image.rgb[150, 150]).all()


@pytest.mark.parametrize("how", ["off", "guided"])
def test_foreground_colours_are_cleaned_unless_that_is_off(cutter, how):
    image = red_square(1333, 1000)
    edges = SourceImage(rgb=cv2.GaussianBlur(image.rgb, (0, 0), 4))
    blue = []
    for cleaned in ("false", "true"):
        rgba = cutter(edges, CutOptions.from_texts({"alpha_matting": how, "refine_foreground": cleaned})).rgba
        blue.append(rgba[(rgba[..., 3] > 40) & (rgba[..., 3] < 215), 2].mean())
    assert blue[1] < blue[0] / 2


def test_the_preset_follows_the_checkpoint_unless_told_otherwise(opened):
    half = SourceImage(rgb=np.full((64, 64, 3), (140, 0, 0), np.uint8))  # probability 0.549
    binary, soft = opened(RedIsSubject()), opened(RedIsSubject(trained_on_alpha=True))
    with pytest.raises(NoSubject):
        binary(half, CutOptions())
    assert (soft(half, CutOptions()).rgba[..., 3] == 140).all()
    for preset in ("soft", "off"):
        assert (binary(half, CutOptions.from_texts({"mask_preset": preset})).rgba[..., 3] == 140).all()
    with pytest.raises(NoSubject):
        soft(half, CutOptions.from_texts({"mask_preset": "standard"}))


@pytest.mark.parametrize(
    "wanted", [{"esrgan_stage": "after"}, {"esrgan_stage": "before"}, {"alpha_matting": "vitmatte"}]
)
def test_a_network_that_is_not_loaded_is_an_invalid_option_by_name(cutter, segmenter, wanted):
    options = CutOptions.from_texts(wanted)
    for ask in (cutter.weights_sha256, lambda options: cutter(red_square(64, 64), options)):
        with pytest.raises(InvalidOptions, match=next(iter(wanted))):
            ask(options)
    assert not segmenter.seen


def test_enlarging_after_the_cut_scales_pixels_and_box(opened):
    cutter = opened(upscaler=Doubling())
    plain = cutter(red_square(80, 60), CutOptions())
    cutout = cutter(red_square(80, 60), CutOptions.from_texts({"esrgan_stage": "after", "esrgan_scale": "4"}))
    opaque = plain.rgba[..., 3] == 255
    large = cutout.rgba[opaque.repeat(4, axis=0).repeat(4, axis=1)]
    assert (large[:, :3] == (255, 30, 20)).all()
    assert (cutout.rgba[..., 3] == enlarge_alpha(plain.rgba[..., 3], 4)).all()
    assert cutout.subject.box == tuple(4 * side for side in plain.subject.box)


@pytest.mark.parametrize("wanted", [{}, {"esrgan_stage": "before"}, {"denoise": "nlm"}])
def test_enlarging_and_denoising_before_change_only_what_the_network_sees(opened, segmenter, caplog, wanted):
    image = SourceImage(rgb=photograph("astronaut", 200, 200))
    caplog.set_level(logging.WARNING)
    cutout = opened(segmenter, upscaler=Doubling())(image, CutOptions.from_texts({"mask_preset": "off", **wanted}))
    (seen,) = segmenter.seen
    plain = to_network(image.rgb, (256, 256))
    if "esrgan_stage" in wanted:
        assert (seen == to_network(image.rgb.repeat(2, axis=0).repeat(2, axis=1), (256, 256))).all()
    elif "denoise" in wanted:
        assert cv2.Laplacian(seen, cv2.CV_32F).std() < cv2.Laplacian(plain, cv2.CV_32F).std()
    else:
        assert (seen == plain).all()
    assert (cutout.width, cutout.height) == (200, 200)
    opaque = cutout.rgba[..., 3] == 255
    assert (cutout.rgba[opaque, :3] == image.rgb[opaque]).all()
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [said.partition(" ")[0] for said in warned] == [f"{name}={value}" for name, value in wanted.items()]


@pytest.mark.parametrize("wanted", [{"esrgan_stage": "after"}, {"esrgan_stage": "before"}, {"denoise": "nlm"}])
def test_above_the_largest_side_enlarging_and_denoising_are_skipped_and_noted(opened, wanted):
    cutter = opened(upscaler=Doubling(), esrgan_max_side=100)
    cutout = cutter(red_square(101, 50), CutOptions.from_texts(wanted))
    assert (cutout.width, cutout.height) == (101, 50)
    assert list(cutout.notes.values()) == ["skipped: 101 pixels is more than the 100 that this service enlarges"]
    assert cutter(red_square(100, 50), CutOptions.from_texts(wanted)).notes == {}


def test_the_image_itself_refines_the_matte_unless_that_is_off(cutter):
    image = red_square(1333, 1000)  # blue at 0 and 1: a hard edge, which the network sees at a quarter of the size
    mattes = [cutter(image, CutOptions.from_texts({"alpha_matting": how})).rgba[..., 3] for how in ("off", "guided")]
    soft, sharp = (((matte > 12) & (matte < 243)).mean() for matte in mattes)
    assert sharp < soft / 4


def test_a_matting_network_refines_the_matte(opened):
    cutter = opened(refiner=Eroding())
    cutout = cutter(red_square(64, 64), CutOptions.from_texts({"alpha_matting": "vitmatte"}))
    assert cutout.rgba[32, 32, 3] == 255 // 2 + 64


def test_the_hash_covers_every_network_that_the_options_run(opened):
    cutter = opened(upscaler=Doubling(), refiner=Eroding())
    enlarged, refined = {"esrgan_stage": "after"}, {"alpha_matting": "vitmatte"}
    wanted: list[dict[str, str]] = [{}, enlarged, refined, enlarged | refined]
    hashes = [cutter.weights_sha256(CutOptions.from_texts(texts)) for texts in wanted]
    assert hashes[0] == "ab" * 32
    assert len(set(hashes)) == 4
    assert {len(each) for each in hashes} == {64}


def test_the_same_image_gives_the_same_pixels_whoever_else_is_served(opened):
    cutter = opened(max_batch=3, max_wait_ms=1)
    images = [SourceImage(rgb=composite(hairy_disc(90, 70, seed=seed)).image) for seed in range(8)]
    options = CutOptions.from_texts({"mask_preset": "off"})
    alone = [cutter(image, options).rgba for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: cutter(image, options).rgba, images))
    assert all((one == other).all() for one, other in zip(alone, together, strict=True))


def test_a_stopped_cutter_refuses_images_and_leaves_no_thread():
    before = set(threading.enumerate())
    cutter = Cutter(RedIsSubject())
    cutter(red_square(64, 64), CutOptions())
    assert len(set(threading.enumerate()) - before) == 1
    cutter.stop()
    with pytest.raises(ShuttingDown):
        cutter(red_square(64, 64), CutOptions())
    assert set(threading.enumerate()) <= before
