// SPDX-License-Identifier: Apache-2.0

package finding_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rule"
)

var (
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	admin = gate.Actor{Name: "ann", Role: gate.Admin, Via: "test"}
)

// engine returns an engine over a store with some rules, at a time that the
// test moves.
func engine(t *testing.T, db *store.DB, now *time.Time, rules ...rule.Rule) *finding.Engine {
	t.Helper()
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return *now }
	return finding.New(finding.Engine{
		DB: db, Gate: gate.New(log, clock), Rules: rules, Now: clock,
		Recheck: func(s rule.Subject) time.Time { return s.Credential.NotAfter },
	})
}

// ended is a rule that time alone makes true.
var ended = rule.Rule{Name: "ended", Title: "It has ended", Severity: tallystick.SeverityHigh, Check: func(s rule.Subject) []rule.Hit {
	if s.Now.Before(s.Credential.NotAfter) {
		return nil
	}
	return []rule.Hit{{Evidence: "ended on " + s.Credential.NotAfter.Format(time.DateOnly)}}
}}

// record stores sightings as a run's.
func record(t *testing.T, db *store.DB, source string, sightings ...tallystick.Sighting) int64 {
	t.Helper()
	run, err := db.AddRun(t.Context(), store.Run{Source: source, Driver: "files", Queued: noon})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Record(t.Context(), store.Batch{Run: run.ID, Source: source, Sightings: sightings}); err != nil {
		t.Fatal(err)
	}
	return run.ID
}

func names(t *testing.T, e *finding.Engine, f store.FindingFilter) []string {
	t.Helper()
	page, n, err := e.List(t.Context(), admin, f, store.PageRequest{})
	if err != nil || int(n) != len(page.Items) {
		t.Fatalf("%d listed, %d counted, %v", len(page.Items), n, err)
	}
	list := []string{}
	for _, row := range page.Items {
		list = append(list, row.Rule)
	}
	return list
}

// An authority signs certificates for the tests.
type authority struct {
	key    *ecdsa.PrivateKey
	parsed *x509.Certificate
}

// certificate returns one that the authority signed, itself when it is nil.
func (a *authority) certificate(t *testing.T, name string, ca bool, notAfter time.Time) (*authority, tallystick.Credential) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
		NotBefore: noon.AddDate(0, -1, 0), NotAfter: notAfter, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	parent, signer := template, key
	if a != nil {
		parent, signer = a.parsed, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parse.Certificate(der)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, parsed}, c
}

func at(c tallystick.Credential, place tallystick.Place, role tallystick.Role) tallystick.Sighting {
	return tallystick.Sighting{Credential: c, Place: place, Role: role, Seen: noon}
}

func TestTimeAloneOpensAFinding(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, ended)
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon.Add(time.Hour))
		run := record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents))
		step := func(want ...string) {
			t.Helper()
			if err := e.JudgeDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(append([]string{}, want...), names(t, e, store.FindingFilter{})); d != "" {
				t.Errorf("at %v:\n%s", now, d)
			}
		}
		step()
		now = noon.Add(2 * time.Hour)
		step("ended")
		if _, err := db.Vanish(t.Context(), run+1, "files", now); err != nil { // a look that saw nothing
			t.Fatal(err)
		}
		step()
	})
}

func TestChainsAreFollowedBySignature(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		subjects := map[string]rule.Subject{}
		look := rule.Rule{Name: "look", Check: func(s rule.Subject) []rule.Hit { subjects[s.Credential.Subject] = s; return nil }}
		e := engine(t, db, &now, look)
		var none *authority
		later := noon.AddDate(1, 0, 0)
		rootKey, root := none.certificate(t, "root", true, later)
		_, impostor := none.certificate(t, "root", true, later) // the same name and another key
		localKey, local := none.certificate(t, "local", true, later)
		middleKey, middle := rootKey.certificate(t, "middle", true, later)
		_, leaf := middleKey.certificate(t, "leaf", false, later)
		_, inner := localKey.certificate(t, "inner", false, later)
		record(t, db, "files",
			at(impostor, "file:///z.pem", tallystick.RolePresents),
			at(root, "truststore:///etc/ssl/certs", tallystick.RoleAccepts),
			at(local, "truststore:///etc/ssl/certs", tallystick.RoleAccepts), at(local, "file:///usr/local/share/ca-certificates/local.crt", tallystick.RolePresents),
			at(root, "file:///usr/local/lib/python3/certifi/cacert.pem", tallystick.RolePresents), // a copy changes nothing
			at(middle, "file:///m.pem", tallystick.RolePresents), at(leaf, "file:///l.pem", tallystick.RolePresents), at(inner, "file:///i.pem", tallystick.RolePresents))
		if err := e.JudgeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		var chain []tallystick.Fingerprint
		for _, issuer := range subjects["CN=leaf"].Issuers {
			chain = append(chain, issuer.ID)
		}
		if d := cmp.Diff([]tallystick.Fingerprint{middle.ID, root.ID}, chain); d != "" {
			t.Errorf("the leaf's chain:\n%s", d)
		}
		if !subjects["CN=leaf"].Public || subjects["CN=inner"].Public {
			t.Errorf("public: leaf %v, want true; inner %v, want false: its root was added by the administrator",
				subjects["CN=leaf"].Public, subjects["CN=inner"].Public)
		}
	})
}

