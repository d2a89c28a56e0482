"""What stable did before an attempt is what its own version did, not what ran in its slot before."""

from __future__ import annotations

from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import ObjectStore
from rollout_controller.controller.observe import BEFORE_S
from rollout_controller.core.explain.codes import Code
from tests.play import playing
from tests.world import Behaviour


def test_errors_of_a_version_that_was_rolled_back_are_no_fault_of_its_fix_in_the_same_slot(
    store: ObjectStore, namespace: str
) -> None:
    play = playing(store, namespace)
    play.world.behaviours |= {"bad": Behaviour(errors=1.0), "fix": Behaviour(), "next": Behaviour()}
    play.ask("bad")
    play.run_until_rest()
    assert play.status.phase is Phase.ROLLED_BACK
    ended = play.world.now
    play.ask("fix")
    play.reach(Phase.PROGRESSING)
    play.annotate(command="promote-full now")
    play.run_until_rest()
    assert str(play.status.phase) == "Succeeded"
    play.ask("next")
    assert play.world.now - ended < BEFORE_S, "what the bad version did is not forgotten yet"
    play.run(30)
    assert play.code != Code.STABLE_MISSES
    assert str(play.status.phase) == "Progressing"
