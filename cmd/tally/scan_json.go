// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/scan"
)

// A sightingLine is what --json writes for a sighting. Its member names are a
// promise: members are added, never renamed or taken away.
type sightingLine struct {
	Place     tallystick.Place `json:"place"`
	Kind      tallystick.Kind  `json:"kind"`
	Cert      string           `json:"cert_sha256"` // "" unless kind is certificate
	SPKI      tallystick.KeyID `json:"spki_sha256"`
	Subject   string           `json:"subject"`
	Issuer    string           `json:"issuer"`
	Names     []string         `json:"names"`
	NotBefore time.Time        `json:"not_before,omitzero"`
	NotAfter  time.Time        `json:"not_after,omitzero"`
	Key       string           `json:"key"`
	Signature string           `json:"signature"`
	// Chain holds fingerprints as served, that of the credential first.
	Chain     []tallystick.Fingerprint `json:"chain"`
	Protocols []string                 `json:"protocols"`
	Findings  []string                 `json:"findings"` // names of rules, the worst first
	Seen      time.Time                `json:"seen"`

	ID       tallystick.Fingerprint `json:"id"`
	Role     tallystick.Role        `json:"role"`
	Severity tallystick.Severity    `json:"severity,omitzero"` // of the worst finding
	Serial   string                 `json:"serial,omitempty"`
	Evidence []evidenceLine         `json:"evidence,omitempty"` // of the findings, in their order
	tallystick.Facts
}

// An evidenceLine says what a finding rests on.
type evidenceLine struct {
	Rule     string              `json:"rule"`
	Severity tallystick.Severity `json:"severity"`
	Text     string              `json:"text"`
}

// A missLine is what --json writes for a place where nothing could be seen.
type missLine struct {
	Place  tallystick.Place `json:"place"`
	Kind   string           `json:"kind"` // "none"
	Error  string           `json:"error"`
	Detail string           `json:"detail,omitempty"`
	Seen   time.Time        `json:"seen"`
}

// printSightings writes a line for every sighting and for every miss. An
// endpoint is one line, whose chain names what it sends above its leaf; all
// gives these certificates lines of their own.
func printSightings(out io.Writer, result scan.Result, all bool) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for j := range result.All() {
		if !all && j.TLS != nil && j.TLS.Position > 0 {
			continue
		}
		if err := encoder.Encode(lineOf(&j)); err != nil {
			return err
		}
	}
	for _, m := range result.Misses {
		if err := encoder.Encode(missLine{m.Place, "none", m.Error, m.Detail, m.Seen.UTC()}); err != nil {
			return err
		}
	}
	return nil
}

func lineOf(j *scan.Found) sightingLine {
	c := &j.Credential
	line := sightingLine{
		Place: j.Place, Kind: c.Kind, SPKI: c.Key.ID, Subject: c.Subject, Issuer: c.Issuer, Names: orEmpty(c.Names),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Key: c.Key.Algorithm, Signature: c.Signature,
		Chain: []tallystick.Fingerprint{}, Protocols: []string{}, Findings: []string{}, Seen: j.Seen.UTC(),
		ID: c.ID, Role: j.Role, Severity: j.Worst(), Serial: c.Serial, Facts: j.Facts,
	}
	if c.Kind == tallystick.KindCertificate {
		line.Cert = string(c.ID)
	}
	if j.TLS != nil {
		line.Chain, line.Protocols = orEmpty(j.TLS.Chain), orEmpty(j.TLS.Protocols)
	}
	for _, f := range j.Findings {
		line.Findings = append(line.Findings, f.Rule)
		line.Evidence = append(line.Evidence, evidenceLine{f.Rule, f.Severity, f.Evidence})
	}
	return line
}

// orEmpty makes a list that JSON writes as [] and not as null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
