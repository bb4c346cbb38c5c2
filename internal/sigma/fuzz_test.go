// SPDX-License-Identifier: Apache-2.0

package sigma_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/sigma"
)

// FuzzCompile reads rules of anybody, and evaluates those that are taken.
func FuzzCompile(f *testing.F) {
	const event = `{"F":"fail","user":"a","bytes":7,"G":["x",null,{"y":"2026-11-20T10:00:00Z"}]}`
	for _, path := range []string{"testdata/match.txt", "testdata/refused.txt", "testdata/correlations.txt"} {
		for _, file := range archive(f, path) {
			text := "title: T\n" + string(file.Data)
			if path == "testdata/match.txt" {
				text = "logsource: {product: aws}\n" + text
			}
			for _, end := range []string{"\nyes ", "\nno ", "\n10:", "\nhit "} {
				text, _, _ = strings.Cut(text, end)
			}
			f.Add([]byte(text+single), event)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte, event string) {
		options := sigma.Options{AnyLogSource: true, Placeholders: map[string][]string{"hosts": {"a", "b*"}}}
		rules, _ := sigma.Compile(text, options)
		record := sigma.NewRecord(event, "cloudtrail")
		set, _ := sigma.NewSet(rules, sigma.SetOptions{MaxGroups: 10, MaxHeld: 10})
		matched := map[*sigma.Rule]bool{}
		for _, r := range rules {
			record.Sources = append(record.Sources, r.LogSource)
			matched[r] = r.Match(record)
		}
		for _, h := range append(set.Event(record, time.Unix(1, 0)), set.Flush()...) {
			if h.Event != nil && !matched[h.Rule] {
				t.Errorf("%s matches in a set alone", h.Rule.Label())
			}
		}
	})
}

// What takes a YAML parser quadratic time is refused before it comes to that.
func TestCompileTakesBoundedTime(t *testing.T) {
	const head = "title: T\nlogsource: {product: aws}\ndetection:\n  s:\n    F:\n"
	for name, text := range map[string]string{
		"members":  strings.Repeat("a: 1\n", 70_000),
		"flow":     "title: [" + strings.Repeat("a,", 180_000) + "]",
		"brackets": "title: " + strings.Repeat("[", 300_000),
		"mapping":  "title: {" + strings.Repeat("a,", 180_000) + "}",
		"values":   head + strings.Repeat("    - a\n", 40_000) + "  condition: s",
		"literal":  "title: |\n" + strings.Repeat("  a\n", 70_000),
		"folded":   "title: >\n" + strings.Repeat("  a\n\n", 60_000),
		"indent":   strings.Repeat(strings.Repeat(" ", 800)+"- a:\n", 400),
		"not":      head + "    a\n  condition: " + strings.Repeat("not ", 80_000) + "s",
		"rules":    strings.Repeat("---\na: b\n", 20_000),
	} {
		from := time.Now()
		rules, err := sigma.Compile([]byte(text), sigma.Options{AnyLogSource: true})
		if took := time.Since(from); took > 10*time.Second || err == nil && len(rules) == 0 {
			t.Errorf("%s: %v, %d rules: %v", name, took, len(rules), err)
		}
	}
}

// FuzzRecord reads records of anybody.
func FuzzRecord(f *testing.F) {
	f.Add(`{"a":[1,{"b":null}]}`, "")
	f.Add(`<Event><System><EventID a="b">1</EventID></System><EventData><Data Name="x">y</Data></EventData></Event>`, "windows-xml")
	f.Add(`{"AuditData":"{\"Workload\":\"Exchange\"}","Operations":"x"}`, "unified-audit")
	f.Add(`{"ts":"1","req":"GET /a?b HTTP/1.1","remote":"[::1]:5","verify":""}`, "nginx")
	rule := compile(f, "title: T\nlogsource: {product: aws, service: cloudtrail}\ndetection: {s: {a.b|re: 'x+y'}, k: ['*a*b*c*?d*'], condition: s or k}\n")
	f.Fuzz(func(t *testing.T, text, format string) {
		r := sigma.NewRecord(text, format)
		rule.Match(r)
		r.Each(func(string) {})
	})
}
