"""What an image may cost: its size, its memory, its scans and its pieces, before it is decoded."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from handlers.errors import BadRequest

# Only raster formats whose decoders are pure library code; PIL would also start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
# PIL reads a file's headers piece by piece, in Python: some 0.6 µs each, while 20 MB hold millions
# of pieces of 4 bytes. Files of 20 MB as encoders write them take some 10,000.
MAX_READS = 50_000
RUN_READS = 4_000_000  # of a BMP of run lengths, which is read run by run: at most a second

# Bytes for each pixel.
STORED = {"1": 1, "L": 1, "P": 1}  # as PIL keeps them; others have four
SIXTEEN_BITS = 8  # with the copies that are made to scale them
AS_RGB = 4  # what another mode becomes
OF_WEBP = 8  # libwebp's own canvas, and its copy
OF_RUNS = 155  # BMP's run lengths are read in Python: this is time, not memory
WHITENED = 16  # the copies on the way to white where a colour counts as transparent
OF_A_ROW = 24  # bytes

JPEG_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
JPEG_SCAN = b"\xff\xda"
FRAME = {0xC0, 0xC1, 0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
END, START, SCAN, TEMPORARY = 0xD9, 0xD8, 0xDA, 0x01
TIFF_JPEG = "jpeg"
STRIPS, TILES, TILE_WIDTH, TILE_HEIGHT = 273, 324, 322, 323  # tags of TIFF


@dataclass(frozen=True)
class Limits:
    """How much a request's images may cost; see `handler.ImageConfig`."""

    max_pixels: int = 50_000_000
    max_image_bytes: int = 320_000_000
    max_image_side: int = 65_535
    max_jpeg_scans: int = 20
    whitened: bool = False


class _File(io.BytesIO):
    """A file that counts how often it is read, and says when it is too often."""

    reads, most = 0, MAX_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > self.most:
            raise BadRequest(
                f"the image is in too many pieces; it may be read {self.most} times",
                hint="write it anew",
                status=413,
            )
        return super().read(size)


def open_header(data: bytes) -> Image.Image:
    """Read an image's header; no pixel is decoded.

    Raises:
        BadRequest: 413 for one of too many pieces.
        Exception: anything else that PIL raises.
    """
    file = _File(data)
    image = Image.open(file, formats=FORMATS)
    if _in_runs(image):
        file.most = RUN_READS
    return image


def check(image: Image.Image, data: bytes, limits: Limits) -> None:
    """Refuse an image that would cost too much to decode.

    Args:
        image: whose header has been read.
        data: all of it.
        limits: what it may cost.

    Raises:
        BadRequest: 413.
    """
    check_size(image.width, image.height, limits)
    scans, of_scans = _scans(image, data)
    if scans > limits.max_jpeg_scans:
        raise BadRequest(
            f"the image has {scans} scans; at most {limits.max_jpeg_scans} are allowed",
            hint="write it anew; the setting is 'max_jpeg_scans'",
            status=413,
        )
    found = decoded_bytes(image, of_scans, limits)
    if found > limits.max_image_bytes:
        raise _too_many_bytes("the image takes", found, limits)


def check_size(width: int, height: int, limits: Limits) -> None:
    """Refuse an image of too many pixels, or too long a side.

    Raises:
        BadRequest: 413.
    """
    if width * height > limits.max_pixels:
        raise too_large(limits)
    most = limits.max_image_side
    if max(width, height) > most:
        raise BadRequest(
            f"the image is {width} by {height} pixels; a side may have at most {most}",
            hint="cut it; the setting is 'max_image_side'",
            status=413,
        )


def check_together(encoded: Sequence[bytes], decoded: int, limits: Limits) -> None:
    """Check the headers of a request's images: kilobytes can hold gigapixels.

    Args:
        encoded: the images whose headers are to be read.
        decoded: the pixels of the images that came decoded.
        limits: what they may cost together.

    Raises:
        BadRequest: 413.
    """
    pixels, memory = decoded, 0
    for data in encoded:
        try:
            image = open_header(data)
        except Exception:  # noqa: S112 - each image is refused for its own fault when it is decoded
            continue
        pixels += image.width * image.height
        memory += decoded_bytes(image, _scans(image, data)[1], limits)
    if pixels > limits.max_pixels:
        raise BadRequest(
            f"the request's images have {pixels} pixels together; at most {limits.max_pixels} "
            "are allowed",
            hint="send fewer, or smaller ones; the setting is 'max_pixels'",
            status=413,
        )
    if memory > limits.max_image_bytes:
        raise _too_many_bytes("the request's images take", memory, limits)


