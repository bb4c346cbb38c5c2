// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
)

// chain is how many steps stand behind each other at one target.
const chain = 5

// idle are doors at which nothing is to be done.
type idle struct{}

func (idle) Doors() []doors.Door { return nil }

func (idle) Look(context.Context, string) (driver.View, error) { return driver.View{}, nil }

func (idle) Do(context.Context, doors.Task) (doors.Result, error) {
	return doors.Result{Changed: &driver.Changed{Changed: true}}, nil
}

func (idle) Forget(context.Context, string) error { return nil }

// durable measures steps at which nothing is done, one behind the other at each target:
// what is left is to take them up, to put them on record, and to finish them.
func durable(ctx context.Context, s settings, dir string) error {
	n, err := open(ctx, s, dir, "durable", idle{}, nil)
	if err != nil {
		return err
	}
	plan := store.RecallPlan{Recall: tallystick.Recall{
		Name: "durable", What: tallystick.Burnt{Kind: tallystick.BurntKey, Value: "none"}, State: tallystick.RecallApproved,
		Waves: tallystick.Waves{Canary: s.steps, Growth: 1}, Opened: time.Now(), Deadline: time.Now().Add(24 * time.Hour),
	}}
	for i := range s.steps / chain {
		name := fmt.Sprint("door", i)
		plan.Targets = append(plan.Targets, store.PlannedTarget{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetPlace, Wave: 1, Holder: name, Old: name}})
		for j := range chain {
			step := store.PlannedStep{Act: tallystick.ActTrust, Phase: tallystick.Phases()[j], Wave: 1, Targets: []int{i}, Door: name, From: -1}
			if j > 0 {
				step.After = []int{len(plan.Steps) - 1}
			}
			plan.Steps = append(plan.Steps, step)
		}
	}
	r, err := n.db.InsertRecall(ctx, plan, 0)
	if err != nil {
		return err
	}
	if err := n.Start(ctx, olga, r.ID); err != nil {
		return err
	}
	began := used()
	n.begin(ctx)
	for {
		time.Sleep(50 * time.Millisecond)
		row, err := n.db.Recall(ctx, r.ID)
		if err != nil {
			return err
		}
		if row.State.Over() {
			break
		}
	}
	fmt.Printf("%d durable steps (%s, with their records in the audit log): %s\n", len(plan.Steps), n.db.Engine(), began)
	return n.end()
}

// await waits until a recall is done. It calls half once half of its targets are.
func await(ctx context.Context, n *node, id int64, half func() error) (recall.Status, error) {
	for {
		time.Sleep(500 * time.Millisecond) // to count the steps costs more than to do some
		s, err := n.Status(ctx, olga, id)
		if err != nil {
			return s, err
		}
		if half != nil && s.Done > s.Total/3 {
			return s, half()
		}
		if s.State == tallystick.RecallDone {
			return s, nil
		}
		if s.State != tallystick.RecallRunning {
			return s, fmt.Errorf("the recall is %s: %s", s.State, s.Reason)
		}
	}
}

var errOutage = errors.New("somebody was without a credential that works")
