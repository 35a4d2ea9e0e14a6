import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.settings import RENAMED, Settings, markdown, table
from shared.errors import SettingsError
from shared.options import AlphaMatting, CutOptions, EsrganStage

LEAST = {"OUTPUT_BUCKET": "cutouts", "COMPLETION_TOPIC": "projects/p/topics/done"}
NAMES = [setting.name for setting in table()]


def problems(**environ):
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(LEAST | environ)
    return str(caught.value)


def test_two_names_are_enough():
    settings = Settings.from_env(LEAST)
    assert (settings.output_bucket, settings.completion_topic) == ("cutouts", "projects/p/topics/done")
    assert settings.model == "ZhengPeng7/BiRefNet-portrait"
    assert settings.options == CutOptions()
    assert settings == Settings(output_bucket="cutouts", completion_topic="projects/p/topics/done")


def test_every_problem_is_reported_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"COMPLETION_TOPIC": "projects/p/topics/done", "MAX_PIXELS": "50M", "MASK_KERNEL": "4"})
    assert str(caught.value) == (
        "OUTPUT_BUCKET is missing; MAX_PIXELS='50M' is not a whole number; MASK_KERNEL='4' is not odd"
    )


def test_a_server_of_single_images_needs_neither_bucket_nor_topic_but_not_one_alone():
    assert not Settings.from_env({"HTTP_CUT": "true"}).has_buckets
    assert Settings.from_env(LEAST | {"HTTP_CUT": "true"}).has_buckets
    assert problems(HTTP_CUT="true", OUTPUT_BUCKET="") == "OUTPUT_BUCKET is missing"
    with pytest.raises(SettingsError, match="OUTPUT_BUCKET is missing; COMPLETION_TOPIC is missing"):
        Settings.from_env({"HTTP_CUT": "false"})


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_value_counts_as_absent(name):
    if name in LEAST:
        assert problems(**{name: " "}) == f"{name} is missing"
    else:
        assert Settings.from_env(LEAST | {name: ""}) == Settings.from_env(LEAST)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEAST])
def test_every_default_written_out_gives_the_same_settings(name):
    default = next(setting.default for setting in table() if setting.name == name)
    assert Settings.from_env(LEAST | {name: default}) == Settings.from_env(LEAST)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("UPLOAD_BUCKETS", "a, b,,c", ("a", "b", "c")),
        ("OUTPUT_PREFIX", "cut/", "cut/"),
        ("DEVICE", "CUDA", "cuda"),
        ("REQUIRE_GPU", "yes", True),
        ("BIREFNET_SIZE", "1024", (1024, 1024)),
        ("BIREFNET_SIZE", "2560x1440", (2560, 1440)),
        ("MAX_UPLOAD_BYTES", "1000", 1000),
        ("MAX_BATCH_WAIT_MS", "0", 0),
        ("LOG_LEVEL", "WARNING", "warning"),
    ],
)
def test_a_setting_is_read(name, text, value):
    assert getattr(Settings.from_env(LEAST | {name: text}), name.lower()) == value


