// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// distrustedJSON is the list; docs/distrusted-roots.md says where it comes
// from and how to bring it up to date.
//
//go:embed distrusted.json
var distrustedJSON []byte

// Statuses of the list.
const (
	statusCompromised = "compromised" // a private key is known to others: its own, or those of CAs under it
	statusRevoked     = "revoked"     // a vendor's blocklist names this CA certificate or key
	statusDistrusted  = "distrusted"  // a vendor ended its trust for cause
	statusRemoved     = "removed"     // a vendor took it out of its store
)

// A distrust is one entry of the list: one event, with its certificates.
type distrust struct {
	Name   string `json:"name"`
	Status string `json:"status"`
	Since  string `json:"since"`  // as exact as the source is: a day, a month or a year
	Reason string `json:"reason"` // what the source says, and no more
	Source string `json:"source"`
	URL    string `json:"url"`
	Note   string `json:"note"`

	Certificates []distrustedCertificate `json:"certificates"`
}

// A distrustedCertificate is a certificate or a key of the list, by what its
// source gives of it.
type distrustedCertificate struct {
	Name        string                 `json:"name"`
	Fingerprint tallystick.Fingerprint `json:"cert_sha256"`
	Key         tallystick.KeyID       `json:"spki_sha256"`
	KeyID       string                 `json:"key_id"`  // its RFC 5280 subject key identifier
	Subject     string                 `json:"subject"` // only where what it issued cannot be told by KeyID
	// DistrustAfter is set when only certificates issued later are distrusted.
	DistrustAfter string `json:"distrust_after"`
}

// A listing is a certificate of the list with the entry that it stands in.
type listing struct {
	*distrust
	certificate *distrustedCertificate
}

// A distrustList finds listings. It is not changed once it is read.
type distrustList struct {
	fingerprints map[tallystick.Fingerprint]listing
	keys         map[tallystick.KeyID]listing
	keyIDs       map[string]listing
	subjects     map[string]listing
}

// readDistrust reads the list that is built in. It panics when that is not
// well-formed, because that is a mistake in the source.
func readDistrust() distrustList {
	var entries []distrust
	decoder := json.NewDecoder(bytes.NewReader(distrustedJSON))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&entries); err != nil {
		panic(fmt.Sprintf("rules/distrusted.json: %v", err))
	}
	list := distrustList{
		fingerprints: map[tallystick.Fingerprint]listing{}, keys: map[tallystick.KeyID]listing{},
		keyIDs: map[string]listing{}, subjects: map[string]listing{},
	}
	for i := range entries {
		for j := range entries[i].Certificates {
			list.add(listing{&entries[i], &entries[i].Certificates[j]})
		}
	}
	return list
}

func (d distrustList) add(l listing) {
	c := l.certificate
	if c.Fingerprint != "" {
		d.fingerprints[c.Fingerprint] = l
	}
	if c.Key != "" {
		d.keys[c.Key] = l
	}
	if c.KeyID != "" {
		d.keyIDs[c.KeyID] = l
	}
	if c.Subject != "" {
		d.subjects[c.Subject] = l
	}
}

// find looks a certificate up by itself and by its key: a key that is known to
// others is as bad in a new certificate. The exact subject counts only for an
// entry whose source gives neither.
func (d distrustList) find(c *tallystick.Credential) (listing, bool) {
	if l, ok := d.fingerprints[c.ID]; ok {
		return l, true
	}
	if l, ok := d.keys[c.Key.ID]; ok {
		return l, true
	}
	l, ok := d.subjects[c.Subject]
	return l, ok && l.certificate.Fingerprint == "" && l.certificate.Key == ""
}

// findIssuer looks up who issued a certificate: on the way up to its root where
// that is known, else by the key identifier and the name that it gives.
func (d distrustList) findIssuer(s *rule.Subject) (listing, bool) {
	for _, issuer := range s.Issuers {
		if l, ok := d.find(issuer); ok && l.untrustworthy() {
			return l, true
		}
	}
	if isSelfSigned(s.Credential) {
		return listing{}, false
	}
	if l, ok := d.keyIDs[s.Credential.AuthorityKeyID]; ok && l.untrustworthy() {
		return l, true
	}
	l, ok := d.subjects[s.Credential.Issuer]
	return l, ok && l.untrustworthy()
}

