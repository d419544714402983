"""What a `config.properties` of TorchServe says wrong, or does without saying so.

See: `ConfigManager.java` and `Connector.java` in TorchServe's frontend, `ts/model_server.py`.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from marsmith.doctor import rules
from marsmith.doctor.findings import Finding, Level
from marsmith.doctor.properties import Setting, read

NEAR = 0.75
ADDRESS = re.compile(r"(?:(https?)://([^:^/]+)(?::(\d+))?)|unix:/.*", re.IGNORECASE)
LOOPBACK = re.compile(r"localhost|127(\.\d{1,3}){3}", re.IGNORECASE)
HIGHEST_PORT = 65534
VARIABLE = re.compile(r"\$\$([^$]+[^$])\$\$")
SWITCH = ("true", "false")
NO_START = "TorchServe doesn't start with it"


def check(path: Path) -> list[Finding]:
    """Lint a file.

    Args:
        path: a `config.properties`.

    Returns:
        What is wrong with it, worst first; one good finding when nothing is.

    Raises:
        ServerError: it can't be read.
    """
    settings = read(path)
    config = {each.key: each.value for each in settings}
    part = str(path)
    said = [*_of_lines(settings), *_of_addresses(config), *_of_rules(config), *_of_models(config)]
    said += _of_file(path, config)
    found = [Finding(part=part, level=level, what=what, hint=todo) for level, what, todo in said]
    order: Sequence[Level] = ("bad", "note", "good")
    if not found:
        return [Finding(part=part, level="good", what="nothing is wrong with it")]
    return sorted(found, key=lambda each: order.index(each.level))


Said = tuple[Level, str, str]
"""How it stands, what it is, what to do."""


def _of_lines(settings: Sequence[Setting]) -> Iterator[Said]:
    """What each line says by itself: an unknown key, a value of another kind."""
    first: dict[str, int] = {}
    for each in settings:
        key, value, where = each.key, each.value, f"line {each.line}: {each.key}"
        if key in first:
            yield "note", f"{where} is on line {first[key]}, too: the last one counts", "drop one"
        first.setdefault(key, each.line)
        if key not in rules.KNOWN:
            near = difflib.get_close_matches(key, rules.KNOWN, n=1, cutoff=NEAR)
            meant = f"{near[0]} is meant?" if near else "drop it, or look its name up"
            yield "bad", f"{where} is nothing that TorchServe reads", meant
        else:
            yield from _of_value(where, key, value)


def _of_value(where: str, key: str, value: str) -> Iterator[Said]:
    if not value.isascii():
        yield "note", f"{where}: the file is read as Latin-1", "write other letters as \\uXXXX"
    for name in (names := VARIABLE.findall(value)):
        if name not in os.environ:
            todo = "TorchServe doesn't start where it isn't set"
            yield "note", f"{where}: the environment has no {name} here", todo
    if names:  # what they hold is not known
        return
    if value != value.strip():
        yield "bad", f"{where}: spaces at its end are part of the value {value!r}", "drop them"
    elif key in rules.SWITCHES and value.lower() not in SWITCH:
        yield "bad", f"{where}: {value!r} is taken for false", "say true or false"
    elif key in rules.NUMBERS and not re.fullmatch(r"[+-]?\d+", value):
        yield "bad", f"{where}: {value!r} is no whole number", NO_START
    elif key in rules.CHOICES and value not in rules.CHOICES[key]:
        usual, *others = rules.CHOICES[key]
        todo = f"say {', '.join(others)} or {usual}"
        yield "bad", f"{where}: {value!r} is taken for {usual}", todo


def _of_addresses(config: Mapping[str, str]) -> Iterator[Said]:
    """Who can reach what."""
    for api in ("inference", "management", "metrics"):
        key = f"{api}_address"
        value = config.get(key, "")
        if not value:
            continue
        match = ADDRESS.fullmatch(value)
        if match is None or int(match[3] or 1) > HIGHEST_PORT:
            yield (
                "bad", f"{key}: {value!r} is no address: TorchServe doesn't start with it",
                "as http://127.0.0.1:8080, https://..., or unix:/path; IPv6 can't be said",
            )  # fmt: skip
            continue
        scheme, host, port = match.groups()
        if host and not port:
            yield "note", f"{key} names no port: another than 8080 to 8082 is taken", "name one"
        if host and not LOOPBACK.fullmatch(host):
            yield from _reachable(api, key, value, scheme.lower())
    for api in ("inference", "management"):
        key = f"grpc_{api}_address"
        if (value := config.get(key, "")) and not LOOPBACK.fullmatch(value):
            yield "bad", f"{key}={value}: gRPC can be reached from outside", f"{key}=127.0.0.1"
    if config.get("inference_address", "").lower().startswith("https"):
        yield from _tls(config)


def _reachable(api: str, key: str, value: str, scheme: str) -> Iterator[Said]:
    if api == "management":
        yield (
            "bad", f"{key}={value}: whoever reaches it changes what is served",
            f"{key}=http://127.0.0.1:8081",
        )  # fmt: skip
    elif api == "metrics":
        yield (
            "bad", f"{key}={value}: metrics ask for no key, and name models and hosts",
            f"{key}=http://127.0.0.1:8082",
        )  # fmt: skip
    elif scheme == "http":
        yield (
            "bad", f"{key}={value}: keys and requests can be read on their way",
            "listen at 127.0.0.1 and put a proxy with TLS before it, as `marsmith serve` does",
        )  # fmt: skip
    else:
        yield (
            "note", f"{key}={value}: netty reads what strangers send, with its known holes",
            "put a proxy before it, as `marsmith serve` does",
        )  # fmt: skip


def _tls(config: Mapping[str, str]) -> Iterator[Said]:
    pair = ("private_key_file", "certificate_file")
    if "keystore" not in config and not all(key in config for key in pair):
        yield (
            "bad", "https without a certificate: TorchServe makes one up that nobody trusts",
            f"{pair[0]} and {pair[1]}, or keystore",
        )  # fmt: skip
    if "keystore" in config and config.get("keystore_pass", "changeit") == "changeit":
        yield "bad", "keystore_pass is the usual one, changeit", "choose another"
    if config.get("enable_grpc_ssl", "false").lower() != "true":
        yield "note", "gRPC has no TLS while HTTP has", "enable_grpc_ssl=true"


def _of_rules(config: Mapping[str, str]) -> Iterator[Said]:
    for rule in rules.RULES:
        if rule.applies(config.get(rule.key, rule.default).lower()):
            yield rule.level, rule.what, rule.todo
    listed = config.get("allowed_urls", rules.ANY_URL)
    if listed == rules.ANY_URL or any(each in ("", ".*") for each in listed.split(",")):
        yield (
            "bad", "allowed_urls allows every URL: whoever reaches management runs code here",
            "allowed_urls=(?!) for none, or patterns of your own store",
        )  # fmt: skip
    for pattern in listed.split(","):
        try:
            re.compile(pattern)
        except re.error as error:
            yield "bad", f"allowed_urls: {pattern!r} is no pattern: {error}", "mend it"


def _of_models(config: Mapping[str, str]) -> Iterator[Said]:
    """What `models` says: a JSON object of names, versions and settings."""
    if not (text := config.get("models", "")):
        return
    try:
        models = json.loads(text)
        versions = [(name, dict(each)) for name, by in models.items() for each in by.values()]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        yield "bad", f"models is no JSON of models and versions: {error}", NO_START
        return
    for name, each in versions:
        for key in rules.OF_MODELS:
            if key in each and not _positive(each[key]):
                yield "note", f"models: {name}: {key}: {each[key]!r} is ignored", "say 1 or more"
        low, high = each.get("minWorkers"), each.get("maxWorkers")
        if _positive(low) and _positive(high) and int(str(low)) > int(str(high)):
            what = f"models: {name}: minWorkers {low} is above maxWorkers {high}"
            yield "bad", what, "mend it"


def _positive(value: object) -> bool:
    return str(value).isdecimal() and int(str(value)) > 0


def _of_file(path: Path, config: Mapping[str, str]) -> Iterator[Said]:
    """What is wrong with where the file lies."""
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        yield "bad", f"everybody may write to it ({stat.filemode(mode)})", f"chmod o-w {path}"
    if "keystore_pass" in config and mode & stat.S_IROTH:
        yield "bad", "everybody may read the password that is in it", f"chmod go-r {path}"
    if any(path.parent.glob("logs/config/*snapshot.cfg")):
        yield (
            "note", "logs/config has snapshots: without --ts-config the last is taken instead",
            "start it with --ncs and --ts-config",
        )  # fmt: skip
    if (other := os.environ.get("TS_CONFIG_FILE")) and Path(other).resolve() != path.resolve():
        yield (
            "bad", f"TS_CONFIG_FILE is {other}: TorchServe reads that, whatever --ts-config says",
            "unset TS_CONFIG_FILE",
        )  # fmt: skip
