// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/rules"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// newDirectory returns a directory over a store, with every rule.
func newDirectory(t testing.TB, db *store.DB) *directory.Directory {
	t.Helper()
	now := func() time.Time { return noon }
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	return directory.New(directory.Directory{DB: db, Gate: gate.New(log, now), Rules: rules.All(), Now: now})
}

// embedded runs f on a new store of SQLite; what the two engines could do
// differently is in package store and in the test of the order.
func embedded(t *testing.T, f func(*testing.T, *store.DB)) {
	t.Helper()
	f(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")))
}

// added is a credential that was added to an application.
func added(id string, at time.Time) tallystick.Change {
	return tallystick.Change{
		ID: id, Source: "entra", Time: at, Kind: tallystick.ChangeCredentialAdded, Actor: "account:entra-user/mallory", ActorKind: "user",
		Target: "entra-app:t/1", TargetName: "Mail sync", Accounts: []string{"account:entra-app/A"}, Credential: []string{"entra-key:59eaeebc-8a6b-44a6-9f24-7d55e64420c9"}, Existing: 1,
	}
}

func granted(id string, at time.Time) tallystick.Change {
	return tallystick.Change{
		ID: id, Source: "entra", Time: at, Kind: tallystick.ChangeGrantAdded, Actor: "account:entra-user/mallory", ActorKind: "user",
		Target: "entra-app:t/2", TargetName: "Mail sync (service principal)", Accounts: []string{"account:entra-app/A"}, Existing: -1, Grants: []string{"full_access_as_app"},
	}
}

// findings returns the open findings, one line each, sorted.
func findings(t testing.TB, db *store.DB) (list []string) {
	t.Helper()
	page, err := db.Findings(t.Context(), store.FindingFilter{All: true, Now: noon}, store.PageRequest{Sort: "severity", Desc: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range page.Items {
		list = append(list, f.Severity.String()+" "+f.Rule+" "+string(f.Place))
	}
	slices.Sort(list)
	return list
}

func take(t testing.TB, d *directory.Directory, list ...tallystick.Change) {
	t.Helper()
	if err := d.Take(t.Context(), list); err != nil {
		t.Fatal(err)
	}
}

func TestChangesAreJudgedOnce(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		for range 3 {
			take(t, d, added("1", noon))
		}
		want := []string{"high change-credential-added entra-app:t/1"}
		if diff := cmp.Diff(want, findings(t, db)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestTheOrderOfChangesDoesNotMatter(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		list := []tallystick.Change{granted("1", noon), added("2", noon.Add(10*time.Minute)), added("3", noon.Add(3*time.Hour))}
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		for _, c := range list {
			take(t, d, c)
		}
		want := []string{
			"critical change-high-grant entra-app:t/1", "high change-credential-added entra-app:t/1", "high change-high-grant entra-app:t/2",
		}
		if diff := cmp.Diff(want, findings(t, db)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestExpectedChangesAreQuiet(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		ada := gate.Actor{Name: "ada", Role: gate.Operator, Via: "token"}
		e, err := d.Expect(t.Context(), ada, store.AccessExpectation{Target: "Entra-App:t/1", Kind: tallystick.ChangeCredentialAdded, Until: noon.Add(time.Hour), Reason: "renewal"})
		if err != nil || e.By != "ada" || !e.Since.Equal(noon) {
			t.Fatal(e, err)
		}
		take(t, d, added("before", noon.Add(-time.Second)))
		if got := findings(t, db); len(got) != 1 {
			t.Errorf("what came before it was expected gives %q", got)
		}
		other := added("other", noon.Add(time.Minute))
		other.Target, other.Accounts = "entra-app:t/9", nil
		take(t, d, other)
		quiet := added("quiet", noon.Add(time.Minute))
		quiet.Accounts = []string{"account:entra-app/quiet"}
		take(t, d, quiet)
		if got := findings(t, db); len(got) != 2 {
			t.Errorf("%q", got)
		}
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer, Via: "token"}
		if _, err := d.Expect(t.Context(), viewer, store.AccessExpectation{Target: "a:b", Until: noon.Add(time.Hour), Reason: "x"}); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer may expect: %v", err)
		}
		for _, bad := range []store.AccessExpectation{
			{Target: "x", Until: noon.Add(time.Hour), Reason: "x"},
			{Target: "a:b", Until: noon.Add(time.Hour)},
			{Target: "a:b", Until: noon, Reason: "x"},
			{Target: "a:b", Until: noon.AddDate(2, 0, 0), Reason: "x"},
			{Target: "a:b", Until: noon.Add(time.Hour), Reason: "x", Kind: "none"},
		} {
			if _, err := d.Expect(t.Context(), ada, bad); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	})
}

func TestAUseSoonAfterAChange(t *testing.T) {
	const key = "entra-key:59eaeebc-8a6b-44a6-9f24-7d55e64420c9"
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		take(t, d, added("1", noon))
		account := []string{"account:entra-app/a"}
		for what, u := range map[string]struct {
			accounts, credentials []string
			after                 time.Duration
		}{
			"before":        {account, []string{key}, -time.Minute},
			"too late":      {account, []string{key}, 31 * time.Minute},
			"another key":   {account, []string{"entra-key:00000000-0000-0000-0000-000000000001"}, time.Minute},
			"any key":       {account, nil, time.Minute},
			"another thing": {[]string{"account:entra-app/b"}, nil, time.Minute},
		} {
			if err := d.Used(t.Context(), u.accounts, u.credentials, noon.Add(u.after), "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
			if got := findings(t, db); len(got) != 1 {
				t.Errorf("%s: %q", what, got)
			}
		}
		for range 2 {
			if err := d.Used(t.Context(), account, []string{key}, noon.Add(5*time.Minute), "192.0.2.1"); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"critical change-credential-used entra-app:t/1", "high change-credential-added entra-app:t/1"}
		if diff := cmp.Diff(want, findings(t, db)); diff != "" {
			t.Error(diff)
		}
		if at := d.Changed([]string{"account:entra-app/a"}, noon.Add(time.Hour)); !at.Equal(noon) {
			t.Errorf("changed at %v", at)
		}
		if at := d.Changed([]string{"account:entra-app/a"}, noon.Add(-time.Hour)); !at.IsZero() {
			t.Errorf("changed at %v, which is later", at)
		}
	})
}

func TestTheFirstCredentialIsKnownByItsAccount(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		first := added("1", noon)
		first.Existing = 0
		take(t, d, first)
		if err := d.Used(t.Context(), []string{"account:entra-app/a"}, nil, noon.Add(time.Minute), ""); err != nil {
			t.Fatal(err)
		}
		if got := findings(t, db); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})
}

// A use may be told before the change, and the process may end between the two.
func TestUsesThatWereToldFirst(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		d.Earlier = func(_ context.Context, accounts, credentials []string, from, to time.Time) (time.Time, string, error) {
			if len(accounts) != 0 || len(credentials) != 1 || !from.Equal(noon) || !to.Equal(noon.Add(30*time.Minute)) {
				t.Errorf("asked for %v %v from %v to %v", accounts, credentials, from, to)
			}
			return noon.Add(time.Minute), "192.0.2.1", nil
		}
		take(t, d, added("1", noon))
		if got := findings(t, db); len(got) != 2 || !strings.HasPrefix(got[0], "critical change-credential-used") {
			t.Errorf("%q", got)
		}
	})
}

