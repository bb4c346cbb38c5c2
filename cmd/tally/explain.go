// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// An explained is a credential with all that is to be said about it.
type explained struct {
	credential *tallystick.Credential
	annotation tallystick.Annotation
	firstSeen  time.Time
	places     []string
	servers    []sshServer
	endpoints  []tlsEndpoint
	holders    []string // where its private half is, by other credentials
	sameKey    []string // other credentials of its key
	findings   []tallystick.Finding
	now        time.Time
}

// add adds findings, each once.
func (e *explained) add(found []tallystick.Finding) {
	for _, f := range found {
		same := func(g tallystick.Finding) bool {
			return g.Rule == f.Rule && g.Evidence == f.Evidence && g.Place == f.Place
		}
		if !slices.ContainsFunc(e.findings, same) {
			e.findings = append(e.findings, f)
		}
	}
	slices.SortStableFunc(e.findings, func(a, b tallystick.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
}

// labelWidth is how wide the column of labels is.
const labelWidth = 15

// A sheet is a text in two columns.
type sheet struct {
	out io.Writer
	err error
}

// put writes a label and its value, unless there is none.
func (s *sheet) put(label, value string) {
	if value != "" {
		s.print("  %-*s%s\n", labelWidth, label, clean(value))
	}
}

// list writes a label and several values.
func (s *sheet) list(label string, values []string) {
	for _, value := range values {
		s.put(label, value)
		label = ""
	}
}

func (s *sheet) print(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.out, format, args...)
	}
}

// maxLines is how many places, names and the like are listed.
const maxLines = 20

// some returns the first lines of a list, and how many more there are.
func some(lines []string) []string {
	if len(lines) <= maxLines {
		return lines
	}
	return append(slices.Clone(lines[:maxLines]), fmt.Sprintf("and %d more", len(lines)-maxLines))
}

// print writes everything.
func (e *explained) print(out io.Writer) error {
	s := &sheet{out: out}
	s.print("%s\n", clean(title(e.credential)))
	e.facts(s)
	for _, x := range extensionsOf(e.credential) {
		s.put(x.name, x.value)
	}
	e.identity(s)
	if len(e.servers) > 0 {
		e.servers[0].print(s, len(e.places) > 1)
	}
	if len(e.endpoints) > 0 {
		e.endpoints[0].print(s)
	}
	s.list("Places", some(e.places))
	s.list("Private half", some(e.holders))
	s.list("Same key", some(e.sameKey))
	e.wrong(s)
	return s.err
}

// title is the kind and the name of a credential, without saying the kind twice.
func title(c *tallystick.Credential) string {
	kind := string(c.Kind) + " "
	return kind + strings.TrimPrefix(name(c), kind)
}

// addServer keeps what a server showed along with the credential.
func (e *explained) addServer(place tallystick.Place, facts *tallystick.SSHFacts) {
	if facts != nil && facts.Software != "" {
		e.servers = append(e.servers, sshServer{place, facts})
	}
}

// facts writes what the credential says.
func (e *explained) facts(s *sheet) {
	c := e.credential
	s.put("Subject", c.Subject)
	s.put("Issuer", c.Issuer)
	s.put("Serial", c.Serial)
	s.list("Names", some(c.Names))
	s.put("Valid", validity(c, e.now))
	s.put("Key", c.Key.Algorithm)
	s.put("Signature", c.Signature)
	s.put("Meant for", strings.Join(c.Usages, ", "))
	if c.Kind == tallystick.KindCertificate {
		s.put("CA", map[bool]string{true: "yes", false: "no"}[c.IsCA]+map[bool]string{true: ", self-issued"}[c.SelfIssued])
	}
	s.put("Unreadable", c.ReadError)
	s.put("Owner", e.annotation.Owner)
	s.put("Environment", e.annotation.Environment)
	s.put("Tags", strings.Join(e.annotation.Tags, " "))
	s.put("Notes", e.annotation.Notes)
	if !e.firstSeen.IsZero() {
		s.put("First seen", e.firstSeen.UTC().Format(time.RFC3339))
	}
}

