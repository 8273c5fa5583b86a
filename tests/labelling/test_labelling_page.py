"""docs/labelling.md: the file of a cluster is one that Ray accepts, and the hours in the cost table are right."""

import re

import pytest
import yaml

from support.paths import ROOT

PAGE = (ROOT / "docs" / "labelling.md").read_text()


def cluster_file() -> dict:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(text)


def lint(config: dict) -> None:
    """Check a cluster file as `ray up` does: defaults, the schema, and the types of nodes."""
    util = pytest.importorskip("ray.autoscaler._private.util")
    util.validate_config(util.prepare_config(config))


def test_ray_accepts_the_cluster_file():
    config = cluster_file()
    lint(config)
    nodes = config["available_node_types"]["gpu"]
    assert nodes["min_workers"] == nodes["max_workers"] == config["max_workers"] == 8  # as the page says
    assert any("hq-sam-hf[scale]" in command for command in config["setup_commands"])


def test_ray_refuses_misspelled_fields():
    config = cluster_file()
    config["setup_comands"] = config.pop("setup_commands")
    with pytest.raises(Exception, match="'setup_comands' was unexpected"):
        lint(config)
    config = cluster_file()
    config["available_node_types"]["gpu"]["max_worker"] = 8
    with pytest.raises(Exception, match="'max_worker' was unexpected"):
        lint(config)


def cost_rows() -> list[list[str]]:
    """The rows of the cost table, below its head."""
    table = PAGE.partition("## What it costs")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:1] == "|"]
    return [row for row in rows if re.fullmatch(r"[\d.]+", row[1])]


def test_the_cost_table_follows_from_its_rates():
    """Hours of one worker for a million images, and days of a thousand workers for a billion."""
    rows = cost_rows()
    assert len(rows) >= 4
    for model, rate, hours, days, *_ in rows:
        assert float(hours) == pytest.approx(1e6 / float(rate) / 3600, rel=0.03), model
        assert float(days) == pytest.approx(1e9 / float(rate) / 1000 / 86400, rel=0.03), model
