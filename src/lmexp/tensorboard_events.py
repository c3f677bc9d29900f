"""TensorBoard's events, made with its own protocol buffers: neither torch nor TensorFlow.

Import it where events are written only: it takes a fifth of a second.
"""

import json
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.metadata import (
    NULL_TENSOR,
    SESSION_END_INFO_TAG,
    SESSION_START_INFO_TAG,
    create_summary_metadata,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

__all__ = ["EventFileWriter", "hparams", "hparams_end", "scalars", "start", "text"]


def start(wall_time: float) -> Event:
    """Tells an open TensorBoard to forget every event that it read of this folder."""
    return Event(wall_time=wall_time, step=0, session_log=SessionLog(status=SessionLog.START))


def scalars(wall_time: float, step: int, values: Mapping[str, float]) -> Event:
    """The figures of a step; wall_time in seconds since 1970."""
    summary = Summary(
        value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    )
    return Event(wall_time=wall_time, step=step, summary=summary)


def text(wall_time: float, step: int, tag: str, markdown: str) -> Event:
    """A text for the tab of that name, which shows it as Markdown."""
    content = TextPluginData(version=0).SerializeToString()
    plugin = SummaryMetadata.PluginData(plugin_name="text", content=content)
    value = Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=plugin),
        tensor=TensorProto(dtype="DT_STRING", string_val=[markdown.encode()]),
    )
    return Event(wall_time=wall_time, step=step, summary=Summary(value=[value]))


def hparams(wall_time: float, values: Mapping[str, Any]) -> Event:
    """What the HParams tab shows of a run, beside the last value of each of its scalars.

    Without TensorBoard's `experiment` event, of which it heeds one among all runs below its
    folder: it then takes as columns what any of the runs has, so that a sweep's jobs may differ.

    Args:
        wall_time: when the run began, in seconds since 1970.
        values: flat; numbers, strings and booleans stay so, lists become JSON, null is left out.
    """
    info = SessionStartInfo(start_time_secs=wall_time)
    for name, value in values.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[name].number_value = value
        elif value is not None:
            is_text = isinstance(value, str)
            info.hparams[name].string_value = value if is_text else json.dumps(value)
    return _of_hparams(
        wall_time, SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info)
    )


def hparams_end(wall_time: float, *, is_finished: bool) -> Event:
    """How the run ended."""
    status = api_pb2.STATUS_SUCCESS if is_finished else api_pb2.STATUS_FAILURE
    info = SessionEndInfo(status=status, end_time_secs=wall_time)
    return _of_hparams(wall_time, SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def _of_hparams(wall_time: float, tag: str, data: HParamsPluginData) -> Event:
    value = Summary.Value(tag=tag, metadata=create_summary_metadata(data), tensor=NULL_TENSOR)
    return Event(wall_time=wall_time, summary=Summary(value=[value]))
