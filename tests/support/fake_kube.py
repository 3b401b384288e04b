# SPDX-License-Identifier: Apache-2.0
"""A Kubernetes API server (with OpenShift's OAuth server and projects) that knows only what a test says.

    with FakeKube() as kube:
        kube.add_token("writer", "system:serviceaccount:ns:otel", groups=["system:serviceaccounts"],
                       rules=[rule("create", "dev")], projects=["ns1", "ns2"])
        config = {"gateway": {"kubernetes": kube.config(), ...}}

Tokens may change at any time (kube.tokens); faults, counts and stop()/start() are FakeHttp's.
"""
import secrets
import urllib.parse

from fake_http import FakeHttp

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
SELF_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
SUBJECT_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
PROJECTS = "/apis/project.openshift.io/v1/projects"
DISCOVERY = "/.well-known/oauth-authorization-server"
GATEWAY_USER = "system:serviceaccount:NS:tempo-tracing"


def rule(verb, *tenants, group="tempo.grafana.com", name="traces"):
    """One rule of a ClusterRole: `verb` (get reads, create writes, * both) on the tenants."""
    return {"verbs": [verb], "apiGroups": [group], "resources": list(tenants), "resourceNames": [name]}


def status(code, reason, message=None):
    return code, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                  "message": message or reason, "reason": reason, "code": code}


def allows(rules, a):
    def has(values, value):
        return "*" in values or value in values
    return any(has(r["verbs"], a.get("verb")) and has(r["apiGroups"], a.get("group", "")) and
               has(r["resources"], a.get("resource")) and
               (not r.get("resourceNames") or a.get("name") in r["resourceNames"]) and
               not a.get("namespace") for r in rules)


class FakeKube(FakeHttp):
    def __init__(self, oauth=True, openshift=True, namespace="NS", **kwargs):
        self.oauth = oauth            # False: discovery answers 404
        self.openshift = openshift    # False: projects answer 404
        self.reviewer_allowed = True  # False: our ServiceAccount lacks the right to review
        self.tokens = {}              # token -> {username, groups, rules, projects}
        self.codes = {}               # OAuth code -> token
        self.login_token = None       # the token that a browser login ends with
        super().__init__(**kwargs)
        self.token_file = self.folder / "token"
        self.namespace_file = self.folder / "namespace"
        self.namespace_file.write_text(namespace)
        self.rotate()

    def config(self):
        """The `gateway.kubernetes` section that points at this server."""
        return {"api_url": self.url, "ca_file": str(self.ca_file), "token_file": str(self.token_file),
                "namespace_file": str(self.namespace_file)}

    def rotate(self, keep_old=False):
        """A new token for the gateway's own ServiceAccount; the old one is refused from now on."""
        old = getattr(self, "own_token", None)
        self.own_token = "own-" + secrets.token_urlsafe(24)
        self.own_tokens = {self.own_token} | ({old} if keep_old and old else set())
        temporary = self.folder / "token.new"
        temporary.write_text(self.own_token + "\n")
        temporary.rename(self.token_file)

    def add_token(self, token, username, groups=(), rules=(), projects=()):
        self.tokens[token] = {"username": username, "groups": list(groups), "rules": list(rules),
                              "projects": list(projects)}

    # ---- the API ----

    def handle(self, call):
        if call.route == DISCOVERY:
            if not self.oauth:
                return 404, b"404 page not found\n", {"Content-Type": "text/plain"}
            return 200, {"issuer": self.url, "authorization_endpoint": self.url + "/oauth/authorize",
                         "token_endpoint": self.url + "/oauth/token",
                         "code_challenge_methods_supported": ["plain", "S256"]}
        if call.route == "/oauth/authorize":
            return self.authorize(call)
        if call.route == "/oauth/token" and call.method == "POST":
            return self.exchange(call)
        user = self.tokens.get(call.bearer)
        if call.bearer not in self.own_tokens and user is None:
            return status(401, "Unauthorized")
        posts = {TOKEN_REVIEWS: self.token_review, SELF_REVIEWS: self.self_review,
                 SUBJECT_REVIEWS: self.subject_review}
        if call.method == "POST" and call.route in posts:
            return posts[call.route](call, user)
        if call.method == "GET" and call.route == PROJECTS and self.openshift:
            names = user["projects"] if user else []
            return 200, {"kind": "ProjectList", "apiVersion": "project.openshift.io/v1", "metadata": {},
                         "items": [{"metadata": {"name": n}, "spec": {}, "status": {"phase": "Active"}}
                                   for n in names]}
        return status(404, "NotFound", "the server could not find the requested resource")

    def token_review(self, call, _user):
        if call.bearer not in self.own_tokens or not self.reviewer_allowed:
            return status(403, "Forbidden")
        body = call.json
        token = body["spec"]["token"]
        known = self.tokens.get(token)
        if known is None:
            body["status"] = {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        else:
            body["status"] = {
                "authenticated": True, "audiences": ["https://kubernetes.default.svc"],
                "user": {"username": known["username"], "uid": "b6f0", "groups": known["groups"],
                         "extra": {"authentication.kubernetes.io/pod-name": ["pod-0"]}}}
        return 201, body

    def self_review(self, call, user):
        return self.review(call, user["rules"] if user else [])

    def subject_review(self, call, _user):
        if call.bearer not in self.own_tokens or not self.reviewer_allowed:
            return status(403, "Forbidden")
        name = call.json["spec"].get("user")
        rules = [r for t in self.tokens.values() if t["username"] == name for r in t["rules"]]
        return self.review(call, rules)

    @staticmethod
    def review(call, rules):
        body = call.json
        if allows(rules, body["spec"]["resourceAttributes"]):
            body["status"] = {"allowed": True, "reason": "RBAC: allowed by ClusterRoleBinding \"b\""}
        else:
            body["status"] = {"allowed": False}
        return 201, body

    # ---- OAuth ----

    def authorize(self, call):
        """The login page of a user who always agrees: straight back with a code."""
        code = secrets.token_urlsafe(16)
        self.codes[code] = (self.login_token, call.query.get("redirect_uri"), call.query.get("client_id"))
        uri = call.query["redirect_uri"]
        uri += ("&" if "?" in uri else "?") + urllib.parse.urlencode(
            {"code": code, "state": call.query.get("state", "")})
        return 302, b"", {"Location": uri}

    def exchange(self, call):
        form = call.form
        token, uri, client = self.codes.pop(form.get("code"), (None, None, None))
        if token is None or form.get("redirect_uri") != uri or form.get("client_id") != client or \
                form.get("grant_type") != "authorization_code" or \
                form.get("client_secret") not in self.own_tokens:
            return 400, {"error": "invalid_grant", "error_description": "code, client or secret is wrong"}
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 86400,
                     "scope": "user:info user:check-access user:list-projects"}
