import dataclasses
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from tests.evaluation.good_evidence import beaten_evidence, config, member_evidence
from tests.evaluation.samples import FEW, sample
from vigil.clock import DAY
from vigil.evaluation.ablation import ablate_groups
from vigil.evaluation.comparison import Scorer
from vigil.evaluation.curves import RATES, RECALLS, calibration, cost_by_alerts, precision_recall, roc, wilson
from vigil.evaluation.diagnosis import Suspect, diagnose
from vigil.evaluation.gates.evaluate import evaluate_gates
from vigil.evaluation.report import EvaluationReport, Material, build_report, render_report, write_report
from vigil.evaluation.resources import Prices, Usage, cost_of
from vigil.evaluation.rows import ScoredRows

NAMES = ("amount", "night")


def _material(**changes: Any) -> Material:
    rows = sample()
    features = np.column_stack([rows.amounts, rows.amounts > 50]).astype(np.float32)
    suspect = Suspect(rows, features, NAMES, features, 0.02, 0.8)
    calibrated = dataclasses.replace(sample(1), event_time=sample(1).event_time - 14 * DAY)
    material = Material(
        title="Tills & <cards>",
        rows=rows,
        candidate=Scorer("ensemble", rows.scores, 0.8),
        baselines=(Scorer("rules", (rows.amounts > 100).astype(float), 0.5), Scorer("z-score", rows.amounts)),
        by=("site",),
        features=features,
        names=NAMES,
        calibration=calibrated,
        ablation=ablate_groups(rows, {"a": ["a"], "b": ["b"]}, lambda names: sample(len(names)).scores, FEW),
        diagnosis=diagnose(suspect, FEW),
        gates=evaluate_gates(beaten_evidence(alternatives={"boosted": member_evidence()}), config()),
        cost=cost_of(Usage(cpu_seconds=60), Prices()),
        facts={"code": "abc"},
    )
    return dataclasses.replace(material, **changes)


@cache
def _page() -> str:
    return render_report(build_report(_material(), FEW))


