// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"testing"

	"github.com/tallystick/tallystick/internal/audit"
)

// What a recall writes is what evidence reads.
func TestStepRecord(t *testing.T) {
	result := []byte(`{"a":1}`)
	r := audit.StepRecord("sync-2026", 41, "prove at ldap: failed: it said sha256:00", result)
	if step, said, sum, is := audit.StepIn("sync-2026", r); !is || said == "" || step != 41 || sum != audit.SumOf(result) {
		t.Errorf("step %d, %q, %t of %+v", step, sum, is, r)
	}
	// The form is in files that others have.
	const detail = "prove: done; result sha256:015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
	if r = audit.StepRecord("sync-2026", 41, "prove: done", result); r.Action != "recall-step" || r.Object != "recall/sync-2026/41" || r.Detail != detail {
		t.Errorf("%+v", r)
	}
	for _, other := range []audit.Record{
		audit.StepRecord("sync", 41, "", result), audit.StepRecord("sync-2026/9", 41, "", result),
		{Action: "control-recall", Object: r.Object, Detail: r.Detail}, {Action: r.Action, Object: "recall/sync-2026", Detail: r.Detail}, {},
	} {
		if _, _, _, is := audit.StepIn("sync-2026", other); is {
			t.Errorf("%+v is taken for a step of sync-2026", other)
		}
	}
	if _, _, sum, is := audit.StepIn("sync-2026", audit.Record{Action: r.Action, Object: r.Object}); !is || sum != "" {
		t.Errorf("a record without a hash: %q, %t", sum, is)
	}
}
