// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// A keyService is a service with API keys, two of each account.
type keyService struct {
	address, token, tokenFile, clients string
	count                              atomic.Int64
}

func startKeys(t *testing.T) *keyService {
	t.Helper()
	s := &keyService{token: "administrators-token", clients: lab.File(t, "clients.json", `{"erp app": "first", "erp other": "mine"}`)}
	s.tokenFile = lab.File(t, "token", s.token)
	port := lab.FreePort(t)
	s.address = lab.Loopback(port)
	lab.Start(t, t.TempDir(), nil, []string{script(t, "keyserver.py"), strconv.Itoa(port), s.tokenFile}, s.address)
	return s
}

func script(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// door is the program of testdata, asking the service at an address.
func (s *keyService) door(t *testing.T, address, form string) *Door {
	t.Helper()
	command := fmt.Sprintf("'%s' %s '%s' %s '%s'", script(t, "keys.py"), address, s.tokenFile, form, s.clients)
	return opened(t, map[string]string{"command": command, "verbs": "rotate,supply"})
}

// account makes an account with a key.
func (s *keyService) account(t *testing.T) (string, driver.Secret) {
	t.Helper()
	name := fmt.Sprintf("app-%d/ä", s.count.Add(1))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.address+"/accounts/"+url.PathEscape(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Token", s.token)
	var made struct{ Key string }
	if status := s.do(t, request, &made); status != http.StatusCreated {
		t.Fatalf("the service says %d", status)
	}
	return name, driver.NewSecret(made.Key)
}

func (s *keyService) do(t *testing.T, request *http.Request, answer any) int {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(text, answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

func (s *keyService) signIn(t *testing.T, account string, secret driver.Secret) bool {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.address+"/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(account, secret.Reveal())
	return s.do(t, request, &struct{}{}) == http.StatusOK
}

func TestRotator(t *testing.T) {
	t.Parallel()
	s := startKeys(t)
	relay := drivertest.NewRelay(t, s.address)
	h := drivertest.Faulty(host.Local())
	h.Reads = func(c driver.Command) bool {
		return bytes.Contains(c.Stdin, []byte(`"verb":"look-account"`)) || bytes.Contains(c.Stdin, []byte(`"verb":"test-secret"`))
	}
	drivertest.Rotator(t, drivertest.RotatorCase{
		Rotator: s.door(t, relay.Address, "text"), Host: h, Relay: relay, Fresh: s.account, SignIn: s.signIn, Missing: "nobody", Secrets: []string{s.token},
	})
}

// A key that the service makes is one for each order: an answer that was lost is had again, and what
// it was is taken back by who never had it.
func TestMade(t *testing.T) {
	t.Parallel()
	s := startKeys(t)
	door, h := s.door(t, s.address, "made"), drivertest.Faulty(host.Local())
	name, old := s.account(t)
	request := driver.SecretRequest{Host: h, Account: name, Old: old, Order: "o-1", Now: time.Now}
	lost := func() {
		t.Helper()
		h.Fail(1, drivertest.After, nil)
		if _, err := door.SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrUnavailable) {
			t.Fatalf("an answer that is lost: %v", err)
		}
	}
	lost()
	back := request
	back.Withdraw, back.Again = true, true
	for _, want := range []bool{true, false} {
		if set, err := door.SetSecret(t.Context(), back); err != nil || set.Changed.Changed != want || !set.Made.IsZero() {
			t.Errorf("withdrawn: %+v, %v; want a change: %v", set, err, want)
		}
	}
	request.Order = "o-2"
	lost()
	request.Again = true
	for range 2 { // the second time it is known
		set, err := door.SetSecret(t.Context(), request)
		if err != nil || set.Changed.Changed || set.Made.IsZero() || !request.New.IsZero() && set.Made != request.New {
			t.Fatalf("again: %+v, %v", set, err)
		}
		request.New = set.Made
	}
	if !s.signIn(t, name, old) || !s.signIn(t, name, request.New) {
		t.Error("the old key and the new one do not both get in")
	}
	if blocked, err := door.DropSecret(t.Context(), request); err != nil || !blocked.Changed.Changed || s.signIn(t, name, old) || !s.signIn(t, name, request.New) {
		t.Errorf("%+v, %v; want the new key alone to get in", blocked, err)
	}
}

// Keys that are made here, and programs that are given them.
func TestTextAndSupply(t *testing.T) {
	t.Parallel()
	s := startKeys(t)
	door := s.door(t, s.address, "text")
	name, old := s.account(t)
	request := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: driver.NewSecret("chosen-here-0123456789"), Order: "o-1", TryOld: true, Now: time.Now}
	for _, want := range []bool{true, false} {
		if set, err := door.SetSecret(t.Context(), request); err != nil || set.Changed.Changed != want || !set.Made.IsZero() {
			t.Errorf("%+v, %v; want a change: %v", set, err, want)
		}
	}
	third := request
	third.New = driver.NewSecret("a third one")
	if _, err := door.SetSecret(t.Context(), third); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("a third key: %v", err)
	}
	if _, err := door.DropSecret(t.Context(), request); err != nil {
		t.Error(err)
	}
	var told []tallystick.Use
	request.Used = func(u tallystick.Use) { told = append(told, u) }
	if tested, err := door.TestSecret(t.Context(), request); err != nil || tested.Old[0].Outcome != driver.OutcomeRefused || tested.New[0].Outcome != driver.OutcomeAccepted {
		t.Errorf("%+v, %v", tested, err)
	}
	if len(told) != 2 || told[0].Outcome != tallystick.OutcomeRefused || told[1].Outcome != tallystick.OutcomeSuccess || len(told[0].Credential) > 0 {
		t.Errorf("told is %+v", told)
	}
	supply := driver.SupplyRequest{Host: host.Local(), System: "erp", Account: "app", Old: old, New: request.New, Now: time.Now}
	for _, want := range []bool{true, false} {
		if changed, err := door.SupplySecret(t.Context(), supply); err != nil || changed.Changed != want {
			t.Errorf("%+v, %v; want a change: %v", changed, err, want)
		}
	}
	if text := lab.Read(t, s.clients); !strings.Contains(text, request.New.Reveal()) || !strings.Contains(text, "mine") {
		t.Errorf("the clients have %s", text)
	}
	supply.Account = "nobody"
	if _, err := door.SupplySecret(t.Context(), supply); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}
}

