# SPDX-License-Identifier: Apache-2.0
"""Who is asking, and may they, in mode openshift and static (statements G34 to G73)."""
import concurrent.futures
import contextlib
import http.client
import ssl
import time
import urllib.parse

from fake_kube import SELF_REVIEWS, SUBJECT_REVIEWS, TOKEN_REVIEWS, FakeKube, rule
from fake_oidc import FakeOidc, Key
from fake_pki import Authority
from gateway import DEV, Gateway, error_of, oidc_tenant, openshift_tenant, wait
from gateway_http import people
from otlp import request, request_pb, span

DENIED = "You don't have permission to access this tenant"
HTML = {"Accept": "text/html,*/*"}


def pb():
    return request_pb(request([span()]))


# ---- openshift ----

def reviews(c, kube):
    with Gateway(kube) as g:
        kube.forget()
        statuses = {g.get("/api/echo", "reader").status for _ in range(100)}
        c.equal("G34 one review a token", (statuses, kube.count(TOKEN_REVIEWS)), ({200}, 1))
        kube.forget()
        kube.add_token("crowd", "u", (), [rule("get", "dev")])
        kube.fail(TOKEN_REVIEWS, delay=0.3)
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(lambda _: g.get("/api/echo", "crowd").status, range(100)))
        kube.heal()
        c.equal("G37 a crowd shares one review", (set(answers), kube.count(TOKEN_REVIEWS)), ({200}, 1))
        c.equal("G36 refused", g.get("/api/echo", "late").status, 401)
        kube.add_token("late", "u2", (), [rule("get", "dev")])
        c.check("G36 not for long", wait(lambda: g.get("/api/echo", "late").status == 200, 12))
        kube.rotate()
        kube.add_token("after", "u3", (), [rule("get", "dev")])
        c.check("G38 our own token rotates", wait(lambda: g.get("/api/echo", "after").status == 200), None)
        c.equal("G38 with the new one", kube.seen(TOKEN_REVIEWS)[-1].bearer, kube.own_token)
        kube.add_token("again", "u4", (), [rule("get", "dev")])
        kube.fail(TOKEN_REVIEWS, times=2, status=500)
        c.equal("G40 two failures, then an answer", g.get("/api/echo", "again").status, 200)
        a = g.get("/api/echo", None, headers={"X-Forwarded-Access-Token": "reader"})
        c.equal("G42 forwarded token alone", a.status, 200)
        a = g.get("/api/echo", "rubbish", headers={"X-Forwarded-Access-Token": "reader"})
        c.equal("G42 beside Authorization it does not count", a.status, 401)
        a = g.get("/api/echo", None, headers={"Authorization": "bearer reader"})
        c.equal("G43 lower case, HTTP", a.status, 200)
        c.equal("G43 lower case, gRPC", g.export(pb(), "bearer writer").code, 0)


def lifetimes(c, kube):
    with Gateway(kube, gateway={"cache": {"token_ttl": "2s", "review_ttl": "1s"}}) as g:
        def kept(name, since, status):
            """Asked within the second that a review is kept. A machine that takes longer judges nothing."""
            got = g.get("/api/echo", "reader").status
            if time.monotonic() - since < 1:
                c.equal(name, got, status)

        kube.forget()
        began = time.monotonic()
        c.equal("first", g.get("/api/echo", "reader").status, 200)
        answered = time.monotonic()
        kube.tokens["reader"]["rules"] = []
        kept("G56 an allow is kept", began, 200)
        time.sleep(0.6)
        kept("G56 still", began, 200)
        time.sleep(max(answered + 1.2 - time.monotonic(), 0))
        began = time.monotonic()
        c.equal("G56 and hits do not prolong it", g.get("/api/echo", "reader").status, 403)
        kube.tokens["reader"]["rules"] = [rule("get", "dev")]
        kept("G56 a deny is kept too", began, 403)
        c.check("and ends", wait(lambda: g.get("/api/echo", "reader").status == 200, 3))
        c.check("G35 a second review after its time",
                wait(lambda: g.get("/api/echo", "reader").status == 200 and
                     kube.count(TOKEN_REVIEWS) >= 2, 4), kube.count(TOKEN_REVIEWS))


