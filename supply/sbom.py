#!/usr/bin/env -S python3 -B
"""Writes what the server consists of as CycloneDX 1.6 in JSON: the crates and C libraries that are linked into it.

The same sources and libraries give the same bytes: the timestamp is SOURCE_DATE_EPOCH or the commit's, and the serial
number is derived from the content. cargo-cyclonedx knows neither the C libraries nor version 1.6.
"""

import argparse
import datetime
import hashlib
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path
from urllib.parse import quote

from audit import COLUMNS
from inputs import NATIVE, build, crates, fail, host, linked, output, table, toml

# Which library calls which: no table has that. All of them call glibc.
CALLS = {
    "libvips": ["expat", "glib", "highway", "lcms2", "libjpeg-turbo", "libspng", "libstdc++", "libwebp", "zlib-ng"],
    "glib": ["libffi", "pcre2"],
    "libspng": ["zlib-ng"],
    "libjxl": ["highway", "lcms2", "libstdc++"],
    "highway": ["libstdc++"],
}
# Architecture names of Rust's targets where Debian's differ.
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}
EXPRESSION = re.compile(r"\(*[\w.+-]+\)*( (AND|OR|WITH) \(*[\w.+-]+\)*)*")


def sources():
    """What is compiled from source: {name: (licence, [(kind, place, SHA-256 of the archive), ...])}."""
    found = {row["name"]: (row["licence"], []) for _, row in table(NATIVE / "sources.tsv", ["name", "version", "licence"])}
    for number, row in table(NATIVE / "places.tsv", ["name", "kind", "place", "sha256", "directory"]):
        if row["name"] not in found:
            fail(f"{NATIVE}/places.tsv:{number}: name: {row['name']!r} is not in sources.tsv")
        found[row["name"]][1].append((row["kind"], row["place"], row["sha256"]))
    return found


def archives():
    """What is linked as Debian's archive: {name: (licence, package, file names)}. rustc links glibc's."""
    columns = ["name", "package", "module", "archives", "licence"]
    found = {}
    for _, row in table(NATIVE / "archives.tsv", columns):
        files = [] if row["archives"] == "-" else [file.rstrip("?") for file in row["archives"].split()]
        found[row["name"]] = (row["licence"], row["package"], files)
    return found


def sha256(data):
    return [{"alg": "SHA-256", "content": data if isinstance(data, str) else hashlib.sha256(data).hexdigest()}]


def licences(text):
    """An SPDX expression, or the name of what is none."""
    text = re.sub(r"(?<=\w)/(?=\w)", " OR ", text)
    return [{"expression": text}] if EXPRESSION.fullmatch(text) else [{"license": {"name": text}}]


def component(name, version, purl, licence, **more):
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
            "licenses": licences(licence)} | more


def crate_components(target):
    """The crates that are linked for the target, and which calls which. Procedural macros and build scripts are not."""
    lock = {(package["name"], package["version"]): package for package in toml("Cargo.lock")["package"]}
    clarified = {entry["crate"]: entry["expression"] for entry in toml("deny.toml")["licenses"].get("clarify", [])}
    tree = crates(target, "normal,no-proc-macro")
    root = next(iter(tree))
    purls = {key: f"pkg:cargo/{key[0]}@{quote(key[1])}" for key in tree}
    components, calls = [], {}
    for key, (licence, below) in tree.items():
        calls[purls[key]] = [purls[other] for other in below]
        if key == root:
            continue
        licence = licence or clarified.get(key[0])
        if not licence:
            fail(f"{key[0]} {key[1]} names no licence: clarify it in deny.toml")
        components.append(component(*key, purls[key], licence, hashes=sha256(lock[key]["checksum"])))
    return purls[root], root, components, calls


