"""Writes what promtool holds the dashboard against, for check.sh: all expressions as rules.json, and as tests.json what they tell.

EdgeCredentials and EdgeTokens have the same name in three namespaces. Each case is there twice: where Prometheus honours the labels of its
targets, and where it does not, so that `namespace` is the operator's.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "charts/edge-credential-operator/monitoring/dashboard.json").read_text())
HOUR = 60  # samples


def filled(expression, namespace=".+"):
    variables = {"$job": "a/b", "$namespace": namespace, "$name": ".+", "$__interval": "1h", "$__range": "1d",
                 "$__rate_interval": "5m"}
    for name, value in sorted(variables.items(), reverse=True):
        expression = expression.replace(name, value)
    return expression


def series(honoured):
    def of(metric, namespace, values, kind="edgecredential"):
        own = f'namespace="{namespace}"' if honoured else f'namespace="operators", exported_namespace="{namespace}"'
        return {"series": f'{kind}_{metric}{{job="a/b", pod="p", {own}, name="edge"}}', "values": f"{values}x{24 * HOUR}"}

    def of_key(metric, namespace, values):
        return of(metric, namespace, values, "edgetoken")

    # At ten hours: one as it should be; one that is due for two hours, with two left; one that is suspended.
    yield of("ready", "shop", 1)
    yield of("token_renewal_timestamp_seconds", "shop", 57600)
    yield of("token_expiration_timestamp_seconds", "shop", 86400)
    yield of("ready", "search", 1)
    yield of("stalled", "search", 1)
    yield of("token_renewal_timestamp_seconds", "search", 28800)
    yield of("token_expiration_timestamp_seconds", "search", 43200)
    yield of("ready", "idle", 0)
    yield of("suspended", "idle", 1)
    yield of("token_expiration_timestamp_seconds", "idle", 3600)
    requests = 'edgecredential_token_requests_total{job="a/b", pod="p", origin="o", outcome="%s"}'
    yield {"series": requests % "Success", "values": f"7x{24 * HOUR}"}
    # Its first one ever.
    yield {"series": requests % "TokenEndpointUnavailable", "values": f"_x{570} 1x{HOUR}"}
    # A key in its overlap; one that should have been rotated two hours ago; one that does not work.
    yield of_key("ready", "shop", 1)
    yield of_key("rotation_timestamp_seconds", "shop", 86400)
    yield of_key("revocation_timestamp_seconds", "shop", 43200)
    yield of_key("ready", "search", 1)
    yield of_key("rotation_timestamp_seconds", "search", 28800)
    yield of_key("ready", "idle", 0)
    yield {"series": 'edgetoken_api_requests_total{job="a/b", pod="p", origin="o", operation="create", outcome="Success"}',
           "values": f"_x{570} 1x{HOUR}"}


def tells(title, samples, namespace=".+"):
    [panel] = [panel for panel in DASHBOARD["panels"] if panel["title"] == title and panel["type"] != "row"]
    return {"expr": filled(panel["targets"][0]["expr"], namespace), "eval_time": "10h",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples.items()]}


def state(namespace, state, runbook):
    return f'{{namespace="{namespace}", name="edge", state="{state}", runbook="{runbook}"}}'


STATES = {
    state("shop", "Ready", "README"): 1,
    state("search", "Stalled", "EdgeCredentialStalled"): 1,
    state("idle", "Suspended", "EdgeCredentialSuspendedTokenExpired"): 1,
}

KEYS = {
    state("shop", "Ready", "README"): 1,
    state("search", "Rotation overdue", "EdgeTokenRotationOverdue"): 7200,
    state("idle", "Not ready", "EdgeTokenNotReady"): 0,
}

CASES = [
    tells("Soonest expiry", {"{}": 7200}),
    tells("Soonest expiry", {"{}": 50400}, "shop"),
    tells("Ready", {"{}": 2}),
    tells("Ready", {"{}": 1}, "search|idle"),
    tells("Not ready", {"{}": 0}),
    tells("Stalled", {"{}": 1}),
    tells("Stalled", {"{}": 0}, "shop"),
    tells("Renewals overdue", {"{}": 1}),
    tells("Suspended", {"{}": 1}),
    tells("EdgeCredentials", STATES),
    tells("Keys ready", {"{}": 2}),
    tells("Keys not ready", {"{}": 1}),
    tells("Late rotations", {"{}": 1}),
    tells("Late rotations", {"{}": 0}, "shop"),
    tells("Late revocations", {"{}": 0}),
    tells("EdgeTokens", KEYS),
    tells("Calls of Sitecore's APIs per hour", {'{operation="create"}': 1}),
    tells("Token requests per hour: successful", {'{outcome="Success"}': 0}),
    tells("Token requests per hour: failed", {'{outcome="TokenEndpointUnavailable"}': 1}),
]

expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
expressions += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
rules = [{"record": f"dashboard:{number}", "expr": filled(expression)} for number, expression in enumerate(expressions)]
tests = [{"interval": "1m", "input_series": list(series(honoured)), "promql_expr_test": CASES} for honoured in (True, False)]

folder = Path(sys.argv[1])
(folder / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
(folder / "tests.json").write_text(json.dumps({"tests": tests}))