def outage(c, kube):
    with Gateway(kube) as g:
        c.equal("before", g.get("/api/echo", "reader").status, 200)
        kube.stop()
        kube.add_token("fresh", "u5", (), [rule("*", "dev")])
        a = g.get("/api/echo", "fresh", timeout=60)
        c.equal("G39 HTTP while the API server is down", (a.status, a.header("retry-after")), (503, "5"))
        c.check("G39 in JSON", error_of(a) is not None, a)
        c.equal("G39 gRPC", g.export(pb(), "fresh").code, 14)
        c.equal("G39 what is cached goes on", g.get("/api/echo", "reader").status, 200)
        kube.start()
        c.check("G39 and it comes back", wait(lambda: g.get("/api/echo", "fresh").status == 200))
        kube.add_token("odd", "u6", (), [rule("get", "dev")])
        kube.fail(SELF_REVIEWS, status=500)
        c.equal("G58 review fails", g.get("/api/echo", "odd").status, 503)
        kube.heal()
        kube.fail(SELF_REVIEWS, status=401, body={"kind": "Status"})
        c.equal("G58 review says 401", g.get("/api/echo", "odd").status, 401)
        kube.heal()
        c.equal("errors are not kept", g.get("/api/echo", "odd").status, 200)


def access(c, kube):
    with Gateway(kube) as g:
        kube.forget()
        g.get("/api/echo", "reader")
        g.post(pb(), "writer")
        want = {"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {},
                "spec": {"resourceAttributes": {"verb": "get", "group": "tempo.grafana.com",
                                                "resource": "dev", "name": "traces"}}}
        calls = kube.seen(SELF_REVIEWS)
        c.equal("G53 read", calls[0].json, want)
        want["spec"]["resourceAttributes"]["verb"] = "create"
        c.equal("G53 write", calls[1].json, want)
        c.equal("G54 the user's token", [x.bearer for x in calls], ["reader", "writer"])
        a = g.get("/api/echo", "nobody")
        c.equal("G55 deny", (a.status, error_of(a)), (403, DENIED))
        c.equal("G57 writer may not read", g.get("/api/echo", "writer").status, 403)
        c.equal("G57 reader may not write", g.post(pb(), "reader").status, 403)
        c.equal("G57 reader may read", g.get("/api/echo", "reader").status, 200)
    with Gateway(kube, gateway={"kubernetes": {"review": "sar"}}) as g:
        kube.forget()
        c.equal("G59 sar", g.get("/api/echo", "reader").status, 200)
        call = kube.seen(SUBJECT_REVIEWS)[0]
        c.equal("G59 our token", call.bearer, kube.own_token)
        c.equal("G59 user", call.json["spec"]["user"], kube.tokens["reader"]["username"])
        c.check("G41 groups", set(call.json["spec"]["groups"]) >=
                {"system:serviceaccounts", "system:authenticated"}, call.json)


def browser(c, kube):
    with Gateway(kube) as g:
        path = "/api/traces/v1/dev/search"
        login_path = f"/openshift/dev/login?route={path}"
        wait(lambda: g.raw("GET", login_path).status == 303)  # until OAuth is discovered; 503 before
        a = g.raw("GET", path, HTML)
        c.equal("G45 a browser is sent to the login", (a.status, a.header("location")),
                (302, "/openshift/dev/login?route=/api/traces/v1/dev/search"))
        c.equal("others are not", g.raw("GET", path).status, 401)
        states = set()
        for _ in range(2):
            a = g.raw("GET", a.header("location") if a.status == 302 else login_path)
            c.equal("G46 login", a.status, 303)
            to = urllib.parse.urlsplit(a.header("location"))
            q = dict(urllib.parse.parse_qsl(to.query))
            states.add(q.get("state"))
        c.equal("G46 parameters", (q.get("client_id"), q.get("response_type"), q.get("scope")),
                ("system:serviceaccount:NS:tempo-tracing", "code",
                 "user:info user:check-access user:list-projects"))
        c.check("G46 redirect_uri", q.get("redirect_uri", "").startswith(
            "https://route.example/openshift/dev/callback?route="), q)
        c.equal("G46 state differs each time", len(states), 2)
        login = a
        cookies = "; ".join(x.split(";")[0] for x in login.header("set-cookie").split("\n"))
        base = "/openshift/dev/callback?route=/api/traces/v1/dev/search"
        a = g.raw("GET", f"{base}&code=x&state=wrong", {"Cookie": cookies})
        c.equal("G47 wrong state", (a.status, error_of(a)), (400, "incorrect state in request"))
        a = g.raw("GET", f"{base}&state={q['state']}", {"Cookie": cookies})
        c.equal("G48 no code", (a.status, error_of(a)), (400, "no code in request"))
        kube.login_token = "reader"
        conn = http.client.HTTPSConnection("127.0.0.1", kube.port, context=ssl.create_default_context(
            cafile=str(kube.ca_file)))
        conn.request("GET", to.path + "?" + to.query)
        back = urllib.parse.urlsplit(conn.getresponse().getheader("Location"))
        conn.close()
        a = g.raw("GET", f"{back.path}?{back.query}", {"Cookie": cookies})
        c.equal("G49 comes back", (a.status, a.header("location")), (302, path))
        cookie = next((x for x in a.header("set-cookie").split("\n")
                       if x.startswith("observatorium_dev=")), "")
        for word in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/"):
            c.contains(f"G49 cookie {word}", cookie, word)
        value = cookie.split(";")[0]
        a = g.get("/api/echo", None, headers={"Cookie": value})
        c.equal("G49 the cookie logs in", a.status, 200)
        other = value.replace("observatorium_dev", "observatorium_prod")
        c.check("G50 not another tenant", g.get("/api/echo", None, tenant="prod", headers={
            "Cookie": other}).status in (401, 403))
        for name, bad in (("tampered", value[:-3] + "AAA"), ("cut", value[:40]), ("rubbish", "x")):
            bad = bad if "=" in bad else "observatorium_dev=" + bad
            a = g.raw("GET", path, {**HTML, "Cookie": bad})
            c.equal(f"G51 {name} cookie", a.status, 302)
        c.check("G93 no token in the cookie in clear", "reader" not in cookie, cookie)
    with FakeKube(oauth=False) as plain:
        people(plain)
        with Gateway(plain) as g:
            c.check("G44 without OAuth", wait(lambda: error_of(g.raw("GET", path, HTML)) ==
                                             "OAuth authentication not available"),
                    g.raw("GET", path, HTML))
            c.equal("G44 tokens work", g.get("/api/echo", "reader").status, 200)


