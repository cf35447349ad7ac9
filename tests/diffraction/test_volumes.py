"""Files of volumes."""

import h5py
import mrcfile
import numpy as np
import pytest

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.diffraction.volumes import read_volume, write_volume

VOLUME = np.random.default_rng(0).random((5, 5, 5))


@pytest.mark.parametrize("name", ["v.h5", "v.mrc"])
def test_what_is_written_is_read(name, tmp_path):
    write_volume(tmp_path / name, VOLUME)
    np.testing.assert_array_equal(read_volume(tmp_path / name), VOLUME.astype(np.float32))
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_other_programs_find_what_they_look_for(tmp_path):
    write_volume(tmp_path / "v.h5", VOLUME)
    with h5py.File(tmp_path / "v.h5") as file:
        assert file["intens"].dtype == np.float32
    write_volume(tmp_path / "v.mrc", VOLUME)
    assert mrcfile.validate(str(tmp_path / "v.mrc"))
    with mrcfile.open(tmp_path / "v.mrc") as file:
        assert file.data[4, 3, 1] == np.float32(VOLUME[1, 3, 4])  # z, y, x


def test_the_first_mode_of_another_program_is_read(tmp_path):
    with h5py.File(tmp_path / "output.h5", "w") as file:
        file["intens"] = VOLUME[None]
    np.testing.assert_array_equal(read_volume(tmp_path / "output.h5"), VOLUME)


@pytest.mark.parametrize(
    ("name", "volume", "message"),
    [
        ("v.npy", VOLUME, "must end in .h5 or .mrc"),
        ("v.h5", VOLUME[:4], "cube of finite values"),
        ("v.h5", VOLUME * np.nan, "cube of finite values"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(name, volume, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_volume(tmp_path / name, volume)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["v.h5", "v.mrc"])
def test_a_damaged_file_is_an_error(name, tmp_path):
    write_volume(tmp_path / name, VOLUME)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:500])
    with pytest.raises(DamagedError, match="is damaged, or not whole"):
        read_volume(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="Check the path"):
        read_volume(tmp_path / f"no-{name}")
