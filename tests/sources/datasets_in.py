"""The same nine small pictures as a dataset of every kind that bake reads."""

from __future__ import annotations

import csv
import io
import json
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from pixmix_cli.storage.images import encode
from pixmix_cli.storage.tar import TarWriter
from tests.conftest import picture

NAMES = ["cat", "dog", "zebra finch"]
LABELS = [i % 3 for i in range(9)]
PIXELS = np.stack([picture(i, 32, 32) for i in range(9)])
PNGS = [encode(pixels, "png") for pixels in PIXELS]


def imagefolder(root: Path) -> Path:
    for number, label in enumerate(LABELS):
        (root / NAMES[label]).mkdir(parents=True, exist_ok=True)
        (root / NAMES[label] / f"{number}.png").write_bytes(PNGS[number])
    return root


def webdataset(root: Path) -> Path:
    root.mkdir()
    for shard in range(3):
        with (root / f"{shard:03d}.tar").open("wb") as file:
            writer = TarWriter(file)
            for number in range(3 * shard, 3 * shard + 3):
                writer.add(f"{number:05d}.cls", str(LABELS[number]).encode())
                writer.add(f"{number:05d}.png", PNGS[number])
                writer.add(f"{number:05d}.txt", b"a caption")
            writer.finish()
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root


class Python2Pickler(pickle._Pickler):
    """Pickles bytes as Python 2 did its strings, as CIFAR's files hold them."""

    dispatch: ClassVar[Any] = dict(pickle._Pickler.dispatch)

    write: Any  # pickle's own, which typeshed leaves out
    memoize: Any

    def save_string(self, obj: Any) -> None:
        data = obj if isinstance(obj, bytes) else obj.encode()
        self.write(b"T" + struct.pack("<i", len(data)) + data)
        self.memoize(obj)

    dispatch[bytes] = save_string
    dispatch[str] = save_string


def pickled(value: object) -> bytes:
    out = io.BytesIO()
    Python2Pickler(out, 2).dump(value)
    # NumPy 2 moved the function; the published files name its old place
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).reshape(len(pixels), -1)


def cifar10(root: Path) -> Path:
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    (folder / "batches.meta").write_bytes(pickled(names))
    for batch in range(5):
        part = slice(2 * batch, min(2 * batch + 2, 9))
        record = {
            b"batch_label": b"training batch",
            b"labels": LABELS[part],
            b"data": planes(PIXELS[part]),
            b"filenames": [b"a.png"] * len(LABELS[part]),
        }
        (folder / f"data_batch_{batch + 1}").write_bytes(pickled(record))
    test = {b"labels": LABELS[:2], b"data": planes(PIXELS[:2])}
    (folder / "test_batch").write_bytes(pickled(test))
    return root


def cifar100(root: Path) -> Path:
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    names = {
        b"fine_label_names": [name.encode() for name in NAMES],
        b"coarse_label_names": [b"bird", b"mammal"],
    }
    (folder / "meta").write_bytes(pickled(names))
    for split, part in (("train", slice(9)), ("test", slice(2))):
        record = {
            b"fine_labels": LABELS[part],
            b"coarse_labels": [int(label != 2) for label in LABELS[part]],
            b"data": planes(PIXELS[part]),
        }
        (folder / split).write_bytes(pickled(record))
    return folder


def cifar_archive(root: Path) -> Path:
    cifar10(root / "unpacked")
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(root / "unpacked" / "cifar-10-batches-py", "cifar-10-batches-py")
    return path


def npz(root: Path) -> Path:
    root.mkdir()
    np.savez(root / "x.npz", images=PIXELS, labels=np.array(LABELS), classes=np.array(NAMES))
    return root / "x.npz"


def compressed_npz(root: Path) -> Path:
    root.mkdir()
    np.savez_compressed(root / "x.npz", x_train=PIXELS, y_train=np.array(LABELS)[:, None])
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root / "x.npz"


def npy(root: Path) -> Path:
    root.mkdir()
    np.save(root / "images.npy", planes(PIXELS).reshape(9, 3, 32, 32))
    np.save(root / "labels.npy", np.array(LABELS, np.uint8))
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root


def hugging_face() -> Any:
    import datasets

    rows = {
        "image": [Image.fromarray(pixels) for pixels in PIXELS],
        "label": LABELS,
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


def parquet(root: Path) -> Path:
    (root / "data").mkdir(parents=True)
    dataset = hugging_face()
    dataset.to_parquet(str(root / "data" / "train-00000-of-00001.parquet"), batch_size=4)
    dataset.select([0]).to_parquet(str(root / "data" / "test-00000-of-00001.parquet"))
    return root


def saved(root: Path) -> Path:
    hugging_face().save_to_disk(str(root), num_shards=2)
    return root


def saved_splits(root: Path) -> Path:
    import datasets

    dataset = hugging_face()
    both = datasets.DatasetDict({"train": dataset, "test": dataset.select([0])})
    both.save_to_disk(str(root))
    return root


def csv_list(root: Path) -> Path:
    imagefolder(root / "pictures")
    with (root / "list.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "label"])
        for number, label in enumerate(LABELS):
            rows.writerow([f"pictures/{NAMES[label]}/{number}.png", NAMES[label]])
    return root / "list.csv"


def jsonl_list(root: Path) -> Path:
    imagefolder(root / "pictures")
    lines = [
        json.dumps({"path": str(root / "pictures" / NAMES[label] / f"{n}.png"), "label": label})
        for n, label in enumerate(LABELS)
    ]
    (root / "list.jsonl").write_text("\n".join(lines))
    (root / "classes.json").write_text(json.dumps(NAMES))
    return root / "list.jsonl"


KINDS = {
    "imagefolder": imagefolder,
    "webdataset": webdataset,
    "cifar": cifar10,
    "cifar-100": cifar100,
    "cifar.tar.gz": cifar_archive,
    "numpy.npz": npz,
    "numpy.npz compressed": compressed_npz,
    "numpy": npy,
    "parquet": parquet,
    "parquet saved": saved,
    "parquet saved splits": saved_splits,
    "list.csv": csv_list,
    "list.jsonl": jsonl_list,
}
