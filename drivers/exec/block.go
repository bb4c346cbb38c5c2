// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"encoding/pem"
	"slices"

	"github.com/tallystick/tallystick/driver"
)

// Trust asks the program to let a credential in, or no longer.
func (d *Door) Trust(ctx context.Context, r driver.TrustRequest) (driver.Changed, error) {
	if err := d.does("trust"); err != nil {
		return driver.Changed{}, err
	}
	a, err := d.ask(ctx, r.Host, request{Verb: "trust", New: written(r.New), Like: written(r.Like), Withdraw: r.Withdraw}, r.Now)
	return a.changed(), err
}

// Block asks the program to refuse a credential, or no longer.
func (d *Door) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	if err := d.does("block"); err != nil {
		return driver.Blocked{}, err
	}
	q := request{Verb: "block", Old: written(r.Old), Lift: r.Lift}
	for _, der := range r.CRLs {
		q.CRLs = append(q.CRLs, string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})))
	}
	a, err := d.ask(ctx, r.Host, q, r.Now)
	if err != nil {
		return driver.Blocked{}, err
	}
	return driver.Blocked{Changed: a.changed(), Closed: max(0, a.Closed), Left: cleaned(a.Left)}, nil
}

// Probe asks the program to try a credential. Nothing is held: a program cannot hand over
// a connection.
func (d *Door) Probe(ctx context.Context, r driver.ProbeRequest) (driver.Probed, error) {
	if err := d.does("probe"); err != nil {
		return driver.Probed{}, err
	}
	q := request{Verb: "probe", Try: written(r.Credential.Public), Listeners: r.Listeners}
	if r.Credential.Key != nil {
		var err error
		if q.Key, err = keyPEM(r.Credential); err != nil {
			return driver.Probed{}, err
		}
	}
	a, err := d.ask(ctx, r.Host, q, r.Now)
	if err != nil {
		return driver.Probed{}, err
	}
	var probed driver.Probed
	for _, try := range a.Tries[:min(len(a.Tries), maxItems)] {
		if try.Listener < 0 || try.Listener >= len(r.Listeners) || !slices.Contains(outcomes(), try.Outcome) || try.Way == "" {
			return driver.Probed{}, invalid("an attempt of the answer names a listener, a way or an outcome that there is not")
		}
		probed.Attempts = append(probed.Attempts, driver.Attempt{
			Listener: r.Listeners[try.Listener], Address: clean(try.Address), Way: clean(try.Way), Outcome: try.Outcome,
			Answer: clean(try.Answer), Served: clean(try.Served), At: r.Now().UTC(),
		})
	}
	return probed, nil
}

func outcomes() []string {
	return []string{driver.OutcomeAccepted, driver.OutcomeRefused, driver.OutcomeFailed, driver.OutcomeNotResumed}
}
