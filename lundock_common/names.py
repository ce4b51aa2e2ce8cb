"""Names that more than one part of Lundock checks, each as a pattern and as a question."""

from __future__ import annotations

import re

DNS_LABEL = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
"""A DNS-1123 label: what Kubernetes names are made of."""

IQN = r"^iqn\.\d{4}-\d{2}\.[a-z0-9.-]+(:[A-Za-z0-9:.-]+)?$"
"""An iSCSI qualified name (RFC 7143 section 4.2.7.4), without the underscore that tgt refuses."""


def is_dns_label(text: str) -> bool:
    return re.fullmatch(DNS_LABEL, text) is not None


def is_iqn(text: str) -> bool:
    return re.fullmatch(IQN, text) is not None
