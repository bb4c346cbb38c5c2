// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// A program that has written and then gives an answer that makes no sense has perhaps done what
// it was to do. Only its own word that a request is invalid says that nothing was changed.
func TestAnswersAfterAWrite(t *testing.T) {
	t.Parallel()
	const own = `{"v":1,"error":{"kind":"invalid","text":"the policy refuses it"}}`
	client, next := lab.NewPKI(t).Client(t, "sync"), driver.NewSecret("next")
	now, h := time.Now, host.Local()
	secrets := driver.SecretRequest{Host: h, Account: "a", Old: driver.NewSecret("before"), New: next, Now: now}
	withdraw := secrets
	withdraw.Withdraw = true
	verbs := map[string]func(*Door) error{
		"set-secret": func(d *Door) error { _, err := d.SetSecret(t.Context(), secrets); return err },
		"withdraw":   func(d *Door) error { _, err := d.SetSecret(t.Context(), withdraw); return err },
		"drop-secret": func(d *Door) error {
			_, err := d.DropSecret(t.Context(), secrets)
			return err
		},
		"supply-secret": func(d *Door) error {
			_, err := d.SupplySecret(t.Context(), driver.SupplyRequest{Host: h, System: "s", Account: "a", New: next, Now: now})
			return err
		},
		"install": func(d *Door) error {
			_, err := d.Install(t.Context(), driver.InstallRequest{Host: h, New: client, Now: now})
			return err
		},
		"trust": func(d *Door) error {
			_, err := d.Trust(t.Context(), driver.TrustRequest{Host: h, New: client.Public, Like: client.Public, Now: now})
			return err
		},
		"block": func(d *Door) error {
			_, err := d.Block(t.Context(), driver.BlockRequest{Host: h, Old: client.Public, Now: now})
			return err
		},
	}
	for verb, call := range verbs {
		for _, text := range []string{
			`{"v":1,"changed":true}` + "\ndebug: done", "debug: done\n" + `{"v":1,"changed":true}`, "", "{", `{"v":2,"changed":true}`,
			`{"v":1,"changed":"yes"}`, `{"v":1,"debug":true}`, own + own, `{"v":1,"made":{}}`, own,
		} {
			dir := t.TempDir()
			answer := lab.File(t, "answer", text)
			program := lab.File(t, "program", "case $(cat) in *'\"verb\":\"read\"'*) echo '{\"v\":1}' ;; *) touch "+dir+"/written; cat "+answer+" ;; esac\n")
			err := call(opened(t, map[string]string{"command": "sh " + program, "verbs": "install,trust,block,rotate,supply"}))
			if _, ran := os.Stat(filepath.Join(dir, "written")); ran != nil {
				t.Fatalf("%s: the program did not write: %v", verb, ran)
			}
			want, not := tallystick.ErrUnavailable, tallystick.ErrInvalid
			if text == own {
				want, not = not, want
			}
			if !errors.Is(err, want) || errors.Is(err, not) || errors.Is(err, tallystick.ErrDenied) {
				t.Errorf("%s that is answered by %q gives %v, want %v", verb, text, err, want)
			}
		}
	}
}

// A program that tests and says the secrets wherever there is text gives none of them away. What it
// said of its listeners before it had any stays as it is, also where a secret is a word of that.
func TestAttemptsShowNoSecret(t *testing.T) {
	t.Parallel()
	program := lab.File(t, "program.py", `
import json, sys
r = json.load(sys.stdin)
known = {"address": "db.test:5432", "protocol": "postgres", "server_name": "db\u001b.test", "details": {"user": "postgres"}}
if r["verb"] == "look-account":
    answer = {"account": {"overlap": "two", "may_try": -1, "listeners": [known], "notes": ["a note\n"]}}
else:
    s = r["new_secret"]["text"]
    bad = {"listener": {"address": s, "protocol": s, "server_name": s, "details": {s: s, "x": s}}, "address": s, "outcome": "refused", "answer": s, "served": s}
    answer = {"new_attempts": [{"listener": known, "outcome": "accepted", "served": s, "answer": "as\u001b " + s}, bad], "how": [s],
        "account": {"overlap": "two", "may_try": -1, "listeners": [bad["listener"]], "notes": [s]}}
json.dump({"v": 1, **answer}, sys.stdout)
`)
	door := opened(t, map[string]string{"command": "python3 -ISc 'exec(open(\"" + program + "\").read())'", "verbs": "rotate"})
	standing, err := door.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: "a", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	want := driver.Listener{Address: "db.test:5432", Protocol: "postgres", ServerName: "db .test", Details: map[string]string{"user": "postgres"}}
	if d := cmp.Diff([]driver.Listener{want}, standing.Listeners); d != "" {
		t.Errorf("the listeners (-want +got):\n%s", d)
	}
	for _, secret := range []string{"correct horse battery", "abc"} {
		tested, err := door.TestSecret(t.Context(), driver.SecretRequest{Host: host.Local(), Account: "a", New: driver.NewSecret(secret), Now: time.Now})
		encoded, failed := json.Marshal(tested)
		if said := fmt.Sprintf("%+v %s", tested, encoded); err != nil || failed != nil || strings.Contains(said, secret) || strings.ContainsAny(said, "\x1b\n") {
			t.Errorf("it says %s, %v, %v", said, err, failed)
		}
	}
	tested, err := door.TestSecret(t.Context(), driver.SecretRequest{Host: host.Local(), Account: "a", New: driver.NewSecret("postgres"), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, tested.New[0].Listener); d != "" || strings.Contains(tested.New[0].Answer+tested.New[0].Served, "postgres") {
		t.Errorf("with a password that is a word of it, the attempt is %+v, the listener (-want +got):\n%s", tested.New[0], d)
	}
}
