// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// The people and programs of the tests.
var (
	otto   = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}
	ada    = gate.Actor{Name: "ada", Role: gate.Admin, Via: "session"}
	mailer = gate.Actor{Name: "mailer", Role: gate.Client, Via: "token 7"}
)

// A fixture is a vault over a store.
type fixture struct {
	testing.TB
	*vault.Vault
	db      *store.DB
	url     string
	log     *audit.Log
	dir     string // with the wrapping key and the witness
	custody *custody.Custody
	time    atomic.Int64
}

func (f *fixture) now() time.Time { return time.UnixMicro(f.time.Load()).UTC() }

// later moves the clock.
func (f *fixture) later(d time.Duration) { f.time.Add(d.Microseconds()) }

// newVault returns a vault over the store at a URL, which is in a new directory when it is "".
func newVault(t testing.TB, url string) *fixture {
	t.Helper()
	if url == "" {
		url = filepath.Join(t.TempDir(), "tally.db")
	}
	f := &fixture{TB: t, db: storetest.Open(t, url), url: url, dir: t.TempDir()}
	f.time.Store(noon.UnixMicro())
	f.open("wrapping.key", "hub")
	return f
}

// open opens the vault as a process on a host does, with a wrapping key.
func (f *fixture) open(key, host string, also ...custody.Wrapper) {
	f.Helper()
	w := f.wrapper(key)
	var err error
	f.log, err = audit.Open(f.Context(), f.db, filepath.Join(f.dir, "audit.key"))
	f.must(err)
	f.custody, err = custody.Open(f.Context(), custody.Config{DB: f.db, Wrapper: w, Also: also, Now: f.now})
	f.must(err)
	f.Vault = vault.New(vault.Config{
		DB: f.db, Gate: gate.New(f.log, f.now), Now: f.now, Witness: filepath.Join(f.dir, "witness"), Host: host,
		Custody: func(context.Context) (*custody.Custody, error) { return f.custody, nil },
	})
}

func (f *fixture) wrapper(key string) custody.Wrapper {
	f.Helper()
	w, err := custody.OpenFile(filepath.Join(f.dir, key), "", "", true)
	f.must(err)
	return w
}

// tamper changes the store behind its back.
func (f *fixture) tamper(query string) {
	f.Helper()
	storetest.Exec(f, f.url, query)
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

// value is a password that opens something of a customer.
func value(customer, account, text string) vault.Entrust {
	return vault.Entrust{
		Name:   vault.Name{Customer: customer, System: "smtp.example.com", Account: account, Kind: vault.Password},
		Holder: "token:7", Value: driver.NewSecret(text),
	}
}

func (f *fixture) entrust(e vault.Entrust) store.EntrustedSecret {
	f.Helper()
	s, err := f.Entrust(f.Context(), otto, e)
	f.must(err)
	return s
}

// reveals fails the test unless the holder is given a value.
func (f *fixture) reveals(id, want string) {
	f.Helper()
	got, _, err := f.Reveal(f.Context(), mailer, id, 0)
	if err != nil || got.Reveal() != want {
		f.Errorf("%q, %v; want %q", got.Reveal(), err, want)
	}
}

// withholds fails the test unless a value is refused for a reason.
func (f *fixture) withholds(id string, reason error) {
	f.Helper()
	if got, _, err := f.Reveal(f.Context(), mailer, id, 0); !errors.Is(err, reason) || !got.IsZero() {
		f.Errorf("%q, %v; want %v", got.Reveal(), err, reason)
	}
}

func TestValuesComeBackByteForByte(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		odd := make([]byte, 256)
		for i := range odd {
			odd[i] = byte(i)
		}
		for i, text := range []string{"", "secret", "ends with a line\n", string(odd), "\xff\xfe\x00", strings.Repeat("x", vault.MaxValue)} {
			s := f.entrust(value("acme", fmt.Sprint("account ", i), text))
			f.reveals(s.ID, text)
		}
		long := value("acme", "too long", strings.Repeat("x", vault.MaxValue+1))
		if _, err := f.Entrust(t.Context(), otto, long); !errors.Is(err, tallystick.ErrInvalid) {
			t.Error("a value that is too long:", err)
		}
	})
}

