"""What a feature is, on paper: its specification. The computation stands beside it in the family's file."""

from typing import NamedTuple

__all__ = ["Feature"]


class Feature(NamedTuple):
    """One column of the feature vector.

    ``low`` and ``high`` bound the value; ``missing`` says when it is NaN; ``direction`` is +1 where more of
    it can only be more suspicious (a monotone constraint of the classifier), 0 where that is not known.
    """

    name: str
    unit: str
    low: float
    high: float
    missing: str
    why: str
    direction: int = 0
    family: str = ""
