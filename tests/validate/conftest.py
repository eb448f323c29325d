"""A small dataset and models on a bus."""

import json

import pytest
import torch
from perception_data import DATASET, put_artifact, small_network, write_dataset

from sim2edge.recipes.perception import CLASSES, FLOORS, signature
from sim2edge.train.cnn_model import save_model


@pytest.fixture(autouse=True)
def _without_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(autouse=True, scope="session")
def _on_one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), train=2, validation=2, test=30)


@pytest.fixture
def dataset(bus, dataset_folder):
    """The reference of the dataset, on the bus."""
    return put_artifact(bus, DATASET, dataset_folder)


@pytest.fixture
def put_model(bus, tmp_path):
    """Put an untrained model on the bus."""

    def put(digit: str, **changes) -> str:
        folder = tmp_path / digit
        folder.mkdir()
        meta = {"recipe": "perception", "classes": list(CLASSES), "floors": list(FLOORS), "height": 48, "width": 64}
        meta = meta | {"postprocess": signature(48, 64, 0.02)} | changes
        network = small_network(seed=int(digit))
        torch.nn.init.zeros_(network.fine_head.layers[-1].bias)  # untrained, it would see nothing at all
        save_model(network, meta, folder / "model.pt")
        (folder / "model.json").write_text(json.dumps(meta))
        return put_artifact(bus, "model/toy-1/" + digit * 16, folder)

    return put
