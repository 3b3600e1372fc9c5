#!/usr/bin/env -S python3 -B
"""Checks what is linked for known advisories.

The crates go through cargo-audit, which reads all of Cargo.lock. The C libraries go through native/advisories.tsv,
whose head explains its columns. Exits with 1 when a crate that ships or builds the server has an advisory, when a
linked library has an open one that can be reached, or when nothing is known of a linked library.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from inputs import NATIVE, ROOT, build, crates, fail, host, linked, output, table, toml

COLUMNS = ["ids", "library", "since", "fixed", "severity", "reachable", "reason"]
SEVERITIES = ["low", "medium", "high", "critical", "unknown"]
ID = re.compile(r"CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}|commit:[0-9a-f]{7,40}|release:[0-9][0-9.]*")
VERSION = re.compile(r"[0-9][0-9A-Za-z.+~-]*")


class Advisory:
    """One row of the table. `ids` is empty where the row says that a library was gone through."""

    def __init__(self, path, number, row):
        def check(column, good, wanted):
            if not good:
                fail(f"{path}:{number}: {column}: {row[column]!r} is not {wanted}")

        self.library = row["library"]
        self.ids = [] if row["ids"] == "-" else row["ids"].split()
        self.fixed = [] if row["fixed"] == "-" else row["fixed"].split()
        self.since, self.severity, self.reason = row["since"], row["severity"], row["reason"]
        self.reachable = row["reachable"] == "yes"
        if not self.ids:
            for column in ["since", "fixed", "severity", "reachable"]:
                check(column, row[column] == "-", "a dash, as in every row without ids")
            check("reason", re.search(r"\d{4}-\d{2}-\d{2}", self.reason), "a sentence with the date of the search")
            return
        for id in self.ids:
            check("ids", ID.fullmatch(id), "a list of CVE-…, GHSA-…, commit:… and release:…, or a dash")
        check("since", self.since == "-" or VERSION.fullmatch(self.since), "a version or a dash")
        for fixed in self.fixed:
            check("fixed", fixed.startswith("patch:") or VERSION.fullmatch(fixed),
                  "a list of versions and patch:FILE, or a dash")
        check("severity", self.severity in SEVERITIES, "one of " + ", ".join(SEVERITIES))
        check("reachable", row["reachable"] in ["yes", "no"], "yes or no")

    def concerns(self, version):
        """Whether the linked version has it: it is not older than `since`, and no entry of `fixed` holds."""
        return not (self.since != "-" and older(version, self.since)) and not self.is_fixed(version)

    def is_fixed(self, version):
        """A patch holds while its file is there. A version holds for what is not older than it and has the same
        upstream version, for that is how a Debian release gets its fixes. The newest holds for everything newer."""
        versions = []
        for fixed in self.fixed:
            if fixed.startswith("patch:"):
                if (NATIVE / fixed.removeprefix("patch:")).is_file():
                    return True
            else:
                versions.append(fixed)
        newest = None
        for fixed in versions:
            if newest is None or older(newest, fixed):
                newest = fixed
        return any(
            not older(version, fixed) and (fixed == newest or upstream(fixed) == upstream(version))
            for fixed in versions
        )


def upstream(version):
    """A version without Debian's revision."""
    return version.rpartition("-")[0] or version


def older(one, other):
    """Debian's order of versions, which is upstream's where there is no revision."""
    try:
        return subprocess.run(["dpkg", "--compare-versions", one, "lt", other]).returncode == 0
    except FileNotFoundError:
        fail("dpkg is missing: it compares the versions of the libraries")