func TestConfigurationAnnotatesUntilAPersonDoes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, ended)
		e.Annotate = func(*tallystick.Credential, []tallystick.Place) tallystick.Annotation {
			return tallystick.Annotation{Owner: "by-rule", Tags: []string{"edge"}}
		}
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon.Add(time.Hour))
		record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents))
		owner := func() string {
			if err := e.JudgeDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			_, row, err := db.Credential(t.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			return row.Annotation.Owner
		}
		if got := owner(); got != "by-rule" {
			t.Errorf("owner is %q, want the configuration's", got)
		}
		said := store.PastAnnotation{Time: noon, Author: "ann", Annotation: tallystick.Annotation{Owner: "by-hand"}}
		if err := db.Annotate(t.Context(), c.ID, said); err != nil {
			t.Fatal(err)
		}
		if got := owner(); got != "by-hand" {
			t.Errorf("owner is %q, want the person's", got)
		}
	})
}

// A survey sees each key once, with every credential that carries it, where it
// is held and what it opens; and its findings close when it is silent again.
func TestSurvey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		var seen []rule.KeyUse
		silent := false
		survey := rule.Rule{Name: "survey", Severity: tallystick.SeverityLow, Survey: func(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
			seen = nil
			return estate.Keys(ctx, "ecdsa-", func(use rule.KeyUse) error {
				seen = append(seen, use)
				if silent || len(use.Credentials) < 2 {
					return nil
				}
				return hit(rule.Hit{Credential: use.Credentials[0].ID, Evidence: "carried twice"})
			})
		}}
		e := engine(t, db, &now, survey)
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon)
		_, other := none.certificate(t, "other", false, noon)
		bare := tallystick.Credential{ID: tallystick.FingerprintOf(c.Key.SPKI), Kind: tallystick.KindKey, Key: c.Key, Raw: c.Key.SPKI}
		accepts := at(bare, "file:///root/.ssh/authorized_keys", tallystick.RoleAccepts)
		accepts.SSH = &tallystick.SSHFacts{Account: "root"}
		record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents), at(other, "file:///o.pem", tallystick.RolePresents),
			at(bare, "file:///a.key", tallystick.RoleHolds), accepts)
		if err := e.Survey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(seen) != 2 || len(names(t, e, store.FindingFilter{})) != 1 {
			t.Fatalf("%d keys were seen, %v found; want 2 and one", len(seen), names(t, e, store.FindingFilter{}))
		}
		checkUse(t, seen, bare.ID)
		silent = true
		if err := e.Survey(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left := names(t, e, store.FindingFilter{}); len(left) != 0 {
			t.Errorf("%v is left after the cause is gone", left)
		}
	})
}

func checkUse(t *testing.T, seen []rule.KeyUse, bare tallystick.Fingerprint) {
	t.Helper()
	for _, use := range seen {
		for _, bearer := range use.Credentials {
			if bearer.ID != bare {
				continue
			}
			if d := cmp.Diff([]tallystick.Place{"file:///a.key"}, bearer.Holds); d != "" || len(bearer.Accounts) != 1 || bearer.Accounts[0] != "root" {
				t.Errorf("the bare key is held at %v and opens %v", bearer.Holds, bearer.Accounts)
			}
			return
		}
	}
	t.Error("the bare key was not seen")
}

