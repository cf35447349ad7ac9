"""Outputs of which a part is lost or cut off are not read. Equality of manifests: `pipelines/test_manifests.py`."""

import os

import pytest

from recsys_ssl import artifacts, provenance


@pytest.mark.parametrize("size", [0, 1, 500])
def test_a_saved_model_that_is_cut_off_is_named(tmp_path, size):
    import tensorflow as tf

    module = tf.Module()
    module.weight = tf.Variable([1.0])
    tf.saved_model.save(module, str(tmp_path / "model"))
    os.truncate(tmp_path / "model" / "saved_model.pb", size)
    with pytest.raises(artifacts.DamagedError, match="model is damaged"):
        provenance.load_saved_model(tmp_path / "model")


def test_a_saved_model_with_a_vocabulary_that_is_cut_off_is_not_loaded(tmp_path):
    import tensorflow as tf

    vocabulary, module = tmp_path / "item", tf.Module()
    vocabulary.write_text("1\n2\n")
    module.asset = tf.saved_model.Asset(str(vocabulary))
    tf.saved_model.save(module, str(tmp_path / "model"))
    provenance.Manifest("run", {}, {}, "", {}).write(tmp_path / "model")
    artifacts.copy_dir(tmp_path / "model", tmp_path / "copy")
    provenance.load_saved_model(tmp_path / "copy")
    os.truncate(tmp_path / "copy" / "assets" / "item", 2)
    told = pytest.raises(artifacts.DamagedError, match=r"assets/item is damaged.* 2 bytes of 4\. Run `recsys-ssl run`")
    with told:
        provenance.load_saved_model(tmp_path / "copy")
