"""Claims of slots in shared storages: each is worked on once, and what a process that ended left is free again."""

import json
import os
import subprocess
import time

import optuna
import pytest
from optuna.trial import TrialState

from recsys_ssl.tuning import trials
from recsys_ssl.tuning.trials import BEAT, DIED, OWNER, REASON, SLOT, VOID, Ledger, open_storage


@pytest.fixture(params=["memory", "journal", "sqlite"])
def storage(request, tmp_path):
    urls = {"memory": None, "journal": tmp_path / "deep" / "journal.log", "sqlite": f"sqlite:///{tmp_path}/study.db"}
    return open_storage(urls[request.param])


@pytest.fixture
def ledger(storage):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    optuna.create_study(storage=storage, study_name="s")
    return Ledger(storage, "s")


def slots_of(ledger):
    return [trial.user_attrs[SLOT] for trial in ledger.list_trials()]


def leave(storage, slot, **owner):
    """A trial that some process began."""
    begun = {"pid": os.getpid(), "started": trials._started(os.getpid()), "host": trials._host()} | owner
    attributes = {SLOT: slot, OWNER: begun, BEAT: time.time() - owner.get("silent_s", 0)}
    template = optuna.trial.create_trial(state=TrialState.RUNNING, user_attrs=attributes)
    return storage.create_new_trial(storage.get_study_id_from_name("s"), template_trial=template)


def ended_process():
    """The id of a process that is no more, and when it began."""
    process = subprocess.Popen(["sleep", "60"])
    facts = {"pid": process.pid, "started": trials._started(process.pid)}
    process.kill()
    process.wait()
    return facts


def test_each_slot_is_claimed_once(ledger):
    assert [ledger.claim(["0", "1"]) is None for _ in range(3)] == [False, False, True]
    assert slots_of(ledger) == ["0", "1"]


def test_of_two_claims_the_earlier_one_holds(ledger, storage, monkeypatch):
    """Both processes saw the slot free; the other's trial has the smaller number."""
    leave(storage, "0")
    views = iter([list, ledger.list_trials])
    monkeypatch.setattr(ledger, "list_trials", lambda: next(views)())
    assert ledger.claim(["0"]) is None
    monkeypatch.undo()
    assert slots_of(ledger) == ["0"]
    voided = [trial for trial in ledger._read() if VOID in trial.user_attrs]
    assert [trial.state for trial in voided] == [TrialState.FAIL]


def test_the_slot_of_a_process_that_ended_is_free(ledger, storage):
    leave(storage, "0")
    leave(storage, "1", **ended_process())
    ledger.release_dead()
    assert slots_of(ledger) == ["0"]
    assert ledger.claim(["0", "1"]) is not None
    assert slots_of(ledger) == ["0", "1"]


def test_a_new_process_with_the_id_of_an_old_one_is_another(ledger, storage):
    leave(storage, "0", started="1")
    ledger.release_dead()
    assert slots_of(ledger) == []


@pytest.mark.parametrize(("silent_s", "free"), [(0, False), (200, False), (400, True)])
def test_a_process_elsewhere_is_dead_when_it_is_silent(ledger, storage, silent_s, free):
    leave(storage, "0", host="elsewhere", silent_s=silent_s, pid=1, started="1")
    ledger.release_dead()
    assert slots_of(ledger) == ([] if free else ["0"])


def test_a_trial_at_work_says_so(ledger, storage, monkeypatch):
    monkeypatch.setattr(trials, "_BEAT_S", 0.01)
    trial_id = leave(storage, "0", silent_s=1000)
    with ledger.beating(trial_id):
        deadline = time.monotonic() + 20
        while time.time() - storage.get_trial(trial_id).user_attrs[BEAT] > 500 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert time.time() - storage.get_trial(trial_id).user_attrs[BEAT] < 500


def test_a_slot_that_ends_its_processes_counts_as_failed_in_the_end(ledger, storage):
    for _ in range(trials.MOST_DEATHS):
        leave(storage, "0", **ended_process())
        ledger.release_dead()
    (trial,) = ledger.list_trials()
    assert trial.state is TrialState.FAIL
    assert trial.user_attrs[REASON] == "its process ended, as 2 did before at it"
    assert sum(DIED in each.user_attrs for each in ledger._read()) == trials.MOST_DEATHS - 1


def test_ends_on_purpose_do_not_count(ledger, storage):
    for _ in range(trials.MOST_DEATHS + 1):
        leave(storage, "0", **ended_process())
        ledger.release_dead(interrupted=True)
    assert slots_of(ledger) == []


# --- Storages ----------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_is_no_harm(tmp_path):
    path = tmp_path / "journal.log"
    optuna.create_study(storage=open_storage(path), study_name="s")
    Ledger(open_storage(path), "s").claim(["0"])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":4,"worker')
    ledger = Ledger(open_storage(path), "s")
    assert ledger.claim(["0", "1"]) is not None
    assert slots_of(ledger) == ["0", "1"]
    assert all(json.loads(line) for line in path.read_bytes().splitlines())


@pytest.mark.parametrize("url", ["mysql://me:secret@nowhere.invalid/db", "nonsense://me:secret@here"])
def test_a_database_that_is_not_reached_is_named_without_its_password(url):
    with pytest.raises(ValueError, match="--storage must be the path of a file, or the URL") as error:
        open_storage(url)
    assert "secret" not in str(error.value)
    assert url.partition(":")[0] in str(error.value)