// A program that quotes what it was given gives nothing away, in whatever form it does.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	_, pem, _ := strings.Cut(lab.SSHKeyPEM(t, lab.SSHKey(t).Key), "\n")
	for name, text := range map[string]string{"words": `p"a ss%<word>`, "bytes": "\xff\xfe geheime worte", "lines": pem, "short": "abc"} {
		for how, command := range map[string]string{
			"a complaint":      `sh -c "cat >&2; exit 1"`,
			"a late complaint": `sh -c "cat >&2; exit 75"`,
			"an error":         `python3 -ISc "import json,sys; r = json.load(sys.stdin)['new_secret']; s = ''.join(r.values()); json.dump({'v': 1, 'error': {'kind': 'denied', 'text': 'no: ' + s}}, sys.stdout)"`,
			"a member":         `python3 -ISc "import json,sys; r = json.load(sys.stdin)['new_secret']; s = ''.join(r.values()); json.dump({'v': 1, s: 1}, sys.stdout)"`,
			"a detail":         `python3 -ISc "import json,sys; r = json.load(sys.stdin)['new_secret']; s = ''.join(r.values()); json.dump({'v': 1, 'detail': s, 'how': [s], 'changed': True}, sys.stdout)"`,
			"all of a line":    `sh -c "head -c 2000000 /dev/zero | tr '\\0' x >&2; cat >&2; exit 1"`,
		} {
			door := opened(t, map[string]string{"command": command, "verbs": "rotate"})
			set, err := door.SetSecret(t.Context(), driver.SecretRequest{Host: host.Local(), Account: "a", New: driver.NewSecret(text), Now: time.Now})
			said := fmt.Sprintf("%+v %v", set, err)
			if (err == nil) != (how == "a detail") {
				t.Errorf("%s by %s: %v", name, how, err)
			}
			for _, line := range strings.Fields(text) {
				if len(line) > 2 && strings.Contains(said, line) {
					t.Errorf("%s by %s: %q is shown: %s", name, how, line, said)
				}
			}
			for form := range strings.SplitSeq(string(tellJSON(t, text)), `"`) {
				if len(form) > 7 && strings.Contains(said, form) {
					t.Errorf("%s by %s: %q is shown: %s", name, how, form, said)
				}
			}
		}
	}
}

