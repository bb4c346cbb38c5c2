// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rule/ruletest"
)

var update = flag.Bool("update", false, "write docs/rules.md anew")

// fixtures returns the fixture of every rule. Each family's test file has a
// function that returns its own.
func fixtures(t testing.TB) map[string]fixture {
	all := make(map[string]fixture)
	for _, family := range []map[string]fixture{
		accountFixtures(),
		bookFixtures(),
		chainFixtures(),
		chainSignatureFixtures(),
		changeFixtures(),
		clientFixtures(),
		distrustedFixtures(),
		expiryFixtures(),
		foreignFixtures(),
		groupFixtures(),
		shownFixtures(),
		namingFixtures(),
		privateKeyFixtures(),
		signatureFixtures(),
		sshFixtures(),
		sshServerFixtures(),
		stapleFixtures(),
		tlsFixtures(),
		useHabitFixtures(),
		useLifeFixtures(),
		weakFixtures(),
		wrappingFixtures(),
	} {
		for name := range family {
			if _, ok := all[name]; ok {
				t.Errorf("two fixtures for %s", name)
			}
		}
		maps.Copy(all, family)
	}
	return all
}

func TestRulesAreDescribed(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range All() {
		ruletest.Described(t, r)
		if seen[r.Name] {
			t.Errorf("two rules are called %s", r.Name)
		}
		seen[r.Name] = true
	}
}

func TestEveryRuleFiresAndIsSilent(t *testing.T) {
	left := fixtures(t)
	for _, r := range All() {
		f, ok := left[r.Name]
		if !ok {
			t.Errorf("%s has no fixture", r.Name)
			continue
		}
		delete(left, r.Name)
		t.Run(r.Name, func(t *testing.T) {
			firing, silent := judge(t, r, f)
			if len(firing) == 0 {
				t.Fatal("the firing fixture gives no hit")
			}
			if f.Evidence == "" || !strings.Contains(firing[0].Evidence, f.Evidence) {
				t.Errorf("evidence %q, want %q in it", firing[0].Evidence, f.Evidence)
			}
			if len(silent) > 0 {
				t.Errorf("the silent fixture gives %+v", silent)
			}
		})
	}
	for name := range left {
		t.Errorf("a fixture for %s, which is not a rule", name)
	}
}

// judge returns the hits of a rule on its two fixtures.
func judge(t *testing.T, r rule.Rule, f fixture) (firing, silent []rule.Hit) {
	switch {
	case r.Check != nil:
		return ruletest.Check(t, r, f.Firing(t)), ruletest.Check(t, r, f.Silent(t))
	case r.Use != nil:
		return ruletest.Use(t, r, f.FiringUse()), ruletest.Use(t, r, f.SilentUse())
	case r.Book != nil:
		return ruletest.Book(t, r, f.FiringBook), ruletest.Book(t, r, f.SilentBook)
	case r.Change != nil:
		return ruletest.Change(t, r, f.FiringChange), ruletest.Change(t, r, f.SilentChange)
	case r.Wrapping != nil:
		return ruletest.Wrapping(t, r, f.FiringKey), ruletest.Wrapping(t, r, f.SilentKey)
	}
	return ruletest.Survey(t, r, f.FiringEstate(t)), ruletest.Survey(t, r, f.SilentEstate(t))
}

// TestRulesDocument holds docs/rules.md, which is made from All.
func TestRulesDocument(t *testing.T) {
	const path = "../docs/rules.md"
	want := document()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is out of date; run go test ./rules -update (-want +got):\n%s", path, diff)
	}
}

func document() string {
	var b strings.Builder
	b.WriteString(`# Rules

What Tallystick calls wrong, made from the rules themselves by ` + "`go test ./rules -update`" + `. Names are promises:
they stand in findings, in the output of ` + "`tally scan --json`" + ` and in configuration, and are never changed. The severity is the usual
one; a finding can be milder or worse, as the text says. The date is the day from which the cited document holds.

| rule | severity | what is wrong, and why it matters | what to do | source |
|---|---|---|---|---|
`)
	for _, r := range All() {
		fmt.Fprintf(&b, "| `%s` | %s | **%s.** %s | %s | [%s](%s), %s |\n",
			r.Name, r.Severity, r.Title, r.About, r.Do, r.Citation, r.URL, r.Effective.Format(time.DateOnly))
	}
	return b.String()
}

// BenchmarkCheckAll judges a served certificate with its chain and its file by
// every Check: what the engine does once for each changed credential.
func BenchmarkCheckAll(b *testing.B) {
	var checks []rule.Rule
	for _, r := range All() {
		if r.Check != nil {
			checks = append(checks, r)
		}
	}
	s := busySubject(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, r := range checks {
			r.Check(s)
		}
	}
}
