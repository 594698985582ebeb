"""What every store promises, checked on each kind."""

import subprocess
import sys
import threading
from datetime import timedelta

import pytest

from tests.features.store.support import ROOT, Workbench, increment, number
from vigil.errors import ContractError
from vigil.features.store import ABSENT, Change, Outcome, Receipt, Retention


def test_a_key_without_a_state_is_none(bench: Workbench) -> None:
    assert bench.open().get_many(["customer:1"]) == [None]


def test_a_look_up_of_nothing_returns_nothing(bench: Workbench) -> None:
    assert bench.open().get_many([]) == []


def test_a_state_comes_back_byte_for_byte(bench: Workbench) -> None:
    store, value = bench.open(), bytes(range(256)) * 32
    receipt = store.commit([Change("site_product:ß|\n p'9\"", value)])
    assert store.get_many(["site_product:ß|\n p'9\""]) == [(value, receipt.version)]


@pytest.mark.parametrize("name", ["customer:a\x00b", "\x00", "\x1a0\x1a", "customer:\U0001f600 \u2028", "']}{[\"", " "])
def test_any_text_can_be_a_key_and_an_event_id(bench: Workbench, name: str) -> None:
    store = bench.open()
    receipt = store.commit([Change(name, b"1"), Change(name + "!", b"2")], name, b"note")
    assert store.get_many([name, name[:-1]]) == [(b"1", receipt.version), None]
    assert store.recall([name, name + "!"]) == [b"note", None]
    assert store.commit([Change(name, b"2", receipt.version)]).outcome is Outcome.APPLIED


def test_states_come_in_the_order_of_the_keys_repeated_ones_too(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"A"), Change("b", b"B")])
    found = store.get_many(["b", "none", "a", "b"])
    assert [state and state.value for state in found] == [b"B", None, b"A", b"B"]


def test_an_empty_state_is_not_an_absent_one(bench: Workbench) -> None:
    store = bench.open()
    receipt = store.commit([Change("a", b"")])
    assert store.get_many(["a"]) == [(b"", receipt.version)]


def test_each_write_gives_a_larger_version(bench: Workbench) -> None:
    store = bench.open()
    first = store.commit([Change("a", b"1")])
    second = store.commit([Change("a", b"2", first.version)])
    assert ABSENT < first.version < second.version


def test_a_commit_on_an_old_version_is_a_conflict_and_changes_nothing(bench: Workbench) -> None:
    store = bench.open()
    first = store.commit([Change("a", b"1")])
    second = store.commit([Change("a", b"2", first.version)])
    assert store.commit([Change("a", b"3", first.version)], "e") == Receipt(Outcome.CONFLICT)
    assert store.get_many(["a"]) == [(b"2", second.version)]


def test_creating_a_key_that_exists_is_a_conflict(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1")])
    assert store.commit([Change("a", b"2", ABSENT)]).outcome is Outcome.CONFLICT


def test_changing_a_key_that_does_not_exist_is_a_conflict(bench: Workbench) -> None:
    store = bench.open()
    assert store.commit([Change("a", b"1", 7)]).outcome is Outcome.CONFLICT
    assert store.get_many(["a"]) == [None]


def test_one_conflict_among_many_keys_writes_none_of_them(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("c", b"old")])
    changes = [Change("a", b"new"), Change("b", b"new"), Change("c", b"new"), Change("d", b"new")]
    assert store.commit(changes, "e").outcome is Outcome.CONFLICT
    assert [state and state.value for state in store.get_many(["a", "b", "c", "d"])] == [None, None, b"old", None]


