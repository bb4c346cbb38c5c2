// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
)

func TestMeanwhile(t *testing.T) {
	onBoth(t, func(f *fixture) {
		refused := use("sync", tallystick.SideHolder, noon.Add(-5*time.Minute), "refused", graph)
		refused.Credential, refused.Outcome = []string{"cert-sha256:new"}, tallystick.OutcomeRefused
		ours := use("doors", tallystick.SideHolder, noon.Add(-4*time.Minute), "ours", graph)
		ours.Outcome, ours.Operation, ours.Detail = tallystick.OutcomeRefused, "probe", "Tallystick, recall/7/12: fresh"
		_, err := f.Ledger.Append(f.Context(), ledger.Batch{Uses: []tallystick.Use{refused, ours}})
		must(f.T, err)
		before := len(f.trail.records)
		m, err := f.Meanwhile(f.Context(), viewer, []string{credentialName}, []string{"cert-sha256:new"}, noon.Add(-time.Hour))
		must(f.T, err)
		if !m.Known || m.Foreign != 3 || len(m.Latest) != 3 || m.Latest[0].Use.ID != "entraf2" || m.Made != perHour+2 || m.Failed != 1 || m.Cut {
			f.Errorf("%+v", m)
		}
		if len(f.trail.records) != before {
			f.Error("a look is on record")
		}
		late, err := f.Meanwhile(f.Context(), viewer, []string{credentialName}, nil, noon)
		must(f.T, err)
		if !late.Known || late.Foreign != 0 || late.Made != 0 {
			f.Errorf("%+v", late)
		}
		if unknown, err := f.Meanwhile(f.Context(), viewer, []string{"x5t:00"}, nil, noon); err != nil || unknown.Known || unknown.Foreign != 0 {
			f.Errorf("%+v, %v", unknown, err)
		}
		if _, err := f.Meanwhile(f.Context(), gate.Actor{}, nil, nil, noon); err == nil {
			f.Error("a stranger may")
		}
	})
}
