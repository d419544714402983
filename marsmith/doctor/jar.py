"""What TorchServe's jar bundles, in which versions, read off the jar itself; no Java is started."""

from __future__ import annotations

import importlib.util
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

from marsmith.errors import ServerError

JAR = "frontend/model-server.jar"
CONFIG_MANAGER = "org/pytorch/serve/util/ConfigManager.class"
# Where a library says its version: a properties file, or a class that has it as a constant.
SAID_IN = {
    "netty": ("META-INF/io.netty.versions.properties", r"netty-common\.version=(\S+)"),
    "groovy": ("META-INF/groovy-release-info.properties", r"ImplementationVersion=(\S+)"),
    "grpc": ("io/grpc/internal/GrpcUtil.class", r"^(\d+\.\d+\.\d+)$"),
    "gson": ("com/google/gson/internal/GsonBuildConfig.class", r"^(\d+\.\d+(?:\.\d+)?)$"),
}
# The jar is packed without the metadata of these: what its build asked for.
# See: frontend/gradle.properties and frontend/archive/build.gradle at v0.12.0 of pytorch/serve
ASKED_FOR = {
    "0.12.0": {
        "snakeyaml": "2.1", "log4j": "2.17.1", "commons-compress": "1.25.0",
        "commons-io": "2.16.1", "commons-cli": "1.3.1",
    }
}  # fmt: skip
# Bytes of a constant behind its tag, but for text, which says its own length.
# See: https://docs.oracle.com/javase/specs/jvms/se17/html/jvms-4.html#jvms-4.4
SIZES = {
    3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4,
    19: 2, 20: 2,
}  # fmt: skip
TEXT, STRING, WIDE = 1, 8, (5, 6)


def find_jar() -> Path:
    """Find the jar of the installed TorchServe.

    Raises:
        ServerError: there is none.
    """
    spec = importlib.util.find_spec("ts")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (jar := Path(folder) / JAR).is_file():
            return jar
    raise ServerError("TorchServe is not installed", "pip install marsmith, which brings it")


def versions(jar: Path, torchserve: str) -> dict[str, str]:
    """The versions of TorchServe and of the libraries in its jar, as far as they are known.

    Args:
        jar: `model-server.jar`.
        torchserve: TorchServe's own version.

    Raises:
        ServerError: it is no jar.
    """
    found = {"torchserve": torchserve, **ASKED_FOR.get(torchserve, {})}
    with _opened(jar) as entries:
        for library, (entry, pattern) in SAID_IN.items():
            if entry not in entries.namelist():
                continue
            data = entries.read(entry)
            said = strings(data) if entry.endswith(".class") else [data.decode("utf-8", "replace")]
            matches = (re.search(pattern, each) for each in said)
            if match := next(filter(None, matches), None):
                found[library] = match[1].removesuffix(".Final")
    return found


def settings_strings(jar: Path) -> list[str]:
    """All strings of the class that reads `config.properties`: the names of settings among them.

    Raises:
        ServerError: it is no jar of TorchServe's.
    """
    with _opened(jar) as entries:
        try:
            return list(strings(entries.read(CONFIG_MANAGER)))
        except KeyError as error:
            raise ServerError(f"{jar} has no {CONFIG_MANAGER}") from error


def strings(code: bytes) -> Iterator[str]:
    """The string constants of a compiled class.

    See: https://docs.oracle.com/javase/specs/jvms/se17/html/jvms-4.html#jvms-4.4
    """
    (count,) = struct.unpack_from(">H", code, 8)
    texts: dict[int, str] = {}
    used: list[int] = []
    place, index = 10, 1
    while index < count:
        tag = code[place]
        if tag == TEXT:
            (length,) = struct.unpack_from(">H", code, place + 1)
            texts[index] = code[place + 3 : place + 3 + length].decode("utf-8", "replace")
            place += 3 + length
        else:
            if tag == STRING:
                used += struct.unpack_from(">H", code, place + 1)
            place += 1 + SIZES[tag]
        index += 2 if tag in WIDE else 1
    return (texts[each] for each in used)


def _opened(jar: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(jar)
    except (OSError, zipfile.BadZipFile) as error:
        raise ServerError(f"{jar} can't be read: {error}", "install torchserve again") from error
