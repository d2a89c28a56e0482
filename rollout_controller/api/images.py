"""Container images whose tag (or digest, or any part) is the version: written, and read back."""

from __future__ import annotations

import re
from functools import lru_cache

PLACE = "{version}"
"""Where the version stands in a template such as `registry.example.com/triton:{version}`."""
MOST = 1024
"""Characters of an image that are looked at."""

_HOST = r"(?:\[[0-9a-fA-F:]+\]|[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?)(?::[0-9]+)?"
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_TAG = r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}"
_DIGEST = r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[0-9a-fA-F]{32,128}"
_IMAGE = re.compile(rf"(?P<repository>(?:{_HOST}/)?{_PART}(?:/{_PART})*)(?::{_TAG})?(?:@{_DIGEST})?")
"""The grammar of the OCI distribution specification, as registries and container runtimes read references."""
_PROBES = ("1", "0" * 64)
"""Versions that stand in for any: one for tags, one for digests."""


def is_template(text: str) -> bool:
    """Whether some version makes an image of it."""
    return PLACE in text and any(is_image(image_of(text, probe)) for probe in _PROBES)


def is_image(text: str) -> bool:
    """Whether a registry could have an image of that name."""
    return len(text) <= MOST and _IMAGE.fullmatch(text) is not None


def image_of(template: str, version: str) -> str:
    """The image that holds `version`; whether it can be one is `is_image`."""
    return template.replace(PLACE, version)


def version_of(template: str, image: str) -> str | None:
    """The version that makes `image` out of the template; None: no version does.

    A digest behind the tag (`triton:2@sha256:...`) is taken as a pin of that same version.
    """
    image = image if "@" in template else image.partition("@")[0]
    found = _pattern(template).fullmatch(image[:MOST])
    return found["version"] if found else None


@lru_cache(maxsize=1024)
def _pattern(template: str) -> re.Pattern[str]:
    """Asked for several times a turn of every rollout with images: making its text takes ten times as long as the match."""
    first, *others = (re.escape(part) for part in template.split(PLACE))
    return re.compile(first + "(?P<version>[-A-Za-z0-9_.+]+)" + others[0] + "".join(f"(?P=version){part}" for part in others[1:]))


def same_repository(template: str, image: str) -> bool:
    """Whether an image comes from the template's repository, whatever its version."""
    if version_of(template, image) is not None:
        return True
    there = _IMAGE.fullmatch(image[:MOST])
    mine = {found["repository"] for probe in _PROBES if (found := _IMAGE.fullmatch(image_of(template, probe)))}
    return there is not None and mine == {there["repository"]}
