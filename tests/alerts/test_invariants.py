"""Whatever comes in, in whatever pieces: no signal is lost or counted twice, and every alert has its one owner."""

from collections import Counter
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.alerts.office import Office, finding, silence, told
from vigil.alerts.findings import Finding
from vigil.alerts.incidents import State
from vigil.alerts.outbox import Delivery


@st.composite
def a_finding(draw: st.DrawFn) -> Finding:
    make = draw(st.sampled_from([finding, silence]))
    site, metric = draw(st.sampled_from("ABCDEFGH")), draw(st.sampled_from(["sales", "visitors"]))
    return make(site, metric, draw(st.integers(-40, 40)), ratio=draw(st.sampled_from([1.0, 2.0, 3.0, 6.0])))


@given(st.lists(st.lists(a_finding(), max_size=12), min_size=1, max_size=6), st.floats(0.1, 10))
@settings(max_examples=25, deadline=None)
def test_no_signal_is_lost_or_counted_twice(pieces: list[list[Finding]], hours: float) -> None:
    with TemporaryDirectory() as folder:
        office = Office(Path(folder), told())
        for piece in pieces:
            office.take_all(piece)
            office.after(hours=hours)
        sent = {one.signal().id for piece in pieces for one in piece}
        with office.journal.reading() as pages:
            every = {one.id: one for one in pages.incidents()}
            rows = pages.connection.execute("SELECT id, outcome FROM signals").fetchall()
            acts = pages.acts()
        assert {identity for identity, _ in rows} == sent
        homes = Counter(outcome for _, outcome in rows if outcome != "pending")
        whole = Counter({one.id: one.signals for one in every.values() if one.state is not State.MERGED})
        for identity, count in homes.items():
            home = identity
            while every[home].merged_into:
                home = every[home].merged_into
            whole[home] -= count
        assert set(whole.values()) <= {0}
        for one in every.values():
            members = [(member.first, member.last) for member in one.members.values()]
            assert one.first_seen == min(first for first, _ in members)
            assert one.last_seen == max(last for _, last in members)
            assert sum(act.kind == "opened" and act.incident == one.id for act in acts) == 1


@given(st.lists(a_finding(), min_size=1, max_size=20), st.data())
@settings(max_examples=15, deadline=None)
def test_each_incident_is_told_first_exactly_once_to_one_owner(found: list[Finding], data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        office = Office(Path(folder), told())
        office.take_all(found)
        for _ in range(data.draw(st.integers(1, 4))):
            office.after(minutes=data.draw(st.integers(1, 90)))
        firsts = [one for one in office.letters() if one.message.why == "alert"]
        told_of = Counter(one.message.incident for one in firsts)
        assert told_of == Counter({one.id: 1 for one in office.incidents()})
        assert all(one.state in (Delivery.WAITING, Delivery.HELD, Delivery.DIGESTED) for one in firsts)
        assert all(one.first_seen + timedelta(0) <= one.last_seen for one in office.incidents())
