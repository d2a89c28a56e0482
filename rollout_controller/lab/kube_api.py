"""A small client for setting up an API server: any call, and apply. Tests look through it at what the product did."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

Document = dict[str, Any]

CALL_TIMEOUT_S = 30.0
ESTABLISH_TIMEOUT_S = 30.0
MANAGER = "lab"


class KubeRefused(RuntimeError):
    """The API server answered with an error. `status` is HTTP's; 0: it did not answer in time."""

    def __init__(self, what: str, status: int, answer: str) -> None:
        self.status = status
        super().__init__(f"{what} answered {status}: {answer[:2000]}")


class KubeApi:
    """Calls as one user (a bearer token)."""

    def __init__(self, url: str, ca: Path, token: str) -> None:
        self.url, self._token = url, token
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Document:
        """The answer's document. Raises KubeRefused."""
        url = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type, "Accept": accept}
        request = urllib.request.Request(url, data=data, method=method, headers=headers)  # noqa: S310 - our own server
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise KubeRefused(f"{method} {path}", error.code, error.read().decode(errors="replace")) from None
        except (OSError, HTTPException) as error:
            raise KubeRefused(f"{method} {path}", 0, str(error)) from error
        return json.loads(text) if text[:1] == b"{" else {"text": text.decode()}

    def get(self, path: str, **query: str) -> Document:
        return self.call("GET", path, query=query)

    def apply(self, *sources: Path | Document, namespace: str = "default") -> list[Document]:
        """Server-side apply of documents, of YAML files, and of directories of them; CRDs are waited for.

        `namespace` is for namespaced documents that name none. Raises KubeRefused.
        """
        applied = []
        for document in documents(sources):
            path = self.path_of(document, namespace)
            query = {"fieldManager": MANAGER, "force": "true"}
            done = self.call("PATCH", path, document, query=query, content_type="application/apply-patch+yaml")
            if document["kind"] == "CustomResourceDefinition":
                self._wait_established(path)
            applied.append(done)
        return applied

    def delete(self, document: Document, *, namespace: str = "default") -> None:
        self.call("DELETE", self.path_of(document, namespace))

    def read(self, document: Document, *, namespace: str = "default") -> Document:
        """The document of that kind and name as it is now."""
        return self.get(self.path_of(document, namespace))

    def path_of(self, document: Document, namespace: str = "default") -> str:
        """Where that document is kept. Raises KubeRefused where its kind is not known to the server."""
        version, kind, meta = document["apiVersion"], document["kind"], document["metadata"]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        plural, namespaced = self._plural(base, version, kind)
        middle = f"/namespaces/{meta.get('namespace', namespace)}" if namespaced else ""
        return f"{base}{middle}/{plural}/{meta['name']}"

    def _plural(self, base: str, version: str, kind: str) -> tuple[str, bool]:
        """A kind just established may be missing from the group's list for a moment."""
        deadline = time.monotonic() + ESTABLISH_TIMEOUT_S
        while (version, kind) not in self._plurals:
            try:
                found = self.get(base)["resources"]
            except KubeRefused as error:
                if error.status != 404:
                    raise
                found = []
            self._plurals |= {(version, r["kind"]): (r["name"], r["namespaced"]) for r in found if "/" not in r["name"]}
            if (version, kind) not in self._plurals:
                if time.monotonic() > deadline:
                    raise KubeRefused(f"GET {base}", 404, f"it has no kind {kind}")
                time.sleep(0.1)
        return self._plurals[version, kind]

    def _wait_established(self, path: str) -> None:
        deadline = time.monotonic() + ESTABLISH_TIMEOUT_S
        while True:
            conditions = self.get(path).get("status", {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return
            if time.monotonic() > deadline:
                raise KubeRefused(f"GET {path}", 200, f"not established after {ESTABLISH_TIMEOUT_S:g} s: {conditions}")
            time.sleep(0.05)


def documents(sources: Iterable[Path | Document]) -> Iterator[Document]:
    """The documents in these files and directories (by name), in order; empty ones are left out."""
    for source in sources:
        if isinstance(source, dict):
            yield source
            continue
        for path in sorted(source.glob("*.yaml")) if source.is_dir() else [source]:
            yield from (document for document in yaml.load_all(path.read_text(), Loader=_LOADER) if document)


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Istio's CRDs are 900 kB: the loader in C takes a second, the other one twenty."""
