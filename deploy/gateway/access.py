"""Roles as Envoy's rules: methods by path, models by what the gateway read in the request."""

from collections.abc import Iterable
from typing import Any

from deploy.security.roles import ADMIN_METHODS, INFER, MODELS, PUBLIC_METHODS

Rule = dict[str, Any]


def rbac(token: str, content: str) -> Rule:
    """The rules, by the namespaces of metadata that hold the token's claims and the content's judgement."""
    policies = {
        "any token": _policy([_path(method) for method in PUBLIC_METHODS], {"any": True}),
        "admin methods": _policy([_path(method) for method in ADMIN_METHODS], _has_role(token, "admin")),
    }
    for role, models in MODELS.items():
        asked = [_metadata(content, ["model"], _exact(model)) for model in models]
        both = {"and_rules": {"rules": [_path(INFER), {"or_rules": {"rules": asked}}]}}
        policies[role] = _policy([both], _has_role(token, role))
    return {"action": "ALLOW", "policies": policies}


def _policy(permissions: Iterable[Rule], principal: Rule) -> Rule:
    return {"permissions": list(permissions), "principals": [principal]}


def _has_role(token: str, role: str) -> Rule:
    return _metadata(token, ["jwt_payload", "roles"], {"list_match": {"one_of": _exact(role)}})


def _path(path: str) -> Rule:
    return {"url_path": {"path": {"exact": path}}}


def _exact(text: str) -> Rule:
    return {"string_match": {"exact": text}}


def _metadata(namespace: str, keys: list[str], value: Rule) -> Rule:
    matcher = {"filter": namespace, "path": [{"key": key} for key in keys], "value": value}
    return {"sourced_metadata": {"metadata_matcher": matcher}}
