"""How alike two images are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of the scales from fine to coarse, as Wang et al. found them with observers."""
C1, C2 = 0.01**2, 0.03**2
"""Their (K L)^2, for values in [0, 1]."""
LEAST = 1e-4
"""A mean contrast-structure below this counts as this: it may be negative, which has no power."""


def blurred(x: Tensor, window: int) -> Tensor:
    """Images (B, C, H, W) weighed by a Gaussian window of deviation 1.5 and sum 1, where it fits."""
    places = torch.arange(window, dtype=x.dtype, device=x.device) - (window - 1) / 2
    kernel = (-0.5 * (places / 1.5).square()).softmax(0).expand(x.shape[1], 1, 1, window)
    across = F.conv2d(x, kernel, groups=x.shape[1])
    return F.conv2d(across, kernel.mT, groups=x.shape[1])


def structural_similarity(x: Tensor, y: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """(B, C) each: the means over an image of luminance x contrast x structure, and of contrast x structure.

    Wang et al. 2004, doi:10.1109/TIP.2003.819861, equation 13, and 9 times 10 with C3 = C2 / 2.
    """
    mean_x, mean_y = blurred(x, window), blurred(y, window)
    variances = blurred(x.square() + y.square(), window) - mean_x.square() - mean_y.square()
    covariance = blurred(x * y, window) - mean_x * mean_y
    contrast = (2 * covariance + C2) / (variances + C2)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))


def multi_scale_similarity(x: Tensor, y: Tensor, scales: int, window: int) -> Tensor:
    """(B,): MS-SSIM of images (B, C, H, W) in [0, 1], 1 where they are equal; the mean over channels.

    `prod_j contrast_j^w_j` over the scales, each half as large as the one before, the last one with its luminance too
    (Wang et al. 2003, doi:10.1109/ACSSC.2003.1292216, equation 7). The weights of fewer than five scales are brought to
    the sum 1.
    """
    weights = [w / sum(SCALE_WEIGHTS[:scales]) for w in SCALE_WEIGHTS[:scales]]
    total = torch.ones_like(x[:, :, 0, 0])
    for scale, weight in enumerate(weights):
        whole, contrast = structural_similarity(x, y, window)
        last = scale == scales - 1
        total = total * (whole if last else contrast).clamp(min=LEAST).pow(weight)
        if not last:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total.mean(1)
