// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// openWords returns what the open findings say, by rule and place.
func openWords(t *testing.T, db *store.DB) map[string]string {
	t.Helper()
	words := map[string]string{}
	for _, f := range open(t, db, store.FindingFilter{Now: noon}) {
		words[f.Rule+" "+string(f.Place)] = f.Severity.String() + ": " + f.Evidence
	}
	return words
}

func TestRaisedFindingsKeepTheWorse(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		named, err := db.NameCredentials(ctx, []store.Name{{Name: "x5t:a", Seen: noon}})
		must(t, err)
		say := func(severity tallystick.Severity, evidence string) {
			f := tallystick.Finding{Rule: "foreign-use", Severity: severity, Credential: named[0], Evidence: evidence}
			unknown := f
			unknown.Credential = tallystick.FingerprintOf([]byte("nobody has it"))
			must(t, db.RaiseFindings(ctx, []tallystick.Finding{f, unknown}, noon))
		}
		say(tallystick.SeverityHigh, "once")
		say(tallystick.SeverityMedium, "less bad")
		if d := cmp.Diff(map[string]string{"foreign-use ": "high: once"}, openWords(t, db)); d != "" {
			t.Errorf("what is less bad: %s", d)
		}
		say(tallystick.SeverityCritical, "worse")
		if d := cmp.Diff(map[string]string{"foreign-use ": "critical: worse"}, openWords(t, db)); d != "" {
			t.Errorf("what is worse: %s", d)
		}
		checkCounts(t, db)
	})
}

// What is about no credential is settled as a whole; what is about one stays.
func TestSettledFindings(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx, rules := t.Context(), []string{"book-silent", "book-gap"}
		of := func(rule string, place tallystick.Place) tallystick.Finding {
			return tallystick.Finding{Rule: rule, Severity: tallystick.SeverityHigh, Place: place, Evidence: "so"}
		}
		must(t, db.SettleFindings(ctx, rules, []tallystick.Finding{of("book-silent", "book:a"), of("book-gap", "book:a"), of("book-silent", "book:b")}, noon))
		must(t, db.RaiseFindings(ctx, []tallystick.Finding{of("key-exported", "ad:x")}, noon))
		must(t, db.SettleFindings(ctx, rules, []tallystick.Finding{of("book-silent", "book:b")}, noon.Add(time.Hour)))
		want := map[string]string{"book-silent book:b": "high: so", "key-exported ad:x": "high: so"}
		if d := cmp.Diff(want, openWords(t, db)); d != "" {
			t.Error(d)
		}
		must(t, db.SettleFindings(ctx, rules, nil, noon.Add(2*time.Hour)))
		delete(want, "book-silent book:b")
		if d := cmp.Diff(want, openWords(t, db)); d != "" {
			t.Error(d)
		}
	})
}

func TestClosedFindingsOfACredential(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		ctx := t.Context()
		named, err := db.NameCredentials(ctx, []store.Name{{Name: "x5t:a", Seen: noon}, {Name: "x5t:b", Seen: noon}})
		must(t, err)
		other := foreignFinding(named[0])
		other.Rule = "use-after-block"
		must(t, db.RaiseFindings(ctx, []tallystick.Finding{foreignFinding(named[0]), other, foreignFinding(named[1])}, noon))
		must(t, db.CloseFindings(ctx, named[0], []string{"foreign-use"}, noon.Add(time.Hour)))
		must(t, db.CloseFindings(ctx, tallystick.FingerprintOf([]byte("nobody has it")), []string{"foreign-use"}, noon))
		var got []string
		for _, f := range open(t, db, store.FindingFilter{Now: noon}) {
			got = append(got, f.Rule+map[bool]string{true: " of a", false: " of b"}[f.Credential == named[0]])
		}
		if len(got) != 2 || got[0] == got[1] || got[0] == "foreign-use of a" || got[1] == "foreign-use of a" {
			t.Errorf("%q stand open", got)
		}
		checkCounts(t, db)
	})
}
