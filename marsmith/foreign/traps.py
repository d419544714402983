"""What a `model-config.yaml` says that TorchServe 0.12 takes otherwise, or not at all, in silence.

See: `ModelConfig.java` in TorchServe's frontend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import yaml

WHOLE = (
    "minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout", "startupTimeout",
    "parallelLevel", "maxRetryTimeoutInSec", "clientTimeoutInMills", "jobQueueSize",
    "maxNumSequence", "maxSequenceJobQueueSize", "sequenceMaxIdleMSec", "sequenceTimeoutMSec",
)  # fmt: skip
SWITCHES = (
    "useJobTicket",
    "sequenceBatching",
    "continuousBatching",
    "asyncCommunication",
    "useVenv",
)
OTHERS = ("deviceType", "deviceIds", "parallelType", "torchrun")
TIMEOUTS = ("responseTimeout", "startupTimeout")
DEFAULT_DELAY_MS = 100
NEAR = 0.8  # likeness of a misspelt key; handlers have keys of their own


def of_text(text: str, name: str) -> tuple[dict[str, object], list[str]]:
    """Read a configuration, and say what is wrong with it.

    Args:
        text: of the file.
        name: the file's.

    Returns:
        What it says, empty where TorchServe would ignore all of it; and a line for each thing that
        is wrong.
    """
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        line = str(error).splitlines()[0]
        return {}, [f"{name} is not YAML ({line}): TorchServe ignores all of it"]
    if not isinstance(found, dict):
        return {}, [f"{name} is no mapping of settings: TorchServe ignores all of it"]
    return found, list(_wrong(found))


def _wrong(config: Mapping[object, object]) -> Iterator[str]:
    for key, value in config.items():
        yield from _of_key(str(key), value)
    for key in TIMEOUTS:
        if key not in config:
            yield f"{key} isn't said: 120 s is taken, whatever config.properties says"
    if config.get("maxBatchDelay") == 0:
        yield f"maxBatchDelay: 0 becomes {DEFAULT_DELAY_MS} ms: say 1"
    size = config.get("batchSize")
    if type(size) is int and size > 1:
        if "maxBatchDelay" not in config:
            yield f"maxBatchDelay isn't said: a batch waits {DEFAULT_DELAY_MS} ms to fill"
        if config.get("asyncCommunication") is True:
            yield "asyncCommunication with batchSize above 1 answers nothing under load"
    if config.get("clientTimeoutInMills"):
        yield "clientTimeoutInMills drops requests without a word to their clients: leave it out"
    low, high = config.get("minWorkers"), config.get("maxWorkers")
    if type(low) is int and type(high) is int and low > high:
        yield f"minWorkers {low} is more than maxWorkers {high}"
    if config.get("continuousBatching") is True and high not in (None, 1):
        yield "continuousBatching with more than one worker: an idle one keeps the others waiting"


def _of_key(key: str, value: object) -> Iterator[str]:
    if key in WHOLE and type(value) is not int:
        yield f"{key}: {value!r} is no whole number: TorchServe ignores it"
    elif key in SWITCHES and not isinstance(value, bool):
        yield f"{key}: {value!r} is neither true nor false: TorchServe ignores it"
    elif key == "deviceType" and value not in ("cpu", "gpu"):
        yield f"deviceType: {value!r} is neither cpu nor gpu: TorchServe ignores it"
    elif key not in (*WHOLE, *SWITCHES, *OTHERS):
        names = {name.lower(): name for name in (*WHOLE, *SWITCHES, *OTHERS)}
        plain = key.replace("_", "").replace("-", "").lower()
        if near := difflib.get_close_matches(plain, names, n=1, cutoff=NEAR):
            yield f"{key} is nothing that TorchServe reads: {names[near[0]]} is meant?"