# ---- static ----

ROLES = {"roles": [{"name": "rw", "resources": ["traces"], "tenants": ["one"],
                    "permissions": ["read", "write"]}],
         "roleBindings": [{"name": "b", "roles": ["rw", "ghost"], "subjects": [
             {"kind": "user", "name": "alice"}, {"kind": "group", "name": "sre"}]}]}


@contextlib.contextmanager
def static(issuer, tenants=None, **gateway):
    section = {"mode": "static", "rbac": ROLES, **gateway}
    with Gateway(tenants=tenants or [oidc_tenant("one", "first", issuer, groupClaim="groups")],
                 gateway=section) as g:
        wait(lambda: g.get("/api/echo", issuer.mint(sub="alice", groups=[]), "one").status == 200)
        yield g


def roles(c, issuer):
    with static(issuer) as g:
        def status(**claims):
            return g.get("/api/echo", issuer.mint(**{"groups": [], **claims}), "one").status
        c.equal("G60 user", status(sub="alice"), 200)
        c.equal("G60 group", status(sub="bob", groups=["ops", "sre"]), 200)
        c.equal("G60 nobody", status(sub="bob"), 403)
        c.equal("G60 ingest", g.export(pb(), issuer.mint(sub="alice", groups=[]), "one").code, 0)
        c.equal("G60 ingest refused", g.export(pb(), issuer.mint(sub="bob", groups=[]), "one").code, 7)
        c.contains("G62 unknown role", g.log_text(), "role binding names a role that does not exist")
    by_id = {"roles": [{**ROLES["roles"][0], "tenants": ["first"]}],
             "roleBindings": ROLES["roleBindings"]}
    with Gateway(tenants=[oidc_tenant("one", "first", issuer, groupClaim="groups")],
                 gateway={"mode": "static", "rbac": by_id}) as g:
        token = issuer.mint(sub="alice", groups=[])
        c.check("G61 the name decides, not the id",
                wait(lambda: g.get("/api/echo", token, "one").status == 403), None)


