import xml.etree.ElementTree as ET

import pytest

from hq_sam_hf.benchmarking.plots import bar_plot, line_plot
from hq_sam_hf.benchmarking.tables import Table, difference, number


def test_values_have_one_decimal_and_differences_a_sign():
    assert [number(one) for one in (12.34, 0.0, None)] == ["12.3", "0.0", "-"]
    assert [difference(one, 10.0) for one in (11.26, 9.0, 10.04, None)] == ["+1.3", "−1.0", "0.0", "-"]
    assert difference(1.0, None) == "-"


def test_a_table_is_markdown_with_its_title_and_note():
    table = Table("AP", ["metric", "SAM"], [["a|b", "1.0"]], "One note.")
    assert table.markdown() == "### AP\n\n| metric | SAM |\n| --- | ---: |\n| a\\|b | 1.0 |\n\nOne note.\n"


def test_a_table_is_html_with_gains_and_losses_marked():
    text = Table("AP", ["metric", "gain"], [["<b>", "+1.0"], ["x", "−2.0"]]).html()
    assert "<td>&lt;b&gt;</td>" in text
    assert '<td class="gain">+1.0</td>' in text
    assert '<td class="loss">−2.0</td>' in text


def texts(svg: str) -> list[str]:
    return [one.text for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_line_plot_has_its_labels_and_leaves_missing_values_out():
    svg = line_plot("Recall", [0.5, 0.55, 0.6], {"SAM": [80.0, None, 40.0], "HQ": [None] * 3}, "least IoU", "recall")
    assert {"Recall", "SAM", "HQ", "least IoU", "recall", "0.55"} <= set(texts(svg))
    assert svg == line_plot(
        "Recall", [0.5, 0.55, 0.6], {"SAM": [80.0, None, 40.0], "HQ": [None] * 3}, "least IoU", "recall"
    )


def test_a_bar_plot_has_names_and_values():
    svg = bar_plot("AP", ["cup", "price in $ and €"], {"SAM": [12.34, None], "HQ": [56.78, 5.0]})
    assert {"cup", "price in $ and €", "12.3", "56.8", "5.0"} <= set(texts(svg))


def test_too_many_bars_are_refused():
    with pytest.raises(ValueError, match="at most 40 groups, got 41. Choose some"):
        bar_plot("AP", ["x"] * 41, {"SAM": [1.0] * 41})
