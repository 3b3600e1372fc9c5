"""Fetches one source archive of a project from the index that pip is configured with: NAME FILE DESTINATION."""

import os
import sys
from urllib.parse import urljoin

from pip._internal.configuration import Configuration
from pip._internal.models.index import PyPI
from pip._internal.network.session import PipSession


def main(name: str, file: str, destination: str) -> None:
    configuration = Configuration(isolated=False)
    configuration.load()
    settings = dict(configuration.items())
    index = settings.get(":env:.index-url") or settings.get("global.index-url") or PyPI.simple_url
    session = PipSession(retries=2)
    session.timeout = 60
    certificate = settings.get(":env:.cert") or settings.get("global.cert")
    if certificate:
        session.verify = certificate
    # PEP 691: the simple index as JSON.
    answer = session.get(f"{index.rstrip('/')}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    answer.raise_for_status()
    for found in answer.json()["files"]:
        if found["filename"] == file:
            archive = session.get(urljoin(answer.url, found["url"]), stream=True)
            archive.raise_for_status()
            with open(destination, "wb") as out:
                for chunk in archive.raw.stream(1 << 16, decode_content=False):
                    out.write(chunk)
            return
    sys.exit(f"the index has no {file} of {name}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(f"usage: {os.path.basename(sys.argv[0])} NAME FILE DESTINATION")
    main(*sys.argv[1:])
