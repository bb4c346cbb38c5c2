// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rules"
)

// A change of a real directory is seen as it happens, judged, and taken back.
func TestAChangeIsSeenAndTakenBack(t *testing.T) {
	t.Parallel()
	embedded(t, func(t *testing.T, db *store.DB) {
		p := lab.NewPKI(t)
		slapd := lab.StartSlapd(t, lab.SlapdSettings{PKI: p})
		options := map[string]string{"url": "ldapi://" + slapd.Socket, "external": "true", "every": "100ms"}
		alice := "uid=alice," + slapd.People
		changes := follow(t, options, func() {
			modify(t, slapd, alice, func(r *wire.ModifyRequest) {
				r.Add("userCertificate;binary", []string{string(p.Client(t, "mallory").Chain[0])})
			})
		})
		change := changes[0]
		change.Source = "people"
		if _, err := db.AddSource(t.Context(), store.Source{Name: "people", Kind: store.SourceDriver, Driver: "ldap", Side: tallystick.SideRelying, Options: options}); err != nil {
			t.Fatal(err)
		}
		log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
		if err != nil {
			t.Fatal(err)
		}
		d := directory.New(directory.Directory{DB: db, Gate: gate.New(log, time.Now), Rules: rules.All(), Now: time.Now})
		if err := d.Take(t.Context(), []tallystick.Change{change}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"high change-credential-added " + change.Target}, findings(t, db)); d != "" {
			t.Error(d)
		}
		page, _, err := db.AccessChanges(t.Context(), store.AccessFilter{}, store.PageRequest{Limit: 10})
		if err != nil || len(page.Items) != 1 {
			t.Fatal(page, err)
		}
		id := page.Items[0].ID
		open := directory.Opener([]driver.Driver{ldap.Driver()})
		if _, err := d.Undo(t.Context(), gate.Actor{Name: "olga", Role: gate.Operator}, id, true, open); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("an operator gets %v", err)
		}
		admin := gate.Actor{Name: "ada", Role: gate.Admin}
		tried, err := d.Undo(t.Context(), admin, id, true, open)
		if err != nil || !tried.Changed || len(tried.Before) != 1 || len(tried.Now) != 0 {
			t.Fatalf("%+v %v", tried, err)
		}
		if n := certificates(t, slapd, alice); n != 1 {
			t.Errorf("a try leaves %d certificates", n)
		}
		var undone directory.Undone
		removal := follow(t, options, func() {
			if undone, err = d.Undo(t.Context(), admin, id, false, open); err != nil || !undone.Changed {
				t.Fatalf("%+v %v", undone, err)
			}
		})
		if n := certificates(t, slapd, alice); n != 0 {
			t.Errorf("%d certificates are left", n)
		}
		removal[0].Source = "people"
		if err := d.Take(t.Context(), removal); err != nil {
			t.Fatal(err)
		}
		page, _, err = db.AccessChanges(t.Context(), store.AccessFilter{}, store.PageRequest{Limit: 10})
		if err != nil || page.Items[0].Kind != tallystick.ChangeCredentialRemoved || !strings.HasPrefix(page.Items[0].Expected, "ada: takes back change") {
			t.Errorf("%+v %v", page.Items[0], err)
		}
	})
}

// follow watches until what was done shows.
func follow(t *testing.T, options map[string]string, do func()) []tallystick.Change {
	t.Helper()
	opened, err := ldap.Driver().Open(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var changes []tallystick.Change
	ready := make(chan bool)
	f := directory.Follower{
		Watcher: opened.(driver.Watcher), Now: time.Now,
		Told: func(c tallystick.Change) error {
			changes = append(changes, c)
			cancel()
			return nil
		},
		Trouble: func(trouble driver.WatchTrouble) { t.Error(trouble.Err) },
		Ready:   func(int) { close(ready) },
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	select {
	case <-ready:
		do()
		<-ended
	case <-ended:
	}
	if len(changes) == 0 {
		t.Fatal("nothing was seen")
	}
	return changes
}

func dialSlapd(t *testing.T, s *lab.Slapd) *wire.Conn {
	t.Helper()
	raw, err := net.Dial("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	conn := wire.NewConn(raw, false)
	conn.Start()
	t.Cleanup(func() { conn.Close() })
	if err := conn.ExternalBind(); err != nil {
		t.Fatal(err)
	}
	return conn
}

func modify(t *testing.T, s *lab.Slapd, dn string, edit func(*wire.ModifyRequest)) {
	t.Helper()
	request := wire.NewModifyRequest(dn, nil)
	edit(request)
	if err := dialSlapd(t, s).Modify(request); err != nil {
		t.Fatal(err)
	}
}

func certificates(t *testing.T, s *lab.Slapd, dn string) int {
	t.Helper()
	found, err := dialSlapd(t, s).Search(wire.NewSearchRequest(dn, wire.ScopeBaseObject, 0, 0, 0, false, "(objectClass=*)", []string{"userCertificate"}, nil))
	if err != nil || len(found.Entries) != 1 {
		t.Fatal(found, err)
	}
	return len(found.Entries[0].GetRawAttributeValues("userCertificate;binary"))
}