func tellJSON(t *testing.T, text string) []byte {
	t.Helper()
	told, err := json.Marshal(tell(driver.NewSecret(text)))
	if err != nil {
		t.Fatal(err)
	}
	return told
}

// Accounts, secrets and attempts that make no sense are no answers.
func TestRotationAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	const listeners = `"listeners":[{"address":"a:1","protocol":"own"}]`
	good := `{"overlap":"two","may_try":1,` + listeners + `}`
	request := driver.SecretRequest{Host: host.Local(), Account: "a", New: driver.NewSecret("next"), Now: time.Now}
	look := func(text string) error {
		_, err := rotates(t, text).LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: "a", Now: time.Now})
		return err
	}
	if err := look(`{"v":1,"account":` + good + `}`); err != nil {
		t.Errorf("a good one: %v", err)
	}
	for _, text := range []string{
		``, `"account":{}`, `"account":{"overlap":"both","may_try":1,` + listeners + `}`, `"account":{"overlap":"two",` + listeners + `}`,
		`"account":{"overlap":"two","may_try":-2,` + listeners + `}`, `"account":{"overlap":"timed","may_try":1,` + listeners + `}`,
		`"account":{"overlap":"two","overlap_seconds":5,"may_try":1,` + listeners + `}`, `"account":{"overlap":"two","may_try":1}`,
		`"account":{"overlap":"two","may_try":1,"form":"pin",` + listeners + `}`, `"account":{"overlap":"two","may_try":1,"min_length":9,"max_length":8,` + listeners + `}`,
		`"account":{"overlap":"two","may_try":1,"listeners":[{"address":"a:1"}]}`,
	} {
		if err := look(strings.TrimSuffix(`{"v":1,`+text, ",") + `}`); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", text, err)
		}
	}
	for what, row := range map[string]struct {
		secret driver.Secret
		text   string
	}{
		"nothing made":    {driver.Secret{}, `{"v":1,"changed":true}`},
		"an empty one":    {driver.Secret{}, `{"v":1,"made":{"text":""}}`},
		"two forms":       {driver.Secret{}, `{"v":1,"made":{"text":"a","base64":"YQ=="}}`},
		"no base64":       {driver.Secret{}, `{"v":1,"made":{"base64":"*"}}`},
		"longer than may": {driver.Secret{}, `{"v":1,"made":{"text":"` + strings.Repeat("x", maxSecret+1) + `"}}`},
	} {
		r := request
		r.New = row.secret
		// It may have been set, and so that is not the end of it.
		if set, err := rotates(t, row.text).SetSecret(t.Context(), r); !errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %+v, %v, want ErrUnavailable", what, set, err)
		}
	}
	try := `{"listener":{"address":"a:1","protocol":"own"},"outcome":"accepted"}`
	for _, text := range []string{
		`"x":1`, `"old_attempts":[` + try + `]`, `"new_attempts":[` + try + `],"old_attempts":[` + try + `]`, `"new_attempts":[{"outcome":"accepted"}]`,
		`"new_attempts":[{"listener":{"address":"a:1","protocol":"own"},"outcome":"not-resumed"}]`,
	} {
		if _, err := rotates(t, `{"v":1,"account":`+good+`,`+text+`}`).TestSecret(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", text, err)
		}
	}
	full := strings.Replace(good, `"may_try":1`, `"may_try":0`, 1)
	if _, err := rotates(t, `{"v":1,"account":`+full+`,"new_attempts":[`+try+`]}`).TestSecret(t.Context(), request); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("where none may be tried: %v", err)
	}
}

// rotates is a door whose program answers everything alike.
func rotates(t *testing.T, text string) *Door {
	t.Helper()
	path := lab.File(t, "answer", text)
	return opened(t, map[string]string{"command": "sh -c 'cat >/dev/null; cat " + path + "'", "verbs": "rotate"})
}
