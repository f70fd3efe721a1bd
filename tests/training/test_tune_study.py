from __future__ import annotations

import sqlite3
from pathlib import Path

import optuna
import pytest

from training.tune_study import StudyError, check_study, open_study

MADE = {"rows": "3f2a", "settings": {"folds": 4, "workers": 2}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study of one trial."""
    path = tmp_path / "study.db"
    study = open_study(path, MADE)
    kind = {"x": optuna.distributions.FloatDistribution(0, 1)}
    study.add_trial(optuna.trial.create_trial(params={"x": 1 / 3}, distributions=kind, value=0.1))
    return path


def test_what_was_kept_is_read_back_to_the_bit(file: Path) -> None:
    (trial,) = open_study(file, MADE).trials
    assert (trial.params, trial.value) == ({"x": 1 / 3}, 0.1)
    assert sorted(path.name for path in file.parent.iterdir()) == ["study.db"]


def test_a_file_left_half_made_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / "study.db.new").write_bytes(b"half")
    assert open_study(tmp_path / "study.db", MADE).trials == []


def test_a_study_made_of_something_else_is_refused_by_name(file: Path) -> None:
    with pytest.raises(StudyError, match=r"study\.db: .* made with other settings: .* --study another file"):
        open_study(file, MADE | {"settings": {"folds": 5, "workers": 2}})
    with pytest.raises(StudyError, match="other rows, settings, version"):
        open_study(file, {"rows": "91bc", "version": "5"})


def test_the_file_that_mlflow_writes_is_refused_whether_it_is_there_or_not(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"mlflow\.db: expected a file of its own for the study, this is MLflow's"):
        check_study(tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/sub/../mlflow.db")
    check_study(tmp_path / "study.db", f"sqlite:///{tmp_path}/mlflow.db")
    check_study(tmp_path / "study.db", "http://localhost:5000")


@pytest.mark.parametrize(("table", "told"), [("experiments", "MLflow's tables"), ("birds", "no study")])
def test_an_sqlite_file_of_something_else_is_refused_and_left_as_it_was(tmp_path: Path, table: str, told: str) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {table} (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StudyError, match=told):
        open_study(path, MADE)
    assert path.read_bytes() == before


def test_what_is_no_sqlite_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, though long enough to be taken for the head of one " * 20)
    with pytest.raises(StudyError, match=r"notes\.txt: expected an sqlite file of a tuning study, cannot read it"):
        check_study(path)
    with pytest.raises(StudyError, match="cannot read it"):
        check_study(tmp_path)


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_file_is_refused(file: Path, kept: float) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(StudyError, match="cannot read it"):
        open_study(file, MADE)


def test_tables_of_another_optuna_are_refused_with_the_command_that_upgrades_them(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v2.4.0.a'")
    connection.close()
    with pytest.raises(StudyError, match=r"its tables are another version's: run `optuna storage upgrade"):
        check_study(file)


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="expected a file in a folder that exists"):
        check_study(tmp_path / "none" / "study.db")
