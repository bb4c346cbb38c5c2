// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Suite{Driver: Driver()})
}

func opened(t *testing.T, options map[string]string) *Door {
	t.Helper()
	return drivertest.Open[*Door](t, Driver(), options)
}

// sample is the door of testdata at a directory.
func sample(t *testing.T, dir string) *Door {
	t.Helper()
	script, err := filepath.Abs("testdata/door.py")
	if err != nil {
		t.Fatal(err)
	}
	return opened(t, map[string]string{"command": "'" + script + "' '" + dir + "'"})
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func certName(m driver.Material) string {
	i := slices.IndexFunc(m.Names(), func(name string) bool { return strings.HasPrefix(name, "cert-sha256:") })
	return m.Names()[i]
}

func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Start: func(t *testing.T) drivertest.Door {
			p, dir := lab.NewPKI(t), t.TempDir()
			shown, client := p.Localhost(t), p.Client(t, "sync")
			text, err := installing.PEM(shown, installing.Chain, installing.Key)
			if err != nil {
				t.Fatal(err)
			}
			put(t, dir, "held.pem", string(text))
			put(t, dir, "accepts", certName(client)+"\n")
			return drivertest.Door{
				Opened: sample(t, dir), Host: host.Local(), Shown: shown, Next: p.Localhost(t), Client: client, NextClient: p.Client(t, "sync"),
				Good: func() error {
					text, err := os.ReadFile(filepath.Join(dir, "held.pem"))
					if err != nil {
						return err
					}
					m, err := installing.ReadPEM(text)
					return errors.Join(err, installing.Check(m, time.Now()))
				},
			}
		},
		Asks: true,
		Reads: func(c driver.Command) bool {
			return bytes.Contains(c.Stdin, []byte(`"verb":"look"`)) || bytes.Contains(c.Stdin, []byte(`"verb":"read"`))
		},
	})
}

func TestProbe(t *testing.T) {
	t.Parallel()
	p, dir := lab.NewPKI(t), t.TempDir()
	client := p.Client(t, "sync")
	put(t, dir, "accepts", certName(client)+"\n")
	listeners := []driver.Listener{{Address: "127.0.0.1:1", Protocol: "own"}}
	for _, want := range []string{driver.OutcomeAccepted, driver.OutcomeRefused} {
		probed, err := sample(t, dir).Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: client, Listeners: listeners, Now: time.Now})
		if err != nil || len(probed.Attempts) != 1 || probed.Attempts[0].Outcome != want || probed.Attempts[0].Listener.Protocol != "own" {
			t.Errorf("%+v, %v; want %s", probed, err, want)
		}
		put(t, dir, "denies", certName(client)+"\n")
	}
}

// says is a door whose program prints a text and ends with a status.
func says(t *testing.T, text, complaint, status string) *Door {
	t.Helper()
	path := lab.File(t, "answer", text)
	return opened(t, map[string]string{"command": "sh -c 'cat >/dev/null; cat " + path + "; echo \"" + complaint + "\" >&2; exit " + status + "'"})
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	for what, row := range map[string]struct {
		text, status string
		want         error
	}{
		"nothing":          {"", "0", tallystick.ErrInvalid},
		"no JSON":          {"done", "0", tallystick.ErrInvalid},
		"two":              {`{"v":1,"view":{}}{"v":1}`, "0", tallystick.ErrInvalid},
		"another version":  {`{"v":2,"view":{}}`, "0", tallystick.ErrInvalid},
		"without a view":   {`{"v":1}`, "0", tallystick.ErrInvalid},
		"unknown members":  {`{"v":1,"view":{"shows":[]}}`, "0", tallystick.ErrInvalid},
		"another form":     {`{"v":1,"view":[]}`, "0", tallystick.ErrInvalid},
		"no certificate":   {`{"v":1,"view":{"shown":[{"certificates":"x","at":"y"}]}}`, "0", tallystick.ErrInvalid},
		"two credentials":  {`{"v":1,"view":{"shown":[{"account":"a","ssh":"x","at":"y"}]}}`, "0", tallystick.ErrInvalid},
		"endless":          {`{"v":1,"view":{"notes":["` + strings.Repeat("x", 2<<20) + `"]}}`, "0", tallystick.ErrInvalid},
		"later":            {"", "75", tallystick.ErrUnavailable},
		"denied":           {`{"v":1,"error":{"kind":"denied","text":"no"}}`, "0", tallystick.ErrDenied},
		"a kind of no use": {`{"v":1,"error":{"kind":"x","text":"no"}}`, "0", nil},
		"failed":           {`{"v":1,"held":{"key":"hunter2"}}`, "1", nil},
	} {
		_, err := says(t, row.text, "out of paper", row.status).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
		if err == nil || row.want != nil && !errors.Is(err, row.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s gives %v, want %v", what, err, row.want)
		}
		if row.status != "0" && !strings.Contains(err.Error(), "out of paper") {
			t.Errorf("%s: it does not say what the program said: %v", what, err)
		}
	}
}

