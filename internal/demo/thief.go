// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/internal/lab/entra"
)

// thiefAddress is where the thief connects from, and thiefShown what the logs show of it.
const (
	thiefAddress = "127.0.1.66"
	thiefShown   = "198.51.100.66"
)

// entries is how many tenants the thief enters: a handful.
const entries = 7

// A thief has a copy of the certificate's key.
type thief struct {
	away, inside *entra.Adversary // from an address of its own, and from one of the vendor
	entered      []*customer
	truths       []entra.Truth
}

// steal has the thief enter a handful of tenants.
func (p *play) steal(ctx context.Context) error {
	t := &thief{}
	var err error
	if t.away, err = p.cloud.world.NewAdversary(p.cloud.servers, thiefAddress); err != nil {
		return err
	}
	if t.inside, err = p.cloud.world.NewAdversary(p.cloud.servers, p.vendor.products[1].address); err != nil {
		return err
	}
	p.thief, t.entered = t, p.chosen()
	for i, one := range t.entered {
		who := t.away
		if i == 1 {
			who = t.inside
		}
		if err := p.enter(ctx, who, one, i%2 == 1); err != nil {
			return err
		}
	}
	p.Story.Say("The thief reads mail at %d customers from %s, once from an address of the vendor, and %d times under a correlation id copied from a product.",
		len(t.entered), thiefShown, len(t.entered)/2)
	return nil
}

// chosen draws whom the thief enters: some share their logs, some do not.
func (p *play) chosen() []*customer {
	var open, closed []*customer
	for _, one := range p.cloud.customers {
		if one.shares {
			open = append(open, one)
		} else {
			closed = append(closed, one)
		}
	}
	pick := func(from []*customer, n int) []*customer {
		from = slices.Clone(from)
		p.random.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		return from[:min(n, len(from))]
	}
	return append(pick(open, entries-2), pick(closed, 2)...)
}

// enter signs in at a customer and reads mail there.
func (p *play) enter(ctx context.Context, who *entra.Adversary, one *customer, copies bool) error {
	truth, token, err := p.signInAsThief(ctx, who, one, copies)
	if err != nil {
		return err
	}
	if truth.Refused != "" {
		return fmt.Errorf("the tenant of %s refused the thief: %s", one.name, truth.Refused)
	}
	p.thief.truths = append(p.thief.truths, truth)
	if _, err := who.TokenOnGraph(ctx, one.tenant.ID, token, one.mailbox); err != nil {
		return err
	}
	if one.shares {
		p.result.EnteredTruth = append(p.result.EnteredTruth, one.tenant.ID)
		slices.Sort(p.result.EnteredTruth)
		if p.result.FirstForeignUse.IsZero() || truth.Time.Before(p.result.FirstForeignUse) {
			p.result.FirstForeignUse = truth.Time.UTC().Truncate(time.Millisecond)
		}
	}
	return nil
}

func (p *play) signInAsThief(ctx context.Context, who *entra.Adversary, one *customer, copies bool) (entra.Truth, string, error) {
	loot := entra.Stolen{Application: one.app.Application.AppID, Certificate: p.vendor.certificate, Key: p.vendor.key}
	if !copies {
		return who.FreshCorrelation(ctx, one.tenant.ID, loot, entra.ScopeGraph)
	}
	at := slices.IndexFunc(p.vendor.products, func(product *product) bool { return product.name == one.product })
	return who.CopiedCorrelation(ctx, one.tenant.ID, loot, entra.ScopeGraph, p.vendor.products[at].correlation(one.tenant.ID))
}

// tryAgain has the thief knock once more wherever it was, after the old certificate is
// blocked, and looks whether that is seen.
func (p *play) tryAgain(ctx context.Context) error {
	began := time.Now().Truncate(time.Second) // as sign-in logs have it
	shared := 0
	for _, one := range p.thief.entered {
		truth, _, err := p.signInAsThief(ctx, p.thief.away, one, false)
		if err != nil {
			return err
		}
		if truth.Refused == "" {
			p.result.ThiefAcceptedAfterBlock++
			continue
		}
		p.result.ThiefRefusedAfterBlock++
		if one.shares {
			shared++
		}
	}
	p.Story.Say("%d of %d tries are refused.", p.result.ThiefRefusedAfterBlock, len(p.thief.entered))
	err := until(ctx, shortly, 3*time.Minute, "the refused tries of the thief were seen", func(ctx context.Context) (bool, error) {
		tries, err := p.program.refusedFrom(ctx, thiefShown, began)
		p.result.ThiefSeenRefused = tries
		return tries >= shared, err
	})
	if err == nil {
		p.Story.Say("Those at customers who share their logs are seen failing: %d.", shared)
	}
	return err
}
