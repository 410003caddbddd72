"""Checks that every page of this project must pass."""

from __future__ import annotations

import base64
import hashlib
import html
import re

_SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


def markup(page: str) -> str:
    """Return a page without its scripts, after checking both: the policy allows exactly these scripts, by their hashes,
    and the rest of the page runs and loads nothing."""
    policy = html.unescape(_POLICY.findall(page)[0])
    assert "default-src 'none'" in policy
    allowed = re.findall(r"'sha256-([^']+)'", policy)
    assert allowed == [_digest(text) for attributes, text in _SCRIPT.findall(page) if not _is_data(attributes)]
    assert "unsafe-eval" not in policy
    assert not re.search(r"script-src[^;]*unsafe", policy)
    rest = _SCRIPT.sub("", page)
    assert not re.search(r"<(script|iframe|object|embed|form|base)\b", rest, re.IGNORECASE)
    for tag in re.findall(r"<\w[^<>]*>", rest):
        assert not re.search(r"\son\w+\s*=", _without_values(tag), re.IGNORECASE), tag
        for target in re.findall(r"""\s(?:src|href|action|formaction|poster|data)\s*=\s*["']?([^"'\s>]*)""", tag):
            assert target.startswith(("#", "data:")), tag
    assert not re.search(r"""@import|url\((?!["']?(?:data:|#))""", rest)
    return rest


def _is_data(attributes: str) -> bool:
    return 'type="application/json"' in attributes


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")


def _without_values(tag: str) -> str:
    return re.sub(r""""[^"]*"|'[^']*'""", '""', tag)