func TestAccepting(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, ended)
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon)
		record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents))
		if err := e.JudgeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		page, _, err := e.List(t.Context(), admin, store.FindingFilter{}, store.PageRequest{})
		if err != nil {
			t.Fatal(err)
		}
		id, week := page.Items[0].ID, noon.AddDate(0, 0, 7)
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer}
		for _, bad := range []struct {
			who    gate.Actor
			reason string
			until  time.Time
			want   error
		}{
			{admin, " ", week, tallystick.ErrInvalid},
			{admin, "because", noon, tallystick.ErrInvalid},
			{admin, "because", noon.AddDate(2, 0, 0), tallystick.ErrInvalid},
			{viewer, "because", week, tallystick.ErrDenied},
		} {
			if _, err := e.Accept(t.Context(), bad.who, finding.One(id), bad.reason, bad.until); !errors.Is(err, bad.want) {
				t.Errorf("accepting as %+v gives %v, want %v", bad, err, bad.want)
			}
		}
		if _, err := e.Accept(t.Context(), admin, finding.One(id), "because", week); err != nil {
			t.Fatal(err)
		}
		if left := names(t, e, store.FindingFilter{}); len(left) != 0 {
			t.Errorf("%v is left after it was accepted", left)
		}
		if _, err := e.Reopen(t.Context(), admin, finding.One(id)); err != nil {
			t.Fatal(err)
		}
		if left := names(t, e, store.FindingFilter{}); len(left) != 1 {
			t.Errorf("%v is left after the acceptance was taken back", left)
		}
	})
}

// What was accepted in one place is not accepted in another.
func TestAnAcceptanceStaysWhereItWasGiven(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, ended)
		var none *authority
		_, a := none.certificate(t, "a", false, noon)
		record(t, db, "files", at(a, "file:///old/a.pem", tallystick.RolePresents))
		if err := e.JudgeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := e.Select(t.Context(), admin, store.FindingFilter{Rule: "ended", Place: "/old"})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := e.Accept(t.Context(), admin, s, "an archive", noon.AddDate(0, 0, 7)); n != 1 || err != nil {
			t.Fatalf("%d accepted, %v", n, err)
		}
		for _, step := range []struct {
			place tallystick.Place
			open  int
		}{{"file:///old/copy.pem", 0}, {"tls://127.0.0.1:443", 1}} {
			record(t, db, "more", at(a, step.place, tallystick.RolePresents))
			if err := e.JudgeDue(t.Context()); err != nil {
				t.Fatal(err)
			}
			if left := names(t, e, store.FindingFilter{}); len(left) != step.open {
				t.Errorf("when it is at %s too, %v is open", step.place, left)
			}
		}
	})
}

// What a filter names is accepted as a whole; the record has the filter and each.
func TestAcceptingMany(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		e := engine(t, db, &now, ended)
		var none *authority
		_, a := none.certificate(t, "a", false, noon)
		_, b := none.certificate(t, "b", false, noon)
		_, c := none.certificate(t, "c", false, noon)
		record(t, db, "files", at(a, "file:///old/a.pem", tallystick.RolePresents), at(b, "file:///old/b.pem", tallystick.RolePresents),
			at(b, "file:///etc/b.pem", tallystick.RolePresents), at(c, "file:///etc/c.pem", tallystick.RolePresents))
		if err := e.JudgeDue(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Select(t.Context(), admin, store.FindingFilter{Severity: tallystick.SeverityHigh}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("everything is selected: %v", err)
		}
		s, err := e.Select(t.Context(), admin, store.FindingFilter{Rule: "ended", Place: "/old"})
		if err != nil || len(s.IDs) != 1 || s.Elsewhere != 1 {
			t.Fatalf("%+v, %v", s, err)
		}
		if err := s.Expect(2); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("two are expected of one: %v", err)
		}
		all, err := e.Select(t.Context(), admin, store.FindingFilter{Rule: "ended"})
		if err != nil || len(all.IDs) != 3 {
			t.Fatalf("%+v, %v", all, err)
		}
		if n, err := e.Accept(t.Context(), admin, all, "an archive", noon.AddDate(0, 0, 7)); n != 3 || err != nil {
			t.Fatalf("%d accepted, %v", n, err)
		}
		if left := names(t, e, store.FindingFilter{}); len(left) != 0 {
			t.Errorf("%v is left", left)
		}
		entries, err := db.ListAudit(t.Context(), store.AuditFilter{Action: string(gate.AcceptFinding)}, 0, 10)
		if err != nil || len(entries) != 2 || !strings.Contains(entries[1].Record, `3 findings until 2026-11-29: rule=\"ended\"`) ||
			!strings.Contains(entries[0].Record, strconv.FormatInt(all.IDs[2], 10)+" until 2026-11-29") {
			t.Errorf("%d records, %v: %+v", len(entries), err, entries)
		}
		if n, err := e.Assign(t.Context(), admin, all, "maria"); n != 3 || err != nil {
			t.Errorf("%d assigned, %v", n, err)
		}
		viewer := gate.Actor{Name: "vic", Role: gate.Viewer}
		if _, err := e.Reopen(t.Context(), viewer, all); !errors.Is(err, tallystick.ErrDenied) {
			t.Errorf("a viewer reopens: %v", err)
		}
		if n, err := e.Reopen(t.Context(), admin, all); n != 3 || err != nil {
			t.Errorf("%d reopened, %v", n, err)
		}
		if _, err := e.Assign(t.Context(), admin, finding.One(999999), "maria"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("what is not there is assigned: %v", err)
		}
	})
}

