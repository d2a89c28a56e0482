"""Any text, for properties."""

from __future__ import annotations

from hypothesis import strategies as st

LETTER = st.characters(exclude_categories=["Cs"])
"""As by default, but for how: what UTF-8 can encode is worked out in 3 s by each process of a fresh checkout."""
