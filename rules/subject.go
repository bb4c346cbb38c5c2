// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// day returns the midnight that a date of a citation begins with.
func day(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}

// A standing is what a credential does at the places where it was seen. Rules
// weigh by it: what serves users is worse than what lies in a directory.
type standing struct {
	served bool // the leaf at a TLS endpoint, or a host key that an SSH server shows
	chain  bool // sent along by a TLS endpoint above its leaf
	used   bool // a service's configuration points at its file as its own
	held   bool // its private half was seen
	relied bool // a service's configuration names it as a CA to believe
	store  bool // an entry of a trust store, which its makers look after
	// packaged says that it was seen nowhere but where packages put files.
	packaged bool
}

func standingOf(s *rule.Subject) standing {
	st := standing{packaged: len(s.Sightings) > 0}
	for i := range s.Sightings {
		seen := &s.Sightings[i]
		st.served = st.served || isServed(seen) || isHostKey(seen)
		st.chain = st.chain || seen.TLS != nil && seen.TLS.Position > 0
		st.held = st.held || seen.Role == tallystick.RoleHolds
		st.store = st.store || seen.Place.Scheme() == "truststore"
		st.packaged = st.packaged && isPackaged(seen.Place)
		if seen.File == nil {
			continue
		}
		for _, usage := range seen.File.UsedBy {
			anchor := usage.As == "ca" || usage.As == "client-ca"
			st.relied = st.relied || anchor
			st.used = st.used || !anchor
		}
	}
	st.relied = st.relied && !st.store
	return st
}

// IsSample says that a credential is nowhere but in packages that bring it along,
// as those of languages do with test keys in heaps, and that nothing uses it:
// nobody has to renew it.
func IsSample(s rule.Subject) bool { return standingOf(&s).sample() }

// sample is IsSample. That a private half lies beside it in a package makes it
// no secret of anybody's.
func (st standing) sample() bool {
	return st.packaged && !st.served && !st.chain && !st.used && !st.relied
}

// idleSeverity is how bad a thing is that hurts only those who use it, where
// nobody is known to: the samples that packages bring are nobody's to mend.
func (st standing) idleSeverity() tallystick.Severity {
	if st.packaged {
		return tallystick.SeverityInfo
	}
	return tallystick.SeverityLow
}

// isPackaged says whether a package manager alone writes at a file's place:
// the operating system's beneath /usr (Filesystem Hierarchy Standard 3.0
// section 4.1), or that of a language, whose packages bring test keys in heaps.
func isPackaged(place tallystick.Place) bool {
	path, ok := strings.CutPrefix(string(place), "file://")
	if !ok {
		return false
	}
	return strings.HasPrefix(path, "/usr/") && !strings.HasPrefix(path, "/usr/local/") || isOfLanguage(path)
}

// isOfLanguage says whether a path is where the package manager of a language
// alone writes.
func isOfLanguage(path string) bool {
	return strings.HasPrefix(path, "/usr/local/go/") || slices.ContainsFunc(languagePaths[:], func(part string) bool { return strings.Contains(path, part) })
}

var languagePaths = [...]string{
	"/go/pkg/mod/", "/sdk/go1.", // Go's modules and toolchains
	"/lib/python",           // of systems and virtual environments
	"/node_modules/",        // npm
	"/.cargo/registry/src/", // Rust
	"/gems/",                // Ruby
}

// idle says that nothing shows the credential at work: it is an entry of a
// trust store, or a file that nobody is known to read.
func (st standing) idle() bool { return !st.served && !st.chain && !st.used && !st.held }

// working says that a service would notice if the credential stopped working.
func (st standing) working() bool { return st.served || st.used }

// isServed says whether the sighting is of an endpoint's own certificate.
func isServed(s *tallystick.Sighting) bool { return s.TLS != nil && s.TLS.Position == 0 }

// isLoopback says whether an endpoint was reached on this machine's own address.
func isLoopback(place tallystick.Place) bool {
	host, _ := place.HostPort()
	address, ok := place.Addr()
	return host == "localhost" || ok && address.IsLoopback()
}

// isConfiguredLeaf says whether a service shows this file as its own
// certificate.
func isConfiguredLeaf(s *tallystick.Sighting) bool {
	return s.File != nil && slices.ContainsFunc(s.File.UsedBy, func(u tallystick.Usage) bool { return u.As == "certificate" })
}

// isSelfSigned says that a certificate names itself as its issuer, by name and
// by key identifier where it has them (RFC 5280 section 3.2). The signature is
// not computed: whoever could forge this gains a warning.
func isSelfSigned(c *tallystick.Credential) bool {
	return c.Kind == tallystick.KindCertificate && c.SelfIssued &&
		(c.AuthorityKeyID == "" || c.SubjectKeyID == "" || c.AuthorityKeyID == c.SubjectKeyID)
}

// isAnchor says that a certificate does nothing but be believed: a root or an
// entry of a trust store. Whoever believes it does not look at its signature,
// and often not at its dates.
func isAnchor(s *rule.Subject) bool {
	if s.Credential.Kind != tallystick.KindCertificate || !standingOf(s).idle() {
		return false
	}
	if s.Credential.IsCA && isSelfSigned(s.Credential) {
		return true
	}
	return slices.ContainsFunc(s.Sightings, func(seen tallystick.Sighting) bool {
		return seen.Role == tallystick.RoleAccepts
	})
}

// atPlaces collects the hits of a rule that is about places, at most one for a
// place. judge returns no evidence where nothing is wrong, and severity zero
// for the rule's own. The order of the sightings does not matter.
func atPlaces(s *rule.Subject, judge func(*tallystick.Sighting) (evidence string, severity tallystick.Severity)) []rule.Hit {
	var found map[tallystick.Place]rule.Hit
	for i := range s.Sightings {
		place := s.Sightings[i].Place
		evidence, severity := judge(&s.Sightings[i])
		if evidence == "" {
			continue
		}
		if found == nil {
			found = make(map[tallystick.Place]rule.Hit)
		}
		hit := rule.Hit{Place: place, Evidence: clip(evidence), Severity: severity}
		if old, ok := found[place]; !ok || compareHits(hit, old) < 0 {
			found[place] = hit
		}
	}
	if found == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(found), func(a, b rule.Hit) int { return cmp.Compare(a.Place, b.Place) })
}

// compareHits puts the more severe hit first.
func compareHits(a, b rule.Hit) int {
	return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Evidence, b.Evidence))
}

// one returns a hit that holds wherever the credential is.
func one(severity tallystick.Severity, format string, args ...any) []rule.Hit {
	return []rule.Hit{{Evidence: clip(fmt.Sprintf(format, args...)), Severity: severity}}
}

// clip bounds evidence, which quotes names that strangers chose.
func clip(evidence string) string {
	const most = 500
	if len(evidence) <= most {
		return evidence
	}
	return strings.ToValidUTF8(evidence[:most], "") + "..."
}

// list joins up to three words and counts the rest, so that evidence stays
// readable however much there is of it.
func list[S ~string](words []S) string {
	const most = 3
	var b strings.Builder
	for i, word := range words {
		switch {
		case i == most:
			fmt.Fprintf(&b, " and %d more", len(words)-most)
			return b.String()
		case i > 0 && i == len(words)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(word))
	}
	return b.String()
}
