"""mesh: what is read is Istio's meaning, what is patched is ours alone."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.api.names import Raw, mark_of
from rollout_controller.api.rollout import RolloutSpec
from rollout_controller.cluster.patch import apply_patch
from rollout_controller.cluster.store import Conflict
from rollout_controller.mesh import RouteProblem, lacks, patch_weights, read_mark, read_weights

ANNOTATION = mark_of("resnet50")
MARK = {"attempt": "a1", "step": 0, "weight": 10, "phase": "Progressing", "slot": "green"}


def spec(http: Any = "resnet50", **slots: Any) -> RolloutSpec:
    return RolloutSpec.model_validate(
        {
            "policy": "balanced",
            "route": {"virtualService": "triton", "http": http},
            "slots": slots or {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
        }
    )


def to(host: str, weight: Any = None, subset: Any = None, **more: Any) -> Raw:
    destination = {"host": host, **({"subset": subset} if subset else {})}
    return {"destination": destination, **({} if weight is None else {"weight": weight}), **more}


def http(*route: Raw, name: str | None = "resnet50", **more: Any) -> Raw:
    return {**({"name": name} if name else {}), "route": list(route), **more}


def document(*routes: Raw, **metadata: Any) -> Raw:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "triton", "namespace": "vision", "resourceVersion": "7", **metadata},
        "spec": {"hosts": ["*"], "http": list(routes)},
    }


@pytest.mark.parametrize(
    ("route", "blue"),
    [
        ((to("triton-blue", 100), to("triton-green", 0)), 100),
        ((to("triton-green", 25), to("triton-blue", 75)), 75),
        ((to("triton-blue", 100), to("triton-green")), 100),
        ((to("triton-blue", 3), to("triton-green", 1)), 75),
        ((to("triton-blue", 1), to("triton-green", 2)), 33),
        ((to("triton-blue", 1), to("triton-green", 9999)), 1),
        ((to("triton-blue", 9999), to("triton-green", 1)), 99),
        ((to("triton-blue", 2**31 - 1), to("triton-green", 2**31 - 1)), 50),
        ((to("triton-blue"),), 100),
        ((to("triton-blue", 0),), 100),
        ((to("triton-green", 1),), 0),
        ((to("triton-blue", 90), to("triton-green", 10), to("third", 0)), 90),
    ],
)
def test_weights_are_read_as_istio_means_them(route: tuple[Raw, ...], blue: int) -> None:
    assert read_weights(spec(), document(http(*route))) == {"blue": blue, "green": 100 - blue}


def test_a_subset_is_part_of_a_destination() -> None:
    slots = {"v1": {"host": "triton", "subset": "v1"}, "v2": {"host": "triton", "subset": "v2"}}
    route = http(to("triton", 0, "v2"), to("triton", 100, "v1"))
    assert read_weights(spec(**slots), document(route)) == {"v1": 100, "v2": 0}
    with pytest.raises(RouteProblem, match="no destination 'triton-blue'"):
        read_weights(spec(), document(http(to("triton-blue", 100, "v1"), to("triton-green", 0))))


def test_the_route_may_be_left_unnamed_when_only_one_has_the_destinations() -> None:
    ours = http(to("triton-blue", 90), to("triton-green", 10), name=None)
    odd: list[Raw] = [http(to("other")), {"redirect": {"uri": "/"}}, {"name": "odd", "route": [{"weight": 5}]}]
    assert read_weights(spec(None), document(*odd, ours)) == {"blue": 90, "green": 10}
    assert read_weights(spec(None), document(ours, http(to("triton-blue"), name="x"))) == {"blue": 90, "green": 10}


@pytest.mark.parametrize(
    ("of", "broken", "code", "words"),
    [
        (spec(), document(), "not-found", "no http routes"),
        (spec("r"), document(http(to("a")), http(to("b"), name="c")), "not-found", "no http route 'r'; there is 'resnet50', 'c'"),
        (spec("r"), document(http(to("a"), name=None)), "not-found", "none of its 1 http routes has a name"),
        (spec(), document(http()), "not-found", "has no destinations"),
        (spec(), document(http({"weight": 5})), "not-found", "route[0] has no destination"),
        (
            spec(),
            document(http(to("a", 1), to("b", 1))),
            "not-found",
            "no destination 'triton-blue' for slot blue; there is 'a', 'b'",
        ),
        (spec(), document(http(to("triton-blue", 1), to("b", 0))), "not-found", "'triton-green' for slot green"),
        (spec(), document(http(to("triton-blue", 1), to("triton-green", 1), to("third", 1))), "invalid", "'third' too"),
        (spec(), document(http(to("triton-blue", 0), to("triton-green", 0))), "weights", "sum to 0"),
        (spec(), document(http(to("triton-blue"), to("triton-green"))), "weights", "sum to 0"),
        (spec(), document(http(to("triton-blue", 5), to("triton-blue", 5), to("triton-green", 5))), "invalid", "2 times"),
        (spec(), document(http(to("triton-blue", -5), to("triton-green", 5))), "weights", "-5 is no weight"),
        (spec(), document(http(to("triton-blue", "5"), to("triton-green", 5))), "weights", "'5' is no weight"),
        (spec(), document(http(to("triton-blue", True), to("triton-green", 5))), "weights", "True is no weight"),
        (spec(), document(http(to("triton-blue")), http(to("triton-blue"))), "invalid", "2 http routes are named"),
        (
            spec(None),
            document(http(to("triton-blue"), to("triton-green")), http(to("triton-green"), to("triton-blue"), name=None)),
            "invalid",
            "several http routes have the slots' destinations (http route 'resnet50', spec.http[1])",
        ),
        (
            spec(None),
            document(http(to("other"))),
            "not-found",
            "no http route has the destinations 'triton-blue' and 'triton-green'",
        ),
    ],
)
def test_what_is_wrong_with_a_route_is_said(of: RolloutSpec, broken: Raw, code: str, words: str) -> None:
    with pytest.raises(RouteProblem) as caught:
        read_weights(of, broken)
    assert caught.value.code == code
    assert words in caught.value.sentence


def test_a_patch_tests_what_was_read_and_writes_only_what_is_ours() -> None:
    read = document(http(to("triton-blue", 100), to("triton-green")), annotations={ANNOTATION: "old"})
    assert patch_weights(spec(), read, {"blue": 90, "green": 10}, ANNOTATION, MARK) == [
        {"op": "test", "path": "/spec/http/0/name", "value": "resnet50"},
        {"op": "test", "path": "/spec/http/0/route", "value": read["spec"]["http"][0]["route"]},
        {"op": "test", "path": "/metadata/annotations/rollouts.triton.dev~1mark.resnet50", "value": "old"},
        {
            "op": "replace",
            "path": "/metadata/annotations/rollouts.triton.dev~1mark.resnet50",
            "value": json.dumps(MARK, separators=(",", ":")),
        },
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90},
        {"op": "add", "path": "/spec/http/0/route/1/weight", "value": 10},
    ]


def change(op: str, path: str, value: Any = None) -> list[dict[str, Any]]:
    return [{"op": op, "path": path, **({} if op == "remove" else {"value": value})}]


@pytest.mark.parametrize(
    ("meanwhile", "conflict"),
    [
        (change("replace", "/spec/http/0/route/0/weight", 50), True),
        (change("remove", "/spec/http/0/route/0/weight"), True),
        (change("replace", "/spec/http/0/route/1/destination/host", "other"), True),
        (change("add", "/spec/http/0/route/2", to("third", 5)), True),
        (change("add", "/spec/http/0", http(to("a"), name="before")), True),
        (change("replace", "/metadata/annotations/rollouts.triton.dev~1mark.resnet50", "another controller's"), True),
        (change("replace", "/spec/hosts", ["other"]), False),
        (change("add", "/spec/http/0/timeout", "3s"), False),
        (change("add", "/spec/http/1", http(to("a"), name="after")), False),
        (change("add", "/metadata/annotations/a", "b"), False),
    ],
)
def test_only_what_matters_stands_in_the_way_of_a_patch(meanwhile: list[dict[str, Any]], conflict: bool) -> None:
    read = document(http(to("triton-blue", 100), to("triton-green", 0)), annotations={ANNOTATION: "{}"})
    patch = patch_weights(spec(), read, {"blue": 90, "green": 10}, ANNOTATION, MARK)
    now = apply_patch(read, meanwhile, "it")
    if conflict:
        with pytest.raises(Conflict):
            apply_patch(now, patch, "it")
    else:
        assert read_weights(spec(), apply_patch(now, patch, "it")) == {"blue": 90, "green": 10}


def test_a_route_whose_weights_were_made_unusable_can_be_mended() -> None:
    for broken in (http(to("triton-blue", 0), to("triton-green", 0)), http(to("triton-blue", "x"), to("triton-green", -1))):
        read = document(broken)
        with pytest.raises(RouteProblem) as caught:
            read_weights(spec(), read)
        assert caught.value.code == "weights", "writing them mends it"
        mended = apply_patch(read, patch_weights(spec(), read, {"blue": 100, "green": 0}, ANNOTATION, MARK), "it")
        assert read_weights(spec(), mended) == {"blue": 100, "green": 0}


@pytest.mark.parametrize(
    ("name", "annotation"),
    [("a", "rollouts.triton.dev/mark.a"), ("a" * 58, f"rollouts.triton.dev/mark.{'a' * 58}"), ("b." * 126 + "b", None)],
)
def test_each_rollout_has_a_mark_of_its_own_whose_name_kubernetes_takes(name: str, annotation: str | None) -> None:
    assert annotation in {None, mark_of(name)}
    assert len(mark_of(name).partition("/")[2]) <= 63
    assert mark_of(name) != mark_of(f"{name}b")
    assert mark_of(name)[-1].isalnum()


def test_a_lone_destination_can_be_read_and_says_what_it_lacks() -> None:
    lone = document(http(to("triton-blue", 100)))
    assert read_weights(spec(), lone) == {"blue": 100, "green": 0}
    assert lacks(spec(), lone) == (
        "http route 'resnet50' has no destination 'triton-green' for slot green; there is 'triton-blue': add it with weight 0"
    )
    assert lacks(spec(), document(http(to("triton-blue", 100), to("triton-green", 0)))) is None


def test_a_missing_destination_is_not_added() -> None:
    with pytest.raises(RouteProblem, match="no destination 'triton-green' for slot green"):
        patch_weights(spec(), document(http(to("triton-blue", 100))), {"blue": 100, "green": 0}, ANNOTATION, MARK)


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "7", '"x"', "[" * 5000, 5, {"a": 1}])
def test_a_garbled_mark_is_none(text: Any) -> None:
    assert read_mark(document(annotations={ANNOTATION: text}), ANNOTATION) is None
    assert read_mark(document(), ANNOTATION) is None
    assert read_mark({"metadata": text}, ANNOTATION) is None


# properties

TEXT = 'ab~/."\u00e9\u4e16'
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(TEXT, max_size=8)
garbage: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["http", "route", "name", "destination", "host", "weight", "metadata", "annotations", "spec", "subset"]
            )
            | st.text(TEXT, max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)
hosts = st.sampled_from(["triton-blue", "triton-green", "third"])
entries = st.fixed_dictionaries({"destination": st.fixed_dictionaries({"host": hosts | garbage})}, optional={"weight": garbage})
routes = st.fixed_dictionaries(
    {"route": st.lists(entries | garbage, max_size=3) | garbage}, optional={"name": st.just("resnet50") | garbage}
)
annotation_maps: st.SearchStrategy[Any] = st.dictionaries(
    st.text(TEXT, max_size=9) | st.just(ANNOTATION), st.text(TEXT, max_size=9), max_size=3
)


@st.composite
def good_documents(draw: st.DrawFn) -> Raw:
    """VirtualServices with the two destinations somewhere in them, and much else."""
    weights = draw(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)).filter(any))
    more = st.fixed_dictionaries({}, optional={"headers": garbage, "x": garbage})
    ours = [to("triton-blue", weights[0], **draw(more)), to("triton-green", weights[1] or None, **draw(more))]
    ours += draw(st.lists(st.just(to("third", 0)), max_size=1))
    made = [http(*draw(st.permutations(ours)), timeout=draw(garbage))]
    made += draw(st.lists(routes.filter(lambda route: route.get("name") != "resnet50"), max_size=3))
    metadata: Raw = {} if draw(st.booleans()) else {"annotations": draw(annotation_maps)}
    return document(*draw(st.permutations(made)), **metadata)


@settings(deadline=None)
@given(good_documents(), st.integers(0, 100))
def test_what_is_patched_is_read_back_and_nothing_else_changes(read: Raw, blue: int) -> None:
    before = copy.deepcopy(read)
    weights = {"blue": blue, "green": 100 - blue}
    assert sum(read_weights(spec(), read).values()) == 100
    after = apply_patch(read, patch_weights(spec(), read, weights, ANNOTATION, MARK), "it")
    assert read == before
    assert read_weights(spec(), after) == weights
    assert read_mark(after, ANNOTATION) == MARK
    for version in (before, after):
        version["metadata"].setdefault("annotations", {}).pop(ANNOTATION, None)
        for route in version["spec"]["http"]:
            if isinstance(route, dict) and route.get("name") == "resnet50":
                for entry in route["route"]:
                    entry.pop("weight", None) if entry["destination"]["host"] != "third" else None
    assert after == before


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"metadata": garbage, "spec": garbage | st.fixed_dictionaries({"http": st.lists(routes)})}
    ),
    st.sampled_from(["resnet50", None]),
)
def test_garbage_is_a_route_problem_and_never_another_error(garbled: Raw, name: str | None) -> None:
    read_mark(garbled, ANNOTATION)
    for call in (
        lambda: read_weights(spec(name), garbled),
        lambda: patch_weights(spec(name), garbled, {"blue": 0, "green": 100}, ANNOTATION, MARK),
    ):
        with contextlib.suppress(RouteProblem):
            call()
