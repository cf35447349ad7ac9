"""Files of volumes: HDF5 (`intens`, as Dragonfly's viewers read it) and MRC, which viewers of maps read."""

from __future__ import annotations

import os

import h5py
import mrcfile
import numpy as np

from recsys_ssl import artifacts


def write_volume(path: str | os.PathLike, volume: np.ndarray) -> None:
    """Writes a volume as float32, whole or not at all: HDF5 for a name in .h5, MRC for .mrc.

    Args:
        volume: [side, side, side], by x, y and z. MRC has x last; the file is written so.

    Raises:
        ValueError: another name, or no cube of finite values.
    """
    ending = os.path.splitext(os.fspath(path))[1]
    if ending not in (".h5", ".mrc"):
        raise ValueError(f"a volume's file must end in .h5 or .mrc. Received: {os.fspath(path)!r}.")
    if volume.ndim != 3 or len(set(volume.shape)) != 1 or not np.isfinite(volume).all():
        raise ValueError(f"a volume must be a cube of finite values. Received: {list(volume.shape)} or others.")
    values = volume.astype(np.float32)
    with artifacts.whole_file(path) as unfinished:
        if ending == ".h5":
            with h5py.File(unfinished, "w") as file:
                file["intens"] = values
        else:
            with mrcfile.new(unfinished) as file:
                file.set_data(np.ascontiguousarray(values.transpose(2, 1, 0)))
                file.voxel_size = 1.0  # of what is no length: voxels of reciprocal space


def read_volume(path: str | os.PathLike) -> np.ndarray:
    """[side, side, side] float64, by x, y and z; from what `write_volume` wrote, or an output of Dragonfly.

    Raises:
        FileNotFoundError: there is none.
        DamagedError: it cannot be read.
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"no {os.fspath(path)}. Check the path.")
    with artifacts.reading(path):
        if os.fspath(path).endswith(".mrc"):
            with mrcfile.open(path) as file:
                volume = np.array(file.data, np.float64).transpose(2, 1, 0)
        else:
            with h5py.File(path) as file:
                volume = np.array(file["intens"], np.float64)
        # Dragonfly writes one volume a mode.
        volume = volume[0] if volume.ndim == 4 and len(volume) == 1 else volume
        if volume.ndim != 3 or len(set(volume.shape)) != 1:
            raise ValueError(f"{list(volume.shape)} values, no cube")
    return volume
