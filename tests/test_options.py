"""Options: what texts mean, which contradict each other, and that an option written as text reads back the same."""

from contextlib import suppress
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import InvalidOptions
from shared.options import (
    DOCS,
    PARSERS,
    AlphaMatting,
    Channels,
    CutOptions,
    Denoise,
    EsrganStage,
    ExistingAlpha,
    Margin,
    MaskPreset,
    OutputFormat,
)

NO_MARGIN = Margin(0, 0, 0, 0, False)


def numbers(low, high):
    return st.floats(low, high, allow_subnormal=False).map(lambda number: number + 0.0)  # no -0.0


def margins():
    pixels = st.builds(Margin, *[numbers(0, 10_000)] * 4, st.just(False))
    return st.one_of(st.just(NO_MARGIN), pixels, st.builds(Margin, *[numbers(0.001, 50)] * 4, st.just(True)))


def colours():
    return st.one_of(st.just(""), st.integers(0, 0xFFFFFF).map(lambda value: f"#{value:06x}"))


@st.composite
def options(draw):
    """Every field over its whole range, contradictions taken out by the rule that forbids them."""
    values = {
        "mask_preset": draw(st.sampled_from(MaskPreset)),
        "mask_threshold": draw(numbers(0.01, 0.99)),
        "mask_contrast": draw(numbers(0.1, 50)),
        "mask_kernel": 2 * draw(st.integers(0, 15)) + 1,
        "mask_hard_floor": draw(numbers(0, 0.95)),
        "alpha_matting": draw(st.sampled_from(AlphaMatting)),
        "existing_alpha": draw(st.sampled_from(ExistingAlpha)),
        "refine_foreground": draw(st.booleans()),
        "denoise": draw(st.sampled_from(Denoise)),
        "esrgan_stage": draw(st.sampled_from(EsrganStage)),
        "esrgan_scale": draw(st.sampled_from([2, 4])),
        "output_format": draw(st.sampled_from(OutputFormat)),
        "channels": draw(st.sampled_from(Channels)),
        "bg_color": draw(colours()),
        "crop": draw(st.booleans()),
        "crop_margin": draw(margins()),
        "size": draw(st.one_of(st.just((0, 0)), st.tuples(st.integers(1, 20_000), st.integers(1, 5_000)))),
        "scale": draw(st.one_of(st.just(0.0), numbers(0.1, 1))),
        "position": draw(st.one_of(st.none(), st.tuples(numbers(0, 1), numbers(0, 1)))),
    }
    if values["output_format"] is OutputFormat.ZIP:
        values["channels"], values["bg_color"] = Channels.RGBA, ""
    if values["channels"] is Channels.ALPHA:
        values["bg_color"] = ""
    elif values["output_format"] is OutputFormat.JPG:
        values["bg_color"] = values["bg_color"] or "#ffffff"
    if not values["crop"]:
        values["crop_margin"] = NO_MARGIN
    return CutOptions(**values)


@settings(deadline=None)
@given(options())
def test_options_written_as_text_read_back_the_same(given_options):
    assert {option.name for option in fields(CutOptions)} == set(PARSERS)
    assert CutOptions.from_texts(given_options.as_texts()) == given_options


@settings(deadline=None)
@given(options(), options())
def test_texts_replace_every_field_of_the_base(given_options, base):
    assert CutOptions.from_texts(given_options.as_texts(), base) == given_options


@settings(deadline=None)
@given(options(), options())
def test_two_cutouts_share_their_texts_only_if_they_share_their_options(first, second):
    assert (first.as_texts() == second.as_texts()) == (first == second)


