"""Model archives: what is taken is what Python and Java would unpack, and no more."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from marsmith.archive import reading, sums
from marsmith.archive.reading import MANIFEST
from marsmith.archive.sums import SUMS
from marsmith.errors import ArchiveError
from marsmith.foreign import plan
from marsmith.foreign.examine import examine, is_foreign
from tests.support import streamed_zips
from tests.support.hostile_archives import CONFIG, good_ones, hostile, manifest
from tests.support.mutated_requests import edited, spoiled
from tests.support.zip_writer import Piece, changed, written

CANARY = Path("/tmp/marsmith-canary-of-fuzzed-archives")
LARGEST = 20_000  # bytes of a seed
HANDLER = b"""
import os
from ts.torch_handler.image_classifier import ImageClassifier
from torchvision import transforms

class Own(ImageClassifier):
    image_processing = transforms.Compose([transforms.Resize(256), transforms.ToTensor()])
    def postprocess(self, data):
        return os.environ and data.tolist()
"""
YAML = (
    b"minWorkers: 1", b"batchSize: 4\nmaxBatchDelay: 0", b"handler: {profile: true}",
    b"a: [1, {b: c}]", b"deviceType: gpu\ndeviceIds: [0, x]", b"a: 1e400", b"a: ~",
    b"a: 0o17\nb: 12:30:45\nc: 2001-01-01", b"a: |\n  x\n  y", b"a: !!int 3",
    b"pt2: {compile: {enable: True}}", b"\xef\xbb\xbfa: 1", b"a:\t1",
)  # fmt: skip


def seeds() -> list[bytes]:
    found = [data for _, data, _ in hostile(CANARY) if len(data) <= LARGEST]
    return [*good_ones(CANARY).values(), _foreign(), *found]


def _foreign() -> bytes:
    """One with a handler of its own, pickles of several kinds, a configuration and requirements."""
    weights = io.BytesIO()
    torch.save(OrderedDict(a=torch.zeros(2)), weights)
    said = {"handler": "own.py", "requirementsFile": "requirements.txt"}
    files = {
        MANIFEST: manifest(**said),
        "own.py": HANDLER,
        "model.pt": weights.getvalue(),
        "old.pkl": pickle.dumps({"a": [1, Path("x")]}, 2),
        "index_to_name.json": b'{"0": "hen", "1": ["n02", "owl"]}',
        "requirements.txt": b"numpy>=1\n-r other.txt\n",
        CONFIG: b"\n".join(YAML[:3]),
    }
    return written([Piece(name, data, method=8) for name, data in files.items()])


@cache
def _place() -> Path:
    memory = Path("/dev/shm")
    folder = memory if os.access(memory, os.W_OK) else Path("/tmp")
    return folder / f"marsmith-fuzzed-{os.getpid()}.mar"


def run(data: bytes) -> None:
    place = _place()
    place.write_bytes(data)
    try:
        with suppress(ArchiveError):
            reading.glance(place)
        try:
            found = reading.check(place)
        except ArchiveError as error:
            if not error.message.isprintable():
                raise
            return
        _compare(data, found)
        json.dumps(reading.inspect(place), default=str)
        with suppress(ArchiveError):
            if is_foreign(place):
                read = examine(place)
                plan.verdict(read)
                plan.plan(read)
    finally:
        place.unlink()
        assert not CANARY.exists(), "code of an archive was run"


def _compare(data: bytes, found: reading.Checked) -> None:
    """What was checked is what zipfile reads, and what a stream is unpacked to."""
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        files = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
        seen = {name: hashlib.sha256(opened.read(name)).hexdigest() for name in files}
    checked = {name: digest for name, (_, digest) in found.files.items()}
    assert seen == checked, "zipfile sees another archive"
    streamed = [each for each in streamed_zips.entries(data) if not each[0].endswith("/")]
    assert len(streamed) == len(checked), "a stream has other entries"
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in streamed}
    assert digests == checked, "a stream is unpacked to another archive"
    for name, digest in (found.said.sums or {}).items():
        assert checked[name] == digest


def mutate(data: bytes, random_: random.Random) -> bytes:
    if random_.random() < 0.5:
        return spoiled(bytearray(data or b"PK"), random_)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            pieces = [Piece(each.filename, opened.read(each)) for each in opened.infolist()]
    except Exception:
        return spoiled(bytearray(data or b"PK"), random_)
    if not pieces:
        return data
    place = random_.randrange(len(pieces))
    pieces[place] = _other(pieces[place], random_)
    if random_.random() < 0.2:
        pieces.insert(random_.randrange(len(pieces) + 1), random_.choice(pieces))
    files = {str(each.name): each.data for each in pieces if each.name != SUMS}
    if random_.random() < 0.8:
        pieces = changed(pieces, SUMS, data=sums.of(files))
    method = random_.choice((0, 8))
    return written([replace(each, method=method) for each in pieces])


def _other(piece: Piece, random_: random.Random) -> Piece:
    name = str(piece.name)
    if random_.random() < 0.1 and name:
        return replace(piece, name=spoiled(bytearray(name.encode()), random_))
    if name.endswith(".yaml") and random_.random() < 0.5:
        return replace(piece, data=b"\n".join(random_.choices(YAML, k=random_.randint(1, 4))))
    if name.endswith(".json") and random_.random() < 0.7:
        with suppress(ValueError, RecursionError):
            return replace(piece, data=json.dumps(edited(json.loads(piece.data), random_)).encode())
    return replace(piece, data=spoiled(bytearray(piece.data or b"x"), random_))
