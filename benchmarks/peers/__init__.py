"""The same model file behind every server that people would take instead, in turns, by one load.

    marsmith build archiver_configs/resnet50.yaml
    python -m venv peers && peers/bin/pip install litserve bentoml fastapi uvicorn openvino pillow
    python -m benchmarks.peers --python peers/bin/python [--seconds 10] [--rounds 3]

Each is set up as its documentation says is best for a model on a CPU, and as we would tune it by
hand for two cores: two processes of one thread, batches of eight where it can batch.
"""
