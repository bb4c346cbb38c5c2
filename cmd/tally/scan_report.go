// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// A scanned is one credential of a report, wherever it was seen.
type scanned struct {
	credential *tallystick.Credential
	worst      tallystick.Severity
	places     []tallystick.Place
	rules      []string // broken ones, the worst first
}

// printReport writes what was found for a person: what is wrong, worst first,
// then what could not be seen, then the numbers.
func printReport(out io.Writer, result scan.Result, all bool) error {
	list := gather(result)
	t := newTable(out, "SEVERITY", "CREDENTIAL", "KEY", "ENDS", "WHERE", "FINDINGS")
	left := 0
	for _, s := range list {
		if s.worst == 0 && !all && len(list) > listAll {
			left++
			continue
		}
		t.row(s.severity(), name(s.credential), s.credential.Key.Algorithm, dayOf(s.credential.NotAfter), where(s.places), strings.Join(s.rules, " "))
	}
	t.write()
	reportMisses(out, result.Misses, all)
	reportCauses(out, result)
	fmt.Fprintf(out, "\n%s\n", summary(list, result))
	if left > 0 {
		fmt.Fprintf(out, "%s with nothing wrong not listed; --all lists them.\n", plural(left, "credential"))
	}
	return nil
}

// listAll is how many credentials a report lists in full without --all.
const listAll = 40

// gather makes one entry of each credential, the worst first.
func gather(result scan.Result) []*scanned {
	byID := map[tallystick.Fingerprint]*scanned{}
	var list []*scanned
	for j := range result.All() {
		s := byID[j.Credential.ID]
		if s == nil {
			s = &scanned{credential: &j.Credential}
			byID[j.Credential.ID] = s
			list = append(list, s)
		}
		s.worst = max(s.worst, j.Worst())
		if !slices.Contains(s.places, j.Place) {
			s.places = append(s.places, j.Place)
		}
		for _, f := range j.Findings {
			if !slices.Contains(s.rules, f.Rule) {
				s.rules = append(s.rules, f.Rule)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b *scanned) int {
		return cmp.Or(cmp.Compare(b.worst, a.worst), a.credential.NotAfter.Compare(b.credential.NotAfter))
	})
	return list
}

func (s *scanned) severity() string {
	if s.worst == 0 {
		return "ok"
	}
	return s.worst.String()
}

// where names the first of some places, and how many more there are.
func where(places []tallystick.Place) string {
	more := ""
	if len(places) > 1 {
		more = fmt.Sprintf(" +%d", len(places)-1)
	}
	return clipStart(placeText(places[0]), maxCell-len(more)) + more
}

// placeText writes a place as short as it stays clear.
func placeText(p tallystick.Place) string {
	if p.Scheme() == "file" {
		return p.Path()
	}
	return string(p)
}

// missRows is how many misses a report lists without --all.
const missRows = 10

func reportMisses(out io.Writer, misses []tallystick.Miss, all bool) {
	if len(misses) == 0 {
		return
	}
	fmt.Fprintf(out, "\nNot seen:\n")
	words := map[string]int{}
	for i, m := range misses {
		if i >= missRows && !all {
			words[m.Error]++
			continue
		}
		detail := m.Detail
		if detail != "" {
			detail = " (" + detail + ")"
		}
		fmt.Fprintf(out, "  %s: %s%s\n", clean(placeText(m.Place)), clean(m.Error), clean(clip(detail, 160)))
	}
	if len(misses) > missRows && !all {
		var more []string
		for _, word := range slices.Sorted(maps.Keys(words)) {
			more = append(more, fmt.Sprintf("%d %s", words[word], clean(word)))
		}
		fmt.Fprintf(out, "  and %d more (%s); --all lists them\n", len(misses)-missRows, strings.Join(more, ", "))
	}
}

// causeRows is how many causes a report explains.
const causeRows = 6

// reportCauses says what to do about the rules that are broken, worst first.
func reportCauses(out io.Writer, result scan.Result) {
	worst, count := map[string]tallystick.Severity{}, map[string]int{}
	var names []string
	for j := range result.All() {
		for _, f := range j.Findings {
			if count[f.Rule] == 0 {
				names = append(names, f.Rule)
			}
			count[f.Rule]++
			worst[f.Rule] = max(worst[f.Rule], f.Severity)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(worst[b], worst[a]), cmp.Compare(count[b], count[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		if i == 0 {
			fmt.Fprintf(out, "\nWhat to do:\n")
		}
		if i == causeRows {
			fmt.Fprintf(out, "  and %d more; \"tally rules\" explains all of them\n", len(names)-i)
			return
		}
		r := ruleOf(name)
		fmt.Fprintf(out, "  %s (%s, %s): %s\n", name, worst[name], plural(count[name], "place"), r.Do)
	}
}

func ruleOf(name string) rule.Rule {
	all := rules.All()
	return all[slices.IndexFunc(all, func(r rule.Rule) bool { return r.Name == name })]
}

// summary is the last line of a report.
func summary(list []*scanned, result scan.Result) string {
	places, kinds, severities := map[tallystick.Place]bool{}, map[tallystick.Kind]int{}, map[tallystick.Severity]int{}
	for j := range result.All() {
		places[j.Place] = true
	}
	for _, s := range list {
		kinds[s.credential.Kind]++
		severities[s.worst]++
	}
	text := plural(len(list), "credential")
	if len(list) > 0 {
		text += " (" + joinCounts([]string{
			countOf(kinds[tallystick.KindCertificate], "certificate"), countOf(kinds[tallystick.KindKey], "key"),
			countOf(kinds[tallystick.KindSSHCertificate], "SSH certificate"), countOf(kinds[tallystick.KindSealed], "sealed container"),
		}) + ") at " + plural(len(places), "place")
	}
	text += ": "
	var worst []string
	for s := tallystick.SeverityCritical; s >= tallystick.SeverityInfo; s-- {
		if severities[s] > 0 {
			worst = append(worst, fmt.Sprintf("%d %s", severities[s], s))
		}
	}
	switch {
	case len(worst) > 0:
	case len(list) == 0:
		text += "nothing was found to judge"
	default:
		text += "nothing wrong was found"
	}
	text += strings.Join(worst, ", ")
	if len(result.Misses) > 0 {
		text += "; " + plural(len(result.Misses), "place") + " not seen"
	}
	return text + "."
}

func countOf(n int, noun string) string {
	if n == 0 {
		return ""
	}
	return plural(n, noun)
}

func joinCounts(counts []string) string {
	return strings.Join(slices.DeleteFunc(counts, func(s string) bool { return s == "" }), ", ")
}

// dayOf writes the day of a time, in UTC.
func dayOf(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}
