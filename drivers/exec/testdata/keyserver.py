#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""A service whose accounts sign in by API keys, of which each has two at most. It listens on
loopback, and its administrator has a token.

    keyserver.py PORT FILE-WITH-TOKEN

    POST /accounts/NAME           make an account with one key
    GET  /accounts/NAME           how many keys it has
    POST /accounts/NAME/keys      {"order": ...}: make a key; the same one for the same order
                                  {"key": ...}: take one
    POST /accounts/NAME/revoke    {"key": ...} or {"order": ...}
    GET  /whoami                  for holders of keys, by HTTP Basic
"""
import base64
import http.server
import json
import secrets
import sys
import threading
import urllib.parse

lock = threading.Lock()
accounts = {}  # name -> {key -> order}, guarded by lock
with open(sys.argv[2]) as file:
    token = file.read().strip()


def make(keys, wanted):
    for key, order in keys.items():
        if order and order == wanted.get("order") or key == wanted.get("key"):
            return 200, {"key": key, "changed": False}
    if len(keys) >= 2:
        return 409, {"error": "it has two keys"}
    key = wanted.get("key") or "key_" + secrets.token_urlsafe(24)
    keys[key] = wanted.get("order", "")
    return 201, {"key": key, "changed": True}


def revoke(keys, wanted):
    gone = [key for key, order in keys.items() if key == wanted.get("key") or order and order == wanted.get("order")]
    for key in gone:
        del keys[key]
    return 200, {"changed": bool(gone)}


class Handler(http.server.BaseHTTPRequestHandler):
    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def basic(self):
        """The name and the key of whoever asks."""
        kind, _, text = self.headers.get("Authorization", "").partition(" ")
        name, _, key = base64.b64decode(text if kind == "Basic" else "").decode("utf-8", "surrogateescape").partition(":")
        return name, key

    def who(self):
        name, key = self.basic()
        if key in accounts.get(name, {}):
            return 200, {"you": name}
        return 401, {"error": "no such key: " + key.encode("utf-8", "replace").decode()}  # a service that talks too much

    def administer(self, wanted):
        if self.headers.get("X-Token") != token:
            return 403, {"error": "who are you?"}
        _, _, name, *what = [urllib.parse.unquote(part) for part in self.path.split("/")]
        if self.command == "POST" and not what:
            accounts[name] = {}
            return make(accounts[name], {})
        if name not in accounts:
            return 404, {"error": "no such account"}
        if self.command == "GET":
            return 200, {"keys": len(accounts[name])}
        return {"keys": make, "revoke": revoke}[what[0]](accounts[name], wanted)

    def do_GET(self):
        with lock:
            answer = self.who() if self.path == "/whoami" else self.administer({})
        self.reply(*answer)

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:
            return  # whoever asks has gone before all was said
        with lock:
            answer = self.administer(json.loads(body or "{}"))
        self.reply(*answer)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