func TestAnotherProcessGoesOn(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		if _, err := db.RecordAccessChanges(t.Context(), []tallystick.Change{added("1", noon)}); err != nil {
			t.Fatal(err) // recorded and not judged: the process ended here
		}
		d := newDirectory(t, db)
		if err := d.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := d.Used(t.Context(), nil, added("1", noon).Credential, noon.Add(time.Minute), ""); err != nil {
			t.Fatal(err)
		}
		if got := findings(t, db); len(got) != 2 {
			t.Errorf("%q", got)
		}
	})
}

func TestChangesAreListed(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		take(t, d, added("1", noon), granted("2", noon))
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer, Via: "token"}
		filter, err := directory.ParseFilter(url.Values{"kind": {"grant-added"}, "from": {"2026-11-20"}, "to": {"2026-11-20T12:00:01Z"}, "unexpected": {"true"}})
		if err != nil {
			t.Fatal(err)
		}
		page, total, err := d.Changes(t.Context(), viewer, filter, store.PageRequest{Limit: 10})
		if err != nil || total != 1 || len(page.Items) != 1 || page.Items[0].RecordID != "2" {
			t.Error(page, total, err)
		}
		for _, bad := range []url.Values{{"kind": {"x"}}, {"from": {"x"}}, {"to": {"x"}}} {
			if _, err := directory.ParseFilter(bad); !errors.Is(err, tallystick.ErrInvalid) {
				t.Errorf("%v: %v", bad, err)
			}
		}
		if _, _, err := d.Changes(t.Context(), gate.Actor{}, filter, store.PageRequest{Limit: 10}); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Error(err)
		}
	})
}

