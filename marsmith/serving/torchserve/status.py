"""What a running server does now, read from its management API; its fields are keys of its JSON."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field


class WorkerStatus(BaseModel, frozen=True):
    """One worker of a model."""

    id: str
    pid: int
    status: str
    """TorchServe's word for it: "READY" once it has loaded its model."""

    @property
    def ready(self) -> bool:
        """Whether it can be asked."""
        return self.status == "READY"


class ModelStatus(BaseModel, frozen=True):
    """One model, as the management API describes it."""

    name: str = Field(validation_alias="modelName")
    version: str = Field(validation_alias="modelVersion")
    min_workers: int = Field(validation_alias="minWorkers")
    max_workers: int = Field(validation_alias="maxWorkers")
    batch_size: int = Field(validation_alias="batchSize")
    workers: tuple[WorkerStatus, ...] = ()


class ServerStatus(BaseModel, frozen=True):
    """A server, its addresses and its models."""

    ready: bool
    """Whether every model can be asked."""
    problems: tuple[str, ...]
    """What is wrong; empty when nothing is."""
    inference_address: str
    management_address: str | None
    metrics_address: str | None
    grpc_address: str | None
    key_file: Path
    models: tuple[ModelStatus, ...]
