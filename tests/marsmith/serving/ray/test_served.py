from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from handlers import cpu
from marsmith.serving.host import memory
from marsmith.serving.ray.served import Served


@pytest.mark.parametrize(("per_core", "here"), [(True, (2, 2)), (False, (1, 1))])
def test_a_model_that_is_best_served_so_gets_a_replica_for_each_core(
    make_tiny_archive: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    per_core: bool,
    here: tuple[int, int],
) -> None:
    monkeypatch.setattr(cpu, "cores", lambda: 3)  # and the archive takes two at most
    monkeypatch.setattr(memory, "free", lambda: 10**12)
    served = Served.of(str(make_tiny_archive("tiny", per_core=per_core)))
    assert served.replicas == (1, here[1])  # what is deployed elsewhere knows nothing of this one
    scaling = served.here().options()["autoscaling_config"]
    assert (scaling["min_replicas"], scaling["max_replicas"]) == here
