from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.plan import plan_for, result_name, unplanned_key
from function.settings import Settings
from shared.errors import InvalidOptions
from shared.options import CutOptions
from shared.records import Upload

SETTINGS = Settings(output_bucket="cutouts", completion_topic="projects/p/topics/done")
UPLOAD = Upload(bucket="uploads", name="shoes/12.jpg", generation=7)
OTHER_VALUES = {
    "mask_preset": "soft",
    "mask_threshold": "0.6000000001",
    "mask_contrast": "5",
    "mask_kernel": "7",
    "mask_hard_floor": "0.2",
    "alpha_matting": "off",
    "existing_alpha": "keep",
    "refine_foreground": "false",
    "denoise": "nlm",
    "esrgan_stage": "after",
    "esrgan_scale": "4",
    "output_format": "webp",
    "channels": "alpha",
    "bg_color": "white",
    "crop": "true",
    "crop_margin": "1px",
    "size": "10x10",
    "scale": "50%",
    "position": "center",
}


def key(upload=UPLOAD, settings=SETTINGS, weights="ab"):
    return plan_for(upload, settings, lambda options: weights).key


def asking(**options):
    return replace(UPLOAD, metadata={f"cutdrop-{name}": text for name, text in options.items()})


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("shoes/12.jpg", "out/shoes/12.png"),
        ("12", "out/12.png"),
        ("12.", "out/12..png"),
        ("12.JPeG", "out/12.png"),
        ("12.jpg.png", "out/12.jpg.png"),
        ("photo.tar.gz", "out/photo.tar.gz.png"),
        ("Mr. Smith", "out/Mr. Smith.png"),
        ("v1.2", "out/v1.2.png"),
        ("scan.jpg ", "out/scan.jpg .png"),
        (".jpg", "out/.jpg.png"),
        ("a/.hidden", "out/a/.hidden.png"),
        ("a/.hidden.jpg", "out/a/.hidden.png"),
        ("a.b/c", "out/a.b/c.png"),
        ("a//b.JPG", "out/a//b.png"),
        ("/b.jpg", "out//b.png"),
        ("a/..", "out/a/...png"),
        ("漢字 é.jpeg", "out/漢字 é.png"),
    ],
)
def test_a_results_name_is_the_uploads_with_another_suffix(name, result):
    assert result_name(name, prefix="out/", suffix=".png") == result


PIECES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1, max_size=8)
NAMES = PIECES | PIECES.map(lambda piece: (piece * 1024).encode()[:1024].decode(errors="ignore"))  # short, longest


@given(name=NAMES, prefix=st.text(max_size=60), suffix=st.sampled_from([".png", ".webp"]))
def test_a_results_name_is_never_longer_than_an_object_may_be_called(name, prefix, suffix):
    result = result_name(name, prefix=prefix, suffix=suffix)
    assert len(result.encode()) <= 1024
    assert result.startswith(prefix)
    assert result.endswith(suffix)


@pytest.mark.parametrize("letter", ["a", "é", "漢", "🦊"])
def test_two_uploads_whose_names_have_to_be_cut_keep_results_apart(letter):
    many = letter * (1020 // len(letter.encode()))
    names = {result_name(many + end, prefix="out/", suffix=".png") for end in ("1", "2", "12")}
    assert len(names) == 3
    assert all(1000 <= len(name.encode()) <= 1024 for name in names)


def test_the_key_is_the_same_for_the_same_upload_and_options_however_they_are_written():
    assert key() == key(replace(UPLOAD, metadata={"camera": "x"}, event_id="2", event_time="t", size=9))
    assert key(asking(mask_threshold="0.60", Format="PNG")) == key()
    assert key(asking(mask_threshold="0.5")) == key(settings=replace(SETTINGS, options=CutOptions(mask_threshold=0.5)))


@pytest.mark.parametrize("change", [{"generation": 8}, {"bucket": "u"}, {"name": "shoes/12.png"}])
def test_the_key_changes_with_the_upload(change):
    assert key(replace(UPLOAD, **change)) != key()


@pytest.mark.parametrize("option", [field.name for field in fields(CutOptions)])
def test_the_key_changes_with_every_option(option):
    base = asking(crop="true") if option == "crop_margin" else UPLOAD
    changed = asking(**{option: OTHER_VALUES[option]} | ({"crop": "true"} if option == "crop_margin" else {}))
    assert key(changed) != key(base)


def test_the_key_changes_with_the_weights_and_with_the_networks_settings():
    keys = {key(), key(weights="cd"), key(settings=replace(SETTINGS, birefnet_size=(512, 512)))}
    keys |= {key(settings=replace(SETTINGS, dtype="float32")), key(settings=replace(SETTINGS, patch_order="legacy"))}
    assert len(keys) == 5


def test_the_key_covers_all_outputs_and_one_output_has_the_key_that_it_always_had():
    keys = {key(asking(outputs=text)) for text in ("", "m: channels=alpha", "w: channels=alpha", "m: size=5x5")}
    assert len(keys) == 4
    assert key(asking(outputs="cutout")) == key() == key(asking(outputs=""))


def test_settings_that_change_no_pixel_change_no_key():
    other = replace(SETTINGS, max_batch=1, concurrency=1, output_prefix="x/", log_level="debug", max_pixels=10)
    assert key(settings=other) == key()


def test_the_result_is_named_after_its_format():
    assert plan_for(asking(format="zip"), SETTINGS, lambda options: "").name == "shoes/12.zip"


def test_weights_are_asked_for_with_the_uploads_own_options():
    asked: list[CutOptions] = []

    def weights(options: CutOptions) -> str:
        asked.append(options)
        return "ab"

    plan = plan_for(asking(esrgan_stage="after"), SETTINGS, weights)
    assert asked == [plan.options]
    assert plan.options.esrgan_stage == "after"


def test_an_upload_whose_options_are_wrong_still_has_a_key_of_its_own():
    wrong = asking(format="bmp")
    with pytest.raises(InvalidOptions, match="output_format='bmp'"):
        plan_for(wrong, SETTINGS, lambda options: "ab")
    keys = {unplanned_key(wrong), unplanned_key(asking(format="gif")), unplanned_key(replace(wrong, generation=8))}
    assert len(keys) == 3
    assert unplanned_key(wrong) == unplanned_key(replace(wrong, event_id="again"))