def test_pixel_options_are_read_under_their_own_names():
    options = Settings.from_env(
        LEAST | {"ALPHA_MATTING": "true", "ESRGAN_STAGE": "after", "MASK_THRESHOLD": "0.5", "OUTPUT_FORMAT": "webp"}
    ).options
    assert options.alpha_matting is AlphaMatting.GUIDED
    assert options.esrgan_stage is EsrganStage.AFTER
    assert (options.mask_threshold, options.output_format) == (0.5, "webp")


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("OUTPUT_BUCKET", "gs://cutouts", "is not a bucket's plain name"),
        ("COMPLETION_TOPIC", "projects/p/subscriptions/s", "is not projects/PROJECT/topics/TOPIC"),
        ("OUTPUT_PREFIX", "é" * 129, "is longer than 256 bytes"),
        ("DEVICE", "gpu", "is not one of auto, cuda, cpu"),
        ("REQUIRE_GPU", "maybe", "is not true or false"),
        ("DTYPE", "half", "is not one of auto, float32, float16, bfloat16"),
        ("BIREFNET_SIZE", "1000", "multiples of 32"),
        ("BIREFNET_SIZE", "32x1024", "between 64 and 4096"),
        ("BIREFNET_SIZE", "big", "is not a size in pixels"),
        ("MAX_BATCH", "0", "is not between 1 and 64"),
        ("MAX_PIXELS", "1e6", "is not a whole number"),
        ("REQUEST_BUDGET_S", "600", "is not between 1 and 540"),
        ("MASK_THRESHOLD", "nan", "is not between"),
        ("OUTPUT_FORMAT", "bmp", "is not one of png, webp, jpg, zip"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong(name, text, sentence):
    assert re.match(rf"{name}='{re.escape(text)}' .*{re.escape(sentence)}", problems(**{name: text}))


def test_options_that_contradict_each_other_are_a_problem():
    assert problems(OUTPUT_FORMAT="jpg") == "output_format=jpg has no transparency: it needs bg_color"


def test_a_bare_topic_lies_in_the_project_of_the_environment():
    settings = Settings.from_env(LEAST | {"COMPLETION_TOPIC": "done", "GOOGLE_CLOUD_PROJECT": "shop"})
    assert settings.completion_topic == "projects/shop/topics/done"
    assert "GOOGLE_CLOUD_PROJECT is missing" in problems(COMPLETION_TOPIC="done")


@pytest.mark.parametrize("old", RENAMED)
def test_a_name_of_the_earlier_system_is_answered_with_the_new_one(old):
    new = re.search(r"is now ([A-Z_]+)", problems(**{old: "1"}))
    assert new is not None
    assert new[1] in NAMES


def test_a_misspelt_name_is_not_ignored():
    assert problems(MASK_TRESHOLD="0.5") == "MASK_TRESHOLD is not a setting, MASK_THRESHOLD is"
    assert problems(ESRGAN_X="1").startswith("ESRGAN_X is not a setting")


def test_names_that_are_not_ours_are_left_alone():
    assert Settings.from_env(LEAST | {"PATH": "/bin", "MAX_WORKERS": "x", "PORT": "1"}) == Settings.from_env(LEAST)


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=12), max_size=6))
def test_any_environment_gives_settings_or_a_settings_error(environ):
    try:
        settings = Settings.from_env(environ)
    except SettingsError:
        return
    assert {"OUTPUT_BUCKET", "COMPLETION_TOPIC"} <= set(environ)
    assert settings.completion_topic.startswith("projects/")


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Settings.from_env(LEAST).max_batch = 1  # type: ignore[misc]  # wrong on purpose


@pytest.mark.parametrize(
    ("name", "text"),
    [("BIREFNET_SIZE", "512"), ("PATCH_ORDER", "legacy"), ("DTYPE", "float32"), ("ESRGAN_MAX_SIDE", "100")],
)
def test_what_changes_pixels_beside_the_options_is_told_to_the_key(name, text):
    assert Settings.from_env(LEAST | {name: text}).pixel_settings() != Settings.from_env(LEAST).pixel_settings()


def test_a_photograph_of_48_megapixels_passes_the_default_limit():
    assert Settings.from_env(LEAST).max_pixels >= 8064 * 6048


def test_the_table_has_every_setting_once_with_its_meaning():
    settings = {field.name.upper() for field in fields(Settings)} - {"OPTIONS"}
    options = {field.name.upper() for field in fields(CutOptions)}
    assert len(NAMES) == len(set(NAMES))
    assert set(NAMES) == settings | options
    assert all(setting.doc for setting in table())
    assert {setting.name for setting in table() if setting.required} == set(LEAST)


def test_the_module_prints_the_table_as_markdown():
    command = [sys.executable, "-m", "function.settings"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert printed.stdout.strip() == markdown()
    rows = markdown().splitlines()
    assert len(rows) == 2 + len(NAMES)
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 5 for row in rows)