@settings(deadline=None)
@given(st.sampled_from(sorted(PARSERS)), st.text(max_size=20) | st.from_regex(r"\A[-+0-9.e%px# ()a-z,]{0,24}\Z"))
def test_any_text_is_read_or_refused_by_the_options_name(name, text):
    base = CutOptions(crop=True, bg_color="#ffffff")
    with suppress(InvalidOptions):
        read = CutOptions.from_texts({name: text}, base)
        assert CutOptions.from_texts(read.as_texts()) == read
        return
    with pytest.raises(InvalidOptions, match=name):
        CutOptions.from_texts({name: text}, base)


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("bg_color", ["white", "#fff", "FFF", "ffffff", "#FFFFFF", " White "]),
        ("bg_color", ["", "none", "transparent"]),
        ("crop_margin", ["10", "10px", "10px 10px", "10.0 10 10px 10", "10.00px"]),
        ("crop_margin", ["5% 10%", "5% 10% 5% 10%", "5.0% 10.0%"]),
        ("crop_margin", ["0", "0px", "0%", "0 0 0 0"]),
        ("scale", ["80%", "0.8", "80.0%"]),
        ("scale", ["", "original", "0"]),
        ("position", ["center", "50%", "50% 50%", "CENTER"]),
        ("size", ["1200x1600", "1200X1600", "1200 x 1600"]),
        ("size", ["", "original", "0x0"]),
        ("output_format", ["jpg", "JPEG", "jpeg"]),
        ("alpha_matting", ["true", "on", "guided"]),
        ("crop", ["true", "1", "yes", "ON"]),
    ],
)
def test_texts_of_one_meaning_give_one_key(name, texts):
    base = CutOptions(crop=True, bg_color="" if name == "bg_color" else "#000000")
    assert len({str(CutOptions.from_texts({name: text}, base).as_texts()) for text in texts}) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mask_threshold", "1"),
        ("mask_threshold", "nan"),
        ("mask_contrast", "steep"),
        ("mask_kernel", "4"),
        ("mask_kernel", "5.0"),
        ("mask_hard_floor", "-0.1"),
        ("mask_preset", "hard"),
        ("refine_foreground", "maybe"),
        ("esrgan_scale", "3"),
        ("output_format", "gif"),
        ("bg_color", "rgb(999,0,0)"),
        ("bg_color", "#12345680"),
        ("bg_color", "reddish"),
        ("crop_margin", "51%"),
        ("crop_margin", "10px 5%"),
        ("crop_margin", "1 2 3"),
        ("crop_margin", "-1px"),
        ("size", "0x100"),
        ("size", "20001x1"),
        ("size", "20000x20000"),
        ("scale", "5%"),
        ("scale", "101%"),
        ("position", "50"),
        ("position", "101%"),
        ("position", "left"),
    ],
)
def test_a_malformed_option_is_named(name, text):
    with pytest.raises(InvalidOptions, match=name):
        CutOptions.from_texts({name: text}, CutOptions(crop=True))


def test_all_problems_are_told_together():
    texts = {"mask-kernel": "4", "scale": "big", "colour": "red", "Crop": "perhaps", "size": "1x1", "format": "png"}
    with pytest.raises(InvalidOptions) as refused:
        CutOptions.from_texts(texts)
    for problem in ("mask_kernel", "scale", "colour is not an option", "crop"):
        assert problem in str(refused.value)
    assert "size" not in str(refused.value)


def test_names_are_read_in_any_spelling_but_once():
    assert CutOptions.from_texts({"Mask-Kernel": "7", "FORMAT": "webp"}).as_texts()["output_format"] == "webp"
    with pytest.raises(InvalidOptions, match="output_format is given twice"):
        CutOptions.from_texts({"format": "png", "output-format": "png"})


@pytest.mark.parametrize(
    ("texts", "named"),
    [
        ({"format": "jpg"}, "bg_color"),
        ({"format": "zip", "bg_color": "red"}, "output_format=zip"),
        ({"format": "zip", "channels": "alpha"}, "output_format=zip"),
        ({"channels": "alpha", "bg_color": "red"}, "channels=alpha"),
        ({"crop_margin": "5%"}, "crop_margin needs crop"),
    ],
)
def test_options_that_contradict_each_other_are_refused(texts, named):
    with pytest.raises(InvalidOptions, match=named):
        CutOptions.from_texts(texts)


@pytest.mark.parametrize(
    "texts",
    [
        {"format": "jpg", "bg_color": "red"},
        {"format": "jpg", "channels": "alpha"},
        {"format": "webp", "channels": "alpha"},
        {"format": "zip", "crop": "true", "crop_margin": "5%"},
        {"format": "png", "bg_color": "red"},
    ],
)
def test_options_that_go_together_are_taken(texts):
    CutOptions.from_texts(texts)


def test_every_option_is_documented():
    assert all(DOCS[option.name] for option in fields(CutOptions))


def test_what_a_form_shows_of_an_option_is_what_its_parser_accepts():
    kinds = {name: parser.kind for name, parser in PARSERS.items()}
    assert kinds["mask_preset"] == kinds["esrgan_scale"] == "choice"
    assert (kinds["crop"], kinds["bg_color"], kinds["crop_margin"]) == ("boolean", "colour", "text")
    for name, parser in PARSERS.items():
        for text in parser.choices or ("true", "false") * (parser.kind == "boolean"):
            parser(text)
        if parser.kind in ("number", "integer"):
            assert parser(f"{parser.low:g}") == parser.low, name
            with pytest.raises(ValueError, match="between"):
                parser(f"{parser.high + 1:g}")
    assert (PARSERS["mask_kernel"].low, PARSERS["mask_kernel"].high, PARSERS["mask_kernel"].step) == (1, 31, 2)


def test_a_misspelt_option_is_answered_with_the_nearest_name():
    with pytest.raises(InvalidOptions, match="crp is not an option, crop is"):
        CutOptions.from_texts({"crp": "true"})
