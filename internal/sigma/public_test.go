// SPDX-License-Identifier: Apache-2.0

//go:build sigmahq

package sigma_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/internal/sigma"
)

// publicRules names a directory with the rules of a public collection, such as
// SigmaHQ/sigma. Their licence keeps them out of this repository.
const publicRules = "TALLYSTICK_SIGMA_RULES"

func publicDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv(publicRules)
	if dir == "" {
		t.Fatalf("set %s to a directory with the rules", publicRules)
	}
	return dir
}

var variable = regexp.MustCompile(`"[^"]*"|logsource .* are read|line \d+.*`)

// TestPublicEvents evaluates public rules over the events that their authors
// recorded for them.
func TestPublicEvents(t *testing.T) {
	dir := publicDir(t)
	rules := map[string]*sigma.Rule{}
	for _, r := range publicSet(t, dir) {
		rules[r.ID] = r
	}
	tried := 0
	err := filepath.WalkDir(filepath.Join(dir, "regression_data"), func(path string, entry fs.DirEntry, err error) error {
		rule := rules[strings.TrimSuffix(filepath.Base(path), ".json")]
		if err != nil || entry.IsDir() || rule == nil {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		matched := 0
		for decoder := json.NewDecoder(file); ; {
			var event json.RawMessage
			if err := decoder.Decode(&event); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			if rule.Match(sigma.NewRecord(string(event), "windows-json")) {
				matched++
			}
		}
		tried++
		if matched == 0 {
			t.Errorf("rule %q matches nothing of %s", rule.Title, path)
		}
		return nil
	})
	if err != nil || tried == 0 {
		t.Fatalf("%d events: %v", tried, err)
	}
	fmt.Printf("%d rules were tried on their events\n", tried)
}

// publicSet compiles all rules, whatever their log source.
func publicSet(t testing.TB, dir string) (all []*sigma.Rule) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".yml") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rules, _ := sigma.Compile(text, sigma.Options{Name: path, AnyLogSource: true})
		all = append(all, rules...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestPublicRules says how many rules of a public collection are taken, and why
// the others are not. None of its main rules, below rules/, may be refused for
// anything but its log source.
func TestPublicRules(t *testing.T) {
	dir := publicDir(t)
	type count struct{ taken, refused int }
	counts := map[string]*count{}
	reasons := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".yml") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		part, err := filepath.Rel(dir, filepath.Dir(path))
		if err != nil {
			return err
		}
		if counts[part] == nil {
			counts[part] = &count{}
		}
		if _, err := sigma.Compile(text, sigma.Options{Name: path, AnyLogSource: true}); err != nil && strings.HasPrefix(part, "rules/") {
			t.Error(err)
		}
		rules, err := sigma.Compile(text, sigma.Options{Name: path})
		counts[part].taken += len(rules)
		refused, _ := errors.AsType[sigma.Refusals](err)
		counts[part].refused += len(refused)
		for _, r := range refused {
			reasons[variable.ReplaceAllString(r.Reason, "_")]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range slices.Sorted(maps.Keys(counts)) {
		fmt.Printf("%-60s %5d taken %5d refused\n", part, counts[part].taken, counts[part].refused)
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Printf("%5d %s\n", reasons[reason], reason)
	}
}

// BenchmarkPublicSet evaluates a public collection, most of it about other logs.
func BenchmarkPublicSet(b *testing.B) {
	rules := publicSet(b, publicDir(b))
	var events []*sigma.Record
	for i := range 1000 {
		e := sigma.NewRecord(call(i), "cloudtrail")
		e.Sources = []sigma.LogSource{{Product: "aws", Service: "cloudtrail"}}
		events = append(events, e)
	}
	b.Run(fmt.Sprintf("rules=%d", len(rules)), func(b *testing.B) { benchmark(b, rules, events) })
}
