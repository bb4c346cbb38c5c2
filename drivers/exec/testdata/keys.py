#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""A program of the driver exec that rotates API keys of the service keyserver.py, each account
of which has two at most. FORM is made where the service makes them, or text. In the file CLIENTS,
JSON, stands what programs sign in with, by "SYSTEM ACCOUNT".

    keys.py HOST:PORT FILE-WITH-TOKEN FORM CLIENTS <request >answer
"""
import base64
import http.client
import json
import os
import sys
import urllib.parse

address, token_file, form, clients = sys.argv[1:]
LATER = 75  # EX_TEMPFAIL of sysexits.h: the caller asks again


class Answer(Exception):
    """What the service said no to."""


def call(method, path, body=None, headers=()):
    """One request. A service that cannot be reached, or goes away, is asked again later."""
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.request(method, path, json.dumps(body) if body is not None else None, dict(headers))
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as problem:
        print("no answer from " + address + ": " + type(problem).__name__, file=sys.stderr)
        sys.exit(LATER)
    finally:
        connection.close()
    return response.status, text


def administer(method, what="", body=None):
    with open(token_file) as file:
        token = file.read().strip()
    path = "/accounts/" + urllib.parse.quote(request["account"], safe="") + what
    status, text = call(method, path, body, {"X-Token": token})
    if status >= 400:
        kind = {403: "denied", 404: "not-found", 409: "conflict"}.get(status, "other")
        raise Answer(kind, "the service says " + json.loads(text)["error"])
    return json.loads(text)


def value(name):
    """A secret of the request, as bytes; None where there is none."""
    secret = request.get(name, {})
    if "base64" in secret:
        return base64.b64decode(secret["base64"])
    return secret["text"].encode("utf-8", "surrogatepass") if "text" in secret else None


def key(name):
    secret = request.get(name, {}).get("text")
    if secret is None:
        raise Answer("invalid", "keys of this service are text")
    return {"key": secret}


def whoami(secret):
    pair = base64.b64encode(request["account"].encode() + b":" + (secret or b"")).decode()
    status, text = call("GET", "/whoami", headers={"Authorization": "Basic " + pair})
    outcome = {200: "accepted", 401: "refused"}.get(status, "failed")
    return {"listener": listener, "outcome": outcome, "answer": "%d %s" % (status, text.decode("utf-8", "replace")[:900])}


listener = {"address": address, "protocol": "api-key"}


def look_account():
    found = administer("GET")
    notes = ["it has two keys: one has to go before a rotation"] if found["keys"] > 1 and form == "text" else []
    return {"account": {"overlap": "two", "form": "made" if form == "made" else "", "may_try": -1, "listeners": [listener], "notes": notes}}


def changed(done, how):
    return {"changed": True, "how": [how]} if done["changed"] else {}


def set_secret():
    if request.get("withdraw"):
        return changed(administer("POST", "/revoke", key("new_secret") if "new_secret" in request else {"order": request["order"]}), "revoke")
    if form != "made":
        return changed(administer("POST", "/keys", key("new_secret")), "add")
    # The order makes it one key, however often it is asked for.
    made = administer("POST", "/keys", {"order": request["order"]})
    return {**changed(made, "make"), "made": {"text": made["key"]}}


def drop_secret():
    administer("GET")
    if whoami(value("new_secret"))["outcome"] != "accepted":
        raise Answer("conflict", "the new key does not get in yet")
    return changed(administer("POST", "/revoke", key("old_secret")), "revoke")


def test_secret():
    new = whoami(value("new_secret"))
    if not request.get("try_old"):
        return {"new_attempts": [new]}
    # A wrong one is tried only between two right ones: others count them, and lock accounts.
    if new["outcome"] != "accepted":
        untried = {"listener": listener, "outcome": "failed", "answer": "not tried: the new key does not get in"}
        return {"old_attempts": [untried], "new_attempts": [new]}
    old = whoami(value("old_secret"))
    return {"old_attempts": [old], "new_attempts": [whoami(value("new_secret"))]}


def supply_secret():
    with open(clients) as file:
        known = json.load(file)
    name = request["system"] + " " + request["account"]
    if name not in known:
        raise Answer("not-found", "no program signs in there as " + request["account"])
    if known[name] == key("new_secret")["key"]:
        return {}
    known[name] = key("new_secret")["key"]
    with open(os.open(clients + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(known, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(clients + ".new", clients)
    return {"changed": True, "how": ["file"]}


verbs = {"look-account": look_account, "set-secret": set_secret, "drop-secret": drop_secret, "test-secret": test_secret, "supply-secret": supply_secret}
request = json.load(sys.stdin)
try:
    if request["v"] != 1 or request["verb"] not in verbs:
        raise Answer("invalid", "this program does not " + request["verb"])
    answer = verbs[request["verb"]]()
except Answer as no:
    answer = {"error": {"kind": no.args[0], "text": no.args[1]}}
json.dump({"v": 1, **answer}, sys.stdout)
