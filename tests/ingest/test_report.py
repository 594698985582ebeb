import re

from tests.ingest.conftest import GOOD, HEADER, TILL, Ingest
from vigil.ingest.report import read_report

MIXED = (
    HEADER
    + "".join(f"t{day},2024-05-{day:02},{day}.5,c{day},s{day % 3}\n" for day in range(1, 29))
    + 'bad,2024-05-02,<script>alert("x")</script>,c,s\n'
    + GOOD.replace("t1", "t1").replace("12.50", "7")
)


def test_the_report_reads_back_as_it_was_written(ingest: Ingest) -> None:
    done = ingest(MIXED)
    assert read_report(done.folder) == done.report


def test_counts_add_up_by_row_by_event_and_by_rule(ingest: Ingest) -> None:
    report = ingest(MIXED).report
    (event,) = report.events
    assert report.rows.read == report.rows.accepted + report.rows.quarantined == 30
    assert event.mapped == event.accepted + event.quarantined == 30
    assert sum(rule.count for rule in report.rules) == report.rows.quarantined


def test_the_report_describes_what_was_accepted(ingest: Ingest) -> None:
    (kind,) = ingest(MIXED).report.kinds
    amount = next(item for item in kind.numbers if item.field == "amount")
    assert (amount.count, amount.lowest, amount.highest, amount.mean) == (28, 1.5, 28.5, 15.0)
    assert sum(count for _, count in amount.histogram) == 28
    assert {item.field: item.distinct for item in kind.keys if item.distinct} == {"customer_id": 28, "site_id": 3}
    assert kind.days["2024-05-03"] == 1
    assert sum(kind.sites.values()) == 28


def test_the_page_needs_nothing_from_elsewhere(ingest: Ingest) -> None:
    page = (ingest(MIXED).folder / "report.html").read_text()
    assert "<svg" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert "@import" not in page and "<link" not in page


def test_what_a_row_says_is_never_markup_of_the_page(ingest: Ingest) -> None:
    page = (ingest(MIXED).folder / "report.html").read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_page_shows_the_rules_the_examples_and_the_counts(ingest: Ingest) -> None:
    page = (ingest(MIXED).folder / "report.html").read_text()
    for text in ("rows read", "conflicting_duplicate", "has the same id and other contents", "Accepted events by day"):
        assert text in page


def test_metrics_beyond_the_most_share_one_distribution(ingest: Ingest) -> None:
    from vigil.ingest.facts import MOST_METRICS, OTHER

    mapping = TILL.replace("transaction", "site_reading").replace(
        "amount: amount\n      customer_id: customer",
        "value: amount\n      metric: customer\n      unit: {constant: u}",
    )
    rows = "".join(f"t{number},2024-05-01,1,m{number:03},s\n" for number in range(MOST_METRICS + 5))
    (kind,) = ingest(HEADER + rows, mapping).report.kinds
    assert {item.metric: item.count for item in kind.numbers}[OTHER] == 5