def tokens(c, issuer):
    with static(issuer) as g:
        def answer(**claims):
            return g.get("/api/echo", issuer.mint(**{"sub": "alice", "groups": [], **claims}), "one")
        for alg in ("RS256", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "EdDSA"):
            c.equal(f"G64 {alg}", answer(alg=alg).status, 200)
        for alg in ("HS256", "none"):
            c.equal(f"G64 {alg} never", answer(alg=alg).status, 401)
        for name, claims in (("iss", {"iss": "https://other"}), ("aud", {"aud": "other"}),
                             ("expired", {"exp": -1}), ("nbf +6 min", {"nbf": 360})):
            a = answer(**claims)
            c.equal(f"G65 {name}", (a.status, error_of(a)), (401, "failed to verify ID token"))
        a = g.export(pb(), issuer.mint(aud="other", sub="alice"), "one")
        c.equal("G65 gRPC", (a.code, a.message), (16, "failed to verify ID token"))
        c.equal("G66 nbf +4 min", answer(nbf=240).status, 200)
        c.equal("G68 group as text", answer(sub="bob", groups="sre").status, 200)
        c.equal("G68 groups as array", answer(sub="bob", groups=["sre"]).status, 200)
        a = answer(groups=None)
        c.equal("G69 no groups claim", (a.status, error_of(a)), (400, "group cannot be empty"))
        c.equal("G72 aud as array", answer(aud=["other", issuer.client_id]).status, 200)
        good = issuer.mint(sub="alice", groups=[])
        for name, text in (("one word", good), ("three words", f"Bearer {good} x")):
            a = g.raw("GET", "/api/traces/v1/one/tempo/api/echo", {"Authorization": text})
            c.equal(f"G73 {name}", (a.status, error_of(a)), (401, "invalid Authorization header"))
        issuer.forget()
        stranger = Key("RSA")
        began = time.monotonic()
        for _ in range(20):
            answer(key=stranger, kid="random")
        looks = 1 + int((time.monotonic() - began) / 10)  # one in ten seconds
        c.check("G67 random kids", issuer.count("/jwks") <= looks, (issuer.count("/jwks"), looks))
        time.sleep(10.2)
        issuer.rotate()
        c.equal("G67 new keys after one more look", answer().status, 200)
    claim = oidc_tenant("one", "first", issuer, usernameClaim="email")
    with Gateway(tenants=[claim], gateway={"mode": "static", "rbac": ROLES}) as g:
        token = issuer.mint(email="alice")
        c.check("G68 usernameClaim", wait(lambda: g.get("/api/echo", token, "one").status == 200), None)
        for email, text in ((None, "username cannot be empty"), ("", "invalid username claim value"),
                            (["alice"], "invalid username claim value")):
            a = g.get("/api/echo", issuer.mint(email=email), "one")
            c.equal(f"G69 username {email}", (a.status, error_of(a)), (400, text))


def issuer_down(c, issuer):
    with FakeOidc() as other:
        tenants = [oidc_tenant("one", "first", issuer, groupClaim="groups"),
                   oidc_tenant("two", "second", other, groupClaim="groups")]
        roles_of_both = {"roles": [{**ROLES["roles"][0], "tenants": ["one", "two"]}],
                         "roleBindings": ROLES["roleBindings"]}
        other.stop()
        with static(issuer, tenants, rbac=roles_of_both) as g:
            good = other.mint(sub="alice", groups=[])
            c.equal("G70 others work", g.get("/api/echo", issuer.mint(sub="alice", groups=[]),
                                             "one").status, 200)
            c.equal("G70 this one does not yet", g.get("/api/echo", good, "two").status, 503)
            c.equal("G70 gRPC", g.export(pb(), good, "two").code, 14)
            other.start()
            c.check("G70 recovers alone", wait(lambda: g.get("/api/echo", good, "two").status == 200, 15))
        wrong = oidc_tenant("one", "first", other)
        wrong["oidc"]["issuerCAPath"] = str(issuer.ca_file)
        with Gateway(tenants=[wrong], gateway={"mode": "static", "rbac": ROLES}) as g:
            time.sleep(1)
            c.equal("G71 only the given authority is trusted",
                    g.get("/api/echo", other.mint(sub="alice"), "one").status, 503)


def certificates(c, folder_kube):
    ca = Authority("client CA")
    with Gateway(folder_kube, tenants=[openshift_tenant("dev", DEV)]) as first:
        folder = first.folder  # the files must outlive nothing but this test
        (folder / "client-ca.crt").write_bytes(ca.pem)
        good = ca.write(folder, "good", "alice", ["email:alice"], client=True)
        bare = ca.write(folder, "bare", "alice", client=True)
        foreign = Authority("other").write(folder, "foreign", "alice", ["email:alice"], client=True)
        tenant = {"name": "one", "id": "first", "mTLS": {"caPath": str(folder / "client-ca.crt")}}
        with Gateway(tenants=[tenant], gateway={"rbac": ROLES}) as g:
            path = "/api/traces/v1/one/tempo/api/echo"
            a = g.raw("GET", path, pair=good)
            c.check("mTLS: a certificate of the CA", a.status in (200, 403), a)
            a = g.raw("GET", path)
            c.equal("mTLS: none", (a.status, error_of(a)), (401, "no client certificate presented"))
            c.equal("mTLS: of another CA", g.raw("GET", path, pair=foreign).status, 401)
            a = g.raw("GET", path, pair=bare)
            c.equal("mTLS: no name in it", (a.status, error_of(a)), (400, "could not determine subject"))


def run(c):
    with FakeKube() as kube:
        people(kube)
        for function in (reviews, lifetimes, outage, access, browser, certificates):
            c.run(function.__name__, function, c, kube)
    with FakeOidc() as issuer:
        for function in (roles, tokens, issuer_down):
            c.run(function.__name__, function, c, issuer)