def decoded_bytes(image: Image.Image, of_scans: float, limits: Limits) -> int:
    """Estimate the bytes that decoding fills: the decoder's, the image's, and its RGB's.

    It is time as well as memory: 320 MB took at most a second, for every format.

    Args:
        image: whose header has been read.
        of_scans: the bytes for each pixel that are kept between the scans of a JPEG.
        limits: says whether what is transparent becomes white.
    """
    each = of_scans + STORED.get(image.mode, 4)
    if image.mode.startswith("I;16"):
        each += SIXTEEN_BITS
    each += AS_RGB if image.mode != "RGB" else 0
    each += WHITENED if limits.whitened and "transparency" in image.info else 0
    deep = "16" in str([tile[3] for tile in getattr(image, "tile", [])[:1]])
    if image.format in ("PNG", "TIFF"):
        each += len(image.getbands()) * (2 if deep else 1)  # a row of the file, and its filter
    elif image.format == "WEBP":
        each += OF_WEBP
    elif _in_runs(image):
        each += OF_RUNS
    tags = getattr(image, "tag_v2", {})
    tile = _number(tags.get(TILE_WIDTH)) * _number(tags.get(TILE_HEIGHT))
    return int(each * max(image.width * image.height, tile)) + OF_A_ROW * image.height


def too_large(limits: Limits) -> BadRequest:
    """The refusal of an image of too many pixels."""
    return BadRequest(
        f"the image is larger than {limits.max_pixels} pixels",
        hint="send a smaller one; the setting is 'max_pixels'",
        status=413,
    )


def _too_many_bytes(what: str, found: int, limits: Limits) -> BadRequest:
    return BadRequest(
        f"{what} some {found} bytes to decode; at most {limits.max_image_bytes} are allowed",
        hint="send a smaller one, of 8 bits and without alpha; the setting is 'max_image_bytes'",
        status=413,
    )


def _in_runs(image: Image.Image) -> bool:
    return any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", []))


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _scans(image: Image.Image, data: bytes) -> tuple[float, float]:
    """How often the pixels are gone over, and the bytes of each that are kept meanwhile.

    A few bytes can repeat a scan of every pixel: of a JPEG, or of one within a TIFF.
    """
    if image.format in ("JPEG", "MPO"):
        return _jpeg_scans(data)
    if image.format == "TIFF" and image.info.get("compression") == TIFF_JPEG:
        tags = image.tag_v2  # type: ignore[attr-defined]
        pieces = tags.get(STRIPS) or tags.get(TILES) or (0,)
        return data.count(JPEG_SCAN) / len(pieces if isinstance(pieces, tuple) else (0,)), 0
    return 1, 0


def _jpeg_scans(data: bytes) -> tuple[int, float]:
    """The scans of a JPEG, and the bytes of coefficients per pixel when there are several."""
    place, scans, samples, components = 2, 0, 0.0, 1
    while found := JPEG_MARKER.search(data, place):
        kind, place = data[found.end() - 1], found.end()
        if kind == END:
            break
        if kind in (START, TEMPORARY):
            continue
        scans += kind == SCAN
        if kind in FRAME and not samples:
            components = max(1, data[place + 7] if len(data) > place + 7 else 1)
            sides = [(s >> 4, s & 15) for s in data[place + 9 : place + 8 + 3 * components : 3]]
            most = max(1, max((w for w, _ in sides), default=1))
            most *= max(1, max((h for _, h in sides), default=1))
            samples = sum(w * h for w, h in sides) / most
        place += int.from_bytes(data[place : place + 2], "big")
    # Of 2 bytes each; kept also where each component has a scan of its own.
    return scans, 2 * samples if scans > 1 else 0
