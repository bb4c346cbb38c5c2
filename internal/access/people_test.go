// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// roles returns who may sign in as what.
func (d *door) roles() map[string]string {
	d.t.Helper()
	people, err := d.ListPeople(d.t.Context(), root)
	if err != nil {
		d.t.Fatal(err)
	}
	roles := map[string]string{}
	for _, p := range people {
		roles[p.Name] = p.Role.String()
		if !p.Disabled.IsZero() {
			roles[p.Name] += ", disabled"
		}
	}
	return roles
}

// Whoever reads the terminal of a later start must not come in by it.
func TestFirstLinkLetsNobodyInAgain(t *testing.T) {
	none := func(t *testing.T, d *door, why string) {
		t.Helper()
		before := d.roles()
		if link, err := d.FirstLink(t.Context()); err != nil || link != "" {
			t.Errorf("%s: %q, %v", why, link, err)
		}
		if diff := cmp.Diff(before, d.roles()); diff != "" {
			t.Errorf("%s: %s", why, diff)
		}
	}
	each(t, func(t *testing.T, d *door) {
		d.link("maria", gate.Viewer)
		none(t, d, "somebody else is known")
		d.link("admin", gate.Admin) // and never signs in
		none(t, d, "two are known")
		d.link("maria", gate.Admin)
		if err := d.Disable(t.Context(), root, "admin"); err != nil {
			t.Fatal(err)
		}
		none(t, d, "admin is disabled")
	})
	each(t, func(t *testing.T, d *door) {
		d.link("admin", gate.Viewer)
		none(t, d, "admin was made a viewer")
	})
	each(t, func(t *testing.T, d *door) {
		d.link("admin", gate.Viewer)
		if err := d.Disable(t.Context(), root, "admin"); err != nil {
			t.Fatal(err)
		}
		none(t, d, "only a disabled admin is known")
	})
}

func TestLinkKeepsTheRole(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		d.link("ann", gate.Operator)
		d.link("bob", gate.Operator)
		for _, name := range []string{"ann", "new"} {
			if _, who := d.signIn(name, access.KeepRole); who.Name != name {
				t.Errorf("%+v came in", who)
			}
		}
		want := map[string]string{"ann": "operator", "bob": "operator", "new": "viewer"}
		if diff := cmp.Diff(want, d.roles()); diff != "" {
			t.Error(diff)
		}
		if story := d.story(); !strings.Contains(story, "manage-access link for ann as they are, or viewer: yes") {
			t.Error(story)
		}
	})
}

func TestLastAdministratorStays(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		session, _ := d.signIn("ann", gate.Admin)
		d.link("old", gate.Admin)
		if err := d.Disable(t.Context(), root, "old"); err != nil {
			t.Fatal(err)
		}
		refused := func(err error) {
			t.Helper()
			if p := problem.Of(err); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(p.Hint, "last administrator") {
				t.Errorf("%v, with the hint %q", err, p.Hint)
			}
		}
		refused(d.Disable(t.Context(), root, "ann"))
		_, err := d.CreateLink(t.Context(), root, "ann", gate.Viewer)
		refused(err)
		want := map[string]string{"ann": "admin", "old": "admin, disabled"}
		if diff := cmp.Diff(want, d.roles()); diff != "" {
			t.Error(diff)
		}
		if _, err := d.Session(t.Context(), session); err != nil {
			t.Errorf("the session ended: %v", err)
		}
		d.link("ann", access.KeepRole)
		d.link("bob", gate.Admin)
		d.link("ann", gate.Viewer)
		refused(d.Disable(t.Context(), root, "bob"))
	})
}

// Of two administrators who disable each other at once, one stays.
func TestAdministratorsDisableEachOther(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		for range 10 {
			names := []string{"ann", "bob", "cem", "dan"}
			for _, name := range names {
				d.link(name, gate.Admin)
			}
			var wg sync.WaitGroup
			for _, name := range names {
				wg.Go(func() {
					err := d.Disable(t.Context(), root, name)
					if err != nil && !errors.Is(err, tallystick.ErrInvalid) && !errors.Is(err, tallystick.ErrConflict) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if roles := d.roles(); !slices.Contains(slices.Collect(maps.Values(roles)), "admin") {
				t.Fatalf("nobody is left: %v", roles)
			}
		}
	})
}

// However many strangers are refused, the use of a stolen token is on record.
func TestStrangersHideNoStolenToken(t *testing.T) {
	each(t, func(t *testing.T, d *door) {
		stolen, token, err := d.CreateToken(t.Context(), root, "backup", gate.Viewer, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.RevokeToken(t.Context(), root, token.ID); err != nil {
			t.Fatal(err)
		}
		for range 40 {
			if _, err := d.Token(t.Context(), "noise", "198.51.100.1"); !errors.Is(err, tallystick.ErrUnsigned) {
				t.Error(err)
			}
		}
		if _, err := d.Token(t.Context(), stolen, "192.0.2.7"); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Error(err)
		}
		want := fmt.Sprintf("backup (nobody, token %d): sign-in from 192.0.2.7: no: not signed in: the API token was revoked", token.ID)
		if story := d.story(); !strings.HasSuffix(story, want) {
			t.Errorf("the log lacks it: %s", story)
		}
	})
}
