"""What clients send to an image classifier of 8x8 digits: good requests, and every bad one."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np

from examples.digits import held_out
from marsmith.harness.wire import Parameter, Request
from tests.support.images import encode, noise, png_header

PNGS = [png for png, _ in held_out()[:6]]
TEXTS = [base64.b64encode(png).decode() for png in PNGS]


def tensor(datatype: str, shape: list[int], data: Any, **more: Any) -> dict[str, Any]:
    """A v2 body with one input."""
    entry = {"name": "image", "shape": shape, "datatype": datatype, "data": data}
    return {"inputs": [entry], **more}


def json_text(text: bytes) -> Request:
    """A body that says it is JSON."""
    return Request.raw(text, "application/json")


def binary(data: bytes, *, said: int = 0) -> Request:
    """A v2 body with one FP32 input of 64 numbers behind the JSON."""
    entry = {
        "name": "image",
        "shape": [1, 1, 8, 8],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(data)},
    }
    text = json.dumps({"inputs": [entry]}).encode()
    headers = {"Inference-Header-Content-Length": str(said or len(text))}
    return Request.raw(text + data, "application/octet-stream", headers)


def _good() -> dict[str, Request]:
    pixels = np.array(noise(seed=3))
    image = noise(30, 20, "RGB", seed=4)
    hostile = {"body": "x", "data": "x", "Content-Type": "größe/\u2603", "X-Snow": "\u2603"}
    return {
        "raw": Request.raw(PNGS[0]),
        "raw typed": Request.raw(PNGS[1], "image/png"),
        "raw named wrongly": Request.raw(PNGS[1], "image/jpeg"),
        "raw bytes without a type or headers": Request((Parameter("data", PNGS[0]),)),
        "jpeg": Request.raw(encode(image, "JPEG")),
        "cmyk jpeg": Request.raw(encode(image.convert("CMYK"), "JPEG")),
        "palette": Request.raw(encode(image.convert("P"), "PNG", transparency=bytes(200))),
        "one bit": Request.raw(encode(image.convert("1"))),
        "tiff": Request.raw(encode(image, "TIFF", compression="tiff_lzw")),
        "gif of two": Request.raw(
            encode(image, "GIF", save_all=True, append_images=[image.rotate(90)])
        ),
        "a hair": Request.raw(encode(noise(20_000, 1))),
        "json string": Request.json(TEXTS[2]),
        "json string with charset": Request.raw(
            json.dumps(TEXTS[2]).encode(), "application/json; charset=utf-8"
        ),
        "data": Request.json({"data": TEXTS[3]}),
        "b64": Request.json({"b64": TEXTS[3]}),
        "data url, wrapped": Request.json(
            {"data": "data:image/png;base64,\n" + base64.encodebytes(PNGS[3]).decode()}
        ),
        "parameters": Request.json({"data": {"b64": TEXTS[4]}, "parameters": {"top_k": 2}}),
        "all labels": Request.json({"data": TEXTS[4], "parameters": {"top_k": 10**4000}}),
        "text": Request.raw(TEXTS[2].encode(), "text/plain"),
        "json of no type": Request((Parameter("body", json.dumps({"data": TEXTS[2]}).encode()),)),
        "v1": Request.json({"instances": [TEXTS[0]]}),
        "v1 of many": Request.json(
            {
                "instances": [TEXTS[1], {"b64": TEXTS[2]}, (pixels[None] / 255).tolist()],
                "parameters": {"top_k": 1},
            }
        ),
        "v1 of forty": Request.json({"instances": [TEXTS[i % 6] for i in range(40)]}),
        "v2 bytes": Request.json(tensor("BYTES", [2], TEXTS[:2], id="\ud800")),
        "v2 pixels": Request.json(tensor("UINT8", [1, 8, 8], pixels.tolist())),
        "v2 colour": Request.json(tensor("UINT8", [1, 20, 30, 3], np.array(image).tolist())),
        "v2 floats": Request.json(
            tensor("FP32", [2, 1, 8, 8], [i / 128 for i in range(128)], parameters={"top_k": 4})
        ),
        "v2 binary": binary((pixels / 255).astype("<f4").tobytes()),
        "model's input": Request.json((pixels[None] / 255).tolist()),
        "form": Request.form({"data": PNGS[5], "top_k": "2"}),
        "form of any name": Request.form({"picture": (PNGS[5], "image/png"), "top_k": "1"}),
        "form with typed option": Request.form({"data": PNGS[5], "top_k": (b"4", "text/plain")}),
        "form with json option": Request.form(
            {"data": PNGS[5], "top_k": (b"3", "application/json")}
        ),
        "hostile headers": Request.raw(PNGS[0], headers=hostile),
        "explanation": Request.raw(PNGS[0], explain=True),
        "explanations, occluded": Request.json(
            {
                "instances": TEXTS[:2],
                "parameters": {"method": "occlusion", "target": "3"},
            },
            explain=True,
        ),
        "explanation in v2": Request.json(
            tensor("BYTES", [2], TEXTS[:2], parameters={"steps": 8}), explain=True
        ),
        "describes itself, no": Request.raw(PNGS[0], headers={"describe": "false"}),
    }


def _bad() -> dict[str, Request]:
    png, text = PNGS[0], TEXTS[0]
    nan = Request.json(tensor("FP32", [1, 1, 8, 8], [math.nan] * 64))

    def options(value: Any) -> Request:
        return Request.json({"data": text, "parameters": {"top_k": value}})

    return {
        "noise": Request.raw(bytes(range(256))),
        "empty": Request.raw(b""),
        "empty json": Request.raw(b"", "application/json"),
        "no parameters": Request(),
        "truncated": Request.raw(png[: len(png) // 2]),
        "truncated header": Request.raw(png[:20]),
        "huge header": Request.raw(png_header(50_000, 50_000)),
        "larger header": Request.raw(png_header(2**31 - 1, 2**31 - 1)),
        "postscript": Request.raw(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        "text as image": Request.raw(b"not base64", "text/plain"),
        "bad utf-8 as text": Request.raw(b"\xff\xfe", "text/plain"),
        "wrong type": Request.json(7),
        "null": Request.json(None),
        "true": Request.json(True),
        "list of nothing": Request.json([]),
        "object of nothing": Request.json({}),
        "nested lists of nothing": Request.json([[[]]]),
        "ragged": Request.json([[[1], [2, 3]]]),
        "strings": Request.json([["a"]]),
        "lone surrogate": Request.json({"data": "\ud800"}),
        "surrogate as key": Request.json({"\ud800": "\udfff"}),
        "surrogate as option": Request.json({"data": text, "parameters": {"\ud800": 1}}),
        "surrogate as value": options("\ud800"),
        "deep": json_text(b"[" * 100_000),
        "less deep": json_text(b"[" * 500 + b"]" * 500),
        "deep, closed": json_text(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        "5000 digits": json_text(b"1" * 5000),
        "minus 4000 digits as option": options(-(10**4000)),
        "not json": json_text(b"{'data': 1}"),
        "not utf-8": json_text(b'{"data": "\xff"}'),
        "nan": json_text(b"NaN"),
        "nan tensor": nan,
        "infinite tensor": Request.json([[[1e300] * 8] * 8]),
        "tensor of another size": Request.json([[[0.5] * 9] * 9]),
        "unknown option": Request.json({"data": text, "parameters": {"topk": 2}}),
        "nan option": options(math.nan),
        "bool option": options(True),
        "text option in json": options("3"),
        "null option": options(None),
        "zero option": options(0),
        "negative option": options(-1),
        "fraction as option": options(2.5),
        "list as option": options([1]),
        "parameters of the wrong type": Request.json({"data": text, "parameters": [1]}),
        "unknown form field": Request.form({"data": png, "colour": "red"}),
        "form option that is no number": Request.form({"data": png, "top_k": "many"}),
        "form option of 5000 digits": Request.form({"data": png, "top_k": "9" * 5000}),
        "form with two files": Request.form({"one": png, "two": png}),
        "form of options alone": Request.form({"top_k": "2"}),
        "urlencoded json": Request((Parameter('{"data": "' + text + '"}', b""),)),
        "urlencoded png": Request((Parameter("\x89PNG\r\n", b"\x00"), Parameter("\x1a", b""))),
        "no instances": Request.json({"instances": []}),
        "instances of the wrong type": Request.json({"instances": text}),
        "one bad instance of two": Request.json({"instances": [text, "?"]}),
        "too many instances": Request.json({"instances": [0] * 100_000}),
        "b64 of a number": Request.json({"data": {"b64": 5}}),
        "no inputs": Request.json({"inputs": []}),
        "inputs that are numbers": Request.json({"inputs": [1]}),
        "two of one name": Request.json({"inputs": 2 * tensor("BYTES", [1], [text])["inputs"]}),
        "two inputs": Request.json(
            {
                "inputs": [
                    {"name": name, "shape": [1], "datatype": "FP32", "data": [1]} for name in "ab"
                ]
            }
        ),
        "shape of another size": Request.json(tensor("FP32", [1, 1, 8, 8], [1.0])),
        "shape of huge sizes": Request.json(tensor("FP32", [2**62, 2**62], [1.0])),
        "shape of zero": Request.json(tensor("FP32", [1, 0, 8], [])),
        "shape of 65": Request.json(tensor("FP32", [1] * 65, [1.0])),
        "shape of a bool": Request.json(tensor("FP32", [True], [1.0])),
        "v2 binary, too short": binary(b"1234"),
        "v2 binary of NaN": binary(np.full(64, math.nan, "<f4").tobytes()),
        "v2 binary of other lengths": binary(bytes(256), said=9999),
        "v2 of a scalar": Request.json(tensor("FP32", [1], [1.0])),
        "v2 uint8 of floats": Request.json(tensor("UINT8", [1, 1, 2], [0.5, 1.0])),
        "v2 uint8 of large": Request.json(tensor("UINT8", [1, 1, 2], [256, 0])),
        "v2 bool of 2": Request.json(tensor("BOOL", [1, 1, 2], [2, 0])),
        "v2 bytes of numbers": Request.json(tensor("BYTES", [1], [5])),
        "v2 of no such type": Request.json(tensor("STRING", [1], ["a"])),
        "v2 id of the wrong type": Request.json(tensor("BYTES", [1], [text], id=5)),
        "v2 numbers of 400 digits": Request.json(tensor("FP64", [1, 1], [10**400])),
        "explanation of no label": Request.json(
            {"data": text, "parameters": {"target": "eleven"}}, explain=True
        ),
        "explanation with options of a prediction": Request.json(
            {"data": text, "parameters": {"top_k": 2}}, explain=True
        ),
        "explanation in no step": Request.json(
            {"data": text, "parameters": {"steps": 0}}, explain=True
        ),
        "explanation of noise": Request.raw(b"noise", explain=True),
    }


GOOD, BAD = _good(), _bad()
MUTABLE = [request for request in GOOD.values() if len(request.parameters) == 1]
