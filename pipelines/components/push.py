"""The component that hands a blessed model to servers."""

import time

from tfx.components.util import model_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from pipelines.stages.push import push_model


@component
def Pusher(  # noqa: N802
    model: InputArtifact[standard_artifacts.Model],
    model_blessing: InputArtifact[standard_artifacts.ModelBlessing],
    infra_blessing: InputArtifact[standard_artifacts.InfraBlessing],
    pushed_model: OutputArtifact[standard_artifacts.PushedModel],
    versions_dir: Parameter[str],
    keep: Parameter[int],
):
    """Pushes a model that both bless.

    TFX's own takes the time for a version: two pushes within a second are one, and after the clock was set back
    servers stay with the version before. It also keeps every version, twice.
    """
    is_blessed = model_utils.is_model_blessed(model_blessing) and model_utils.is_infra_validated(infra_blessing)
    pushed_model.set_int_custom_property("pushed", int(is_blessed))
    if is_blessed:
        target = push_model(path_utils.serving_model_dir(model.uri), versions_dir, keep, int(time.time()))
        pushed_model.set_string_custom_property("pushed_destination", str(target))
        pushed_model.set_string_custom_property("pushed_version", target.name)