func TestOnlyTheHolderIsGivenAValue(t *testing.T) {
	f := newVault(t, "")
	s := f.entrust(value("acme", "a", "the value"))
	nobody := f.entrust(vault.Entrust{Name: vault.Name{Customer: "acme", System: "ldap", Account: "b", Kind: vault.Password}, Value: driver.NewSecret("for nobody")})
	for _, actor := range []gate.Actor{
		ada, otto, {Name: "mailer", Role: gate.Client, Via: "token 8"}, {Name: "7", Role: gate.Admin, Via: "session"}, {Name: "root", Role: gate.Admin, Via: "local"},
		{Name: "token:7", Role: gate.Admin, Via: "local"}, {Name: "mailer", Role: gate.Client, Via: "link"},
	} {
		for _, id := range []string{s.ID, nobody.ID, "not-there"} {
			got, _, err := f.Reveal(t.Context(), actor, id, 0)
			if !errors.Is(err, tallystick.ErrDenied) || !got.IsZero() {
				t.Errorf("%+v is given %q of %s: %v", actor, got.Reveal(), id, err)
			}
		}
	}
	if _, _, err := f.Reveal(t.Context(), gate.Actor{Via: "token 7"}, s.ID, 0); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Error("somebody who is not signed in:", err)
	}
	if _, _, err := f.Reveal(t.Context(), gate.Actor{}, nobody.ID, 0); !errors.Is(err, tallystick.ErrUnsigned) {
		t.Error("nobody holds what nobody holds:", err)
	}
	f.reveals(s.ID, "the value")
	l, err := f.Lineage(t.Context(), ada, s.ID)
	f.must(err)
	if diff := cmp.Diff([]store.Handout{{Version: 1, Holder: "token:7", Time: noon}}, l.Handouts); diff != "" {
		t.Error(diff)
	}
}

func TestTheAuditLogComesFirst(t *testing.T) {
	f := newVault(t, "")
	s := f.entrust(value("acme", "a", "the value"))
	f.reveals(s.ID, "the value")
	list, err := f.log.List(t.Context(), audit.Filter{Action: string(gate.RevealSecret)}, 0, 10)
	f.must(err)
	if len(list) != 1 || list[0].Object != "vault/"+s.ID+"/1" || !list[0].Allowed {
		t.Errorf("%+v", list)
	}
	// A log that was changed takes no record, and then nothing leaves.
	f.tamper(`UPDATE audit_head SET size = size - 1`)
	f.withholds(s.ID, audit.ErrTampered)
}

func TestVersions(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		first := f.entrust(value("acme", "a", "one"))
		for _, text := range []string{"two", "three"} {
			f.later(time.Hour)
			if s := f.entrust(value("acme", "a", text)); s.ID != first.ID {
				t.Fatal("another secret for the same account")
			}
		}
		f.reveals(first.ID, "three")
		got, one, err := f.Reveal(t.Context(), mailer, first.ID, 2)
		if err != nil || got.Reveal() != "two" || one.Number != 2 {
			t.Errorf("the version before: %v, %+v", err, one)
		}
		// What is older is gone for good, and gone is not told from never there.
		if _, _, err := f.Reveal(t.Context(), mailer, first.ID, 1); !errors.Is(err, tallystick.ErrDenied) {
			t.Error("a version that was destroyed:", err)
		}
		s, err := f.Destroy(t.Context(), ada, first.ID)
		if err != nil || s.Destroyed.IsZero() {
			t.Error(s, err)
		}
		f.withholds(first.ID, tallystick.ErrDenied)
		if s := f.entrust(value("acme", "a", "four")); s.ID != first.ID || s.Version != 4 || !s.Destroyed.IsZero() {
			t.Errorf("%+v", s)
		}
		f.reveals(first.ID, "four")
	})
}

func TestARowInThePlaceOfAnotherDoesNotDecrypt(t *testing.T) {
	const first, second = `(SELECT MIN(id) FROM vault_versions)`, `(SELECT MAX(id) FROM vault_versions)`
	for name, change := range map[string]string{
		"the value of another customer": `UPDATE vault_versions SET sealed = (SELECT v.sealed FROM vault_versions v WHERE v.id = ` + second + `) WHERE id = ` + first,
		"another customer's version":    `UPDATE vault_versions SET number = 2, secret_id = (SELECT v.secret_id FROM vault_versions v WHERE v.id = ` + first + `) WHERE id = ` + second + `; UPDATE vault_secrets SET newest = 2`,
		"another customer's key":        `UPDATE vault_versions SET key_id = (SELECT v.key_id FROM vault_versions v WHERE v.id = ` + second + `) WHERE id = ` + first,
		"another customer's name":       `UPDATE vault_secrets SET customer = customer || '2'`,
		"another account":               `UPDATE vault_secrets SET account = account || '2'`,
		"another kind":                  `UPDATE vault_secrets SET kind = 'other'`,
		"another number":                `UPDATE vault_versions SET number = 3; UPDATE vault_secrets SET newest = 3`,
		"some bytes":                    `UPDATE vault_versions SET sealed = CAST(substr(sealed, 1, 20) || x'00000000' || substr(sealed, 25) AS BLOB)`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newVault(t, "")
			s := f.entrust(value("acme", "a", "the value of acme"))
			f.entrust(value("initech", "a", "the value of init"))
			f.tamper(change)
			f.withholds(s.ID, tallystick.ErrDamaged)
		})
	}
}

func TestAnotherHolderInTheDatabaseIsOfNoUse(t *testing.T) {
	f := newVault(t, "")
	e := value("acme", "a", "the value")
	e.Holder = "token:8"
	s := f.entrust(e)
	f.tamper(`UPDATE vault_versions SET holder = 'token:7'`)
	f.withholds(s.ID, tallystick.ErrDamaged)
}

