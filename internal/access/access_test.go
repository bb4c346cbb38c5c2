// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var (
	noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	root = gate.Local("root")
)

// A door is an access control with all that stands behind it.
type door struct {
	*access.Control
	t   *testing.T
	log *audit.Log
	now time.Time
}

// each runs f on both engines.
func each(t *testing.T, f func(t *testing.T, d *door)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
		if err != nil {
			t.Fatal(err)
		}
		d := &door{t: t, log: log, now: noon}
		clock := func() time.Time { return d.now }
		d.Control = access.New(db, gate.New(log, clock), clock)
		f(t, d)
	})
}

// link makes a link for somebody.
func (d *door) link(name string, role gate.Role) string {
	d.t.Helper()
	link, err := d.CreateLink(d.t.Context(), root, name, role)
	if err != nil {
		d.t.Fatal(err)
	}
	return link
}

// signIn signs somebody in by a new link.
func (d *door) signIn(name string, role gate.Role) (string, gate.Actor) {
	d.t.Helper()
	session, who, err := d.Redeem(d.t.Context(), d.link(name, role), "192.0.2.7")
	if err != nil {
		d.t.Fatal(err)
	}
	return session, who
}

// story returns the audit log as lines, the oldest first.
func (d *door) story() string {
	d.t.Helper()
	entries, err := d.log.List(d.t.Context(), audit.Filter{}, 0, 1000)
	if err != nil {
		d.t.Fatal(err)
	}
	lines := make([]string, len(entries))
	for i, e := range entries {
		answer := "yes"
		if !e.Allowed {
			answer = "no: " + e.Detail
		}
		lines[len(entries)-1-i] = fmt.Sprintf("%s (%s, %s): %s %s: %s", e.Actor, e.Role, e.Via, e.Action, e.Object, answer)
	}
	return strings.Join(lines, "\n")
}

func TestFirstSignIn(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		old, err := d.FirstLink(t.Context())
		if err != nil || old == "" {
			t.Fatalf("%q, %v", old, err)
		}
		link, err := d.FirstLink(t.Context())
		if err != nil || link == old {
			t.Fatalf("%q, %v", link, err)
		}
		if _, _, err := d.Redeem(t.Context(), old, "192.0.2.7"); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Errorf("an old first link: %v", err)
		}
		session, who, err := d.Redeem(t.Context(), link, "192.0.2.7")
		if err != nil {
			t.Fatal(err)
		}
		want := gate.Actor{Name: "admin", Role: gate.Admin, Via: "session"}
		if diff := cmp.Diff(want, who); diff != "" {
			t.Error(diff)
		}
		if again, err := d.Session(t.Context(), session); err != nil || again != want {
			t.Errorf("%v, %v", again, err)
		}
		if link, err := d.FirstLink(t.Context()); err != nil || link != "" {
			t.Errorf("after the first sign-in: %q, %v", link, err)
		}
		const story = `first start (admin, local): manage-access link for admin as admin: yes
first start (admin, local): manage-access link for admin as admin: yes
 (nobody, link): sign-in from 192.0.2.7: no: not signed in: the sign-in link is unknown, used or too old
admin (admin, link): sign-in from 192.0.2.7: yes`
		if diff := cmp.Diff(story, d.story()); diff != "" {
			t.Error(diff)
		}
	})
}

func TestLinkIsGoodOnceAndNotForLong(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		late := d.link("ada", gate.Viewer)
		d.now = d.now.Add(access.LinkLife)
		link := d.link("bob", gate.Viewer)
		for _, bad := range []string{"", "x", late, link + "x", link[1:], strings.Repeat("A", 43), strings.Repeat("\x00", 43)} {
			if _, _, err := d.Redeem(t.Context(), bad, ""); !errors.Is(err, tallystick.ErrUnsigned) {
				t.Errorf("%q: %v", bad, err)
			}
		}
		var good atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, _, err := d.Redeem(t.Context(), link, "")
				if err == nil {
					good.Add(1)
				} else if !errors.Is(err, tallystick.ErrUnsigned) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if good.Load() != 1 {
			t.Errorf("the link was good %d times", good.Load())
		}
	})
}

func TestSessionEnds(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		ends := func(why, session string) {
			t.Helper()
			if _, err := d.Session(t.Context(), session); !errors.Is(err, tallystick.ErrUnsigned) {
				t.Errorf("%s: %v", why, err)
			}
		}
		lasts := func(session string, role gate.Role) {
			t.Helper()
			if who, err := d.Session(t.Context(), session); err != nil || who.Role != role {
				t.Errorf("%v, %v", who, err)
			}
		}
		ends("no cookie", "")
		ends("a forged cookie", strings.Repeat("A", 43))

		ada, _ := d.signIn("ada", gate.Viewer)
		other, _ := d.signIn("ada", gate.Operator) // the role holds for both sessions
		lasts(ada, gate.Operator)
		if err := errors.Join(d.SignOut(t.Context(), ada), d.SignOut(t.Context(), ada)); err != nil {
			t.Error(err)
		}
		ends("signed out", ada)
		lasts(other, gate.Operator)
		if err := d.Disable(t.Context(), root, "ada"); err != nil {
			t.Error(err)
		}
		ends("disabled", other)

		bob, _ := d.signIn("bob", gate.Viewer)
		d.now = d.now.Add(access.SessionLife - time.Second)
		lasts(bob, gate.Viewer)
		d.now = d.now.Add(time.Second)
		ends("too old", bob)
	})
}