def debian(package, version, target):
    """The purl of a Debian package, where the version is this machine's; else None. The epoch is part of it there,
    and its advisories are those of the source package."""
    arch = DEBIAN.get(target.partition("-")[0], target.partition("-")[0])
    query = ["dpkg-query", "-W", "-f", "${Version}\t${source:Package}\t${source:Version}\n", f"{package}:{arch}"]
    try:
        run = subprocess.run(query, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    if run.returncode != 0:
        return None
    installed, source, source_version = run.stdout.splitlines()[0].split("\t")
    if version not in [installed, installed.partition(":")[2]]:
        return None
    release = re.search('^VERSION_ID="?([^"\n]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
    upstream = source if source_version == installed else f"{source}@{source_version}"
    qualifiers = f"arch={arch}" + (f"&distro=debian-{release.group(1)}" if release else "")
    return f"pkg:deb/debian/{quote(package)}@{quote(installed, safe='')}?{qualifiers}&upstream={quote(upstream, safe='')}"


def origin(kind, place, hash):
    """A place of places.tsv as an external reference. Packages are named by their purls and not by a host."""
    if kind == "url":
        url = place
    elif kind == "crate":
        url = "pkg:cargo/" + place.replace("/", "@")
    elif kind == "sdist":
        package, _, file = place.partition("/")
        url = f"pkg:pypi/{package}@{file.removeprefix(package + '-').removesuffix('.tar.gz')}?file_name={file}"
    elif kind == "pool":
        url = f"pool/{place}"
    else:
        fail(f"{NATIVE}/places.tsv: kind: {kind!r} is none that sbom.py knows")
    return {"type": "source-distribution", "url": url, "comment": kind, "hashes": sha256(hash)}


def patches(name):
    """The patches that are applied to a library, with the advisories that they close."""
    closes = {}
    for _, row in table(NATIVE / "advisories.tsv", COLUMNS):
        for fixed in row["fixed"].split():
            closes.setdefault(fixed, []).extend(row["ids"].split())
    for file in sorted((NATIVE / "patches").glob(f"{name}-*.patch")):
        ids = closes.get(f"patch:patches/{file.name}", [])
        yield {
            "type": "cherry-pick" if ids else "unofficial",
            "diff": {"text": {"content": file.read_text(encoding="utf-8")}},
        } | ({"resolves": [{"type": "security", "id": id} for id in ids]} if ids else {})


def library_components(native, target):
    """The C libraries that are linked, and which calls which."""
    compiled, copied = sources(), archives()
    versions = linked(native / "versions.txt")
    components, purls = [], {}
    for name, version in versions.items():
        purl = f"pkg:generic/{quote(name, safe='')}@{quote(version, safe='')}"
        more = {}
        if name in compiled:
            licence, places = compiled[name]
            more["externalReferences"] = [origin(*place) for place in places]
            if applied := list(patches(name)):
                more["pedigree"] = {"patches": applied}
        elif name in copied:
            licence, package, files = copied[name]
            purl = debian(package, version, target) or purl
            files = [native / "lib" / file for file in files if (native / "lib" / file).exists()]
            if files:
                more["components"] = [
                    {"type": "file", "bom-ref": f"{purl}#{file.name}", "name": file.name, "hashes": sha256(file.read_bytes())}
                    for file in files
                ]
        else:
            fail(f"{native}/versions.txt has {name}, which is neither in native/sources.tsv nor in native/archives.tsv")
        purls[name] = purl
        components.append(component(name, version, purl, licence, **more))
    calls = {
        purls[name]: [purls[other] for other in [*CALLS.get(name, []), "glibc"] if other in purls and other != name]
        for name in versions
    }
    return components, calls


def timestamp():
    seconds = os.environ.get("SOURCE_DATE_EPOCH") or output("git", "log", "-1", "--format=%ct")
    try:
        return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        fail(f"SOURCE_DATE_EPOCH is {seconds.strip()!r}, and not a number of seconds")


def bom(native, target, binary):
    root, (name, version), components, calls = crate_components(target)
    libraries, library_calls = library_components(native, target)
    compiler = output("rustc", "-V").split()[1]
    standard = component("std", compiler, f"pkg:generic/rust-std@{quote(compiler)}", "MIT OR Apache-2.0",
                         description="Rust's standard library")
    library_calls[standard["bom-ref"]] = []
    calls |= library_calls
    calls[root] += library_calls
    package = toml("Cargo.toml")["package"]
    server = component(name, version, root, package["license"]) | {
        "type": "application", "purl": f"pkg:generic/{name}@{version}", "description": package["description"],
    }
    if binary:
        server["hashes"] = sha256(binary.read_bytes())
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(),
            "lifecycles": [{"phase": "build"}],
            "component": server,
            "properties": [{"name": "s3imageserver:target", "value": target}],
        },
        "components": sorted([*components, *libraries, standard], key=lambda entry: entry["bom-ref"]),
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(below))} for ref, below in sorted(calls.items())],
    }
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))}"
    return document


def main():
    parser = argparse.ArgumentParser(description="Writes the bill of materials of the server, CycloneDX 1.6 in JSON.")
    parser.add_argument("--output", default="dist/s3imageserver.cdx.json", help="a file, or - for the standard output (default: %(default)s)")
    parser.add_argument("--binary", type=Path, help="the server, whose SHA-256 is written then")
    parser.add_argument("--target", default=os.environ.get("TARGET"), help="Rust's name of the platform (default: TARGET, or this machine's)")
    options = parser.parse_args()
    if options.binary and not options.binary.is_file():
        fail(f"there is no {options.binary}: run `make build`")
    target = options.target or host()
    document = bom(build(target), target, options.binary)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if options.output == "-":
        sys.stdout.write(text)
        return
    path = Path(options.output)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(document['components'])} components, {document['serialNumber']}")


if __name__ == "__main__":
    main()
