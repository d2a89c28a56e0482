"""A report shows what it is given and runs nothing of it: hostile text stays text, in the page and in the picture."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from rollout_controller.report.chart import stack, svg
from rollout_controller.report.model import (
    Band,
    Cell,
    Grid,
    Harm,
    Line,
    Mark,
    Panel,
    Report,
    Section,
    Timeline,
    Weights,
)
from rollout_controller.report.page import html
from rollout_controller.report.scale import TimeAxis, value_axis
from rollout_controller.report.text import cut, esc, prose, since

HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & ]]> \x00\x1b[31m\ud800"


def timeline(text: str) -> Timeline:
    return Timeline(
        title=text,
        start=100.0,
        end=160.0,
        weights=(Weights(text, ((100.0, 100), (120.0, 75))), Weights("2", ((120.0, 25),))),
        panels=(
            Panel(
                text, "percent", (Line("canary", text, ((101.0, 0.0), (102.0, 1.0), (103.0, None), (110.0, 0.2))),), 0.01, text
            ),
            Panel("p95", "ms", (Line("stable", "stable", ((101.0, 3.0), (150.0, 2500.0))),), 100.0, "at most 100 ms"),
        ),
        marks=(Mark(110.0, "Code", text, "bad"), Mark(110.2, "Code", "near", "good"), Mark(150.0, "Code", "far")),
        bands=(Band(105.0, 155.0, text, text, "warn"), Band(156.0, 156.1, "tiny", "t")),
        harms=(Harm(110.0, 115.5),),
    )


def report(text: str) -> Report:
    grid = Grid((Cell(text), Cell("n", right=True)), ((Cell(text, "bad"), Cell("1", right=True)),))
    section = Section(text, text, "good", text, ((text, text),), (grid,))
    return Report(
        title=text,
        headline=text,
        headline_tone="good",
        intro=text,
        timeline=timeline(text),
        summary=grid,
        sections=(section,),
        made=((text, text),),
        documents=((text, text),),
    )


class Tags(HTMLParser):
    """Which elements and attributes a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += attrs


def test_hostile_text_makes_no_element_and_no_attribute() -> None:
    harmless, hostile = Tags(), Tags()
    harmless.feed(html(report("text")))
    hostile.feed(html(report(HOSTILE)))
    assert hostile.elements == harmless.elements
    assert {name for name, _ in hostile.attributes} == {name for name, _ in harmless.attributes}
    assert not {"script", "img", "iframe", "link", "object"} & hostile.elements
    assert not any(name.startswith("on") for name, _ in hostile.attributes)


def test_the_page_loads_nothing_from_anywhere() -> None:
    page = html(report("text"))
    assert "default-src &#x27;none&#x27;" in page
    assert not re.findall(r"(?:src|href)=|url\(|@import", page)
    assert set(re.findall(r"https?://[^\"'<> ]+", page)) == {"http://www.w3.org/2000/svg"}


@pytest.mark.parametrize("text", ["text", HOSTILE])
def test_the_picture_is_well_formed_alone(text: str) -> None:
    root = ET.fromstring(svg(timeline(text), standalone=True))
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme:dark" in ET.tostring(root, encoding="unicode")


def test_marks_are_numbered_as_in_the_legend() -> None:
    page = html(report("text"))
    assert re.findall(r'class="num">(\d)</text>', page) == ["1", "2", "3"]
    assert re.findall(r'class="dot \w+">(\d)</span>', page) == ["1", "2", "3"]


def test_heads_that_would_overlap_stand_on_different_rows() -> None:
    heads = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="8"', svg(timeline("x"), standalone=False))
    places = [(float(x), float(y)) for x, y in heads]
    assert len(places) == 3
    for n, (x, y) in enumerate(places):
        assert all(abs(x - other) >= 16 or y != row for other, row in places[n + 1 :])


def test_an_empty_timeline_is_a_picture_too() -> None:
    empty = Timeline("nothing", 5.0, 5.0, (), (), (), ())
    ET.fromstring(svg(empty, standalone=True))
    bare = Timeline("nothing", 5.0, 9.0, (Weights("1", ()),), (Panel("errors", "percent", (), None, ""),), (), ())
    ET.fromstring(svg(bare, standalone=True))


def test_versions_stand_on_each_other_and_fill_what_they_have() -> None:
    weights = (Weights("1", ((0.0, 100), (10.0, 90), (20.0, 0))), Weights("2", ((10.0, 10), (20.0, 100))))
    (first, low), (second, high) = stack(weights, 0.0, 30.0)
    assert (first, second) == ("1", "2")
    assert low == [(0.0, 10.0, 0.0, 100.0), (10.0, 20.0, 0.0, 90.0), (20.0, 30.0, 0.0, 0.0)]
    assert high == [(0.0, 10.0, 100.0, 100.0), (10.0, 20.0, 90.0, 100.0), (20.0, 30.0, 0.0, 100.0)]


def test_axes_hold_their_values_and_the_limit() -> None:
    for unit, values, limit in (
        ("percent", [0.0, 0.3], 0.01),
        ("percent", [], 0.01),
        ("ms", [4.0, 2400.0], 100.0),
        ("ms", [], None),
    ):
        axis = value_axis(unit, values, limit, top=10.0, height=100.0)  # type: ignore[arg-type]
        for value in [*values, *([limit] if limit else [])]:
            assert 10.0 < axis.y(value) <= 110.0
        places = [axis.y(value) for value, _ in axis.ticks()]
        assert places == sorted(places, reverse=True)
        assert len(places) >= 2
    assert len(TimeAxis(0.0, 100.0, 0.0, 500.0).ticks()) <= 13
    assert TimeAxis(0.0, 0.0, 0.0, 500.0).x(0.0) == 0.0


def test_words() -> None:
    assert esc("<a href=\"x\" t='y'>&") == "&lt;a href=&quot;x&quot; t=&#x27;y&#x27;&gt;&amp;"
    assert esc("a\x00b\x1bc\td") == "a\ufffdb\ufffdc\td"
    assert prose("5.2 % in 3 s of 100 ms, 4 slots") == "5.2\u00a0% in 3\u00a0s of 100\u00a0ms, 4 slots"
    assert cut("abcdef", 4) == "abc…"
    assert [since(s) for s in (-1, 7, 151, 3725)] == ["0:00", "0:07", "2:31", "1:02:05"]
