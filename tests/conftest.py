"""Runs before any test module imports TensorFlow, which must find Keras 2 chosen and its log lines off."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import recsys_ssl  # noqa: F401