def libraries(versions, advisories):
    """Prints the open advisories of the C libraries. True where the audit fails."""
    rows = {}
    count = 0
    for number, row in table(advisories, COLUMNS):
        advisory = Advisory(advisories, number, row)
        rows.setdefault(advisory.library, []).append(advisory)
        count += bool(advisory.ids)
    found = linked(versions)
    print(f"C libraries: {len(found)} linked ({versions}), {count} advisories known of ({advisories})")
    reached, unknown = [], []
    for name, version in found.items():
        if name not in rows:
            unknown.append(name)
            print(f"  {name} {version}: NOTHING KNOWN")
            continue
        known = [row for row in rows[name] if row.ids]
        open_ = [row for row in known if row.concerns(version)]
        print(f"  {name} {version}: {len(open_)} of {len(known)} open")
        for row in rows[name]:
            if not row.ids:
                print(f"    {row.reason}")
        for row in open_:
            fixed = "no fix" if not row.fixed else "fixed by " + ", ".join(row.fixed)
            print(f"    {'REACHABLE' if row.reachable else 'not reachable'}: {' '.join(row.ids)} ({row.severity}; {fixed})")
            print(f"      {row.reason}")
            if row.reachable:
                reached += [f"{id} in {name} {version}" for id in row.ids]
    for name in sorted(set(rows) - set(found)):
        print(f"  {name} is not linked: its rows may go")
    if reached:
        print(f"FAILED: open and reachable: {', '.join(reached)}")
    if unknown:
        print(
            f"FAILED: {advisories} has no row for {', '.join(unknown)}: look for advisories, and add them or a row"
            " whose ids are a dash and whose reason has the date"
        )
    return bool(reached or unknown)


def audit_command():
    """cargo-audit's version; installs it where it is missing."""
    if not shutil.which("cargo-audit"):
        print("crates: cargo-audit is missing: cargo install --locked cargo-audit", flush=True)
        if subprocess.run(["cargo", "install", "--locked", "cargo-audit"]).returncode != 0:
            fail("cargo-audit could not be installed")
    return "cargo-audit " + output("cargo", "audit", "--version").split()[-1]


def shipped():
    """The crates that are compiled for the server, on every target of deny.toml: also build scripts and procedural
    macros, which run where the server is built. The crates of the tests and examples are not among them."""
    found = set()
    for target in toml("deny.toml")["graph"]["targets"]:
        found |= set(crates(target, "normal,build"))
    return found


def crate_advisories(database):
    """Prints the advisories on the crates of Cargo.lock. True where the audit fails."""
    version = audit_command()
    command = ["cargo", "audit", "--json"]
    if database:
        # cargo-audit runs in the repository, and the path may be relative to another directory.
        command += ["--db", str(Path(database).resolve()), "--no-fetch"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    try:
        report = json.loads(run.stdout)
    except ValueError:
        hint = "" if database else " (without a network, ADVISORY_DB names a directory with a copy of the database)"
        fail(f"`{' '.join(command)}` failed{hint}: {run.stderr.strip()}")
    ships = shipped()
    known = report["database"]
    dated = f" of {known['last-updated']}" if known["last-updated"] else ""
    print(
        f"crates: {version}, {report['lockfile']['dependency-count']} crates in Cargo.lock of which {len(ships)} ship or build the"
        f" server, {known['advisory-count']} advisories of {database or 'the RustSec database, fetched now'}{dated}"
    )
    found = [("vulnerability", entry) for entry in report["vulnerabilities"]["list"]]
    found += [(kind, entry) for kind, entries in report["warnings"].items() for entry in entries]
    failed = []
    for kind, entry in found:
        package = (entry["package"]["name"], entry["package"]["version"])
        advisory = entry["advisory"] or {"id": kind, "title": "this version was withdrawn"}
        patched = ", ".join((entry.get("versions") or {}).get("patched") or []) or "nothing"
        counts = package in ships
        print(
            f"  {'SHIPS' if counts else 'tests and examples only'}: {advisory['id']} in {' '.join(package)}"
            f" ({kind}; fixed by {patched}): {advisory['title']}"
        )
        if counts:
            failed.append(f"{advisory['id']} in {' '.join(package)}")
    print(f"  {len(found)} found, {len(failed)} in what ships")
    if failed:
        print(f"FAILED: advisories on crates that ship: {', '.join(failed)}")
    return bool(failed)


def main():
    # A reader that stops early, as `head` does, ends this quietly.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    parser = argparse.ArgumentParser(description="Checks the crates and C libraries for known advisories.")
    parser.add_argument("what", nargs="?", choices=["crates", "libraries"], help="default: both")
    parser.add_argument("--versions", help="a versions.txt (default: the native build's)")
    parser.add_argument("--advisories", default=NATIVE / "advisories.tsv", help="default: native/advisories.tsv")
    options = parser.parse_args()
    failed = False
    if options.what != "libraries":
        failed |= crate_advisories(os.environ.get("ADVISORY_DB"))
    if options.what != "crates":
        failed |= libraries(options.versions or build(os.environ.get("TARGET") or host()) / "versions.txt", options.advisories)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
