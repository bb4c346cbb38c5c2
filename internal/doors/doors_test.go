// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
)

// next makes the key of the new credential and has it certified.
func (e *estate) next(t *testing.T) driver.Public {
	t.Helper()
	task := e.task(tallystick.ActKey, "journal")
	result := e.do(t, task)
	if err := doors.CheckRequest(task, result); err != nil {
		t.Error(err)
	}
	csr, err := x509.ParseCertificateRequest(result.CSR)
	if err != nil {
		t.Fatal(err)
	}
	if csr.Subject.CommonName != "journal" {
		t.Errorf("the request is for %s", csr.Subject)
	}
	leaf := e.pki.Sign(t, &x509.Certificate{Subject: csr.Subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, csr.PublicKey)
	return driver.Public{Chain: [][]byte{leaf.Raw, e.pki.Sub.Raw}}
}

// outcomes says how tries ended: "fresh-tls1.3 accepted".
func outcomes(attempts []driver.Attempt) (list []string) {
	for _, a := range attempts {
		list = append(list, a.Way+" "+a.Outcome)
	}
	return list
}

// The acts of one connection, in their order, to the proof.
func TestAConnectionGoesOver(t *testing.T) {
	e := newEstate(t, false)
	fresh := e.next(t)
	if again := e.next(t); publicKey(t, again) != publicKey(t, fresh) {
		t.Error("the second request is of another key")
	}
	with := func(act tallystick.Act, door string) doors.Task {
		task := e.task(act, door)
		task.New = fresh
		return task
	}
	result := e.do(t, with(tallystick.ActTrust, "archive"))
	if !result.Changed.Changed || len(result.View.Accepts) != 2 {
		t.Errorf("trusted: %+v, %+v", result.Changed, result.View)
	}
	result = e.do(t, with(tallystick.ActInstall, "journal"))
	if !result.Installed.Changed.Changed || result.Old == nil || !result.Old.Is(e.old.Public) || len(result.View.Shown) != 1 {
		t.Errorf("installed: %+v, %+v", result, result.View)
	}
	result = e.do(t, with(tallystick.ActInstall, "journal"))
	if result.Installed.Changed.Changed || result.Old == nil || !result.Old.Is(e.old.Public) {
		t.Errorf("installed again: %+v", result)
	}
	result = e.do(t, with(tallystick.ActProbe, "journal"))
	if diff := cmp.Diff([]string{"fresh-tls1.2 accepted", "fresh-tls1.3 accepted"}, outcomes(result.Attempts)); diff != "" {
		t.Error(diff)
	}
	result = e.do(t, with(tallystick.ActHold, "journal"))
	if diff := cmp.Diff([]string{"fresh-tls1.2 accepted", "fresh-tls1.3 accepted", "open accepted", "open accepted"}, outcomes(result.Attempts)); diff != "" {
		t.Error(diff)
	}
	result = e.do(t, with(tallystick.ActBlock, "archive"))
	if !result.Blocked.Changed.Changed || len(result.View.Accepts) != 1 {
		t.Errorf("blocked: %+v, %+v", result.Blocked, result.View)
	}
	result = e.do(t, with(tallystick.ActProve, "journal"))
	want := []string{"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 refused", "resumed-tls1.3 refused", "open refused", "open refused"}
	if diff := cmp.Diff(want, outcomes(result.Attempts)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"fresh-tls1.2 accepted", "fresh-tls1.3 accepted"}, outcomes(result.NewAttempts)); diff != "" {
		t.Error(diff)
	}
	if len(e.uses) < 10 || e.uses[0].RelyingParty != "https:archive:443" || e.uses[0].Outcome != tallystick.OutcomeSuccess || e.uses[0].Holder != "journal" ||
		!cmp.Equal(e.uses[0].Credential, fresh.Names()) {
		t.Errorf("%d uses were written down, the first is %+v", len(e.uses), e.uses[0])
	}
	if text, err := json.Marshal(result); err != nil || strings.Contains(string(text), "PRIVATE") || len(text) > 100_000 {
		t.Errorf("%d bytes, %v", len(text), err)
	}
}

