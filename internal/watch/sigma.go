// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/sigma"
	"github.com/tallystick/tallystick/rule"
)

// detection is the rules of users over uses, in the Sigma format.
type detection struct {
	set     *sigma.Set
	rules   map[*sigma.Rule]rule.Rule
	sources map[string][]sigma.LogSource // what the records of a source are events of
}

func newDetection(rules []*sigma.Rule) (*detection, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	set, err := sigma.NewSet(rules, sigma.SetOptions{Tolerance: sigma.DefaultTolerance})
	if err != nil {
		return nil, err
	}
	d := &detection{set: set, rules: map[*sigma.Rule]rule.Rule{}, sources: map[string][]sigma.LogSource{}}
	for _, r := range rules {
		d.rules[r] = r.AsRule()
	}
	return d, nil
}

// detect evaluates the rules of users over a use that has just come. w.mu is held.
func (w *Watch) detect(one *used, u *tallystick.Use) {
	d := w.detection
	if d == nil || u.Time.After(w.Now().Add(tooEarly)) {
		return // one from the future would have correlations take the present for late
	}
	// Of a source whose format is recognised, or that has just been added, the use
	// itself shows it.
	event := sigma.UseEvent{Use: u, Sources: d.sources[u.Source]}
	for _, hit := range d.set.Event(event, u.Time) {
		r := d.rules[hit.Rule]
		w.hit(one, &r, rule.Hit{Evidence: sigmaEvidence(u.Source, hit)})
	}
}

// detectChanges evaluates the rules of users over changes of who gets in. w.mu is
// held.
func (w *Watch) detectChanges(changes []tallystick.Change) {
	d := w.detection
	if d == nil {
		return
	}
	for i := range changes {
		c := &changes[i]
		if c.Time.After(w.Now().Add(tooEarly)) {
			continue
		}
		for _, hit := range d.set.Event(sigma.ChangeEvent{Change: c, Sources: d.sources[c.Source]}, c.Time) {
			r := d.rules[hit.Rule]
			w.outbox.raise = append(w.outbox.raise, finding{nil, tallystick.Finding{
				Rule: r.Name, Severity: r.Severity, Place: tallystick.Place(c.Target), Evidence: sigmaEvidence(c.Source, hit),
			}})
		}
	}
}

// sigmaEvidence says what was found, the same for the same cause.
func sigmaEvidence(source string, hit sigma.Hit) string {
	if len(hit.Group) == 0 {
		return "matches records of " + source
	}
	var group []string
	for _, g := range hit.Group {
		group = append(group, fmt.Sprintf("%s=%s", g.Field, strings.Join(g.Values, ",")))
	}
	text := "matches records with " + strings.Join(group, " ")
	const most = 300
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// learnFormats asks how each source is written, which says what its records are
// events of.
func (w *Watch) learnFormats(ctx context.Context) error {
	if w.detection == nil {
		return nil
	}
	all, err := w.DB.Sources(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range all {
		if all[i].Format != "" {
			w.detection.sources[all[i].Name] = sigma.FormatSources(all[i].Format)
		}
	}
	return nil
}
