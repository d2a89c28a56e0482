"""Images with a version in them: written, read back, and told apart from what is no image."""

from __future__ import annotations

from string import ascii_letters, digits

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_controller.api.images import image_of, is_image, is_template, same_repository, version_of
from tests.support.texts import LETTER

TAG = "registry.example.com:5000/vision/triton:{version}"
HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("template", "image", "version"),
    [
        (TAG, "registry.example.com:5000/vision/triton:2", "2"),
        (TAG, "registry.example.com:5000/vision/triton:2.51-py3", "2.51-py3"),
        (TAG, f"registry.example.com:5000/vision/triton:2@sha256:{HEX}", "2"),
        (TAG, "registry.example.com:5000/vision/triton", None),
        (TAG, "registry.example.com:5000/vision/tritonserver:2", None),
        (TAG, "registryXexample.com:5000/vision/triton:2", None),
        (TAG, "registry.example.com:5000/vision/triton:", None),
        ("triton:v{version}-gpu", "triton:v7-gpu", "7"),
        ("triton:v{version}-gpu", "triton:v7", None),
        ("triton@sha256:{version}", f"triton@sha256:{HEX}", HEX),
        ("triton-{version}:{version}", "triton-3:3", "3"),
        ("triton-{version}:{version}", "triton-3:4", None),
    ],
)
def test_the_version_of_an_image(template: str, image: str, version: str | None) -> None:
    assert version_of(template, image) == version
    if version is not None and "@" not in image.removeprefix(template.partition("{")[0]):
        assert image_of(template, version) == image


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("triton:{version}", True),
        ("nvcr.io/nvidia/tritonserver:{version}-py3", True),
        ("localhost:5000/triton:{version}", True),
        ("[2001:db8::1]:5000/triton:{version}", True),
        ("triton@sha256:{version}", True),
        ("models/{version}/triton:24.05", True),
        ("triton:1", False),
        ("Triton:{version}", False),
        ("triton:{version} ", False),
        ("triton:{version}{tag}", False),
        ("https://registry/triton:{version}", False),
        ("triton:-{version}", False),
        ("triton:{version}" + "x" * 200, False),
        ("a/" * 600 + "{version}", False),
    ],
)
def test_what_can_be_a_template(text: str, good: bool) -> None:
    assert is_template(text) is good


@pytest.mark.parametrize("version", ["1.0+build7", "x" * 129, "a b", ""])
def test_versions_that_make_no_image(version: str) -> None:
    assert not is_image(image_of(TAG, version))


@pytest.mark.parametrize(
    ("image", "same"),
    [
        ("registry.example.com:5000/vision/triton:latest", True),
        ("registry.example.com:5000/vision/triton", True),
        (f"registry.example.com:5000/vision/triton@sha256:{HEX}", True),
        ("registry.example.com/vision/triton:2", False),
        ("registry.example.com:5000/vision/triton-debug:2", False),
        ("not an image", False),
    ],
)
def test_images_of_one_repository(image: str, same: bool) -> None:
    assert same_repository(TAG, image) is same


LETTERS = ascii_letters + digits
ENDS = st.sampled_from(LETTERS)


@given(ENDS | st.builds("{}{}{}".format, ENDS, st.text(f"{LETTERS}-_.", max_size=60), ENDS))
def test_every_tag_comes_back(version: str) -> None:
    assert version_of(TAG, image_of(TAG, version)) == version
    assert is_image(image_of(TAG, version))


@given(st.text(LETTER, max_size=60))
def test_any_text_is_answered(text: str) -> None:
    version_of(TAG, text)
    same_repository(TAG, text)
