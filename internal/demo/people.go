// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"encoding/json"
	"net/url"

	"github.com/tallystick/tallystick"
)

// targets lists what a recall has.
func (p *play) targets(ctx context.Context, recall string, query url.Values) ([]recallTarget, error) {
	var all []recallTarget
	err := p.program.eachPage(ctx, "/recalls/"+recall+"/targets", query, func(text json.RawMessage) error {
		var one recallTarget
		err := json.Unmarshal(text, &one)
		all = append(all, one)
		return err
	})
	return all, err
}

// doByHand has the administrators of customers who let nobody else add a key do so, as the recall
// asks them to, but for those who are late. It returns whether all who are to be
// asked have been.
func (p *play) doByHand(ctx context.Context) (bool, error) {
	list, err := p.targets(ctx, recallName, url.Values{"state": {string(tallystick.PhasePrepare)}})
	if err != nil {
		return false, err
	}
	asked := map[string]bool{}
	for _, one := range list {
		if one.Asked {
			asked[one.tenant()] = true
		}
	}
	done, late := 0, 0
	for _, one := range p.cloud.customers {
		switch {
		case one.late && (one.hasDone || asked[one.tenant.ID]):
			late++
		case !one.byHand || !asked[one.tenant.ID] || one.hasDone:
		default:
			next, err := p.vendor.next(one.product)
			if err != nil || next == nil {
				return false, err // the product has none yet
			}
			if _, err := one.tenant.AddCertificate(one.app.Application, next); err != nil {
				return false, err
			}
			one.hasDone = true
		}
		if one.hasDone && !one.late {
			done++
		}
	}
	wanted, forgetful := p.cloud.handy()
	if done < wanted || late < forgetful {
		return false, nil
	}
	p.Story.Say("Customers who let nobody else add a key: %d. They were asked to do it; %d have; %d were late.", wanted+forgetful, done, late)
	return true, nil
}

// handy counts the customers who add keys by hand: those who do it, and those who forget to.
func (c *cloud) handy() (wanted, forgetful int) {
	for _, one := range c.customers {
		switch {
		case one.late:
			forgetful++
		case one.byHand:
			wanted++
		}
	}
	return wanted, forgetful
}

// next returns the certificate that a product has now; nil while it is the old one.
func (v *vendor) next(product string) ([]byte, error) {
	for _, one := range v.products {
		if one.name != product {
			continue
		}
		m, err := readBundle(one.bundle)
		if err != nil || len(m.Chain) == 0 || string(m.Chain[0]) == string(v.certificate.Raw) {
			return nil, err
		}
		return m.Chain[0], nil
	}
	return nil, nil
}

// suspendLate has the products leave alone whoever has not done its part: from the deadline
// on they would be refused there.
func (p *play) suspendLate(ctx context.Context) error {
	list, err := p.targets(ctx, recallName, url.Values{})
	if err != nil {
		return err
	}
	tenants := map[string]bool{}
	for _, one := range list {
		if one.Asked {
			tenants[one.tenant()] = true
		}
	}
	for _, product := range p.vendor.products {
		product.suspend(tenants)
	}
	return rest(ctx, beforeDeadline/3) // what is under way ends
}

// catchUp has the customers who were late add the key at last. The old one is refused there
// since the deadline, so that their product was at rest meanwhile. It returns whether all have:
// nobody can before their product has a new one.
func (p *play) catchUp() (bool, error) {
	n := 0
	for _, one := range p.cloud.customers {
		if !one.late {
			continue
		}
		n++
		if one.hasDone {
			continue
		}
		next, err := p.vendor.next(one.product)
		if err != nil || next == nil {
			return false, err
		}
		if _, err := one.tenant.AddCertificate(one.app.Application, next); err != nil {
			return false, err
		}
		one.hasDone = true
	}
	for _, product := range p.vendor.products {
		product.suspend(nil)
	}
	if n > 0 {
		p.Story.Say("Late customers: %d. The old key was refused there at the deadline, and their product rested until now, when they add the new one.", n)
	}
	return true, nil
}

// count looks what came of every connection.
func (p *play) count(ctx context.Context) error {
	list, err := p.targets(ctx, recallName, url.Values{})
	if err != nil {
		return err
	}
	r := &p.result.Recall
	for _, one := range list {
		if one.tenant() == "" {
			continue
		}
		r.Connections++
		if one.Late {
			r.Late++
		}
		if one.State == string(tallystick.TargetProven) {
			r.Proven++
			if one.Late {
				r.BlockedAtDeadline++
			}
		} else {
			p.Story.Say("  %s at %s is not proven: %s %s", one.Kind, one.Customer, one.State, one.Error)
		}
	}
	p.countUses()
	p.Story.Say("Proven at %s of %s connections in %.1f s. The products were let in %s times meanwhile, and refused %d times.",
		number(r.Proven), number(r.Connections), r.Seconds, number(int(p.result.LegitimateUses)), p.result.LegitimateFailures)
	p.Story.Say("From the start to the proof Tallystick worked for %.0f s of processor time, and the emulator with the vendor's products for %.0f s.", r.ProductCPU, r.EmulatorCPU)
	return nil
}
