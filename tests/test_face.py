"""The names of the package itself, and the examples in docstrings, which are run."""

import doctest
import importlib

import pytest
import tensorflow as tf

import recsys_ssl

EXAMPLES = (
    "recsys_ssl.encoders.api",
    "recsys_ssl.features.batch",
    "recsys_ssl.models.two_tower",
    "recsys_ssl.serving.recommender",
    "recsys_ssl.spec_files",
)


class Recommender(tf.Module):
    """Whatever is asked, items 7 and 3 come first."""

    def __init__(self):
        super().__init__()
        self.item_ids = tf.Variable(["7", "3", "1"], trainable=False)

    @tf.function(
        input_signature=[
            tf.TensorSpec([], tf.int32, "k"),
            tf.TensorSpec([None, None], tf.string, "exclude"),
            tf.TensorSpec([None], tf.string, "user"),
            tf.TensorSpec([None, None], tf.string, "history"),
        ]
    )
    def recommend(self, k, exclude, user, history):
        num_queries = tf.size(user)
        items, scores = self.item_ids[tf.newaxis], tf.constant([[0.75, 0.5, 0.25]])
        return {"item_ids": tf.tile(items, [num_queries, 1])[:, :k], "scores": tf.tile(scores, [num_queries, 1])[:, :k]}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    path, model = str(tmp_path_factory.mktemp("recommender")), Recommender()
    tf.saved_model.save(model, path, signatures={"recommend": model.recommend})
    return path


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_say(name, model_dir):
    module = importlib.import_module(name)
    outcome = doctest.testmod(module, extraglobs={"model_dir": model_dir}, optionflags=doctest.ELLIPSIS)
    assert outcome.failed == 0
    assert outcome.attempted > 0


@pytest.mark.parametrize("name", recsys_ssl.__all__)
def test_a_name_is_that_of_its_module_and_its_docstring_has_an_example(name):
    value = getattr(recsys_ssl, name)
    assert value.__name__ == name
    assert getattr(recsys_ssl, name) is value
    # An example of `load_recommender` or `load_encoder` is one with what is loaded.
    assert name.startswith("load_") or ">>> " in value.__doc__


def test_another_name_is_an_error_and_dir_lists_all():
    with pytest.raises(AttributeError, match="module 'recsys_ssl' has no attribute 'run'"):
        recsys_ssl.run  # noqa: B018
    assert set(recsys_ssl.__all__) <= set(dir(recsys_ssl))


def test_the_face_does_what_its_parts_do(model_dir):
    model = recsys_ssl.load_recommender(model_dir)
    assert recsys_ssl.recommend(model, {}, k=1).item_ids == [["7"]]
    assert recsys_ssl.load_spec("feature_specs/frappe.yaml").name == "frappe"
