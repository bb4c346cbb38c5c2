// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// recallName is what the recall is called.
const recallName = "connect-2021"

// A recallStatus is what the API says of a recall.
type recallStatus struct {
	State    tallystick.RecallState `json:"state"`
	Reason   string                 `json:"reason"`
	Deadline time.Time              `json:"deadline"`
	Total    int                    `json:"total"`
	Done     int                    `json:"done"`
	Started  time.Time              `json:"started"`
	Ended    time.Time              `json:"ended"`
}

// A recallTarget is one place, connection or task.
type recallTarget struct {
	ID       int64  `json:"id"`
	Kind     string `json:"kind"`
	State    string `json:"state"`
	Relying  string `json:"relying"`
	Subject  string `json:"subject"`
	Customer string `json:"customer"`
	Late     bool   `json:"late"`
	Asked    bool   `json:"asked"`
	Error    string `json:"error"`
}

// tenant returns the tenant of a target's door, "" where it is none.
func (t recallTarget) tenant() string {
	tenant, is := strings.CutPrefix(t.Relying, tenantDoor)
	if !is {
		return ""
	}
	return tenant
}

// recall replaces the certificate at every connection.
func (p *play) recall(ctx context.Context) error {
	old := driver.Public{Chain: [][]byte{p.vendor.certificate.Raw}}.Names()[0]
	p.Story.Did(fmt.Sprintf("tally recall open credential:%s --name %s --deadline %s", old, recallName, p.Deadline))
	began := time.Now()
	deadline := began.Add(p.Deadline + p.planning())
	request := map[string]any{
		"name": recallName, "what": map[string]string{"kind": "credential", "value": old}, "why": "used by somebody else",
		"deadline": deadline.UTC(), "at_deadline": "block", "quiet": 2, "waves": map[string]int{"canary": max(1, p.result.Connections/100), "growth": 10, "errors": 0},
	}
	status, err := p.openRecall(ctx, recallName, request)
	if err != nil {
		return err
	}
	p.Story.Say("The plan is made, approved by somebody else and begun, %s after it was asked for.", time.Since(began).Round(100*time.Millisecond))
	server := p.program.server.Process.Pid
	product, emulator := processorOf(server), processor()
	if err := p.follow(ctx, status.Deadline); err != nil {
		return err
	}
	p.result.Recall.ProductCPU = processorOf(server) - product
	p.result.Recall.EmulatorCPU = processor() - emulator
	return p.count(ctx)
}

// planning is time that a plan may take before the deadline begins to count: it looks at each
// door.
func (p *play) planning() time.Duration {
	const each = 4 * time.Millisecond
	return time.Second + time.Duration(p.result.Connections)*each
}

// follow waits for the end of the recall. Customers who do their part by hand do it
// meanwhile, but for those who are late.
func (p *play) follow(ctx context.Context, deadline time.Time) error {
	told, asked, suspended, caughtUp := tallystick.RecallState(""), false, false, false
	var status recallStatus
	err := until(ctx, calmly, time.Until(deadline)+5*time.Minute, "the recall has ended", func(ctx context.Context) (bool, error) {
		if err := p.get(ctx, "/recalls/"+recallName, &status); err != nil {
			return false, err
		}
		p.Story.Progress("connections proven", status.Done, status.Total)
		if status.State != told {
			told = status.State
			p.Story.Say("The recall is %s. %s", status.State, status.Reason)
		}
		if !asked {
			var err error
			if asked, err = p.doByHand(ctx); err != nil {
				return false, err
			}
		}
		if !suspended && time.Until(deadline) < beforeDeadline {
			suspended = true
			if err := p.suspendLate(ctx); err != nil {
				return false, err
			}
		}
		if !caughtUp && time.Since(deadline) > afterDeadline {
			var err error
			if caughtUp, err = p.catchUp(); err != nil {
				return false, err
			}
		}
		return status.State == tallystick.RecallDone || status.State == tallystick.RecallCancelled, nil
	})
	if err == nil && !status.Started.IsZero() {
		p.result.Recall.Seconds = status.Ended.Sub(status.Started).Round(10 * time.Millisecond).Seconds()
	}
	return err
}

// beforeDeadline is when the vendor stops what would fail from the deadline on.
const beforeDeadline = 3 * time.Second

// afterDeadline is when customers who were late do their part, and have their product back.
const afterDeadline = 5 * time.Second