// identity writes the names by which machines know it.
func (e *explained) identity(s *sheet) {
	c := e.credential
	s.put("SHA-256", string(c.ID))
	if c.Kind == tallystick.KindCertificate {
		sum := sha1.Sum(c.Raw) // how older systems name certificates, such as x5t of RFC 7515 section 4.1.7
		s.put("SHA-1", hex.EncodeToString(sum[:]))
	}
	s.put("Key id", string(c.Key.ID))
	s.put("OpenSSH", sshName(c))
}

// validity says from when until when, and where in that life it is.
func validity(c *tallystick.Credential, now time.Time) string {
	if c.NotBefore.IsZero() && c.NotAfter.IsZero() {
		return ""
	}
	const minutes = "2006-01-02 15:04"
	text := "from " + c.NotBefore.UTC().Format(minutes)
	if c.NotAfter.IsZero() {
		return text + " UTC, without an end"
	}
	text += " to " + c.NotAfter.UTC().Format(minutes) + " UTC"
	switch {
	case now.Before(c.NotBefore):
		return text + ", begins in " + days(c.NotBefore.Sub(now))
	case now.After(c.NotAfter):
		return text + ", ended " + days(now.Sub(c.NotAfter)) + " ago"
	}
	return text + ", ends in " + days(c.NotAfter.Sub(now))
}

// days writes a duration in days, or hours if it is short.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return plural(int(d.Hours()), "hour")
	}
	return plural(int(d.Hours()/24), "day")
}

// wrong writes the findings by rule, the worst first, and what to do about them.
func (e *explained) wrong(s *sheet) {
	if len(e.findings) == 0 {
		s.print("\n  Nothing wrong was found.\n")
		return
	}
	s.print("\n  What is wrong\n")
	all := rules.All()
	var done []string
	for _, f := range e.findings {
		if slices.Contains(done, f.Rule) {
			continue
		}
		done = append(done, f.Rule)
		i := slices.IndexFunc(all, func(r rule.Rule) bool { return r.Name == f.Rule })
		if i < 0 {
			all, i = append(all, rule.Rule{Name: f.Rule, Title: f.Rule}), len(all)
		}
		r := all[i]
		s.print("\n  %s  %s (%s)\n", f.Severity, r.Title, r.Name)
		e.cases(s, f.Rule)
		if r.Do != "" {
			s.print("%s\n    See: %s, %s\n", wrap("To do: "+r.Do, "    ", textWidth), r.Citation, r.URL)
		}
	}
	if id := e.findings[0].ID; id != 0 {
		s.print("\n  To let one stand: tally finding accept %d --reason WHY --until DAY\n", id)
	}
}

// cases writes the findings of a rule: each evidence once, with where it holds.
func (e *explained) cases(s *sheet, rule string) {
	var order []string
	lines := map[string][]string{}
	for _, f := range e.findings {
		if f.Rule != rule {
			continue
		}
		if _, known := lines[f.Evidence]; !known {
			order = append(order, f.Evidence)
			lines[f.Evidence] = nil
		}
		if line := e.caseLine(f); line != "" {
			lines[f.Evidence] = append(lines[f.Evidence], line)
		}
	}
	for _, evidence := range order {
		s.print("%s\n", wrap(clean(evidence), "    ", textWidth))
		for _, line := range some(lines[evidence]) {
			s.print("      %s\n", clean(line))
		}
	}
}

// caseLine says where a finding holds, by what number it is known, and whether
// somebody lets it stand.
func (e *explained) caseLine(f tallystick.Finding) string {
	var parts []string
	if f.Place != "" {
		parts = append(parts, "at "+placeText(f.Place))
	}
	if f.ID != 0 {
		parts = append(parts, fmt.Sprintf("finding %d", f.ID))
	}
	if f.Acceptance != nil && f.Accepted(e.now) {
		parts = append(parts, fmt.Sprintf("accepted by %s until %s: %s", f.Acceptance.By, lastDay(f.Acceptance.Until), f.Acceptance.Reason))
	}
	return strings.Join(parts, ", ")
}
