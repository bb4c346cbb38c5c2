// SPDX-License-Identifier: Apache-2.0

package issuing

import (
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/policy"
)

// Decide returns a policy as ca.Config takes it.
func Decide(p *policy.Policy) func(policy.Request) ca.Decision {
	return func(r policy.Request) ca.Decision {
		d := p.Decide(r)
		decision := ca.Decision{Allowed: d.Allowed, Approval: d.NeedsApproval, Verdicts: d.Verdicts}
		if !d.Allowed || d.NeedsApproval {
			decision.Why = d.Why()
		}
		return decision
	}
}