// BenchmarkUsed is what every use costs beside ten thousand recent changes.
func BenchmarkUsed(b *testing.B) {
	db, err := store.Open(b.Context(), filepath.Join(b.TempDir(), "tally.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	d := newDirectory(b, db)
	d.Rules = nil
	var list []tallystick.Change
	for i := range 1000 {
		c := added(time.Duration(i).String(), noon)
		c.Accounts, c.Credential = []string{"account:entra-app/" + c.ID}, []string{"entra-key:" + c.ID}
		list = append(list, c)
	}
	if err := d.Take(b.Context(), list); err != nil {
		b.Fatal(err)
	}
	accounts, credentials := []string{"account:entra-app/none"}, []string{"entra-key:none", "x5t:none"}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Used(b.Context(), accounts, credentials, noon, ""); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNamesOfCredentialsAreKnown(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer, Via: "token"}
		named, err := db.NameCredentials(t.Context(), []store.Name{{Name: "account:ldap/uid=x", Seen: noon}, {Name: "entra-key:seven", Seen: noon}})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.SaveUsed(t.Context(), []store.Used{{ID: 1, Credential: named[1], Names: []string{"entra-key:seven", "x5t:aa"}}}, nil); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]tallystick.Fingerprint{"Entra-Key:SEVEN": named[1], "x5t:AA": named[1], "entra-key:eight": "", "x": ""} {
			if got, err := d.Known(t.Context(), viewer, name); err != nil || got != want {
				t.Errorf("%s is %q: %v", name, got, err)
			}
		}
		if _, err := d.Known(t.Context(), gate.Actor{}, "x5t:aa"); !errors.Is(err, tallystick.ErrUnsigned) {
			t.Error(err)
		}
	})
}

// Whoever can write a log of changes can write many of one target, and each is
// judged, in time that grows with their number alone.
func TestManyChangesOfOneTargetAreAllJudged(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := newDirectory(t, db)
		list := []tallystick.Change{granted("first", noon.Add(-2*time.Hour))}
		list[0].Target = "entra-app:t/1"
		for i := range 2000 {
			c := added(fmt.Sprint(i), noon.Add(-2*time.Hour).Add(time.Duration(i+1)*time.Second))
			c.Credential = []string{fmt.Sprintf("entra-key:00000000-0000-0000-0000-%012d", i)}
			list = append(list, c)
		}
		began := time.Now()
		take(t, d, list...)
		if took := time.Since(began); took > 10*time.Second { // it is about one, and was many minutes
			t.Errorf("it took %v", took)
		}
		want := []string{"critical change-high-grant entra-app:t/1", "high change-credential-added entra-app:t/1"}
		if diff := cmp.Diff(want, findings(t, db)); diff != "" {
			t.Error(diff)
		}
		t.Log(time.Since(began))
	})
}
