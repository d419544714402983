"""A report as a ResNet-50 on a server might have: every status, passes, every rung."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marsmith.report.report import Report

SAMPLE = Path(__file__).with_name("sample.report.json")
"""What version 0.2 wrote for `digits_pruned`, with three candidates and --keep-all."""

DOT = (  # a picture of 1 × 1
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGNgYGD4DwAB"
    "BAEAX+XDSwAAAABJRU5ErkJggg=="
)
# status, MB, metric, largest error, cosine, p50 ms, samples/s
TRIED: dict[str, tuple[Any, ...]] = {
    "eager:fp32": ("admissible", 102.3, 0.7613, 0.0, 1.0, 83.1, 12.3),
    "eager:bf16": ("admissible", 51.3, 0.7609, 0.061, 0.99987, 60.9, 17.9),
    "torchscript:fp32": ("admissible", 102.5, 0.7613, 3.1e-6, 1.0, 62.2, 17.4),
    "torchscript:int8": ("admissible", 26.0, 0.7578, 0.43, 0.9971, 19.6, 61.0),
    "torchscript:int8_dynamic": ("refused", 96.2, 0.7441, 0.95, 0.9861, None, None),
    "pt2:fp32": ("admissible", 102.6, 0.7613, 4.4e-6, 1.0, 44.0, 24.9),
    "pt2:bf16": ("failed", None, None, None, None, None, None),
    "onnx:fp32": ("admissible", 102.2, 0.7613, 2.4e-6, 1.0, 33.5, 31.1),
    "onnx:int8": ("shipped", 25.8, 0.7586, 0.38, 0.9978, 11.9, 90.6),
    "onnx:int8_dynamic": ("refused", 25.7, 0.1122, 7.9, 0.4403, None, None),
    "openvino:fp32": ("admissible", 102.2, 0.7613, 2.9e-6, 1.0, 31.8, 33.0),
    "openvino:fp16": ("admissible", 51.2, 0.7611, 0.0041, 0.99999, 31.6, 33.2),
    "openvino:int8": ("admissible", 25.9, 0.7591, 0.36, 0.9979, 12.4, 86.2),
    "tflite:fp32": ("admissible", 102.1, 0.7613, 5.2e-6, 1.0, 58.0, 17.2),
    "tflite:int8": ("skipped", None, None, None, None, None, None),
}
REASONS = {
    "refused": ("the {0} model was refused: metric drop 0.0172 > metric_max_drop 0.005; "
              "cosine 0.9861 < min_cosine 0.99",
              "nothing was written; mend the model, or the bounds in 'accept'"),
    "failed": ("the conversion broke: InductorError: CppCompileError: C++ compile error at "
             "<unknown>:/x/c3.main.cpp & \"_mm512_cvtneps_pbh\" was not declared in this scope; "
             + "did you mean _mm512_cvtepi8_epi16? " * 2, ""),
    "skipped": ("tflite can't quantise aten::<script>alert('x')</script>_dot_product; onnx can",
              "pip install 'marsmith[tflite]'"),
}  # fmt: skip


def difference(error: float, cosine: float) -> dict[str, float]:
    return {"max_abs_error": error, "max_rel_error": error / 20, "min_cosine": cosine}


def row(name: str, figures: tuple[Any, ...]) -> dict[str, Any]:
    status, size, metric, error, cosine, p50, speed = figures
    reason, hint = REASONS.get(status, (f"{(speed or 0) / 12.1:.2f}× the original's", ""))
    timing = {"p50_ms": p50, "samples_per_s": speed, "batch_size": 8, "threads": 4, "p99_ms": None}
    return {
        "candidate": name,
        "runtime": name.partition(":")[0],
        "precision": name.partition(":")[2],
        "status": status,
        "verdict": reason.format(name),
        "hint": hint,
        "log": f"/models/.cache/logs/resnet50/{name.replace(':', '-')}.log",
        "bytes": size and int(size * 1e6),
        "metric": metric,
        "difference": difference(error, cosine) if error is not None else None,
        "timing": timing if p50 else None,
        "archived": rung("archived", metric, 2e-7, ()) if status == "admissible" else None,
        "kept": [{"name": "n4", "title": "layer1.conv", "harm": 0.02}] if "int8" in name else [],
        "command": f"marsmith build archiver_configs/resnet50.yaml --candidate {name}",
    }


def rung(name: str, metric: float | None, error: float, outputs: tuple[str, ...]) -> dict[str, Any]:
    each = {k: difference(error / (i + 1), 1 - error / 200) for i, k in enumerate(outputs)}
    return {
        "name": name,
        "metric": metric,
        "difference": difference(error, 1 - error / 200),
        "outputs": each,
        "batch_sizes": [1, 3, 8],
        "samples": 50000,
        "spread": 0.0,
        "by": "",
    }


def shown(
    index: int, picture: str, expected: str, before: object, after: object, difference: float | None
) -> dict[str, Any]:
    return {
        "index": index, "text": "11,204 bytes" if picture else "a <b>sleek</b> swimmer",
        "picture": picture, "expected": expected, "before": json.dumps(before),
        "after": json.dumps(after), "decided": difference is not None, "difference": difference,
    }  # fmt: skip


def make(**changes: Any) -> Report:
    """The report, with some of its JSON changed."""
    return Report.model_validate(data() | changes)


def data() -> dict[str, Any]:
    """The report's JSON."""
    outputs = ("logits", *(f"stage_{number}.features" for number in range(1, 9)))
    sample: dict[str, Any] = json.loads(SAMPLE.read_text("utf-8"))
    return sample | {
        "name": "resnet50",
        "version": "2.1",
        "task": "image_classification",
        "runtime": "onnx",
        "precision": "int8",
        "metric": "accuracy",
        "objective": "throughput",
        "accept": {
            "max_abs_error": None, "metric_at_least": 0.75, "metric_max_drop": 0.005,
            "min_cosine": 0.99,
        },
        "archive": {"bytes": 25_912_345, "sha256": "9f" * 32},
        "samples": 50000,
        "original": {
            "p50_ms": 84.9, "samples_per_s": 12.1, "batch_size": 8, "threads": 4, "p99_ms": None,
        },
        "candidates": [row(name, figures) for name, figures in TRIED.items()],
        "ladder": [
            rung("original", 0.7613, 0.0, outputs),
            rung("passes", 0.7609, 0.11, outputs),
            rung("onnx:int8", 0.7586, 0.38, outputs),
            rung("archived", 0.7586, 2.4e-7, ()),
            rung("served", 0.7586, 3.1e-7, ()),
        ],
        "passes": [
            {
                "pass": "prune_structured",
                "before": {"parameters": 25_557_032, "macs": 4_089_284_608},
                "after": {"parameters": 12_701_184, "macs": 1_998_004_224},
                "epochs": 5, "loss": 0.8123456,
            },
            {"pass": "qat", "layers": 53, "epochs": 2, "loss": None},
        ],
        "engines": {"onnx": "1.22.0", "onnxruntime": "1.31.0", "openvino": "2026.4.0"},
        "versions": {"torch": "2.13.0+cpu", "numpy": "2.4.6", "marsmith": "0.1.0"},
        "requirements": [],
        "packages": {},
        "provenance": {
            "recipe": "5c" * 32, "source": {"kind": "factory"}, "datasets": [],
            "data": {"evaluation": "resnet.data:held_out", "calibration": "resnet.data:some"},
            "licence": "", "commit": None, "clean": None,
        },
        "environment": {
            "python": "3.11.7", "system": "Linux-6.18-x86_64-with-glibc2.36",
            "cpu": "Intel(R) Xeon(R) Platinum 8488C", "instructions": "AVX512", "cores": 8,
            "threads": 4,
        },
        "seconds": {"original": 312.4, "candidates": 1450.02, "timing": 88.1, "archived": 41.0},
        "unscored": 0,
        "strange_labels": [],
        "random": [],
        "answers": {"samples": 50000, "changed": 2, "shown": [
            shown(17, DOT, "tabby", {"tabby": 0.41, "tiger cat": 0.4}, {"tiger cat": 0.44}, None),
            shown(3, "", "otter", {"otter": 0.9}, {"otter": 0.82}, 0.08),
        ]},
        "earlier": {
            "sha256": "8e" * 32, "bytes": 98_000_000, "candidate": "openvino:fp32",
            "metric": 0.7611, "min_cosine": 1.0,
            "compared_on": "50,000 held-out samples", "model_bytes": 97_000_000,
            "timing": {"p50_ms": 31.0, "samples_per_s": 33.4, "batch_size": 8, "threads": 4,
                       "p99_ms": None},
            "cpu": "Intel(R) Xeon(R) Platinum 8488C",
            "versions": {"torch": "2.12.0+cpu", "numpy": "2.4.6", "marsmith": "0.1.0"},
        },
    }  # fmt: skip


def alone(**changes: Any) -> dict[str, Any]:
    """A report on the task's own example, without a metric."""
    report = data() | {"metric": None, "samples": 1, "passes": [], "answers": None, **changes}
    for each in (*report["candidates"], *report["ladder"]):
        each["metric"] = None
    report["ladder"] = [each | {"samples": 1} for each in report["ladder"]]
    report["provenance"] = report["provenance"] | {"data": {}}
    return report
