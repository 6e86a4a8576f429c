"""Drawings compared as a reader sees them, for nbval.

Processors round differently: a coordinate of a drawing comes out as 104.081604 on one and 104.081561 on
another. No eye sees that, so two drawings are the same whose numbers differ by less than a hundredth of a
point, and that are the same in all else.
"""

import re
from collections.abc import Callable

SVG = "image/svg+xml"
COORDINATE = re.compile(r"-?\d+\.\d+")
SEEN = 0.01  # points, below which nobody sees a difference


def same_picture(drawn: str, stored: str) -> bool:
    """Whether two drawings differ in nothing but how their coordinates are rounded."""
    if COORDINATE.sub("", drawn) != COORDINATE.sub("", stored):
        return False
    pairs = zip(COORDINATE.findall(drawn), COORDINATE.findall(stored), strict=True)
    return all(abs(float(a) - float(b)) < SEEN for a, b in pairs)


def comparing_pictures(compare: Callable) -> Callable:
    """nbval's comparison of a cell's outputs, for which two drawings of the same are the same."""

    def compare_outputs(cell, test, ref, skip_compare=None):
        for drawn, stored in zip(test, ref, strict=False):
            pictures = drawn.get("data", {}), stored.get("data", {})
            if all(SVG in data for data in pictures) and same_picture(*("".join(d[SVG]) for d in pictures)):
                pictures[0][SVG] = pictures[1][SVG]
        return compare(cell, test, ref, skip_compare)

    return compare_outputs
