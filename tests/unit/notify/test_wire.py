"""Secrets as they are mounted."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout_controller.notify.wire import MountedSecret, SecretProblem


@pytest.mark.parametrize("text", ["\ufeffxoxb-1", "xoxb-1\u201d", "two words", ""])
def test_what_no_header_can_carry_is_a_problem_of_the_secret_and_is_not_shown(tmp_path: Path, text: str) -> None:
    """Before, a token saved with a byte order mark ended the target's thread, and with it the process."""
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SecretProblem) as met:
        MountedSecret(path, lambda _: None).read()
    assert "xoxb" not in str(met.value)
    path.write_text("xoxb-2\n", encoding="utf-8")
    assert MountedSecret(path, lambda _: None).read() == "xoxb-2"
