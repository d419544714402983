"""The same model file behind every server that people would take instead, in turns, by one load.

    marsmith build archiver_configs/resnet50.yaml     # and minilm, stdlib_gpt
    marsmith build benchmarks/constant/constant.yaml
    python -m venv peers && peers/bin/pip install litserve bentoml fastapi uvicorn openvino \
        onnxruntime tokenizers pillow torch transformers
    python -m benchmarks.peers --python peers/bin/python [--model minilm] [--seconds 6] [--rounds 3]

Each is set up as its documentation says is best for a model on a CPU, and as we would tune it by
hand for two cores: two processes of one thread, batches of eight where it can batch. Once more
each runs the model in a form of its own, PyTorch's. Nobody is measured who doesn't answer as ours
does. The ceiling is two processes without any server.
"""