// untrustworthy says that what the CA signs cannot be believed at all, rather
// than that somebody chose not to carry it any more.
func (l listing) untrustworthy() bool {
	return l.Status == statusCompromised || l.Status == statusRevoked
}

// severity is per status, as docs/distrusted-roots.md gives it.
func (l listing) severity() tallystick.Severity {
	switch l.Status {
	case statusCompromised:
		return tallystick.SeverityCritical
	case statusRemoved:
		return tallystick.SeverityMedium
	}
	return tallystick.SeverityHigh
}

func (l listing) String() string {
	text := fmt.Sprintf("%s is %s", l.certificate.Name, l.Status)
	if l.Since != "" {
		text += " since " + l.Since
	}
	if l.certificate.DistrustAfter != "" {
		text += ", for what was issued after " + l.certificate.DistrustAfter
	}
	return text + ": " + l.Reason + " (" + l.Source + ")"
}

// trusted reports listing l at every place where the credential is believed. A
// keystore is seen as a trust store and as a file, and is told once.
func (l listing) trusted(s *rule.Subject) []rule.Hit {
	stores := map[string]bool{}
	for i := range s.Sightings {
		if place := s.Sightings[i].Place; place.Scheme() == "truststore" {
			stores[place.Path()] = true
		}
	}
	return atPlaces(s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
		path := seen.Place.Path()
		switch {
		case seen.Role != tallystick.RoleAccepts, seen.Place.Scheme() == "file" && stores[path]:
			return "", 0
		case isOfLanguage(path):
			return "trusted here, in the bundle of a language's package, but " + l.String(), l.severity()
		}
		return "trusted here, but " + l.String(), l.severity()
	})
}

// takeOut is how a CA leaves a trust store so that it does not come back.
const takeOut = "on Debian upgrade ca-certificates, or deselect the CA with dpkg-reconfigure ca-certificates; in a Java keystore use keytool -delete; " +
	"a bundle in the package of a language, such as certifi in pip, is mended by updating that package: what is edited in it comes back with the next install"

func distrustedRules() []rule.Rule {
	list := readDistrust()
	return []rule.Rule{compromisedCA(list), distrustedRoot(list)}
}

func compromisedCA(list distrustList) rule.Rule {
	return rule.Rule{
		Name:  "compromised-ca",
		Title: "Depends on a CA whose key is compromised or revoked",
		About: "Somebody else can sign, or could sign, in the name of this CA, so that neither the CA nor what it issued proves anything. " +
			"The list comes from browser and system vendors; it is critical where a key is known to be compromised.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "RFC 5280 section 5.3.1 (cACompromise)",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-5.3.1",
		Effective: day(2008, 5, 1),
		Do:        "Replace certificates that it issued by those of another CA, and take it out of the trust store: " + takeOut + ".",
		Check: func(s rule.Subject) []rule.Hit {
			if s.Credential.Kind != tallystick.KindCertificate {
				return nil
			}
			if l, ok := list.find(s.Credential); ok {
				switch {
				case !l.untrustworthy():
					return nil
				case isAnchor(&s):
					return l.trusted(&s)
				}
				return one(l.severity(), "its key is on a list: %v", l)
			}
			if l, ok := list.findIssuer(&s); ok {
				return one(l.severity(), "issued under %v", l)
			}
			return nil
		},
	}
}

func distrustedRoot(list distrustList) rule.Rule {
	return rule.Rule{
		Name:  "distrusted-root",
		Title: "Is trusted here, but no longer by browser or system vendors",
		About: "A trust store holds a root that a vendor distrusts or removed. Whoever runs that CA can still speak for any name to the programs that use this store. " +
			"It is high where trust ended for cause, medium where the root was only removed.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "Mozilla Root Store Policy section 7.3",
		URL:       "https://www.mozilla.org/en-US/about/governance/policies/security-group/certs/policy/",
		Effective: day(2022, 6, 1),
		Do:        "If nothing of yours depends on the root, take it out of the trust store: " + takeOut + ".",
		Check: func(s rule.Subject) []rule.Hit {
			l, ok := list.find(s.Credential)
			if !ok || l.untrustworthy() || s.Credential.Kind != tallystick.KindCertificate {
				return nil
			}
			return l.trusted(&s)
		},
	}
}
