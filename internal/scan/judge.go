// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"cmp"
	"context"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
)

// A Result is what a scan has found, in the order of places.
type Result struct {
	Found  []Found
	Misses []tallystick.Miss
}

// A Found is a sighting with what is wrong there, the worst first.
type Found struct {
	tallystick.Sighting
	Findings []tallystick.Finding
}

// Worst returns the highest severity among the findings, or 0.
func (f *Found) Worst() tallystick.Severity {
	if len(f.Findings) == 0 {
		return 0
	}
	return f.Findings[0].Severity
}

// Judge runs the rules over everything that was seen. Call it when the looks
// have ended. At an endpoint the leaf comes before what was served with it.
func (s *Scan) Judge(ctx context.Context) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.credentials {
		s.cas.add(c)
	}
	slices.SortStableFunc(s.sightings, func(a, b tallystick.Sighting) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(position(a), position(b)),
			cmp.Compare(a.Credential.ID, b.Credential.ID), cmp.Compare(a.Role, b.Role))
	})
	slices.SortStableFunc(s.misses, func(a, b tallystick.Miss) int { return cmp.Compare(a.Place, b.Place) })
	where := map[tallystick.Fingerprint][]int{} // in s.sightings
	for i := range s.sightings {
		id := s.sightings[i].Credential.ID
		where[id] = append(where[id], i)
	}
	surveyed, err := s.survey(ctx, where)
	if err != nil {
		return Result{}, err
	}
	result := Result{Found: make([]Found, len(s.sightings)), Misses: s.misses}
	for id, at := range where {
		findings, err := s.check(ctx, s.credentials[id], at)
		if err != nil {
			return Result{}, err
		}
		findings = append(findings, surveyed[id]...)
		slices.SortStableFunc(findings, func(a, b tallystick.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
		for _, i := range at {
			result.Found[i] = Found{s.sightings[i], findingsAt(findings, s.sightings[i].Place)}
		}
	}
	return result, nil
}

// position is where a certificate stood among those that an endpoint served.
func position(s tallystick.Sighting) int {
	if s.TLS == nil {
		return 0
	}
	return s.TLS.Position
}

// check judges one credential by itself, with all its sightings. It needs mu.
func (s *Scan) check(ctx context.Context, c *tallystick.Credential, at []int) ([]tallystick.Finding, error) {
	sightings := make([]tallystick.Sighting, 0, len(at))
	for _, i := range at {
		sighting := s.sightings[i]
		sighting.Credential = tallystick.Credential{} // as rule.Subject promises
		sightings = append(sightings, sighting)
	}
	subject, err := finding.NewSubject(ctx, s.cas, c, sightings, tallystick.Annotation{}, s.Now())
	if err != nil {
		return nil, err
	}
	return finding.Check(s.Rules, subject), nil
}

// survey runs the rules that compare credentials with each other. It needs mu.
func (s *Scan) survey(ctx context.Context, where map[tallystick.Fingerprint][]int) (map[tallystick.Fingerprint][]tallystick.Finding, error) {
	all := map[tallystick.Fingerprint][]tallystick.Finding{}
	over := newEstate(s, where)
	for _, r := range s.Rules {
		if r.Survey == nil {
			continue
		}
		found, err := finding.Surveyed(ctx, r, over, s.Now())
		if err != nil {
			return nil, err
		}
		for id, findings := range found {
			all[id] = append(all[id], findings...)
		}
	}
	return all, nil
}

// findingsAt returns the findings that hold at a place: those about it, and
// those about the credential wherever it is.
func findingsAt(findings []tallystick.Finding, place tallystick.Place) []tallystick.Finding {
	var here []tallystick.Finding
	for _, f := range findings {
		if f.Place == "" || f.Place == place {
			here = append(here, f)
		}
	}
	return here
}