// What the listeners do not show is taken back.
func TestNotShownIsTakenBack(t *testing.T) {
	t.Parallel()
	p, dir := lab.NewPKI(t), t.TempDir()
	old := p.Localhost(t)
	text, err := installing.PEM(old, installing.Chain, installing.Key)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, "held.pem", string(text))
	door := sample(t, dir)
	door.listeners, door.patience = []driver.Listener{{Address: "127.0.0.1:1", Protocol: "tls"}}, 0
	if _, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: p.Localhost(t), Now: time.Now}); err == nil || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it says %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "held.pem")); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the old one is not there any more (%v)", err)
	}
}

// The key of a request goes to standard input and nowhere else.
func TestKeyIsOnStandardInputAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	door := opened(t, map[string]string{"command": "sh -c 'tr \"\\0\" \" \" </proc/$$/cmdline >>" + log + "; env >>" + log + "; cat >/dev/null; echo \"{\\\"v\\\":1}\"'"})
	next := lab.NewPKI(t).Localhost(t)
	if _, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil || len(text) == 0 {
		t.Fatalf("%q, %v", text, err)
	}
	if bytes.Contains(text, []byte("PRIVATE")) || bytes.Contains(text, []byte("TALLY")) {
		t.Errorf("the program's words and environment: %s", text)
	}
}

// What the program cannot do it is not asked for.
func TestVerbs(t *testing.T) {
	t.Parallel()
	door := opened(t, map[string]string{"command": "false", "verbs": "install,probe"})
	for verb, want := range map[string]bool{"look": true, "install": true, "trust": false, "block": false, "probe": true} {
		if driver.Offers(door, verb) != want {
			t.Errorf("it offers %s: %v", verb, !want)
		}
	}
	client := lab.NewPKI(t).Client(t, "sync")
	_, trust := door.Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: client.Public, Now: time.Now})
	_, block := door.Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: client.Public, Now: time.Now})
	none := opened(t, map[string]string{"command": "false", "verbs": ""})
	_, install := none.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: client, Now: time.Now})
	_, probe := none.Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: client, Now: time.Now})
	for _, err := range []error{trust, block, install, probe} {
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option verbs") {
			t.Errorf("%v, want ErrInvalid", err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{{}, {"command": "./x"}, {"command": "x 'y"}, {"command": "x", "timeout": "0s"}, {"command": "x", "listeners": "x"}, {"command": "x", "verbs": "look"}} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

// The schema names the same members as the code.
func TestSchema(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/exec-driver.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs map[string]struct {
			Properties           map[string]any `json:"properties"`
			AdditionalProperties *bool          `json:"additionalProperties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{
		"request": request{}, "answer": answer{}, "credential": public{}, "error": problem{}, "view": view{}, "shown": shown{},
		"held": held{}, "attempt": attempt{}, "secret": secret{}, "account": account{}, "trial": trial{}, "listener": driver.Listener{}, "accepted": driver.Accepted{},
	} {
		var documented []string
		for property := range schema.Defs[name].Properties {
			documented = append(documented, property)
		}
		slices.Sort(documented)
		if d := cmp.Diff(members(reflect.TypeOf(value)), documented); d != "" {
			t.Errorf("%s: the code has -, the schema +:\n%s", name, d)
		}
		if closed := schema.Defs[name].AdditionalProperties; closed == nil || *closed {
			t.Errorf("%s is open in the schema", name)
		}
	}
}

func members(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if field := t.Field(i); field.Anonymous {
			names = append(names, members(field.Type)...)
		} else {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"v":1,"view":{"shown":[{"account":"account:ldap/uid=a","at":"b"}],"accepts":[{"name":"x"}],"denies":["y","y"],"notes":["\u0000"],"listeners":[{"address":"a:1","protocol":"tls"}]}}`))
	f.Add([]byte(`{"v":1,"held":{"ssh":"ssh-ed25519 AAAA","key":"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----"}}`))
	f.Add([]byte(`{"v":1,"error":{"kind":"denied","text":"\u001b[31m"}}`))
	f.Add([]byte(`{"v":1,"changed":true,"how":["a"],"detail":"b","closed":-1,"left":["c"],"attempts":[{"listener":9}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := decode(text, []driver.Secret{driver.NewSecret("s3cret")}, nil)
		if err == nil && a.Error != nil {
			err = a.Error.error()
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b\n") {
				t.Fatalf("an error that is not fit to print: %q", err)
			}
			return
		}
		if a.View != nil {
			if view, err := a.View.read(nil); err == nil {
				for _, s := range view.Shown {
					if strings.ContainsAny(s.At, "\x00\x1b\n") {
						t.Fatalf("%q is not fit to print", s.At)
					}
				}
			}
		}
		if a.Held != nil {
			if _, err := a.Held.material(); err != nil && !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatal(err)
			}
		}
		a.changed()
	})
}
