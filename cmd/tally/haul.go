// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

// A haul is what looks have brought. It is held until the looks have ended,
// because some rules compare everything with everything; each distinct
// credential is held once.
type haul struct {
	now func() time.Time
	cas *memoryCAs

	mu          sync.Mutex
	credentials map[tallystick.Fingerprint]*tallystick.Credential // guarded by mu
	sightings   []heldSighting                                    // guarded by mu
	misses      []tallystick.Miss                                 // guarded by mu
}

// A heldSighting is a sighting that shares its credentials with others; those
// in the sighting itself are empty.
type heldSighting struct {
	tallystick.Sighting
	credential *tallystick.Credential
	chain      []*tallystick.Credential
}

func newHaul(now func() time.Time) *haul {
	return &haul{now: now, cas: newMemoryCAs(), credentials: map[tallystick.Fingerprint]*tallystick.Credential{}}
}

// saw takes a sighting.
func (h *haul) saw(s tallystick.Sighting) {
	h.mu.Lock()
	defer h.mu.Unlock()
	held := heldSighting{Sighting: s, credential: h.hold(s.Credential)}
	for _, c := range s.Chain {
		held.chain = append(held.chain, h.hold(c))
	}
	held.Credential, held.Chain = tallystick.Credential{}, nil
	h.sightings = append(h.sightings, held)
}

// hold needs mu.
func (h *haul) hold(c tallystick.Credential) *tallystick.Credential {
	if known, ok := h.credentials[c.ID]; ok {
		return known
	}
	h.credentials[c.ID] = &c
	return &c
}

// missed takes a miss.
func (h *haul) missed(m tallystick.Miss) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.misses = append(h.misses, m)
}

// unreadable returns an error for the paths that were named and in which
// nothing was seen because they could not be read.
func (h *haul) unreadable(targets scanTargets) error {
	var err error
	for _, path := range targets.paths {
		absolute, absErr := filepath.Abs(path)
		if absErr != nil {
			return absErr
		}
		place := tallystick.FilePlace(absolute)
		i := slices.IndexFunc(h.misses, func(m tallystick.Miss) bool { return m.Place == place })
		if i >= 0 && !slices.ContainsFunc(h.sightings, func(s heldSighting) bool { return s.Place == place }) {
			err = &statusError{err: fmt.Errorf("couldn't read %s: %s", path, h.misses[i].Error), status: problem.ExitFailed}
		}
	}
	return err
}

// A judgedSighting is a sighting with what is wrong there, the worst first.
type judgedSighting struct {
	heldSighting
	findings []tallystick.Finding
}

// worst returns the highest severity among the findings, or 0.
func (j *judgedSighting) worst() tallystick.Severity {
	if len(j.findings) == 0 {
		return 0
	}
	return j.findings[0].Severity
}

// judge runs the rules over everything. It is called when the looks have ended.
// The result, and the misses after it, are in the order of places.
func (h *haul) judge(ctx context.Context) ([]judgedSighting, error) {
	for _, c := range h.credentials {
		h.cas.add(c)
	}
	surveyed, err := h.survey(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(h.sightings, func(a, b heldSighting) int {
		return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.credential.ID, b.credential.ID), cmp.Compare(a.Role, b.Role))
	})
	slices.SortStableFunc(h.misses, func(a, b tallystick.Miss) int { return cmp.Compare(a.Place, b.Place) })
	judged := make([]judgedSighting, 0, len(h.sightings))
	for at := range h.together() {
		subject, err := finding.NewSubject(ctx, h.cas, at[0].credential, whole(at), tallystick.Annotation{}, h.now())
		if err != nil {
			return nil, err
		}
		found := finding.Check(scanRules(), subject)
		for _, f := range surveyed[at[0].credential.ID] {
			if f.Place == "" || f.Place == at[0].Place {
				found = append(found, f)
			}
		}
		slices.SortStableFunc(found, func(a, b tallystick.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
		for _, s := range at {
			judged = append(judged, judgedSighting{s, found})
		}
	}
	return judged, nil
}

// together yields the sightings of one credential at one place, which follow
// each other after sorting.
func (h *haul) together() func(func([]heldSighting) bool) {
	return func(yield func([]heldSighting) bool) {
		for first := 0; first < len(h.sightings); {
			next := first + 1
			for next < len(h.sightings) && h.sightings[next].Place == h.sightings[first].Place &&
				h.sightings[next].credential == h.sightings[first].credential {
				next++
			}
			if !yield(h.sightings[first:next]) {
				return
			}
			first = next
		}
	}
}

// whole returns sightings as the rules are shown them.
func whole(held []heldSighting) []tallystick.Sighting {
	list := make([]tallystick.Sighting, 0, len(held))
	for _, s := range held {
		sighting := s.Sighting
		for _, c := range s.chain {
			sighting.Chain = append(sighting.Chain, *c)
		}
		list = append(list, sighting)
	}
	return list
}

// scanRules are the rules that need no inventory: nobody has said yet who owns
// what was just found.
func scanRules() []rule.Rule {
	return slices.DeleteFunc(rules.All(), func(r rule.Rule) bool { return r.Name == "no-owner" })
}

// survey runs the rules that compare credentials with each other.
func (h *haul) survey(ctx context.Context) (map[tallystick.Fingerprint][]tallystick.Finding, error) {
	found := map[tallystick.Fingerprint][]tallystick.Finding{}
	estate := newMemoryEstate(h)
	for _, r := range rules.All() {
		if r.Survey == nil {
			continue
		}
		err := r.Survey(ctx, estate, func(hit rule.Hit) error {
			f := tallystick.Finding{Rule: r.Name, Severity: cmp.Or(hit.Severity, r.Severity), Credential: hit.Credential, Place: hit.Place, Evidence: hit.Evidence, Opened: h.now()}
			found[hit.Credential] = append(found[hit.Credential], f)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("couldn't survey for %s: %w", r.Name, err)
		}
	}
	return found, nil
}

// A scanSink is a haul as drivers see it. Its progress may be nil.
type scanSink struct {
	*haul
	progress *progress
}

func (s scanSink) Saw(sighting tallystick.Sighting) error {
	s.saw(sighting)
	s.progress.saw()
	return nil
}

func (s scanSink) Missed(m tallystick.Miss) error {
	s.missed(m)
	return nil
}

func (s scanSink) Progress(done, total int64) { s.progress.set(done, total) }
