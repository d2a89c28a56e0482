"""YAML that people write: every trap has a sentence with its line."""

from __future__ import annotations

import pytest

from rollout_controller.api.documents import MOST_BYTES, load_documents, text_of
from rollout_controller.api.errors import FieldError, InvalidDocument

GOOD = """\
# two documents
apiVersion: rollouts.triton.dev/v1alpha1
kind: TritonRollout
metadata:
  name: resnet50
  annotations:
    rollouts.triton.dev/version: "2"
spec:
  slots:
    blue: {host: triton-blue}
---
---
kind: RolloutPolicy
spec:
  steps:
    - weight: 10
    - {weight: 100}
"""


def fault(text: str) -> FieldError:
    with pytest.raises(InvalidDocument) as caught:
        load_documents(text, "mine.yaml")
    return caught.value.errors[0]


def test_each_field_has_its_line() -> None:
    first, second = load_documents(GOOD, "mine.yaml")
    assert first.raw["metadata"]["annotations"] == {"rollouts.triton.dev/version": "2"}
    assert {path: first.lines[path] for path in ("", "kind", "metadata.annotations.rollouts.triton.dev/version")} == {
        "": 2,
        "kind": 3,
        "metadata.annotations.rollouts.triton.dev/version": 7,
    }
    assert first.lines["spec.slots.blue.host"] == 10
    assert (second.lines["spec.steps[0].weight"], second.lines["spec.steps[1]"]) == (16, 17)


@pytest.mark.parametrize(
    ("written", "read", "allowed"),
    [
        ("2", "2 is a number to YAML", 'write it in quotes: rollouts.triton.dev/version: "2"'),
        ("1.10", "1.10 is a number to YAML", 'write it in quotes: rollouts.triton.dev/version: "1.10"'),
        ("1e5", None, None),
        ("0x1F", "0x1F is a number to YAML", 'write it in quotes: rollouts.triton.dev/version: "0x1F"'),
        ("1:30", "1:30 is a number to YAML", 'write it in quotes: rollouts.triton.dev/version: "1:30"'),
        ("on", "on is true or false to YAML", 'write it in quotes: rollouts.triton.dev/version: "on"'),
        ("", "is empty", 'write it in quotes: rollouts.triton.dev/version: ""'),
        ("2026-01-31", None, None),
        ("v2", None, None),
    ],
)
def test_annotations_are_text(written: str, read: str | None, allowed: str | None) -> None:
    text = f"kind: X\nmetadata:\n  annotations:\n    rollouts.triton.dev/version: {written}\n"
    if read is None:
        assert load_documents(text, "f")[0].raw["metadata"]["annotations"]["rollouts.triton.dev/version"] == written
        return
    path = "metadata.annotations.rollouts.triton.dev/version"
    assert fault(text) == FieldError(path, read, allowed or "", "mine.yaml", 4)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: [\n", 3, "is not YAML: while parsing a flow node"),
        ("a:\n  b: 1\n c: 2\n", 3, "is not YAML"),
        ("a: b: c\n", 1, "is not YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", 2, "is not YAML: while scanning"),
        ("a: &x 1\nb: *y\n", 2, "is not YAML: found undefined alias 'y'"),
        ("a: !!python/object:os.system {}\n", 1, "could not determine a constructor"),
        ("a: 1\nb: 2\na: 3\n", 3, "is given twice"),
        ("spec:\n  http:\n  - name: x\n    name: y\n", 4, "is given twice"),
        ("- a\n", 1, "is no document"),
        ("text\n", 1, "is no document"),
        ("a: 1\n---\n- b\n", 3, "is no document"),
        ("spec: {1: x}\n", 1, "1 is a number to YAML"),
        ("spec: {? [a] : x}\n", 1, "a map or list as a field's name"),
        ("a: b\n\x00", 2, "is not YAML: character U+0000"),
        ("a: &a [*a, *a]\n", 1, "grows too big"),
        ("[" * 1200, None, "is not YAML: nested too deep"),
        ("a: " + "[" * 150 + "]" * 150, 1, "grows too big"),
    ],
)
def test_what_is_no_document_is_said_with_its_line(text: str, line: int | None, said: str) -> None:
    found = fault(text)
    assert said in found.read
    assert found.line == line
    assert found.file == "mine.yaml"


def test_a_merge_is_allowed_and_a_bomb_is_not() -> None:
    merged = load_documents("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\n", "f")[0].raw
    assert merged["y"] == {"a": 1, "b": 3}
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "grows too big" in fault("\n".join(levels)).read


def test_all_faults_of_a_file_are_told_at_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_documents("a: 1\na: 2\n---\nmetadata: {labels: {x: 5}}\n---\n- 1\n", "f")
    assert [(error.path, error.line) for error in caught.value.errors] == [("a", 2), ("metadata.labels.x", 4), ("", 6)]


@pytest.mark.parametrize(
    ("written", "number"),
    [("0x10", "16"), ("010", "8"), ("1_0", "10"), ("1:30", "90"), ("0b11", "3"), ("1_0.5", "10.5"), ("1:30.5", "90.5")],
)
def test_a_number_that_yaml_reads_otherwise_than_people(written: str, number: str) -> None:
    found = fault(f"spec:\n  weight: {written}\n")
    assert (found.path, found.line) == ("spec.weight", 2)
    assert found.read == f"{written} is the number {number} to YAML"
    assert found.allowed == f'{number}, or text in quotes: "{written}"'
    assert load_documents(f'spec: "{written}"', "f")[0].raw == {"spec": written}


@pytest.mark.parametrize("written", ["0", "10", "-5", "+5", "0.5", "1.0e+3", "100ms", "1d"])
def test_plain_numbers_and_times_are_taken(written: str) -> None:
    assert load_documents(f"spec: {written}", "f")


def test_what_is_given_twice_is_told_once() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_documents("a: [{b: 1}]\na: [{b: 2}]\n", "f")
    assert [error.path for error in caught.value.errors] == ["a"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("kind: X\n".encode("utf-16"), "UTF-16 or UTF-32"),
        ("kind: X\n".encode("utf-16-be"), "UTF-16 or UTF-32"),
        ("kind: X\n".encode("utf-32"), "UTF-16 or UTF-32"),
        ("a: 1\n# grüße\n".encode("latin-1"), "is not UTF-8: byte 0xfc in line 2"),
        (b"#" * (MOST_BYTES + 1), "more than 4 MiB"),
    ],
)
def test_what_is_no_text_of_ours(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        text_of(data)


def test_a_byte_order_mark_and_windows_lines_are_taken() -> None:
    assert load_documents(text_of(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n"), "f")[0].raw == {"a": 1, "b": 2}
