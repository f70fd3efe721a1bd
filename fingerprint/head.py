"""The prompt head: linear over hashed n-grams with int8 weights; gives each prompt its capabilities and likeness.

Training lives in ``training.head``; here are only the weights and how they are applied.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fingerprint.errors import BundleError
from fingerprint.kernels.layout import CAPABILITIES, HEAD_OUTPUTS
from fingerprint.kernels.text import GRAM_BUCKETS

__all__ = ["Head"]


@dataclass(frozen=True, eq=False)
class Head:
    """Weights of the prompt head.

    ``weights`` is ``int8[GRAM_BUCKETS, 16]`` (13 outputs and padding to a power of two: one cache line holds
    four buckets); the logit of output j is ``bias[j] + scale[j] * sum of weights / sqrt(number of n-grams)``.
    """

    weights: NDArray[np.int8]
    scale: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, compact: NDArray[np.int8], info: dict[str, Any]) -> "Head":
        """From ``int8[GRAM_BUCKETS, 13]`` and the manifest's ``{"outputs", "scale", "bias"}``."""
        outputs = [*CAPABILITIES, "harvest_likeness"]
        if list(info.get("outputs", ())) != outputs or compact.shape != (GRAM_BUCKETS, HEAD_OUTPUTS):
            raise BundleError(
                f"expected a prompt head of {GRAM_BUCKETS} x {HEAD_OUTPUTS} for {outputs}, "
                f"got {compact.shape} for {info.get('outputs')}: export the bundle again with this version"
            )
        scale, bias = np.array(info["scale"], np.float64), np.array(info["bias"], np.float64)
        if compact.dtype != np.int8 or any(
            part.shape != (HEAD_OUTPUTS,) or not np.isfinite(part).all() for part in (scale, bias)
        ):
            raise BundleError(
                f"expected a prompt head of int8 weights with {HEAD_OUTPUTS} finite scales and biases, got "
                f"{compact.dtype}, {scale.shape} and {bias.shape}: export the bundle again with this version"
            )
        weights = np.zeros((GRAM_BUCKETS, 16), np.int8)
        weights[:, :HEAD_OUTPUTS] = compact
        return cls(weights, scale, bias)

    @classmethod
    def blank(cls) -> "Head":
        """A head that knows nothing: every prompt gets even capabilities and likeness zero."""
        zeros = np.zeros(HEAD_OUTPUTS)
        return cls(np.zeros((GRAM_BUCKETS, 16), np.int8), zeros, zeros)

    def compact(self) -> tuple[NDArray[np.int8], dict[str, Any]]:
        """The weights without padding and what the manifest says of them."""
        info = {
            "outputs": [*CAPABILITIES, "harvest_likeness"],
            "scale": self.scale.tolist(),
            "bias": self.bias.tolist(),
        }
        return np.ascontiguousarray(self.weights[:, :HEAD_OUTPUTS]), info
