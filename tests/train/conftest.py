"""A tiny dataset, as a folder and on a bus, for every test of the folder."""

import pytest
import torch
from obstore.store import MemoryStore
from perception_data import DATASET, TINY, put_artifact, run_stage, write_dataset

from sim2edge.bus import Bus
from sim2edge.recipes.perception_frames import DatasetTable, read_frames


@pytest.fixture(autouse=True, scope="session")
def _without_tracking_server():
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(autouse=True, scope="session")
def _on_one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("dataset"), train=40, validation=10, test=10)


@pytest.fixture(scope="session")
def table(dataset_folder):
    return DatasetTable.read(dataset_folder / "dataset.json")


@pytest.fixture(scope="session")
def train_frames(dataset_folder, table):
    return read_frames(dataset_folder / "train.parquet", table)


@pytest.fixture
def dataset(bus, dataset_folder):
    """The reference of the dataset, on the bus."""
    return put_artifact(bus, DATASET, dataset_folder)


@pytest.fixture(scope="session")
def trained(dataset_folder):
    """A model of two epochs: the bus it is on, its manifest, and what the run said."""
    bus = Bus(MemoryStore())
    put_artifact(bus, DATASET, dataset_folder)
    return bus, *run_stage(bus, "train", {"dataset": [DATASET]}, *TINY, "epochs=2")
