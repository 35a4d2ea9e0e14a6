"""Several outputs from one text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidOptions
from shared.options import CutOptions
from shared.outputs import AFTER_THE_NETWORK, parse_outputs

BASE = CutOptions.from_texts({"mask_threshold": "0.5", "bg_color": "white"})


def asked(text: str) -> dict[str, dict[str, str]]:
    """Role -> the options in which it differs from the defaults."""
    defaults = CutOptions().as_texts()
    return {
        spec.role: {name: text for name, text in spec.options.as_texts().items() if text != defaults[name]}
        for spec in parse_outputs(text, BASE)
    }


def test_without_a_text_the_primary_output_is_the_only_one():
    for text in ("", " ; ", "cutout"):
        assert [(spec.role, spec.options) for spec in parse_outputs(text, BASE)] == [("cutout", BASE)]


def test_each_output_has_its_own_options_after_the_network_and_shares_those_of_the_network():
    text = (
        "cutout; preview: size=512x512 position=30% 60% format=webp; "
        "white: bg_color=ffffff format=jpg; mask: channels=alpha"
    )
    assert asked(text) == {
        "cutout": {"mask_threshold": "0.5", "bg_color": "#ffffff"},
        "preview": {"mask_threshold": "0.5", "size": "512x512", "position": "30% 60%", "output_format": "webp"},
        "white": {"mask_threshold": "0.5", "bg_color": "#ffffff", "output_format": "jpg"},
        "mask": {"mask_threshold": "0.5", "channels": "alpha"},
    }


def test_the_primary_output_may_differ_from_the_uploads_options():
    assert asked("cutout: bg_color=none format=webp")["cutout"] == {"mask_threshold": "0.5", "output_format": "webp"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Preview", "not a name"),
        ("a" * 21, "not a name"),
        ("../x", "not a name"),
        ("a; a", "named twice"),
        ("a; cutout", "cutout not first"),
        ("a: size", "not name=value"),
        ("a: small size=5x5", "not name=value"),
        ("a: size=5x5 size=6x6", "given twice"),
        ("a: sharpness=5", "sharpness is not an option"),
        ("a: format=jpg", "needs bg_color"),
        ("a: mask_threshold=0.7", "mask_threshold cannot differ"),
        ("cutout: esrgan_stage=after", "esrgan_stage cannot differ"),
        (";".join("abcdefgh"), "9 are more than 8"),
    ],
)
def test_what_is_wrong_is_named(text, problem):
    with pytest.raises(InvalidOptions, match=problem):
        parse_outputs(text, BASE)


@given(st.text(max_size=80))
def test_any_text_gives_outputs_or_says_what_is_wrong(text):
    try:
        specs = parse_outputs(text, BASE)
    except InvalidOptions:
        return
    assert specs[0].role == "cutout"
    network = [{n: t for n, t in spec.options.as_texts().items() if n not in AFTER_THE_NETWORK} for spec in specs]
    assert all(one == network[0] for one in network)
