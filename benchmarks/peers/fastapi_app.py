"""FastAPI under uvicorn: a process per core, and no batches."""

from __future__ import annotations

from fastapi import FastAPI, Request

from benchmarks.peers.plain import Answer, Plain

app = FastAPI()
plain = Plain()


@app.post("/predict")  # type: ignore[untyped-decorator]  # not installed here
async def predict(request: Request) -> Answer:
    """Answer one image; nothing else of this process runs meanwhile."""
    return plain.answer([plain.decode(await request.body())])[0]
