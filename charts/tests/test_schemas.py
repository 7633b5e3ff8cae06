"""Every rendered object, against its schema."""

import pytest
from conftest import rendered
from definitions import problems
from manifests import name_of

# The oldest Kubernetes that the chart is for; `everything` uses fields that came later.
VERSIONS = {"everything": "1.31", "alternatives": "1.29"}


@pytest.mark.parametrize("version", ["oldest", "1.34", "1.37"])
def test_every_object_is_valid(case, version):
    if version == "oldest":
        version = VERSIONS.get(case, "1.29")
    wrong = {name_of(item): found for item in rendered(case) if (found := problems(item, version))}
    assert not wrong


def test_a_field_that_does_not_exist_is_noticed():
    for item in rendered("everything"):
        if isinstance(item.get("spec"), dict):
            assert problems(item | {"spec": item["spec"] | {"replica": 1}}, "1.34"), name_of(item)
