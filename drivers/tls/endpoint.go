// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/starttls"
)

// A lookout looks at endpoints. It is safe for several goroutines.
type lookout struct {
	*Finder
	now    func() time.Time
	sink   driver.Sink
	dialer *network.Dialer
	known  *certificates
}

// A visit is one endpoint while it is looked at.
type visit struct {
	*lookout
	network.Endpoint
	told bool                     // a sighting or a miss has been reported
	seen []tallystick.Fingerprint // leaves that were reported
}

// endpoint looks at one endpoint and reports sightings or a miss. Its error is
// one of the sink or of ctx.
func (l *lookout) endpoint(ctx context.Context, e network.Endpoint) error {
	v := &visit{lookout: l, Endpoint: e}
	addresses, err := l.dialer.Resolve(ctx, e.Host)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return v.miss(err)
	}
	var failure error
	for _, address := range addresses {
		d := v.door(address)
		a := d.answers(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if len(a.Chain) == 0 {
			if failure == nil {
				failure = a.Err
			}
			continue
		}
		if err := v.report(ctx, d, a); err != nil {
			return err
		}
	}
	if v.told {
		return nil
	}
	return v.miss(failure)
}

// door is the endpoint at one of its addresses.
func (v *visit) door(address netip.Addr) *door {
	d := &door{
		lookout: v.lookout, address: netip.AddrPortFrom(address, v.Port), host: v.Host, name: v.Name(), protocol: v.Scheme, began: time.Now(),
	}
	if v.Scheme == "" {
		d.protocol = "tls"
		if p, ok := starttls.ForPort(v.Port); ok {
			d.protocol = p.Scheme
			d.guessed = !p.Direct()
		}
	}
	return d
}

// answers gets the chain. Where plain text before TLS was only a guess by the
// port, and wrong, TLS may begin at once.
func (d *door) answers(ctx context.Context) answer {
	if d.protocol == overQUIC {
		return d.datagrams(ctx)
	}
	a := d.first(ctx)
	var dialogue *starttls.Error
	if d.guessed && errors.As(a.Err, &dialogue) && dialogue.OtherProtocol() {
		d.protocol = "tls"
		if direct := d.first(ctx); len(direct.Chain) > 0 {
			return direct
		}
	}
	return a
}

func (d *door) direct() bool { return d.dialogue() == "" }

func (d *door) dialogue() string {
	p, _ := starttls.Lookup(d.protocol)
	return p.Dialogue
}

// report tells of what one door shows. The first that answers is asked in full;
// at the others a certificate that was not seen yet is worth a sighting.
func (v *visit) report(ctx context.Context, d *door, a answer) error {
	l := v.known.leaf(a.Chain[0])
	if v.told {
		return v.another(ctx, d, a, d.name)
	}
	if l.err != nil {
		return v.missed("malformed", l.err)
	}
	t := v.known.tail(a.Chain, v.now())
	f := d.facts(ctx, &a, l, t, v.Host)
	f.Process = v.Process
	f.Staple = staple(a.Staple, l.strict, t.first, v.now())
	if d.protocol == overQUIC {
		f.Depth, f.Staple, f.Protocols = tallystick.DepthCertificate, "", []string{a.Version.String()}
	} else {
		d.accepts(ctx, a).describe(&f)
	}
	if err := v.saw(ctx, d, l, t, f); err != nil || d.protocol == overQUIC {
		return err
	}
	if v.depth != tallystick.DepthCertificate {
		if err := v.another(ctx, d, d.second(ctx, &l.credential), d.name); err != nil {
			return err
		}
	}
	address, ok := v.Addr()
	if !ok {
		return nil
	}
	for _, name := range v.furtherNames(ctx, address, &l.credential) {
		named := *d
		named.name = name
		if err := v.another(ctx, &named, named.first(ctx), name); err != nil {
			return err
		}
	}
	return nil
}

// another reports a further certificate at the place, if it is one.
func (v *visit) another(ctx context.Context, d *door, a answer, name string) error {
	if len(a.Chain) == 0 || slices.Contains(v.seen, tallystick.FingerprintOf(a.Chain[0])) {
		return ctx.Err()
	}
	l := v.known.leaf(a.Chain[0])
	if l.err != nil {
		return nil // the place has been seen, and what this is cannot be said
	}
	if name == "" {
		name = v.Host
	}
	t := v.known.tail(a.Chain, v.now())
	f := d.facts(ctx, &a, l, t, name)
	f.Process = v.Process
	return v.saw(ctx, d, l, t, f)
}

// saw reports one certificate, unless ctx has ended, which may have cut short
// what is told of it.
func (v *visit) saw(ctx context.Context, d *door, l leaf, t *tail, f tallystick.TLSFacts) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, ok := v.Addr(); !ok {
		f.Address = d.address.Addr().String()
	}
	v.told, v.seen = true, append(v.seen, l.credential.ID)
	return v.sink.Saw(tallystick.Sighting{
		Credential: l.credential, Place: v.place(), Role: role, Seen: v.now(), Chain: t.credentials, Facts: tallystick.Facts{TLS: &f},
	})
}

func (v *visit) place() tallystick.Place {
	if v.Scheme == overQUIC {
		return tallystick.QUICPlace(v.HostPort())
	}
	return tallystick.TLSPlace(v.HostPort())
}

func (v *visit) miss(err error) error { return v.missed(word(err), err) }

func (v *visit) missed(word string, err error) error {
	v.told = true
	m := tallystick.Miss{Place: v.place(), Error: word, Seen: v.now()}
	if err != nil {
		m.Detail = network.Clean(err.Error())
	}
	return v.sink.Missed(m)
}
