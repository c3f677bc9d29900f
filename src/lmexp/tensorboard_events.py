"""TensorBoard's events, made with its own protocol buffers: neither torch nor TensorFlow.

Import it where events are written only: it takes a fifth of a second.
"""

from collections.abc import Mapping

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.text.plugin_data_pb2 import TextPluginData
from tensorboard.summary.writer.event_file_writer import EventFileWriter

__all__ = ["EventFileWriter", "scalars", "start", "text"]


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
