"""Sample requests with their expected answers inside a SavedModel, as TensorFlow Serving's warm-up records.

TensorFlow Serving replays `assets.extra/tf_serving_warmup_requests` before it takes a model, so that no client waits
for the first call, and reads no answers there; whoever loads the model elsewhere can hold it against them.

References:
    https://www.tensorflow.org/tfx/serving/saved_model_warmup
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from recsys_ssl import artifacts
from recsys_ssl.index import raw_inputs

WARMUP_FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
_SIGNATURE = "recommend"
_OWN_INPUTS = ("k", "exclude")


def write_warmup(model, model_dir: str | Path, records: pa.RecordBatch, model_name: str, k: int = 10) -> None:
    """Writes one request for each record, and one for all of them, with the answers that the model gives.

    Args:
        model: what `model_dir` holds, loaded.
        model_dir: a SavedModel of `export`.
        records: raw query features, at most a few hundred.
        model_name: what servers are asked for.
        k: items in an answer.
    """
    specs = raw_inputs.input_specs(model, _SIGNATURE)
    features = {name: spec for name, spec in specs.items() if name not in _OWN_INPUTS}
    batches = [records.slice(row, 1) for row in range(len(records))]
    with artifacts.whole_file(Path(model_dir, WARMUP_FILE)) as path, tf.io.TFRecordWriter(path) as writer:
        for batch in [*batches, records] if len(records) > 1 else batches:
            inputs = raw_inputs.to_arrays(batch, features)
            inputs["exclude"] = np.full((len(batch), 1), b"", object)
            # Of a batch that a server gathered every query has a k of its own.
            inputs["k"] = np.full((len(batch),) if specs["k"].shape.rank else (), k, np.int32)
            tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
            outputs = model.signatures[_SIGNATURE](**tensors)
            log = predict_pb2.PredictRequest(), predict_pb2.PredictResponse()
            for message, values in ((log[0].inputs, tensors), (log[1].outputs, outputs)):
                for name, value in values.items():
                    message[name].CopyFrom(tf.make_tensor_proto(value.numpy(), value.dtype))
            for message in log:
                message.model_spec.name, message.model_spec.signature_name = model_name, _SIGNATURE
            predicted = prediction_log_pb2.PredictLog(request=log[0], response=log[1])
            writer.write(prediction_log_pb2.PredictionLog(predict_log=predicted).SerializeToString())


def read_warmup(model_dir: str | Path) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
    """The inputs of each sample request and the outputs expected, in order; none where the model has no samples."""
    path = Path(model_dir, WARMUP_FILE)
    if not path.exists():
        return
    with artifacts.reading(path):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record).predict_log
            messages = log.request.inputs, log.response.outputs
            inputs, outputs = ({name: tf.make_ndarray(proto) for name, proto in each.items()} for each in messages)
            yield inputs, outputs


def replay_warmup(model, model_dir: str | Path) -> tuple[int, float]:
    """Asks a loaded model for its sample requests.

    Returns:
        How many there were, and the largest absolute difference of a score from the one expected at its place; 0.0
        when there were none.
    """
    specs = raw_inputs.input_specs(model, _SIGNATURE)
    count, largest = 0, 0.0
    for count, (inputs, expected) in enumerate(read_warmup(model_dir), 1):  # noqa: B007
        tensors = {name: tf.constant(value, specs[name].dtype) for name, value in inputs.items()}
        scores = model.signatures[_SIGNATURE](**tensors)["scores"].numpy()
        if scores.shape != expected["scores"].shape:
            raise ValueError(f"scores must have the shape {expected['scores'].shape}. Received: {scores.shape}.")
        largest = max(largest, float(np.abs(scores - expected["scores"]).max(initial=0.0)))
    return count, largest
