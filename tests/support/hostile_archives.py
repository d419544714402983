"""Archives that nobody should open, each with what is to be said of it; and small good ones.

Whatever code they hold writes a canary: a file that must not be there afterwards.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from marsmith.archive import sums
from marsmith.archive.reading import FACTS, MANIFEST
from marsmith.archive.sums import SUMS
from tests.support.zip_writer import Piece, changed, deflated, end64, written

CONFIG = "model-config.yaml"
MODEL = {
    "modelName": "small", "modelVersion": "1.0", "handler": "archive_entry.py",
    "serializedFile": "model.pt", "configFile": CONFIG,
}  # fmt: skip
Files = dict[str, bytes]
Case = tuple[str, bytes, str]
"""What it is called, its bytes, and a pattern of what is to be said of it."""
UNIX_KINDS = {
    "symlink": 0o120777, "fifo": 0o010644, "character device": 0o020644, "folder": 0o040755,
    "block device": 0o060644, "socket": 0o140644,
}  # fmt: skip


def manifest(**changes: Any) -> bytes:
    return json.dumps({"runtime": "python", "model": {**MODEL, **changes}}).encode()


def good(canary: Path) -> Files:
    """The files of an archive as marsmith would build it, but for the sums."""
    code = f"open({str(canary)!r}, 'w').close()\n".encode()
    return {
        MANIFEST: manifest(),
        FACTS: b"{}",
        "archive_entry.py": code,
        "handlers/__init__.py": code,
        CONFIG: b"batchSize: 1\nhandler: {task: tabular}\n",
        "model.pt": bytes(range(256)) * 4,
    }


def summed(files: Files) -> list[Piece]:
    """The entries of an archive of ours, in the order in which we write them."""
    whole = {**files, SUMS: sums.of(files)}
    return [Piece(name, whole[name]) for name in sorted(whole)]


def by_hand(files: Files) -> list[Piece]:
    """The entries of an archive that torch-model-archiver alone would write."""
    rest = {name: data for name, data in files.items() if name not in (FACTS, "archive_entry.py")}
    rest[MANIFEST] = manifest(handler="handler.py")
    rest["handler.py"] = files["archive_entry.py"]
    return [Piece(name, data, method=8) for name, data in rest.items()]


def hostile(canary: Path) -> Iterator[Case]:
    """All of them."""
    files = good(canary)
    for make in (
        _names, _collisions, _headers, _hidden, _features, _kinds, _sizes, _damaged, _lists,
        _imports, _manifests, _configs,
    ):  # fmt: skip
        for name, data, said in make(files):
            yield f"{make.__name__[1:]}: {name}", data, said


def _names(files: Files) -> Iterator[Case]:
    outside, invisible = "would lie outside", "invisible character"
    bad = {
        "../x": outside, "a/../../x": outside, "..": outside, "a/..": outside, "../": outside,
        "/etc/x": "absolute path", "//host/x": "absolute path", "/": "absolute path",
        "C:x": "begins with a drive", "c:/x": "begins with a drive",
        "a\\b": "backslash", "..\\x": "backslash", "\\\\host\\x": "backslash",
        "a//b": "empty part", "./x": "empty part", "a/./b": "empty part", "": "empty part",
        "a\nb": invisible, "a\0b": invisible, "a\x7fb": invisible, "a\u202eyp.b": invisible,
        "a\u200bb": invisible, "\ufeffa": invisible, "a\u2028b": invisible, "a\x85b": invisible,
        "x" * 256: "longer than", "/".join(["x" * 60] * 10): "longer than",
        "/".join("x" * 33): "deeper than",
    }  # fmt: skip
    for name, said in bad.items():
        yield f"{len(name)}, {name[:30]!a}", written([*summed(files), Piece(name, b"x")]), said
    yield "no UTF-8", written([*summed(files), Piece(b"\xff", b"", flags=0x0800)]), "neither ASCII"
    yield "unmarked", written([*summed(files), Piece("ö".encode(), b"")]), "neither ASCII"


def _collisions(files: Files) -> Iterator[Case]:
    twice, form, both = "is there twice", "differ in case or Unicode form", "file and a folder"
    pairs = [
        ("a", "a", twice), ("a/", "a/", twice), ("a", "A", form), ("ä", "a\u0308", form),
        ("\ufb01.py", "fi.py", form), ("ß", "ss", form), ("\u212a", "k", form),
        ("A/x", "a/y", form), ("ä/x", "a\u0308/y", form), ("a", "a/b", both), ("a/b", "a", both),
        ("a", "A/b", both), ("a", "a/", both),
    ]  # fmt: skip
    for one, other, said in pairs:
        whole = (
            summed({**files, one: b""}) if not one.endswith("/") else [*summed(files), Piece(one)]
        )
        yield f"{one!a} {other!a}", written([*whole, Piece(other)]), said
    for name in (MANIFEST, SUMS, CONFIG, "model.pt"):
        yield f"two {name}", written([*summed(files), Piece(name, b"other")]), twice


def _headers(files: Files) -> Iterator[Case]:
    whole = summed(files)
    wide = struct.pack("<2H2Q", 1, 16, 1024, 1024)
    for what, change in {
        "name": {"name": b"model.pT"}, "flags": {"flags": 0x0800}, "method": {"method": 8},
        "CRC": {"crc": 1}, "packed size": {"packed": 1}, "size": {"size": 1},
        "name, ": {"name": b"a.py", "crc": 0},
    }.items():  # fmt: skip
        said = f"another {what}.* in its own header"
        yield f"local {what}", written(changed(whole, "model.pt", local=change)), said
        if what not in ("method", "packed size", "size"):
            yield f"central {what}", written(changed(whole, "model.pt", central=change)), said
    for what, change, said in (
        ("sign", {"sign": b"PK\3\5"}, "doesn't lie where"),
        ("needless width", {"extra": wide}, "two sizes"),
        ("half a width", {"extra": wide, "size": 0xFFFFFFFF}, "two sizes"),
        ("broken extra", {"extra": b"\1\0\xff\xff"}, "can't be read"),
        ("short extra", {"extra": b"\1"}, "can't be read"),
        ("another path", {"extra": b"\x75\x70\5\0\1abcd"}, "extra field 0x7075"),
    ):
        yield f"local {what}", written(changed(whole, "model.pt", local=change)), said
    for what, change, said in (
        ("sign", {"sign": b"PK\1\3"}, "central directory can't be read"),
        ("needless width", {"extra": wide}, "two sizes"),
        ("no width", {"size": 0xFFFFFFFF}, "has no size"),
        ("broken extra", {"extra": b"\1\0\xff\xff"}, "can't be read"),
        ("two extras", {"extra": wide + wide}, "extra field 0x0001"),
        ("another path", {"extra": b"\x75\x70\5\0\1abcd"}, "extra field 0x7075"),
        ("offset", {"offset": 3}, "lies at 3, not at"),
        ("offset beyond", {"offset": 1 << 30}, "lies at|ends too early"),
    ):
        yield f"central {what}", written(changed(whole, "model.pt", central=change)), said


def _hidden(files: Files) -> Iterator[Case]:
    whole, hidden = summed(files), Piece("sitecustomize.py", files["archive_entry.py"])
    alone = replace(hidden, listed=False)
    last = [*whole, alone]
    yield "entry before all", written([alone, *whole]), "is hidden before it"
    yield "entry between", written([*whole[:3], alone, *whole[3:]]), "is hidden before it"
    yield "entry behind all", written(last), "hidden between its last entry"
    yield "listed, not there", written([*whole, replace(hidden, there=False)]), "doesn't lie where"
    yield "bytes before all", b"#!/bin/sh\n" + written(whole), "central directory|between"
    yield (
        "counted bytes before all",
        written([replace(whole[0], before=b"#!/bin/sh\n"), *whole[1:]]),
        "is hidden before it",
    )
    yield "bytes between", written(changed(whole, "model.pt", before=b"\0")), "is hidden before it"
    yield "bytes behind the last", written(whole, gap=b"\0\0"), "hidden between its last entry"
    yield "bytes before the end", written(whole, after_directory=b"\0"), "between its central"
    yield "bytes behind", written(whole, behind=b"\0"), "behind its end|no ZIP"
    yield "a comment", written(whole, comment=b"hello"), "behind its end|no ZIP"
    other = written([hidden])
    yield "archive in a comment", written(whole, comment=other), "lies at|between|before"
    yield "archive behind", written(whole, behind=other), "between its central directory"
    yield "two directories", written(whole, gap=other), "hidden between its last entry"
    yield "count too small", written(whole, count=3, here=3), "more in it than it counts"
    yield "count too large", written(whole, count=9, here=9), "counts more than it has"
    yield "another count", written(whole, count=9), "one part of several"
    yield "another disk", written(whole, disk=1), "one part of several"
    yield "another length", written(whole, length=50), "between its central directory"
    yield "another begin", written(whole, begin=50), "between its central directory"
    first, second = whole[3], whole[4]
    inner = replace(second, there=False, central={"offset": 0})
    yield "overlapping", written([*whole[:4], inner]), "lies at 0, not at"
    lie = replace(first, central={"offset": 1})
    yield "one byte off", written([lie]), "is hidden before it"
    extra = replace(first, local={"extra": b"\xfe\xca\4\0PK\3\4"})
    yield "harmless extra, but twice", written([extra, *whole]), "there twice"
    letters = [Piece(letter) for letter in "abc"]
    for what, change in {
        "count": {"count": 4}, "begin": {"begin": 7}, "length": {"length": 7}, "at": {"at": 3},
        "rest": {"rest": 45}, "here": {"here": 2},
    }.items():  # fmt: skip
        records = end64(3 * 31, 3, **change)
        said = "one part of several" if what == "here" else "ZIP64 records contradict"
        yield f"ZIP64 {what}", written(letters, after_directory=records), said


def _features(files: Files) -> Iterator[Case]:
    whole = summed(files)
    for flag, said in (
        (0x0001, "encrypted"), (0x0041, "encrypted"), (0x2001, "encrypted"), (0x0040, "encrypted"),
        (0x0008, "as a stream"), (0x0010, "unknown here"), (0x0020, "unknown here"),
        (0x8000, "unknown here"),
    ):  # fmt: skip
        yield f"flags {flag:#x}", written(changed(whole, "model.pt", flags=flag)), said
    for method in (1, 6, 9, 10, 12, 14, 18, 93, 95, 97, 98, 99, 65535):
        data = written(changed(whole, "model.pt", method=method))
        yield f"method {method}", data, f"by method {method}"
    for needed in (64, 0x00FF, 0x0A81):
        data = written(changed(whole, "model.pt", central={"needed": needed}))
        yield f"needs {needed:#x}", data, r"needs version \d+\.\d of ZIP"
    for field in ({"comment": b"x"}, {"disk": 1}):
        yield str(field), written(changed(whole, "model.pt", central=field)), "comment, or lies"


def _kinds(files: Files) -> Iterator[Case]:
    for kind, mode in UNIX_KINDS.items():
        target = b"/etc/passwd"
        yield kind, written([*summed(files), Piece("x", target, mode=mode)]), "link, or no file"
    folder = Piece("x/", b"data", mode=0o040755)
    yield "folder with data", written([*summed(files), folder]), "is a folder, and has data"
    replaced = changed(summed(files), "model.pt", mode=0o120777)
    yield "model that is a link", written(replaced), "link, or no file"


def _sizes(files: Files) -> Iterator[Case]:
    whole = by_hand(files)
    huge = struct.pack("<2H2Q", 1, 16, 1 << 50, 16)
    wide = {"extra": huge, "size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}
    big = {"size": 3 << 30}
    yield (
        "said to be 3 GB",
        written([*whole, Piece("x", b"0" * 16, 8, local=big, central=big)]),
        "at most 100 times",
    )
    yield (
        "said to be a petabyte",
        written([*whole, Piece("x", b"0" * 16, 8, local=wide, central=wide)]),
        "unpacks to|at most",
    )
    zeros = deflated(bytes(40 << 20))
    yield (
        "40 MB of zeros",
        written([*whole, Piece("x", bytes(40 << 20), 8, packed=zeros)]),
        "at most 100 times",
    )
    for size in (0, 1, 1000):
        one = {"size": size}
        piece = Piece("x", bytes(8 << 20), 8, local=one, central=one)
        yield f"8 MB said to be {size}", written([*whole, piece]), "another size than it says"
    many = [Piece(f"x{number}", b"0" * 60_000, 8) for number in range(400)]
    yield "many that grow", written([*whole, *many]), "at most 100 times"
    yield "20,001 said", written(whole, count=20_001, here=20_001), "at most 20,000|counts more"
    empty = [Piece(f"{number:x}") for number in range(20_001)]
    yield "20,001 entries", written(empty), "at most 20,000"
    yield "long directory", written(
        [Piece(str(n), central={"extra": struct.pack("<2H", 0xCAFE, 60_000) + bytes(60_000)})
         for n in range(300)]
    ), "at most 20,000"  # fmt: skip


def _damaged(files: Files) -> Iterator[Case]:
    whole = written(summed(files))
    for length in (0, 1, 21):
        yield f"{length} bytes", whole[:length], "too short for a ZIP"
    for part in (0.2, 0.5, 0.9, 0.999):
        yield f"cut at {part}", whole[: int(part * len(whole))], "no ZIP file"
    yield "text", b"this is no archive, however long it may be", "no ZIP file"
    yield "nothing in it", written([]), "empty"
    yield "no manifest", written([Piece("a", b"x")]), f"has no {MANIFEST}"
    rest = by_hand(files)
    packed = deflated(b"x" * 5000)
    for what, data, said in (
        ("garbage", b"\xff" * 50, "damaged"),
        ("cut", packed[:-3], "another size|doesn't end|damaged"),
        ("more behind", packed + b"PK\3\4", "doesn't end where"),
        ("two streams", packed + packed, "doesn't end where"),
        ("nothing", b"", "another size|doesn't end"),
    ):
        piece = Piece("x", b"x" * 5000, 8, packed=data)
        yield f"deflated {what}", written([*rest, piece]), said
    stored = Piece("x", b"data", packed=b"dat")
    yield "stored of two sizes", written([*rest, stored]), "stored, and has two sizes"
    yield "another CRC", written([*rest, Piece("x", b"data", packed=b"dato")]), "CRC-32"


def _lists(files: Files) -> Iterator[Case]:
    whole = summed(files)
    right = sums.of(files)

    def listed(data: bytes) -> bytes:
        return written(changed(whole, SUMS, data=data))

    yield "gone", written([piece for piece in whole if piece.name != SUMS]), "is gone"
    yield "empty", listed(b""), "SHA256SUMS has changed"
    yield "one digit", listed(right.replace(b"a", b"b", 1)), "SHA256SUMS has changed"
    yield "without its own sum", listed(right.rpartition(b"# ")[0]), "SHA256SUMS has changed"
    yield "more behind", listed(right + b"\n"), "SHA256SUMS has changed"
    for name in (
        "sitecustomize.py",
        "yaml.py",
        "x.pyc",
        "__pycache__/a.cpython-311.pyc",
        "more.pt",
    ):
        piece = Piece(name, files["archive_entry.py"])
        yield f"without {name}", written([*whole, piece]), "is not in its MAR-INF/SHA256SUMS"
    for name in ("model.pt", "handlers/__init__.py"):
        yield (
            f"{name} is missing",
            written([p for p in whole if p.name != name]),
            "not in it|missing",
        )
        other = changed(whole, name, data=b"other")
        yield f"{name} is another", written(other), "has changed since it was built"
    first = right.splitlines()[0]
    for what, line in {
        "a line twice": first, "a line of another kind": b"hello",
        "a digest in capitals": first.upper(), "Windows' ends": b"0" * 64 + b"  x\r",
        "a path outside": b"0" * 64 + b"  ../x", "no UTF-8": b"0" * 64 + b"  \xff",
    }.items():  # fmt: skip
        lines = right.rpartition(b"# ")[0] + line + b"\n"
        yield what, listed(lines + _own_sum(lines)), "a line that is none|missing|not UTF-8"


def _own_sum(lines: bytes) -> bytes:
    return f"# {hashlib.sha256(lines).hexdigest()}\n".encode()


def _imports(files: Files) -> Iterator[Case]:
    code = files["archive_entry.py"]
    for name in (
        "sitecustomize.py", "usercustomize.py", "yaml.py", "json.py", "hashlib.pyc", "ts.py",
        "torch/__init__.py", "numpy.cpython-311-x86_64-linux-gnu.so", "yaml/__init__.pyc",
        "os.pyo", "handlers.py", "PIL/__init__.so", "archive_entry.pyc", "encodings/__init__.py",
    ):  # fmt: skip
        data = written(summed({**files, name: code}))
        yield name, data, "would be imported in the place of"


def _manifests(files: Files) -> Iterator[Case]:
    def said(text: bytes) -> bytes:
        return written(summed({**files, MANIFEST: text}))

    deep = {"arrays": b"[" * 100_000, "objects": b'{"a":' * 100_000, "both": b'[{"a":' * 50_000}
    for what, text in deep.items():
        yield f"deep {what}", said(text), "nested deeper"
    closed = b'{"model": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    yield "deep and closed", said(closed), "nested deeper"
    yield "quotes", said(b'"' + b'\\"' * 500_000), "is no JSON"
    yield "large", said(b'{"a": "' + b"x" * (4 << 20) + b'"}'), "at most 4,194,304"
    for what, text in {
        "nothing": b"", "half": b'{"model": {', "no UTF-8": b'{"model": "\xff"}',
        "another encoding": manifest().decode().encode("utf-16"), "a mark": b"\xef\xbb\xbf{}",
        "a key twice": b'{"model": {"modelName": "a", "modelName": "b"}}',
        "a large number": b'{"model": ' + b"9" * 5000 + b"}",
        "half a pair": manifest(description="\ud800"),
    }.items():  # fmt: skip
        yield what, said(text), "is no JSON"
    for what, text in {
        "a list": b"[]",
        "a word": b'"x"',
        "null": b"null",
        "a number": b"3",
    }.items():
        yield what, said(text), "is no object"
    yield "no model", said(b"{}"), "the model of .* is no object"
    for handler in (None, 3, "", ["archive_entry.py"]):
        yield f"handler {handler}", said(manifest(handler=handler)), "names no handler"
    for handler in ("../../x.py", "/etc/x.py", "none.py", "none.py:handle", "a b"):
        yield f"handler {handler}", said(manifest(handler=handler)), "is not in it"
    for handler in ("image_classifier", "handlers/__init__.py"):
        yield f"handler {handler}", said(manifest(handler=handler)), "is archive_entry.py"
    for key in ("configFile", "serializedFile", "modelFile", "requirementsFile"):
        for value in ("../../etc/passwd", "/etc/passwd", "none", 3, ["x"]):
            yield f"{key} {value}", said(manifest(**{key: value})), f"{key}, .*, is not in it"
    for what, facts in {"a list": b"[]", "deep": b"[" * 9999, "broken": b"{"}.items():
        yield f"facts: {what}", written(summed({**files, FACTS: facts})), "marsmith.json is n"


def _configs(files: Files) -> Iterator[Case]:
    canary = files["archive_entry.py"].decode().split("'")[1]
    laughs = b"a: &a [x, x]\n"
    for one, other in zip("abcdefg", "bcdefgh", strict=True):
        laughs += f"{other}: &{other} [{', '.join([f'*{one}'] * 9)}]\n".encode()
    run = f"a: !!python/object/apply:os.system ['touch {canary}']".encode()
    for what, text, said in (
        ("a billion laughs", laughs, "an anchor or a tag"),
        ("an alias", b"a: *a", "an alias|no YAML"),
        ("an alias of itself", b"&a [*a]", "an anchor or a tag"),
        ("code", run, "an anchor or a tag"),
        ("a Python name", b"a: !!python/name:os.system", "an anchor or a tag"),
        ("a set", b"a: !!set {x}", "an anchor or a tag"),
        ("bytes", b"a: !!binary aGk=", "an anchor or a tag"),
        ("a tag of its own", b"a: !x 3", "an anchor or a tag"),
        ("deep brackets", b"a: " + b"[" * 20_000, "nested deeper"),
        ("deep braces", b"{a: " * 20_000, "nested deeper"),
        ("deep lines", b"".join(b" " * n + b"a:\n" for n in range(200)), "nested deeper"),
        ("deep dashes", b"- " * 20_000, "nested deeper"),
        ("a key twice", b"batchSize: 1\nbatchSize: 2", "a key twice"),
        ("merged", b"<<: {a: 1}", "a key twice, or one that is no text"),
        ("a list for a key", b"? [a]\n: 1", "a key twice, or one that is no text"),
        ("a date for a key", b"2001-01-01: 1", "no YAML that can be taken"),
        ("a list", b"[1, 2]", "is no object"),
        ("a word", b"word", "is no object"),
        ("half", b"a: [", "no YAML"),
        ("two texts", b"a: 1\n---\na: 2", "no YAML"),
        ("no UTF-8", b"a: \xff", "no YAML"),
        ("a large number", b"a: " + b"9" * 5000, "no YAML"),
        ("no date", b"a: 2001-99-99", "no YAML"),
        ("a long word", b"a: " + b"x" * 70_000, "one that is too long"),
        ("many values", b"a: [" + b"1," * 60_000 + b"]", "more than 50000 values"),
        ("large", b"#" * (1 << 20) + b"#", "at most 1,048,576"),
    ):
        yield what, written(summed({**files, CONFIG: text})), said


def good_ones(canary: Path) -> dict[str, bytes]:
    """Archives that are sound."""
    files = good(canary)
    whole = summed(files)
    directory = Piece("folder/", mode=0o040755)
    wide = struct.pack("<2H2Q", 1, 16, 1024, 1024)
    in_extra = {"extra": wide, "size": 0xFFFFFFFF, "packed": 0xFFFFFFFF}
    timed = {"extra": b"UT\5\0\1abcd"}
    stock = manifest(handler="image_classifier", configFile=None, serializedFile=None)
    return {
        "ours": written(whole),
        "ours, deflated": written([replace(piece, method=8) for piece in whole]),
        "ours, with a folder": written([*whole, directory]),
        "ours, in letters": written(summed({**files, "größe/模型.txt": b"x"})),
        "ours, with a wide entry": written(changed(whole, "model.pt", local=in_extra)),
        "ours, with times": written(changed(whole, "model.pt", local=timed, central=timed)),
        "by hand": written(by_hand(files)),
        "by hand, our entry": written([p for p in whole if p.name not in (FACTS, SUMS)]),
        "by hand, TorchServe's own handler": written([Piece(MANIFEST, stock)]),
    }
