"""Write a batch's frames, or a dataset, as COCO: pictures and annotation files that other tools read.

    sim2edge coco refs/frames/demo-1 out/              images/<episode>/<frame>.jpg, annotations/instances_frames.json
    sim2edge coco refs/datasets/current out/           instances_train.json, instances_validation.json, ...
    sim2edge coco refs/datasets/current out/ --copies  with the augmented copies of training frames

The folder must be empty or not exist yet. `file_name` is the path below `images/`.
"""

import argparse
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim2edge.bus import Bus
from sim2edge.errors import BadInput
from sim2edge.frames.coco_file import CocoWriter, name_images
from sim2edge.frames.file_metadata import read_size
from sim2edge.lineage import find_root
from sim2edge.lines import quote
from sim2edge.progress import PATIENCE_S

KINDS = ("frames", "dataset")
SAFE = re.compile(r"[a-z0-9][a-z0-9._-]*/[0-9.]+jpg")


def main(argv: Sequence[str]) -> int:
    """Write the folder; return the exit code.

    Raises:
        BadInput: the artifact is of another kind or an old version, or the folder is not empty.
    """
    arguments = parser().parse_args(argv)
    out = Path(arguments.folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadInput(f"{out}: not an empty folder: name another")
    bus = Bus.from_environment(PATIENCE_S)
    manifest = bus.open(find_root(bus, arguments.artifact))
    if manifest.kind not in KINDS:
        raise BadInput(f"{manifest.reference}: is of kind {manifest.kind}: name one of kind {' or '.join(KINDS)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as scratch:
        source = bus.fetch(manifest, Path(scratch, "source"), ["*.parquet"]).folder
        made = Path(scratch, "made")
        for path in sorted(source.glob("*.parquet")):
            images, boxes = export(path, made, arguments.copies)
            print(f"{out}/annotations/instances_{path.stem}.json: {images} images, {boxes} boxes")
        if out.exists():
            out.rmdir()
        shutil.move(made, out)
    return 0


def export(path: Path, folder: Path, copies: bool) -> tuple[int, int]:
    """Write the pictures and the annotation file of one Parquet file.

    Returns:
        the numbers of images and boxes.

    Raises:
        BadInput: the file does not say its image size, as those of clean before version 3 do not.
    """
    height, width = read_size(path)
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    images = boxes = 0
    with CocoWriter(folder / "annotations" / f"instances_{path.stem}.json", height, width) as writer:
        for table in read_tables(path, copies):
            writer.write(table)
            for name, data in zip(name_images(table, images + 1), table["image"], strict=True):
                if not SAFE.fullmatch(name):
                    raise BadInput(f"{path.name}: row {images}: episode_id: {quote(name)} is not a valid file name")
                picture = folder / "images" / name
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(data.as_py())
            images += len(table)
            boxes += pc.sum(pc.list_value_length(table["boxes"])).as_py() or 0
    return images, boxes


def read_tables(path: Path, copies: bool) -> Iterator[pa.Table]:
    """Yield the row groups of a file, without augmented copies unless they are wanted."""
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        if "augmentation" in table.column_names and not copies:
            table = table.filter(pc.equal(table["augmentation"], ""))
        yield table


def parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="sim2edge coco", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("artifact", help="frames or a dataset: a reference, a ref or an id")
    top.add_argument("folder", help="the folder to write")
    top.add_argument("--copies", action="store_true", help="with the augmented copies of a dataset's training frames")
    return top