// A server that looks only at fresh handshakes is found out.
func TestAForgetfulServerIsFoundOut(t *testing.T) {
	e := newEstate(t, true)
	task := e.task(tallystick.ActInstall, "journal")
	task.New = e.next(t)
	e.do(t, task)
	task.Act = tallystick.ActHold
	e.do(t, task)
	block := e.task(tallystick.ActBlock, "archive")
	e.do(t, block)
	task.Act, task.New = tallystick.ActProve, driver.Public{}
	result := e.do(t, task)
	want := []string{"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 accepted", "resumed-tls1.3 accepted", "open accepted", "open accepted"}
	if diff := cmp.Diff(want, outcomes(result.Attempts)); diff != "" {
		t.Error(diff)
	}
}

// What a restart has lost is named, and sessions outlive it.
func TestProofAfterARestart(t *testing.T) {
	e := newEstate(t, false)
	task := e.task(tallystick.ActInstall, "journal")
	task.New = e.next(t)
	e.do(t, task)
	task.Act = tallystick.ActHold
	e.do(t, task)
	e.start(t)
	e.do(t, e.task(tallystick.ActBlock, "archive"))
	task.Act, task.New = tallystick.ActProve, driver.Public{}
	result := e.do(t, task)
	want := []string{"fresh-tls1.2 refused", "fresh-tls1.3 refused", "resumed-tls1.2 refused", "resumed-tls1.3 refused", "open failed", "open failed"}
	if diff := cmp.Diff(want, outcomes(result.Attempts)); diff != "" {
		t.Error(diff)
	}
	if last := result.Attempts[5]; !strings.Contains(last.Answer, "started again") || last.Address != e.gate.address {
		t.Errorf("%+v", last)
	}
}

// What is replaced is kept before anything is changed, and is not given up for what
// somebody put there between two tries.
func TestTheOldOneIsKept(t *testing.T) {
	e := newEstate(t, false)
	task := e.task(tallystick.ActInstall, "journal")
	task.New = e.next(t)
	e.client.fail = tallystick.ErrUnavailable
	if _, err := e.Do(t.Context(), task); !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "couldn't install at the door journal") {
		t.Error(err)
	}
	e.client.has = e.pki.Client(t, "somebody else")
	if result := e.do(t, task); !result.Old.Is(e.old.Public) {
		t.Errorf("the old one is %v", result.Old.Names())
	}
	key, err := e.keys.Signer(t.Context(), "recall/7/old")
	if err != nil || !cmp.Equal(key.Public(), e.old.Key.Public()) {
		t.Errorf("the kept key is another: %v", err)
	}
}

func TestForgottenWithTheRecall(t *testing.T) {
	e := newEstate(t, false)
	task := e.task(tallystick.ActInstall, "journal")
	task.New = e.next(t)
	e.do(t, task)
	task.Act = tallystick.ActHold
	e.do(t, task)
	if err := errors.Join(e.Forget(t.Context(), "recall/7"), e.Forget(t.Context(), "recall/7")); err != nil {
		t.Error(err)
	}
	for _, act := range []tallystick.Act{tallystick.ActProbe, tallystick.ActProve, tallystick.ActInstall} {
		task.Act = act
		if _, err := e.Do(t.Context(), task); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("%s: %v", act, err)
		}
	}
}

func TestAPlaceIsLookedAt(t *testing.T) {
	e := newEstate(t, false)
	result := e.do(t, doors.Task{Act: tallystick.ActProve, Door: "archive", Name: "recall/7/2", Old: e.old.Public})
	if len(result.Attempts) != 1 || result.Attempts[0].Served == "" || result.View == nil {
		t.Errorf("%+v", result)
	}
}

