"""The command line of training: every verb has help, data goes to stdout, errors are one line and status 2."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from toy_run import Run
from typer.main import get_command
from typer.testing import CliRunner

from fingerprint.errors import FingerprintError
from training.__main__ import app, main
from training.config import RunConfig
from training.console import STAGES, Stages
from training.features_doc import render

VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_verbs() -> None:
    assert {"bench", "demo", "features-doc", "run", "world"} <= set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_and_each_of_its_options(verb: str) -> None:
    result = call(verb, "--help")
    assert result.exit_code == 0
    command = get_command(app).commands[verb]  # type: ignore[attr-defined]
    assert command.help
    assert all(option.help for option in command.params if option.name != "help"), verb


def test_no_verb_shows_the_help() -> None:
    result = call()
    assert result.exit_code == 2
    assert all(verb in result.output for verb in VERBS)


def test_world_tells_what_it_made_as_json(tmp_path: Path) -> None:
    result = call("world", "--out", tmp_path / "w", "--accounts", 8, "--days", 2, "--seed", 3)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["accounts"] == 8 == sum(told["by_kind"].values())
    assert {path.name for path in (tmp_path / "w").iterdir()} == {"traffic", "labels.csv", "groups.csv", "world.json"}
    assert "making the world" in result.stderr


def test_features_doc_writes_the_document(tmp_path: Path) -> None:
    assert call("features-doc", "--out", tmp_path / "f.md").exit_code == 0
    assert (tmp_path / "f.md").read_text("utf-8") == render()


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run"], 2),
        (["run", "--traffic", "none", "--labels", "none", "--bundle", "b"], 2),
        (["world", "--accounts", "9"], 2),
        (["world", "--out", "w", "--accounts", "2"], 2),
        (["bench", "--bundle", "nowhere"], 2),
        (["guess"], 2),
    ],
)
def test_wrong_arguments(arguments: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == status
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


def test_known_errors_are_one_line(
    tmp_path: Path, trained: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels of one class, an unknown setting, a file that is no traffic."""
    (tmp_path / "one.csv").write_text("account_id,label\na,1\n")
    (tmp_path / "odd.toml").write_text("[tune]\ntrails = 3\n")
    (tmp_path / "traffic.txt").touch()
    labels, traffic = trained.root / "world" / "labels.csv", trained.traffic
    cases = {
        "all labels are 1": ["--traffic", traffic / "second.jsonl", "--labels", tmp_path / "one.csv"],
        "unknown setting tune.trails": [
            *("--traffic", traffic, "--labels", labels),
            *("--config", tmp_path / "odd.toml"),
        ],
        "unknown kind of file": ["--traffic", tmp_path / "traffic.txt", "--labels", labels],
    }
    for told, arguments in cases.items():
        bundle = ["--bundle", tmp_path / "bundle"]
        monkeypatch.setattr("sys.argv", ["training", "run", *map(str, arguments), *map(str, bundle)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert ended.value.code == 2
        assert said.out == ""
        lines = [line for line in said.err.splitlines() if line.startswith("training: ")]
        assert len(lines) == 1
        assert told in lines[0]
        assert "Traceback" not in said.err
    assert not (tmp_path / "bundle").exists()


def test_a_seed_given_wins_over_the_settings(tmp_path: Path, trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held out follows from it, so a fresh one measures on a split no choice was made on."""
    told: list[int] = []

    def stop(traffic: object, labels: object, bundle: object, config: RunConfig, **rest: object) -> None:
        told.append(config.seed)
        raise FingerprintError("enough")

    monkeypatch.setattr("training.pipeline.run", stop)
    labels, settings = trained.root / "world" / "labels.csv", tmp_path / "seed.toml"
    settings.write_text("seed = 5\n")
    given = ["--traffic", trained.traffic, "--labels", labels, "--bundle", tmp_path / "b", "--config", settings]
    call("run", *given, "--seed", 6)
    call("run", *given)
    assert told == [6, 5]


def test_stages_are_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Stages() as stages:
        for stage in STAGES:
            stages(stage, 0, 2)
            stages(stage, 2, 2)
        stages("odd one", 1, 0)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.rsplit("  ", 1)[0].rstrip() for line in told.err.splitlines()][: len(STAGES)] != []
    for title in [*STAGES.values(), "odd one"]:
        assert told.err.count(title) == 1