def test_a_conflict_does_not_remember_the_event(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1", 7)], "e")
    assert not store.seen("e")
    assert store.commit([Change("a", b"1")], "e").outcome is Outcome.APPLIED


def test_a_second_delivery_is_a_duplicate_and_changes_nothing(bench: Workbench) -> None:
    store = bench.open()
    first = store.commit([Change("a", b"1")], "e")
    assert store.commit([Change("a", b"2", first.version)], "e") == Receipt(Outcome.DUPLICATE)
    assert store.get_many(["a"]) == [(b"1", first.version)]


def test_a_duplicate_is_told_from_a_conflict_even_on_old_versions(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1")], "e")
    assert store.commit([Change("a", b"2")], "e").outcome is Outcome.DUPLICATE


def test_an_event_without_changes_is_remembered(bench: Workbench) -> None:
    store = bench.open()
    assert store.commit([], "e").outcome is Outcome.APPLIED
    assert store.seen("e")


def test_commits_without_an_event_are_never_duplicates(bench: Workbench) -> None:
    store = bench.open()
    assert store.commit([Change("a", b"1")]).outcome is Outcome.APPLIED
    assert store.commit([Change("b", b"1")]).outcome is Outcome.APPLIED


def test_an_event_id_is_no_key(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1")], "customer:1")
    assert store.get_many(["customer:1"]) == [None]
    assert not store.seen("a")


def test_the_same_key_twice_in_a_commit_is_refused(bench: Workbench) -> None:
    store = bench.open()
    with pytest.raises(ContractError, match="same key twice"):
        store.commit([Change("a", b"1"), Change("a", b"2")])
    assert store.get_many(["a"]) == [None]


def test_an_event_is_forgotten_after_its_horizon(bench: Workbench) -> None:
    store = bench.open(Retention(events=timedelta(milliseconds=100)))
    store.commit([Change("a", b"1")], "e")
    bench.pass_time(timedelta(milliseconds=150))
    assert not store.seen("e")
    assert store.commit([Change("b", b"1")], "e").outcome is Outcome.APPLIED


def test_a_state_that_is_not_written_any_more_expires(bench: Workbench) -> None:
    store = bench.open(Retention(states=timedelta(milliseconds=100)))
    store.commit([Change("a", b"1")])
    bench.pass_time(timedelta(milliseconds=150))
    assert store.get_many(["a"]) == [None]
    assert store.commit([Change("a", b"2")]).outcome is Outcome.APPLIED


def test_a_version_from_before_the_expiry_does_not_fit_the_new_state(bench: Workbench) -> None:
    store = bench.open(Retention(states=timedelta(milliseconds=100)))
    before = store.commit([Change("a", b"1")])
    bench.pass_time(timedelta(milliseconds=150))
    increment(store, ["a"], "e")
    assert store.commit([Change("a", b"3", before.version)]).outcome is Outcome.CONFLICT


def test_a_snapshot_replaces_what_is_there(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("k1", b"old"), Change("other", b"old")])
    store.get_many(["k2"])
    assert store.load((f"k{i}", b"%d" % i) for i in range(2500)) == 2500
    keys = ["k0", "k1", "k2", "k2499", "other"]
    assert [state and state.value for state in store.get_many(keys)] == [b"0", b"1", b"2", b"2499", b"old"]


def test_a_snapshot_makes_a_commit_on_older_states_a_conflict(bench: Workbench) -> None:
    store = bench.open()
    before = store.commit([Change("a", b"1")])
    store.load([("a", b"2")])
    assert store.commit([Change("a", b"3", before.version)]).outcome is Outcome.CONFLICT


def test_what_was_noted_with_an_event_is_recalled(bench: Workbench) -> None:
    store, note = bench.open(), bytes(range(256))
    store.commit([Change("a", b"1")], "e1", note)
    store.commit([], "e2")
    assert store.recall(["e2", "e1", "e0", "e1"]) == [b"", note, None, note]
    assert store.recall([]) == []


def test_a_duplicate_keeps_the_first_note(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1")], "e", b"first")
    assert store.commit([], "e", b"second").outcome is Outcome.DUPLICATE
    assert store.recall(["e"]) == [b"first"]


def test_a_conflict_notes_nothing(bench: Workbench) -> None:
    store = bench.open()
    store.commit([Change("a", b"1", 7)], "e", b"note")
    assert store.recall(["e"]) == [None]


def test_a_note_is_forgotten_with_its_event(bench: Workbench) -> None:
    store = bench.open(Retention(events=timedelta(milliseconds=100)))
    store.commit([], "e", b"first")
    bench.pass_time(timedelta(milliseconds=150))
    assert store.recall(["e"]) == [None]
    store.commit([], "e", b"second")
    assert store.recall(["e"]) == [b"second"]


def test_several_events_are_committed_at_once(bench: Workbench) -> None:
    store = bench.open()
    receipt = store.commit_events([Change("a", b"1"), Change("b", b"2")], {"e1": b"n1", "e2": b"", "e3": b"n3"})
    assert receipt.outcome is Outcome.APPLIED
    assert store.recall(["e1", "e2", "e3"]) == [b"n1", b"", b"n3"]
    assert store.get_many(["a", "b"]) == [(b"1", receipt.version), (b"2", receipt.version)]
    assert store.commit([Change("a", b"3", receipt.version)]).version > receipt.version


def test_one_known_event_among_several_writes_nothing(bench: Workbench) -> None:
    store = bench.open()
    store.commit([], "e2", b"first")
    receipt = store.commit_events([Change("a", b"1")], {"e1": b"n1", "e2": b"n2"})
    assert receipt == Receipt(Outcome.DUPLICATE)
    assert store.recall(["e1", "e2"]) == [None, b"first"]
    assert store.get_many(["a"]) == [None]


def test_one_conflict_forgets_several_events(bench: Workbench) -> None:
    store = bench.open()
    assert store.commit_events([Change("a", b"1", 7)], {"e1": b"", "e2": b""}).outcome is Outcome.CONFLICT
    assert store.recall(["e1", "e2"]) == [None, None]


def test_two_thousand_events_and_states_in_one_commit(bench: Workbench) -> None:
    store = bench.open()
    changes = [Change(f"k{n}", b"%d" % n) for n in range(2_000)]
    receipt = store.commit_events(changes, {f"e{n}": b"%d" % n for n in range(2_000)})
    assert store.recall(["e0", "e1999"]) == [b"0", b"1999"]
    assert store.get_many(["k0", "k1999"]) == [(b"0", receipt.version), (b"1999", receipt.version)]


def test_another_client_recalls_what_the_winner_noted(shared_bench: Workbench) -> None:
    winner, loser = shared_bench.open(), shared_bench.open()
    winner.commit([Change("a", b"1")], "e", b"of the winner")
    assert loser.commit([Change("a", b"1")], "e", b"of the loser").outcome is Outcome.DUPLICATE
    assert loser.recall(["e"]) == [b"of the winner"]


def test_a_store_is_unused_until_the_first_write(bench: Workbench) -> None:
    store = bench.open()
    store.get_many(["a"])
    store.commit([Change("a", b"1", 7)])
    assert not store.is_used()
    store.commit([Change("a", b"1")])
    assert store.is_used()


def test_a_snapshot_is_a_write(bench: Workbench) -> None:
    loaded = bench.open()
    loaded.load([("a", b"1")])
    assert loaded.is_used()


def test_an_event_alone_is_a_write(bench: Workbench) -> None:
    store = bench.open()
    store.commit([], "e")
    assert store.is_used()


def test_a_store_can_be_closed_twice(bench: Workbench) -> None:
    with bench.open() as store:
        store.commit([Change("a", b"1")])
    store.close()


def test_threads_never_lose_an_update(bench: Workbench) -> None:
    store, failures = bench.open(), []

    def work(name: str) -> None:
        try:
            for turn in range(25):
                assert increment(store, ["shared", name], f"{name}-{turn}") is Outcome.APPLIED
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert number(store, "shared") == 150
    assert [number(store, f"t{i}") for i in range(6)] == [25] * 6


def test_threads_that_deliver_the_same_event_apply_it_once(bench: Workbench) -> None:
    store, outcomes = bench.open(), []

    def work() -> None:
        outcomes.extend(increment(store, ["a", "b"], f"e{turn}") for turn in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(Outcome.APPLIED) == 20
    assert outcomes.count(Outcome.DUPLICATE) == 60
    assert (number(store, "a"), number(store, "b")) == (20, 20)


def test_processes_never_lose_an_update(shared_bench: Workbench) -> None:
    bench = shared_bench
    store = bench.open()
    where = (bench.kind, str(bench.folder), bench.redis_url, bench.namespace)
    command = (sys.executable, "-m", "tests.features.store.writer", *where)
    with subprocess.Popen((*command, "child", "60"), cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        for turn in range(60):
            increment(store, ["shared", "parent"], f"parent-{turn}")
        child.stdout.read()
    assert child.returncode == 0
    assert increment(store, ["shared", "parent", "child"], "last") is Outcome.APPLIED
    assert [number(store, key) for key in ("shared", "parent", "child")] == [121, 61, 61]
