"""What is remembered is rounded: short to write, and far below what is said."""

WHOLE = 1.5 * 2**52
"""Added to a number and taken away again, it leaves the nearest whole one (of two the even one), as `round` does, in a third of
its time: a float that large has no place for a fraction. From 2**51 on, where nothing of ours gets, it is coarser."""


def rounded(value: float, unit: float) -> float:
    """The nearest multiple of 1 / unit: with unit 1e6 as round(value, 6)."""
    return (value * unit + WHOLE - WHOLE) / unit
