"""The settings that TorchServe's `config.properties` may have, and what their values do.

See: `ConfigManager.java` in TorchServe's frontend; its docs/configuration.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from marsmith.doctor.findings import Level

NUMBERS = frozenset({
    "default_response_timeout", "default_startup_timeout", "default_workers_per_model",
    "grpc_inference_max_connection_age_grace_ms", "grpc_inference_max_connection_age_ms",
    "grpc_inference_port", "grpc_management_max_connection_age_grace_ms",
    "grpc_management_max_connection_age_ms", "grpc_management_port",
    "initial_distribution_port", "initial_worker_port", "io_ratio", "job_queue_size",
    "max_request_size", "max_response_size", "metric_time_interval", "netty_client_threads",
    "number_of_gpu", "number_of_netty_threads", "unregister_model_timeout",
})  # fmt: skip
SWITCHES = frozenset({
    "async_logging", "cpu_launcher_enable", "debug", "decode_input_request",
    "disable_system_metrics", "disable_token_authorization", "enable_envvars_config",
    "enable_grpc_ssl", "enable_metrics_api", "enable_model_api", "install_py_dep_per_model",
    "ipex_enable", "ipex_gpu_enable", "limit_max_image_pixels", "model_metrics_auto_detect",
    "prefer_direct_buffer", "ts_open_inference_protocol", "use_env_allowed_urls", "use_native_io",
})  # fmt: skip
TEXTS = frozenset({
    "allowed_urls", "blacklist_env_vars", "certificate_file", "cors_allowed_headers",
    "cors_allowed_methods", "cors_allowed_origin", "cpp_log_config", "cpu_launcher_args",
    "default_service_handler", "grpc_inference_address", "grpc_management_address",
    "inference_address", "keystore", "keystore_pass", "keystore_type", "load_models",
    "management_address", "metrics_address", "metrics_config", "metrics_mode",
    "model_server_home", "model_snapshot", "model_store", "models", "private_key_file", "python",
    "service_envelope", "system_metrics_cmd", "token_expiration_min", "ts_header_key_sequence_end",
    "ts_header_key_sequence_id", "ts_header_key_sequence_start", "version", "workflow_store",
})  # fmt: skip
# The launcher, ts/model_server.py, reads these, and Java doesn't.
OF_THE_LAUNCHER = frozenset({"plugins_path", "vmargs"})
KNOWN = NUMBERS | SWITCHES | TEXTS | OF_THE_LAUNCHER
CHOICES = {"metrics_mode": ("log", "prometheus", "legacy")}
"""What a setting may be; the first is taken for all that it may not."""
OF_MODELS = ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay", "responseTimeout")
"""Numbers in `models`; one that is not above 0 is ignored."""
ANY_URL = "file://.*|http(s)?://.*"
"""What `allowed_urls` is when nobody says it."""


@dataclass(frozen=True)
class Rule:
    """What a value of one setting does.

    Attributes:
        key: the setting.
        default: its value where the file says none.
        applies: whether a value, in lower case, does it.
        level: how that stands.
        what: what it does.
        todo: what to write instead.
    """

    key: str
    default: str
    applies: Callable[[str], bool]
    level: Level
    what: str
    todo: str


def _on(value: str) -> bool:
    return value == "true"


def _off(value: str) -> bool:
    return value != "true"


def _said(value: str) -> bool:
    return bool(value)


def _absent(value: str) -> bool:
    return not value


RULES = (
    Rule(
        "disable_token_authorization", "false", _on, "bad",
        "disable_token_authorization=true: nobody needs a key, for management neither",
        "disable_token_authorization=false",
    ),
    Rule(
        "token_expiration_min", "", _absent, "note",
        "keys end after 60 minutes, and then every request is refused",
        "token_expiration_min=525600",
    ),
    Rule(
        "enable_model_api", "false", _on, "bad",
        "enable_model_api=true: whoever has management's key makes it run any archive",
        "enable_model_api=false, and name the models with --models",
    ),
    Rule(
        "use_env_allowed_urls", "false", _on, "note",
        "use_env_allowed_urls=true: the environment may allow every URL again",
        "use_env_allowed_urls=false",
    ),
    Rule(
        "enable_envvars_config", "false", _on, "note",
        "enable_envvars_config=true: TS_... in the environment overrides this file",
        "enable_envvars_config=false, or keep the environment as carefully as the file",
    ),
    Rule(
        "install_py_dep_per_model", "false", _on, "bad",
        "install_py_dep_per_model=true: an archive installs packages as it is loaded",
        "install_py_dep_per_model=false, and install them beforehand",
    ),
    Rule(
        "limit_max_image_pixels", "true", _off, "bad",
        "limit_max_image_pixels is off: a small image may unpack to gigabytes",
        "limit_max_image_pixels=true",
    ),
    Rule(
        "model_snapshot", "", _said, "note",
        "this file is a snapshot of TorchServe's own: it starts what ran then, not what you named",
        "start from a file of your own, with --ncs",
    ),
    Rule(
        "plugins_path", "", _said, "note",
        "plugins_path: its jars are run with every right of the server", "know who writes there",
    ),
    Rule(
        "system_metrics_cmd", "", _said, "note",
        "system_metrics_cmd: a program that is run again and again, beside the models",
        "disable_system_metrics=true, and a node exporter",
    ),
    Rule(
        "service_envelope", "", _said, "note",
        "service_envelope: TorchServe's envelopes read the first request of a batch alone",
        "leave it out; archives of marsmith read these protocols themselves",
    ),
    Rule(
        "ts_open_inference_protocol", "false", _on, "note",
        "ts_open_inference_protocol=true: by gRPC, a request that is refused kills the worker",
        "leave it out; archives of marsmith speak it over HTTP",
    ),
    Rule(
        "default_response_timeout", "", _said, "note",
        "default_response_timeout: an archive with a model-config.yaml gets 120 s in spite of it",
        "write responseTimeout into each model-config.yaml; archives of marsmith have it",
    ),
    Rule(
        "default_workers_per_model", "", _absent, "note",
        "each model gets a worker per GPU or core, each with the threads of every core",
        "default_workers_per_model=1, and minWorkers in each model-config.yaml",
    ),
    Rule(
        "cors_allowed_origin", "", lambda value: value == "*", "note",
        "cors_allowed_origin=*: every web page may ask from its visitors' browsers",
        "name the pages",
    ),
    Rule(
        "debug", "false", _on, "note", "debug=true: each model has a single worker", "debug=false"
    ),
    Rule(
        "vmargs", "", lambda value: "address=" in value and "jdwp" in value, "bad",
        "vmargs opens a port for debuggers, which run any code", "leave it out",
    ),
)  # fmt: skip
