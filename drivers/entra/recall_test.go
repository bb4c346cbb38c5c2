// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"crypto/x509"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/drivers/pemfile"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

func secrets(options map[string]string) map[string]driver.Secret {
	all := map[string]driver.Secret{}
	for name, value := range options {
		all[name] = driver.NewSecret(value)
	}
	return all
}

// All acts of a recall, at a product that signs in and at a tenant that lets it in. Afterwards
// every sign-in that the tenant has in its log is in the book of the holder, by the name that
// the tenant gave it: nothing that Tallystick did looks like a thief's.
func TestRecallAtATenant(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	keys, err := doors.OpenFileKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var book []tallystick.Use
	set, err := doors.Open(doors.Config{
		Doors: []config.Door{
			{Name: "product", Driver: "pemfile", Holder: "mail sync", Options: secrets(map[string]string{"bundle": e.file, "role": "client"})},
			{Name: "tenant", Driver: "entra", Options: secrets(e.options)},
		},
		Drivers: []driver.Driver{entra.Driver(), pemfile.Driver()}, Keys: keys, Now: time.Now,
		Used: func(_ driver.Public, u tallystick.Use) {
			mu.Lock()
			defer mu.Unlock()
			book = append(book, u)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	view, err := set.Look(t.Context(), "tenant")
	if err != nil {
		t.Fatal(err)
	}
	task := doors.Task{
		Name: "recall/1/1", Old: e.old.Public, KeyName: "recall/1/new", OldKeyName: "recall/1/old", SessionName: "recall/1/sessions",
		Listeners: view.Listeners, RelyingParty: "entra:" + e.tenant.ID + "/00000003-0000-0000-c000-000000000000",
	}
	do := func(act tallystick.Act, door string) doors.Result {
		t.Helper()
		task.Act, task.Door = act, door
		result, err := set.Do(t.Context(), task)
		if err != nil {
			t.Fatalf("%s at %s: %v", act, door, err)
		}
		return result
	}
	csr, err := x509.ParseCertificateRequest(do(tallystick.ActKey, "product").CSR)
	if err != nil {
		t.Fatal(err)
	}
	next := e.pki.Sign(t, &x509.Certificate{Subject: csr.Subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, csr.PublicKey)
	task.New, task.Like = driver.Public{Chain: [][]byte{next.Raw, e.pki.Sub.Raw}}, e.old.Public

	do(tallystick.ActTrust, "tenant")
	do(tallystick.ActInstall, "product")
	outcomes := func(what string, attempts []driver.Attempt, want string) {
		t.Helper()
		if len(attempts) != 1 || attempts[0].Outcome != want {
			t.Errorf("%s: %+v, want it %s", what, attempts, want)
		}
	}
	outcomes("the new one", do(tallystick.ActProbe, "product").Attempts, driver.OutcomeAccepted)
	outcomes("the old one, held", do(tallystick.ActHold, "product").Attempts, driver.OutcomeAccepted)
	if r := do(tallystick.ActBlock, "tenant"); r.Blocked == nil || !r.Blocked.Changed.Changed {
		t.Errorf("block: %+v", r)
	}
	proof := do(tallystick.ActProve, "product")
	outcomes("the old one, blocked", proof.Attempts, driver.OutcomeRefused)
	outcomes("the new one at the end", proof.NewAttempts, driver.OutcomeAccepted)

	for _, s := range e.tenant.SignIns() {
		known := slices.ContainsFunc(book, func(u tallystick.Use) bool {
			same := u.IDs.UTI == s.UTI
			if s.ErrorCode != 0 { // no token, and so no name of one
				same = u.IDs.Request == s.ID && u.Outcome == tallystick.OutcomeRefused
			}
			return same && u.Level == tallystick.LevelToken && u.RelyingParty == task.RelyingParty &&
				slices.Contains(u.Credential, "x5t:"+strings.ToLower(s.Thumbprint))
		})
		if !known {
			t.Errorf("the book does not have %+v", s)
		}
	}
	if len(e.tenant.SignIns()) != len(book) || len(book) < 6 {
		t.Errorf("the tenant has %d sign-ins, the book %d", len(e.tenant.SignIns()), len(book))
	}
}