// Rules that change reach what they have judged before.
func TestAnotherEditionJudgesAgain(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := noon
		var none *authority
		_, c := none.certificate(t, "leaf", false, noon)
		record(t, db, "files", at(c, "file:///a.pem", tallystick.RolePresents))
		other := ended
		other.Name = "other"
		for _, edition := range []struct {
			rules []rule.Rule
			want  []string
		}{{[]rule.Rule{ended}, []string{"ended"}}, {[]rule.Rule{ended, other}, []string{"ended", "other"}}, {[]rule.Rule{other}, []string{"other"}}} {
			e := engine(t, db, &now, edition.rules...)
			if err := errors.Join(e.Renew(t.Context()), e.JudgeDue(t.Context())); err != nil {
				t.Fatal(err)
			}
			got := names(t, e, store.FindingFilter{})
			slices.Sort(got)
			if d := cmp.Diff(edition.want, got); d != "" {
				t.Errorf("findings of the new edition:\n%s", d)
			}
			_, row, err := db.Credential(t.Context(), c.ID)
			if err != nil || row.Findings != int64(len(edition.want)) {
				t.Errorf("the credential counts %d findings, %v; want %d", row.Findings, err, len(edition.want))
			}
		}
	})
}

// A survey that failed is owed, and made up for in a later round.
func TestAFailedSurveyIsTriedAgain(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	synctest.Test(t, func(t *testing.T) {
		now := noon
		tries := 0
		survey := rule.Rule{Name: "survey", Survey: func(context.Context, rule.Estate, func(rule.Hit) error) error {
			if tries++; tries < 3 {
				return errors.New("not today")
			}
			return nil
		}}
		failures := 0
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		_ = engine(t, db, &now, survey).Run(ctx, func(error) { failures++ })
		if tries != 3 || failures != 2 {
			t.Errorf("%d tries and %d failures, want 3 and 2", tries, failures)
		}
	})
}

// A survey that is done is not done again because the wrapping keys cannot be read.
func TestUnreadableKeysOweNoSurvey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tally.db")
	db := storetest.Open(t, path)
	synctest.Test(t, func(t *testing.T) {
		now := noon
		surveys, judged, failures := 0, 0, 0
		all := []rule.Rule{
			{Name: "survey", Survey: func(context.Context, rule.Estate, func(rule.Hit) error) error { surveys++; return nil }},
			{Name: "key", Wrapping: func(rule.WrappingSubject) []rule.Hit { judged++; return nil }},
		}
		key := store.WrappingKey{ID: "file:9c01d2", Kind: "file", About: "a file", Parameters: "{}", Since: now}
		if err := db.AddWrappingKey(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		storetest.Exec(t, path, "ALTER TABLE wrapping_keys RENAME TO elsewhere")
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		_ = engine(t, db, &now, all...).Run(ctx, func(error) {
			if failures++; failures == 3 {
				storetest.Exec(t, path, "ALTER TABLE elsewhere RENAME TO wrapping_keys")
			}
		})
		if surveys != 1 || failures != 3 || judged < 5 {
			t.Errorf("%d surveys, %d failures, %d judgements of the key: want 1, 3 and one a minute", surveys, failures, judged)
		}
	})
}
