// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
)

// A Result is what a scan has found, in the order of places.
type Result struct {
	Misses    []tallystick.Miss
	sightings []sighting
	findings  map[tallystick.Fingerprint][]tallystick.Finding // the worst first
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

// Size is how many sightings there are.
func (r *Result) Size() int { return len(r.sightings) }

// Has says whether anything was found at a place.
func (r *Result) Has(place tallystick.Place) bool {
	return slices.ContainsFunc(r.sightings, func(s sighting) bool { return s.place == place })
}

// All yields what was found. At an endpoint the leaf comes before what was
// served with it.
func (r *Result) All() iter.Seq[Found] {
	return func(yield func(Found) bool) {
		for i := range r.sightings {
			s := &r.sightings[i]
			if !yield(Found{s.whole(), findingsAt(r.findings[s.credential.ID], s.place)}) {
				return
			}
		}
	}
}

// Judge runs the rules over everything that was seen. Call it when the looks
// have ended.
func (s *Scan) Judge(ctx context.Context) (Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.credentials {
		s.cas.add(c)
	}
	s.sort()
	where := map[tallystick.Fingerprint][]int{} // in s.sightings
	for i := range s.sightings {
		id := s.sightings[i].credential.ID
		where[id] = append(where[id], i)
	}
	result := Result{Misses: s.misses, sightings: s.sightings}
	var err error
	if result.findings, err = s.survey(ctx, where); err != nil {
		return Result{}, err
	}
	for id, at := range where {
		findings, err := s.check(ctx, s.credentials[id], at)
		if err != nil {
			return Result{}, err
		}
		if findings = append(findings, result.findings[id]...); len(findings) == 0 {
			continue
		}
		slices.SortStableFunc(findings, func(a, b tallystick.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
		result.findings[id] = findings
	}
	return result, nil
}

// sort puts what was seen in order. A scan that went on may have seen the last
// things before it was stopped once more; of those the newer ones count. It
// needs mu.
func (s *Scan) sort() {
	compare := func(a, b *sighting) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(position(a), position(b)),
			cmp.Compare(a.credential.ID, b.credential.ID), cmp.Compare(a.role, b.role))
	}
	slices.SortStableFunc(s.sightings, func(a, b sighting) int { return compare(&a, &b) })
	slices.SortStableFunc(s.misses, func(a, b tallystick.Miss) int { return cmp.Compare(a.Place, b.Place) })
	if !s.resumed {
		return
	}
	slices.Reverse(s.sightings)
	s.sightings = slices.CompactFunc(s.sightings, func(a, b sighting) bool { return compare(&a, &b) == 0 })
	slices.Reverse(s.sightings)
	s.misses = slices.CompactFunc(s.misses, func(a, b tallystick.Miss) bool { return a.Place == b.Place && a.Error == b.Error })
}

// position is where a certificate stood among those that an endpoint served.
func position(s *sighting) int {
	if s.facts.TLS == nil {
		return 0
	}
	return s.facts.TLS.Position
}

// check judges one credential by itself, with all its sightings. It needs mu.
func (s *Scan) check(ctx context.Context, c *tallystick.Credential, at []int) ([]tallystick.Finding, error) {
	sightings := make([]tallystick.Sighting, 0, len(at))
	for _, i := range at {
		one := s.sightings[i].whole()
		one.Credential = tallystick.Credential{} // as rule.Subject promises
		sightings = append(sightings, one)
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
