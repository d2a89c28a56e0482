"""What the CRDs refuse, the types refuse: a document that works locally works on a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.crd import rules
from tests.support.bad_documents import BAD, Bad


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_types_refuse_it(bad: Bad) -> None:
    kind: Any = RolloutPolicy if bad.kind == "RolloutPolicy" else TritonRollout
    with pytest.raises(InvalidDocument) as caught:
        parse(kind, bad.document("n"))
    field = bad.field.replace("[green]", ".green").replace("[blue]", ".blue")
    paths = [error.path for error in caught.value.errors]
    assert any(path.startswith(field) or field.startswith(path) for path in paths), (field, paths)


def test_every_rule_has_a_document_that_breaks_it() -> None:
    said = {bad.words for bad in BAD}
    places = {*rules.POLICY_RULES, *rules.ROLLOUT_RULES}
    wanted = {rule.message for place in places for rule in rules.rules_at(place)}
    wanted |= {rule.message for found in rules.BY_PATTERN.values() for rule in found}
    assert wanted - said == set()