func TestTasksThatCannotBe(t *testing.T) {
	e := newEstate(t, false)
	for name, row := range map[string]struct {
		task doors.Task
		want error
	}{
		"an unknown door":      {e.task(tallystick.ActKey, "web1/journal"), tallystick.ErrNotFound},
		"an act of the server": {e.task(tallystick.ActDrain, "journal"), tallystick.ErrInvalid},
		"no such verb":         {e.task(tallystick.ActBlock, "journal"), tallystick.ErrInvalid},
		"no new credential":    {e.task(tallystick.ActInstall, "journal"), tallystick.ErrInvalid},
		"a name with dots":     {doors.Task{Act: tallystick.ActKey, Door: "journal", KeyName: "../../x"}, tallystick.ErrInvalid},
		"nowhere to try":       {doors.Task{Act: tallystick.ActProbe, Door: "journal", KeyName: "recall/7/new"}, tallystick.ErrInvalid},
	} {
		if _, err := e.Do(t.Context(), row.task); !errors.Is(err, row.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := e.Look(t.Context(), "none"); !errors.Is(err, tallystick.ErrNotFound) {
		t.Error(err)
	}
}

func TestOneWritesAtADoorAtATime(t *testing.T) {
	e := newEstate(t, false)
	e.client.hold = 20 * time.Millisecond
	task := e.task(tallystick.ActInstall, "journal")
	task.New = e.next(t)
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			if _, err := e.Do(t.Context(), task); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if e.client.most != 1 {
		t.Errorf("%d wrote at once", e.client.most)
	}
	e.client.hold = time.Second
	group.Go(func() {
		if _, err := e.Do(t.Context(), task); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(100 * time.Millisecond)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := e.Do(short, task); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("who cannot wait: %v", err)
	}
	group.Wait()
}

func TestDoorsAreListed(t *testing.T) {
	e := newEstate(t, false)
	want := []doors.Door{
		{Name: "archive", Driver: "gatekeeper", RelyingParties: []string{"https:archive:443"}, Verbs: []string{"look", "trust", "block"}},
		{Name: "journal", Driver: "client", Holder: "journal", Issue: doors.Issue{Issuer: "ca/lab", Algorithm: "ed25519"}, Verbs: []string{"look", "install"}},
	}
	if diff := cmp.Diff(want, e.Doors()); diff != "" {
		t.Error(diff)
	}
	for name, door := range map[string]config.Door{
		"no such driver": {Name: "x", Driver: "nginz"}, "an unknown option": {Name: "x", Driver: "client", Options: map[string]driver.Secret{"a": {}}},
		"no such host": {Name: "x", Driver: "client", Host: "h"},
	} {
		c := e.config
		c.Doors = []config.Door{door}
		if _, err := doors.Open(c); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "the door x") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What options take away is not promised, and not asked for.
func TestVerbsThatOptionsTakeAway(t *testing.T) {
	e := newEstate(t, false)
	c := e.config
	c.Drivers = []driver.Driver{driver.New("lookout", "only looks.", func(struct{}) (lookout, error) { return lookout{e.gate}, nil })}
	c.Doors = []config.Door{{Name: "tower", Driver: "lookout"}}
	set, err := doors.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	if d := cmp.Diff([]string{"look"}, set.Doors()[0].Verbs); d != "" {
		t.Error(d)
	}
	if _, err := set.Do(t.Context(), doors.Task{Act: tallystick.ActBlock, Door: "tower", Name: "recall/1/1"}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("block there: %v, want ErrInvalid", err)
	}
}

// A lookout could let in and refuse, but its options say that it does not.
type lookout struct{ *gatekeeper }

func (lookout) Verbs() []string { return []string{"look"} }

// publicKey is the key of a credential, PEM.
func publicKey(t *testing.T, p driver.Public) string {
	t.Helper()
	c, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: c.RawSubjectPublicKeyInfo}))
}