func TestDisabledLinkIsDead(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		link := d.link("ada", gate.Viewer)
		if err := d.Disable(t.Context(), root, "ada"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := d.Redeem(t.Context(), link, ""); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Error(err)
		}
		d.signIn("ada", gate.Viewer) // a new link lets them in again
		if err := d.Disable(t.Context(), root, "nobody"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestTokens(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		secret, token, err := d.CreateToken(t.Context(), root, "backup", gate.Viewer, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(secret, "tally_") || len(secret) != 49 {
			t.Errorf("got a secret of %d bytes", len(secret))
		}
		d.now = noon.Add(time.Minute)
		who, err := d.Token(t.Context(), secret, "192.0.2.7")
		want := gate.Actor{Name: "backup", Role: gate.Viewer, Via: fmt.Sprint("token ", token.ID), MadeBy: token.CreatedBy}
		if err != nil || who != want {
			t.Errorf("%v, %v", who, err)
		}
		d.now = d.now.Add(time.Second) // not yet worth noting
		if _, err := d.Token(t.Context(), secret, ""); err != nil {
			t.Error(err)
		}
		token.LastUsed = noon.Add(time.Minute)
		list, err := d.ListTokens(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]access.Token{token}, list); diff != "" {
			t.Error(diff)
		}

		refused := func(secret, why string) {
			t.Helper()
			_, err := d.Token(t.Context(), secret, "192.0.2.7")
			if !errors.Is(err, tallystick.ErrUnsigned) || !strings.Contains(err.Error(), why) {
				t.Errorf("%v, want %s", err, why)
			}
			if !strings.HasSuffix(d.story(), "sign-in from 192.0.2.7: no: not signed in: "+why) {
				t.Errorf("not recorded: %s", why)
			}
		}
		refused("", "that is not an API token")
		refused(secret[:48]+"-", "the API token is unknown")
		d.now = noon.Add(time.Hour)
		refused(secret, "the API token has expired")
		for range 2 {
			if err := d.RevokeToken(t.Context(), root, token.ID); err != nil {
				t.Error(err)
			}
		}
		refused(secret, "the API token was revoked")
		if err := d.RevokeToken(t.Context(), root, token.ID+1); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

func TestOnlyAdministratorsManage(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		session, _ := d.signIn("ada", gate.Admin)
		for _, by := range []gate.Actor{{}, {Name: "bob", Role: gate.Viewer}, {Name: "bob", Role: gate.Operator}} {
			_, err1 := d.CreateLink(t.Context(), by, "bob", gate.Admin)
			_, _, err2 := d.CreateToken(t.Context(), by, "x", gate.Admin, time.Hour)
			_, err3 := d.ListPeople(t.Context(), by)
			_, err4 := d.ListTokens(t.Context(), by)
			err5 := d.Disable(t.Context(), by, "ada")
			err6 := d.RevokeToken(t.Context(), by, 1)
			for i, err := range []error{err1, err2, err3, err4, err5, err6} {
				if !errors.Is(err, tallystick.ErrDenied) && !errors.Is(err, tallystick.ErrUnsigned) {
					t.Errorf("%v, call %d: %v", by, i+1, err)
				}
			}
		}
		people, err := d.ListPeople(t.Context(), root)
		want := []access.Person{{Name: "ada", Role: gate.Admin, Created: noon, CreatedBy: "root", SignedIn: noon}}
		if diff := cmp.Diff(want, people); diff != "" || err != nil {
			t.Error(diff, err)
		}
		if _, err := d.Session(t.Context(), session); err != nil {
			t.Error(err)
		}
	})
}

func TestSenselessInput(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		for _, name := range []string{"", " ada", "a\nb", "a\x00", "\xff", strings.Repeat("a", 101), "a\u202eb"} {
			if _, err := d.CreateLink(t.Context(), root, name, gate.Viewer); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, role := range []gate.Role{-2, gate.Nobody, gate.Admin + 1} {
			if _, err := d.CreateLink(t.Context(), root, "ada", role); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%d: %v", role, err)
			}
		}
		for _, life := range []time.Duration{-time.Hour, 0, time.Second, access.MaxTokenLife + 1} {
			if _, _, err := d.CreateToken(t.Context(), root, "x", gate.Viewer, life); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%s: %v", life, err)
			}
		}
	})
}

// Nothing that lets anybody in is in the store as it is.
func TestNoSecretIsStored(t *testing.T) {
	dir := t.TempDir()
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	log, err := audit.Open(t.Context(), db, filepath.Join(dir, "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	d := &door{t: t, now: noon}
	clock := func() time.Time { return d.now }
	d.Control = access.New(db, gate.New(log, clock), clock)
	session, _ := d.signIn("ada", gate.Viewer)
	link := d.link("bob", gate.Viewer)
	token, _, err := d.CreateToken(t.Context(), root, "x", gate.Viewer, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text := readFile(t, file)
		for _, secret := range []string{session, link, token, token[6:]} {
			if strings.Contains(text, secret) {
				t.Errorf("%s holds a secret", file)
			}
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
