#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""A door of the driver exec that is a directory. It shows what stands in held.pem, and
lets in those whose names stand in the directory accepts, unless they stand in denies.

    door.py DIRECTORY <request >answer
"""
import json
import os
import sys

directory = sys.argv[1]


def path(*names):
    return os.path.join(directory, *names)


def text(name):
    try:
        with open(path(name)) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def replace(name, content):
    """Old or new, never half: another call may come at any time, this one may be killed."""
    with open(os.open(path("." + name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path("." + name), path(name))


def certificates_and_key(pem):
    parts = pem.split("-----BEGIN PRIVATE KEY-----")
    return parts[0], "-----BEGIN PRIVATE KEY-----" + parts[1] if len(parts) == 2 else ""


def best(credential):
    return next(name for name in credential["names"] if name.startswith("cert-sha256:"))


def listed(name):
    return text(name).split()


def enlist(name, entries):
    replace(name, "".join(entry + "\n" for entry in sorted(entries)))


def look(request):
    certificates, key = certificates_and_key(text("held.pem"))
    shown = [{"certificates": certificates, "at": path("held.pem"), "key": key != ""}] if certificates else []
    accepts = [{"name": name, "as": "user", "at": path("accepts")} for name in listed("accepts")]
    return {"view": {"shown": shown, "accepts": accepts, "denies": listed("denies")}}


def read(request):
    certificates, key = certificates_and_key(text("held.pem"))
    return {"held": {"certificates": certificates, "key": key}} if certificates else {}


def install(request):
    wanted = request["new"]["certificates"] + request["key"]
    if text("held.pem") == wanted:
        return {}
    replace("held.pem", wanted)
    return {"changed": True, "how": ["files"], "detail": "wrote " + path("held.pem")}


def change(name, entry, add):
    entries = set(listed(name))
    if (entry in entries) == add:
        return {}
    enlist(name, entries | {entry} if add else entries - {entry})
    return {"changed": True, "how": [name]}


def trust(request):
    if best(request["like"]) not in listed("accepts"):
        return {"error": {"kind": "not-found", "text": "whoever it should be like does not get in"}}
    return change("accepts", best(request["new"]), not request.get("withdraw", False))


def block(request):
    return change("denies", best(request["old"]), not request.get("lift", False))


def probe(request):
    name = best(request["credential"])
    outcome = "accepted" if name in listed("accepts") and name not in listed("denies") else "refused"
    return {"attempts": [{"listener": i, "address": listener["address"], "way": "fresh", "outcome": outcome}
                         for i, listener in enumerate(request["listeners"])]}


verbs = {"look": look, "read": read, "install": install, "trust": trust, "block": block, "probe": probe}
request = json.load(sys.stdin)
if request["v"] != 1 or request["verb"] not in verbs:
    answer = {"error": {"kind": "invalid", "text": "this door does not " + request["verb"]}}
else:
    answer = verbs[request["verb"]](request)
json.dump({"v": 1, **answer}, sys.stdout)
