"""What audit.py and sbom.py read: the tables of native/, the versions that are linked, and cargo's tree."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NATIVE = ROOT / "native"


def fail(sentence):
    """Ends the program with a sentence for the one who runs it."""
    sys.stdout.flush()
    print(f"{Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(1)


def output(*command, **environment):
    """What a command prints, run where the manifest is."""
    try:
        return subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, check=True, capture_output=True, text=True
        ).stdout
    except FileNotFoundError:
        fail(f"{command[0]} is missing")
    except subprocess.CalledProcessError as error:
        fail(f"`{' '.join(command)}` failed: {error.stderr.strip()}")


def lines(path):
    """The lines of a file with their numbers, without comments and empty ones."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path} can't be read: {error}")
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def table(path, columns):
    """The rows of a table: fields separated by tabs, one for each column. Yields line numbers and dictionaries."""
    for number, line in lines(path):
        fields = [field.strip() for field in line.split("\t")]
        if len(fields) != len(columns):
            fail(f"{path}:{number}: {len(fields)} fields, not the {len(columns)} of {', '.join(columns)}")
        row = dict(zip(columns, fields))
        for column, field in row.items():
            if not field:
                fail(f"{path}:{number}: {column}: is empty; a dash stands for nothing")
        yield number, row


def build(target):
    """The directory of the finished native build."""
    directory = os.environ.get("S3IMAGESERVER_NATIVE") or output("native/build.sh", "--where", TARGET=target).strip()
    directory = Path(directory)
    if not (directory / "complete").exists():
        fail(f"the native libraries are not in {directory}: run `make native`")
    return directory


def linked(path):
    """The libraries of a versions.txt: names and versions."""
    found = {}
    for number, line in lines(path):
        words = line.split()
        if len(words) != 2:
            fail(f"{path}:{number}: {line!r} is not a name and a version")
        found[words[0]] = words[1]
    if not found:
        fail(f"{path} names no library")
    return found


def host():
    """The target the server is built for, unless another one is asked for."""
    return re.search("^host: (.+)$", output("rustc", "-vV"), re.MULTILINE).group(1)


def crates(target, edges):
    """Cargo's tree below the server: {(name, version): (licence, [(name, version), ...])}.

    `cargo tree` and not `cargo metadata`, which also follows features that only the tests switch on.
    """
    text = output(
        "cargo", "tree", "--locked", "--target", target, "--edges", edges, "--no-dedupe", "--prefix", "depth",
        "--format", "\t{p}\t{l}",
    )
    found, above = {}, []
    for line in text.splitlines():
        depth, package, licence = line.split("\t")
        name, version = package.split()[:2]
        key = (name, version.removeprefix("v"))
        del above[int(depth):]
        found.setdefault(key, (licence, []))
        if above and key not in found[above[-1]][1]:
            found[above[-1]][1].append(key)
        above.append(key)
    return found


def toml(name):
    """A TOML file of the repository."""
    with open(ROOT / name, "rb") as file:
        return tomllib.load(file)
