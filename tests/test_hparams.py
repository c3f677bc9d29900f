"""TensorBoard's HParams tab over runs that differ, read back by the plugin's own code."""

import json

import pytest

from lmexp.mirrors import TensorBoard
from lmexp.record import Record

RECIPES = {
    "gru": {"name": "a", "seed": 1, "model": {"cell": "gru", "tied": True, "layers": None}},
    "bert": {"name": "a", "seed": 2, "model": {"heads": 2, "betas": [0.9, 0.5]}, "lr": 1.0e-3},
}


def mirrored(folder, recipe, loss):
    """A run with a validation before its last line and with figures that only its summary has."""
    folder.mkdir()
    record = Record(folder, [TensorBoard()], recipe)
    record.write(1, {"train/loss": 3.0})
    record.write(1, {"val/loss": loss})
    record.write(2, {"train/loss": 2.0})
    record.summary({"test/loss": loss / 2, "parameters": 12, "text_kind": "text", "is_it": True})
    return record.close("finished")


class Tab:
    """What the plugin answers the page, without a web server."""

    def __init__(self, folder):
        from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
        from tensorboard.context import RequestContext
        from tensorboard.plugins import base_plugin
        from tensorboard.plugins.hparams import backend_context

        multiplexer = plugin_event_multiplexer.EventMultiplexer()
        multiplexer.AddRunsFromDirectory(str(folder))
        multiplexer.Reload()
        provider = data_provider.MultiplexerDataProvider(multiplexer, str(folder))
        self.backend = backend_context.Context(base_plugin.TBContext(data_provider=provider))
        self.request = RequestContext()

    def experiment(self):
        from tensorboard.plugins.hparams import api_pb2, get_experiment

        asked = api_pb2.GetExperimentRequest()
        return get_experiment.Handler(self.request, self.backend, "", asked).run()

    def sessions(self):
        from tensorboard.plugins.hparams import api_pb2, list_session_groups

        columns = [api_pb2.ColParams(hparam=info.name) for info in self.experiment().hparam_infos]
        columns += [api_pb2.ColParams(metric=info.name) for info in self.experiment().metric_infos]
        asked = api_pb2.ListSessionGroupsRequest(
            start_index=0,
            slice_size=10,
            allowed_statuses=[api_pb2.STATUS_SUCCESS],
            col_params=columns,
        )
        found = list_session_groups.Handler(self.request, self.backend, "", asked).run()
        return {
            group.name: (
                {name: plain(value) for name, value in group.hparams.items()},
                {value.name.tag: value.value for value in group.metric_values},
            )
            for group in found.session_groups
        }


def plain(value):
    return getattr(value, value.WhichOneof("kind"))


@pytest.fixture
def tab(tmp_path):
    self = {name: mirrored(tmp_path / name, own, 2.5) for name, own in RECIPES.items()}
    made = Tab(tmp_path)
    made.summaries = self
    return made


def test_its_columns_are_what_any_of_the_recipes_has(tab):
    names = {info.name for info in tab.experiment().hparam_infos}

    assert names == {
        *("name", "seed", "model.cell", "model.tied"),
        *("model.heads", "model.betas", "lr"),
    }


def test_numbers_strings_and_booleans_stay_what_they_are(tab):
    sessions = tab.sessions()

    hparams, _ = sessions["gru/tensorboard"]
    assert hparams == {"name": "a", "seed": 1.0, "model.cell": "gru", "model.tied": True}
    hparams, _ = sessions["bert/tensorboard"]
    assert hparams["lr"] == 1.0e-3
    assert json.loads(hparams["model.betas"]) == [0.9, 0.5]


def test_its_metrics_are_the_figures_of_the_summary(tab):
    for name, summary in tab.summaries.items():
        _, metrics = tab.sessions()[f"{name}/tensorboard"]

        figures = {k: v for k, v in summary.items() if type(v) in (int, float) and k != "step"}
        assert metrics == pytest.approx(figures)
        assert metrics["test/loss"] == 1.25
