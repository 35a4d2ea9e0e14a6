"""HDR pictures (PQ, HLG) as SDR ones: 203 nits become white, brighter light is compressed.

Source: ITU-R BT.2100-2 (EOTF of PQ; OETF and OOTF of HLG for a display of 1000 nits), BT.2408-7 (reference white of
203 nits), BT.2390-11 section 5.4.1 (the EETF's Hermite spline), applied to max(R, G, B) so that hues stay.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from shared import icc
from shared.colour import DISPLAY_P3, HLG, PRIMARIES, Cicp

REFERENCE_WHITE = 203.0  # nits
HLG_PEAK, HLG_GAMMA = 1000.0, 1.2  # nits of the nominal display, and its system gamma
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's primaries
M1, M2 = 2610 / 16384, 2523 / 4096 * 128
C1, C2, C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
PQ_PEAK = 10_000.0  # nits
BRIGHTEST = 99.99  # percentile of the light that is taken for the picture's peak: a few hot pixels do not count
BAND_PIXELS = 1 << 20
STEPS = 65_535  # of linear light, before it is encoded

FloatArray = NDArray[np.float32]


def tone_map(samples: NDArray[np.uint8] | NDArray[np.uint16], white: int, cicp: Cicp) -> NDArray[np.uint8]:
    """The picture in Display P3, 8 bits.

    samples: HxWx3, PQ or HLG by `cicp`, 0..white. Gives uint8, HxWx3.
    """
    height, width = samples.shape[:2]
    rows = max(1, BAND_PIXELS // width)
    bands = range(0, height, rows)
    table = _hlg_scene_light(white) if cicp.transfer == HLG else _pq_light(white)
    peaks = [_light(samples[top : top + rows], table, cicp).max(axis=2)[::2, ::2].ravel() for top in bands]
    peak = float(np.percentile(np.concatenate(peaks), BRIGHTEST))
    grid, scales = _compression(max(peak, REFERENCE_WHITE))
    to_p3 = (np.linalg.inv(icc.rgb_to_xyz(DISPLAY_P3)) @ icc.rgb_to_xyz(PRIMARIES[cicp.primaries])).astype(np.float32)
    encoding = _srgb_encoding()
    result = np.empty((height, width, 3), np.uint8)
    for top in bands:
        light = _light(samples[top : top + rows], table, cicp)
        scale = np.interp(light.max(axis=2), grid, scales).astype(np.float32)
        colours = cv2.transform(light * scale[..., None], to_p3)
        steps = np.clip(colours * (STEPS / REFERENCE_WHITE) + 0.5, 0, STEPS).astype(np.uint16)
        result[top : top + rows] = encoding[steps]
    return result


def _light(samples: NDArray[np.uint8] | NDArray[np.uint16], table: FloatArray, cicp: Cicp) -> FloatArray:
    """Nits on the display."""
    light = table[samples]
    if cicp.transfer == HLG:
        luminance = light @ LUMINANCE
        light *= (HLG_PEAK * np.power(np.maximum(luminance, 1e-6), HLG_GAMMA - 1))[..., None]
    return light


def _pq_light(white: int) -> FloatArray:
    """Nits of each code value 0..white."""
    return _pq_to_nits(np.linspace(0, 1, white + 1)).astype(np.float32)


def _hlg_scene_light(white: int) -> FloatArray:
    """Scene light, 0..1, of each code value 0..white."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    signal = np.linspace(0, 1, white + 1)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12).astype(np.float32)


def _pq_to_nits(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    power = np.power(signal, 1 / M2)
    return PQ_PEAK * np.power(np.maximum(power - C1, 0) / (C2 - C3 * power), 1 / M1)


def _nits_to_pq(nits: NDArray[np.float64]) -> NDArray[np.float64]:
    power = np.power(nits / PQ_PEAK, M1)
    return np.power((C1 + C2 * power) / (1 + C3 * power), M2)


def _compression(peak: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nits, and the factor by which light of that brightness is dimmed, so that `peak` becomes REFERENCE_WHITE."""
    source = float(_nits_to_pq(np.array(peak)))
    signal = np.linspace(0, 1, 1025)  # of PQ, relative to the picture's peak
    largest = float(_nits_to_pq(np.array(REFERENCE_WHITE)) / source)
    knee = 1.5 * largest - 0.5
    t = (signal - knee) / max(1 - knee, 1e-9)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * largest
    mapped = np.where(signal < knee, signal, spline)
    nits = _pq_to_nits(signal * source)
    scales = _pq_to_nits(np.minimum(mapped * source, 1)) / np.maximum(nits, 1e-9)
    scales[0] = scales[1]
    return np.append(nits, PQ_PEAK * 1.01), np.append(scales, REFERENCE_WHITE / (PQ_PEAK * 1.01))


def _srgb_encoding() -> NDArray[np.uint8]:
    """8 bits of each step of linear light."""
    light = np.arange(STEPS + 1) / STEPS
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.asarray(np.rint(encoded * 255), np.uint8)