class _Tags(HTMLParser):
    """Collects links and checks that every element is closed."""

    void = frozenset({"meta", "br", "path", "use", "rect", "stop"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.void:
            assert self.open.pop() == tag


def test_the_page_is_well_formed_and_loads_nothing_from_anywhere() -> None:
    parser = _Tags()
    parser.feed(_page())
    assert parser.open == []
    assert all(source.startswith("#") for source in parser.sources)
    assert "<script" not in _page()
    assert not re.search(r"url\((?!['\"]?#)|@import", _page())


def test_the_links_of_the_page_lead_to_its_sections() -> None:
    targets = re.findall(r'<a href="#([a-z]+)">', _page())
    assert len(targets) == 9
    assert all(f'<h2 id="{target}">' in _page() for target in targets)


def test_the_same_material_gives_the_same_bytes() -> None:
    assert render_report(build_report(_material(), FEW)) == _page()


def test_texts_are_escaped() -> None:
    assert "<h1>Tills &amp; &lt;cards&gt;</h1>" in _page()


def test_the_page_shows_every_verdict_with_its_reason_and_what_ships() -> None:
    assert "ship the member boosted" in _page()
    assert _page().count(">failed</span>") == 1
    assert "In its place: boosted" in _page()


def test_the_page_shows_every_figure() -> None:
    assert _page().count('<svg role="img"') == 6


def test_the_page_shows_the_candidate_beside_every_baseline() -> None:
    assert "<th>ensemble</th><th>rules</th><th>z-score</th>" in _page()


def test_the_page_describes_the_mistakes_in_words() -> None:
    report = build_report(_material(), FEW)
    groups = [group for kind in report.mistakes for group in kind.groups]
    assert groups
    assert all(group.description.replace(">", "&gt;").replace("<", "&lt;") in _page() for group in groups)


def test_the_numbers_survive_json(tmp_path: Path) -> None:
    report = build_report(_material(), FEW)
    page, numbers = write_report(report, tmp_path / "run" / "report")
    assert page.read_text(encoding="utf-8") == _page()
    assert EvaluationReport.model_validate_json(numbers.read_bytes()) == report


def test_a_report_needs_nothing_but_labelled_scores() -> None:
    rows = sample()
    bare = ScoredRows(rows.scores, rows.event_time, rows.labels)
    page = render_report(build_report(Material("Bare", bare, Scorer("x", bare.scores)), FEW))
    assert "no threshold was given" in page
    assert 'id="gates"' not in page


def test_a_report_without_any_row_says_so() -> None:
    rows = sample().take(np.zeros(0, int))
    page = render_report(build_report(Material("Empty", rows, Scorer("x", rows.scores, 0.5)), FEW))
    assert "no rows" in page


def test_a_report_without_a_positive_row_says_so() -> None:
    rows = dataclasses.replace(sample(), labels=np.zeros(3200))
    page = render_report(build_report(Material("None", rows, Scorer("x", rows.scores, 0.5)), FEW))
    assert "no positive rows" in page


def test_a_threshold_for_each_row_is_named_as_one_for_each_segment() -> None:
    rows = sample()
    scorer = Scorer("x", rows.scores, np.where(rows.segment("site") == "site 1", 0.9, 0.8))
    report = build_report(_material(candidate=scorer), FEW)
    assert (report.threshold, report.thresholds_differ) == (None, True)
    assert "At the thresholds, one for each segment" in render_report(report)


def test_the_confusion_matrix_counts_every_row_once() -> None:
    sums = build_report(_material(), FEW).confusion
    rows = sample()
    assert sums.found == (rows.labels & (rows.scores >= 0.8)).sum()
    assert sums.found + sums.missed + sums.false_alarms + sums.passed == len(rows)


def test_the_precision_curve_is_that_of_scikit_learn() -> None:
    rows = sample()
    precision, recall, _ = precision_recall_curve(rows.labels, rows.scores)
    curve = precision_recall(rows, FEW)
    for wanted, found in zip(RECALLS, curve.y, strict=True):
        first = np.flatnonzero(recall >= wanted - 1e-12)[-1]
        assert found == pytest.approx(precision[first])


def test_the_roc_curve_is_that_of_scikit_learn() -> None:
    rows = sample()
    false, true, _ = roc_curve(rows.labels, rows.scores, drop_intermediate=False)
    curve = roc(rows, FEW)
    for rate, found in zip(RATES, curve.y, strict=True):
        assert found == pytest.approx(true[false <= rate].max())


def test_the_band_of_a_curve_holds_the_curve() -> None:
    curve = precision_recall(sample(), FEW)
    inside = (np.array(curve.low) <= np.array(curve.y) + 1e-9) & (np.array(curve.y) <= np.array(curve.high) + 1e-9)
    assert inside.mean() > 0.95


def test_curves_are_left_out_where_a_label_is_missing() -> None:
    rows = dataclasses.replace(sample(), labels=np.zeros(3200))
    assert precision_recall(rows, FEW) is None
    assert roc(rows, FEW) is None


def test_the_calibration_bins_hold_every_row_and_the_shares_of_positives() -> None:
    rows = sample()
    bins = calibration(rows, minimum_rows=1)
    assert sum(one.rows for one in bins) == len(rows)
    top = rows.scores >= 0.9
    assert bins[-1].share == pytest.approx(rows.labels[top].mean())


def test_scores_that_are_no_probabilities_have_no_calibration() -> None:
    assert calibration(sample().with_scores(sample().amounts)) == ()


def test_the_wilson_interval_is_the_textbook_one() -> None:
    assert wilson(0.1, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)


def test_the_cost_curve_begins_with_nothing_alerted() -> None:
    rows = sample()
    curve = cost_by_alerts(rows, FEW)
    assert (curve.alerts_per_day[0], curve.cost_per_1000[0]) == (0, pytest.approx(curve.nothing_alerted))
    assert curve.nothing_alerted == pytest.approx(1000 * rows.amounts[rows.labels].sum() / len(rows))
    assert curve.everything_alerted == pytest.approx(5000)
