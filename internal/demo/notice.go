// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab/entra"
)

// quietAfter is how long Tallystick has to name somebody falsely after the last record of the
// thief could be read.
const quietAfter = 5 * time.Second

// notice waits until Tallystick has said who was entered, and compares that with the truth.
func (p *play) notice(ctx context.Context) error {
	found, err := p.watch(ctx)
	if err != nil {
		return err
	}
	truth := map[string]bool{}
	for _, tenant := range p.result.EnteredTruth {
		truth[tenant] = true
	}
	for _, tenant := range slices.Sorted(maps.Keys(found)) {
		if truth[tenant] {
			p.result.EnteredFound = append(p.result.EnteredFound, tenant)
		} else {
			p.result.FalseNames = append(p.result.FalseNames, tenant)
		}
	}
	for _, one := range p.thief.entered {
		if use, named := found[one.tenant.ID]; named {
			p.Story.Say("  %s was entered at %s from %s.", one.name, use.Use.Time.Format("15:04:05"), use.Use.Address)
		}
	}
	p.Story.Say("Named: %d of %d that were entered and share their logs, %d falsely; the first %d ms after its record could be read.",
		len(p.result.EnteredFound), len(p.result.EnteredTruth), len(p.result.FalseNames), p.result.DetectedAfter)
	read, err := p.program.readTenants(ctx)
	if err != nil {
		return err
	}
	p.result.Unknowable = 0
	for _, one := range p.cloud.customers {
		if !read[one.tenant.ID] {
			p.result.Unknowable++
		}
	}
	p.Story.Say("For %s customers nobody can know: they share no log.", number(p.result.Unknowable))
	return nil
}

// watch returns the first foreign use at each tenant that Tallystick names.
func (p *play) watch(ctx context.Context) (map[string]usedRecord, error) {
	readable, last := p.readableAt()
	found := map[string]usedRecord{}
	err := until(ctx, shortly, time.Until(last)+time.Minute, "the thief was noticed", func(ctx context.Context) (bool, error) {
		list, err := p.program.foreign(ctx, tallystick.FingerprintOf(p.vendor.certificate.Raw))
		if err != nil {
			return false, err
		}
		now := time.Now()
		for _, one := range slices.Backward(list) {
			tenant := one.tenant()
			if _, known := found[tenant]; known {
				continue
			}
			found[tenant] = one
			if at, real := readable[tenant]; real {
				p.noticed(now.Sub(at))
			}
		}
		named := 0
		for tenant := range readable {
			if _, is := found[tenant]; is {
				named++
			}
		}
		p.Story.Progress("tenants named", named, len(readable))
		return named == len(readable) && now.After(last.Add(quietAfter)), nil
	})
	return found, err
}

// noticed keeps how long it took to name a tenant.
func (p *play) noticed(after time.Duration) {
	ms := max(after.Milliseconds(), 0)
	if p.result.DetectedAfter == 0 {
		p.result.DetectedAfter = ms
	}
	p.result.SlowestAfter = max(p.result.SlowestAfter, ms)
}

// readableAt returns from when on the thief's first record can be read at each tenant that
// shares its log, and when the last of them can.
func (p *play) readableAt() (first map[string]time.Time, last time.Time) {
	first = map[string]time.Time{}
	for _, one := range p.thief.entered {
		if !one.shares {
			continue
		}
		for _, truth := range p.thief.truths {
			if truth.Tenant != one.tenant.ID {
				continue
			}
			at := slices.IndexFunc(one.tenant.SignIns(), func(s entra.SignIn) bool { return s.ID == truth.SignInID })
			if at < 0 {
				continue
			}
			readable := one.tenant.SignIns()[at].Readable
			if was, is := first[truth.Tenant]; !is || readable.Before(was) {
				first[truth.Tenant] = readable
			}
			if readable.After(last) {
				last = readable
			}
		}
	}
	return first, last
}

// get asks the API as the person who opens the recall.
func (p *play) get(ctx context.Context, path string, into any) error {
	return p.program.ask(ctx, p.program.opener, http.MethodGet, path, nil, into)
}
