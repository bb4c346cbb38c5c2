// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/config"
)

// Users and groups of workloads are looked up by name; a name that nobody has is a
// mistake and never "anybody".
func TestWorkloadOf(t *testing.T) {
	w, err := workloadOf(config.Workload{ID: "spiffe://example.org/a", User: "root", Group: "7"})
	if err != nil || w.User == nil || *w.User != 0 || w.Group == nil || *w.Group != 7 {
		t.Errorf("%+v %v", w, err)
	}
	if w, err := workloadOf(config.Workload{ID: "spiffe://example.org/a", Path: "/x"}); err != nil || w.User != nil || w.Group != nil {
		t.Errorf("%+v %v", w, err)
	}
	for _, bad := range []config.Workload{
		{ID: "spiffe://example.org/a", User: "nobody-has-this-name"}, {ID: "spiffe://example.org/a", Group: "nobody-has-this-name"},
		{ID: "spiffe://example.org/a", User: "-1"}, {ID: "spiffe://example.org/a", User: "4294967296"}, {ID: "https://example.org"},
	} {
		if w, err := workloadOf(bad); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%+v: %+v %v", bad, w, err)
		}
	}
}