func TestWithoutTheWrappingKeyNothingHappens(t *testing.T) {
	f := newVault(t, "")
	s := f.entrust(value("acme", "a", "the value"))
	gone := fmt.Errorf("%w: the token was pulled", tallystick.ErrUnavailable)
	good := f.Custody
	f.Custody = func(context.Context) (*custody.Custody, error) { return nil, gone }
	f.withholds(s.ID, tallystick.ErrUnavailable)
	if _, err := f.Entrust(t.Context(), otto, value("acme", "a", "the next")); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
	f.Custody = func(ctx context.Context) (*custody.Custody, error) {
		return custody.Open(ctx, custody.Config{DB: f.db, Wrapper: f.wrapper("another.key"), Now: f.now})
	}
	f.withholds(s.ID, custody.ErrWrongKey)
	f.Custody = good
	f.reveals(s.ID, "the value")
	l, err := f.Lineage(t.Context(), ada, s.ID)
	f.must(err)
	if len(l.Versions) != 1 || len(l.Handouts) != 1 {
		t.Errorf("something was done half: %+v", l)
	}
}

func TestNoValueIsStoredOrPrinted(t *testing.T) {
	const text = "correct-horse-battery-7391"
	dir := t.TempDir()
	f := newVault(t, filepath.Join(dir, "tally.db"))
	e := value("acme", "a", text)
	s := f.entrust(e)
	f.reveals(s.ID, text)
	f.entrust(value("acme", "a", text+" again"))
	_, err := f.Destroy(t.Context(), ada, s.ID)
	f.must(err)
	if printed := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(printed, text) {
		t.Error(printed)
	}
	for _, root := range []string{dir, f.dir} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if bytes.Contains(data, []byte(text)) {
				t.Errorf("%s has the value", path)
			}
			return err
		})
		f.must(err)
	}
}

func TestWhatCannotBe(t *testing.T) {
	f := newVault(t, "")
	for name, spoil := range map[string]func(*vault.Entrust){
		"no customer":        func(e *vault.Entrust) { e.Customer = "" },
		"a space at the end": func(e *vault.Entrust) { e.System = "ldap " },
		"a control":          func(e *vault.Entrust) { e.Account = "a\x1b[2J" },
		"no UTF-8":           func(e *vault.Entrust) { e.Account = "\xff" },
		"too long":           func(e *vault.Entrust) { e.Customer = strings.Repeat("x", 301) },
		"another kind":       func(e *vault.Entrust) { e.Kind = "hope" },
		"another holder":     func(e *vault.Entrust) { e.Holder = "mailer" },
		"no holder's name":   func(e *vault.Entrust) { e.Holder = "token:" },
		"a negative age":     func(e *vault.Entrust) { e.MaxAge = -time.Hour },
		"an age of ages":     func(e *vault.Entrust) { e.MaxAge = 11 * 365 * 24 * time.Hour },
		"an origin of lines": func(e *vault.Entrust) { e.Origin = "a\nb" },
	} {
		e := value("acme", "a", "the value")
		spoil(&e)
		if _, err := f.Entrust(t.Context(), otto, e); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	viewer := gate.Actor{Name: "vera", Role: gate.Viewer, Via: "session"}
	if _, err := f.Entrust(t.Context(), viewer, value("acme", "a", "x")); !errors.Is(err, tallystick.ErrDenied) {
		t.Error("a viewer entrusts:", err)
	}
	if _, err := f.Destroy(t.Context(), otto, "x"); !errors.Is(err, tallystick.ErrDenied) {
		t.Error("an operator destroys:", err)
	}
	if _, _, err := f.Readable(t.Context(), viewer, vault.Question{Host: "hub"}, store.PageRequest{}); !errors.Is(err, tallystick.ErrDenied) {
		t.Error("a viewer asks what could be read:", err)
	}
}

func TestRotationIsDueByAgeAndByWord(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		e := value("acme", "a", "one")
		e.MaxAge = 30 * 24 * time.Hour
		old := f.entrust(e)
		other := f.entrust(value("acme", "b", "one"))
		due := func() (ids []string) {
			filter, err := f.ParseFilter(map[string][]string{"due": {"true"}})
			f.must(err)
			page, _, err := f.List(t.Context(), otto, filter, store.PageRequest{Sort: "due"})
			f.must(err)
			for _, s := range page.Items {
				ids = append(ids, s.ID)
			}
			return ids
		}
		if diff := cmp.Diff([]string(nil), due()); diff != "" {
			t.Error(diff)
		}
		f.later(31 * 24 * time.Hour)
		if n, err := f.Mark(t.Context(), otto, "the laptop was stolen", other.ID); n != 1 || err != nil {
			t.Error(n, err)
		}
		if diff := cmp.Diff([]string{old.ID, other.ID}, due()); diff != "" {
			t.Error(diff)
		}
		f.entrust(value("acme", "b", "two"))
		if s := f.entrust(value("acme", "a", "two")); s.Due != f.now().Add(e.MaxAge) {
			t.Error("the rule was not kept:", s.Due)
		}
		if diff := cmp.Diff([]string(nil), due()); diff != "" {
			t.Error(diff)
		}
	})
}
