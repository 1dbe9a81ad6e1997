"""Metrics as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families

#: By its name and labels, the value of each sample.
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    """What an endpoint, or a registry that was written out, says."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
