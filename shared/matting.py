"""Alpha that follows the image's own edges."""

import numpy as np
from numpy.typing import NDArray

from shared.local_colours import LocalColours
from shared.soft_pixels import Planes, Positions, Values, gather, gather_alpha, row_bands, sample, soft

NOISE_VARIANCE = 25.0**2  # squared levels of 255, over three channels: by how much colours differ for no reason
TEXTURE_WEIGHT = 6.0  # how many times the variance of a side's colours counts as noise


def refine_alpha(
    rgb: NDArray[np.uint8], alpha: NDArray[np.uint8], unknown: NDArray[np.uint8], colours: LocalColours
) -> NDArray[np.uint8]:
    """Alpha, pulled in the unknown band to where each pixel's colour lies between both sides' local colours.

    The more these differ, and the less they vary around the pixel, the stronger the pull; alpha stays if the image
    tells nothing. It is matting by sampled colours (Wang and Cohen, CVPR 2007) with means as the samples.

    rgb: uint8, HxWx3. alpha: uint8, HxW. unknown: uint8, HxW: the alpha from which `colours` were estimated, soft in
    the unknown band alone. Gives a new alpha, uint8, HxW.
    """
    refined = alpha.copy()
    foreground, background = (np.dstack([s.means, s.variance()]) for s in (colours.foreground, colours.background))
    step = colours.means_step
    for rows in row_bands(alpha.shape):
        band = refined[rows].reshape(-1)
        for at in Positions.of(soft(unknown[rows]), top=rows.start):
            prior = gather_alpha(alpha[rows], at)
            pull = _pull(
                gather(rgb[rows], at),
                prior,
                gather_alpha(unknown[rows], at),
                sample(foreground, step, at),
                sample(background, step, at),
            )
            band[at.index] = np.rint(np.clip(prior + pull, 0, 1) * 255)
    return refined


def _pull(pixels: Planes, prior: Values, unknown: Values, foreground: Planes, background: Planes) -> Values:
    """What to add to the prior: the least-squares step towards the line between both sides' means, damped by noise.

    foreground, background: 4xN, mean colour and its variance.
    """
    noise = NOISE_VARIANCE + TEXTURE_WEIGHT * (unknown**2 * foreground[3] + (1 - unknown) ** 2 * background[3])
    apart = foreground[:3] - background[:3]
    error = pixels - background[:3]
    error -= prior * apart
    error *= apart
    apart *= apart
    pull: Values = error.sum(axis=0) / (apart.sum(axis=0) + noise)
    return pull
