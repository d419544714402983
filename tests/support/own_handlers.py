"""A project with a folder `handlers` of its own, in which all that its recipe names is."""

from __future__ import annotations

import textwrap
from pathlib import Path

NET = """
    from torch import nn, rand
    from torch.utils.data import Dataset
    from handlers.layers import head

    def make():
        return nn.Sequential(nn.Flatten(), head())

    def train(module):
        nn.init.constant_(module[1].weight, 0.5)

    class Lessons(Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            return rand(3, 2, 2), index % 2

    def spawned():
        from torch import multiprocessing
        multiprocessing.set_start_method("spawn", force=True)
        return Lessons()

    def assets(module, folder):
        (folder / "labels.json").write_text('["dark", "bright"]')
    """
DATA = """
    import io
    from PIL import Image

    def held_out():
        file = io.BytesIO()
        Image.new("RGB", (2, 2), "white").save(file, "PNG")
        return [(file.getvalue(), "bright")] * 3
    """
PROJECT = {
    "handlers/__init__.py": "",
    "handlers/net.py": NET,
    "handlers/layers.py": "from torch import nn\ndef head(): return nn.Linear(12, 2)",
    "handlers/data.py": DATA,
    "shades.yaml": """
        name: shades
        task: image_classification
        source: {factory: "handlers.net:make", train: "handlers.net:train"}
        assets: handlers.net:assets
        handler: {resize: [2, 2], labels: labels.json}
        passes: [{prune_unstructured: {amount: 0.5, epochs: 1}}]
        training: {data: "handlers.net:Lessons", batch_size: 4}
        evaluation: {data: "handlers.data:held_out"}
        accept: {min_cosine: -1}
        """,
}


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files, each with the folders that lead to it."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
