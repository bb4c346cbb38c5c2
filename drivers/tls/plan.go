// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"errors"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// first gets the chain: with the usual hello and, where a server refuses that,
// with others that old, odd and new servers understand.
func (d *door) first(ctx context.Context) answer {
	offers := append([]hello.Offer{d.hellos.first}, d.hellos.fallback...)
	if d.direct() {
		offers[0] = d.hellos.web
	}
	if d.depth == tallystick.DepthCertificate && !d.prove {
		offers = append([]hello.Offer{d.hellos.clear}, offers...)
	}
	a := d.ask(ctx, offers[0])
	for _, o := range offers[1:] {
		if len(a.Chain) > 0 || !worthAnother(a.Err) || ctx.Err() != nil {
			break
		}
		if next := d.ask(ctx, o); len(next.Chain) > 0 || next.Named() && next.Err == nil {
			return next
		}
	}
	return a
}

// worthAnother says whether another hello could bring what this one did not.
func worthAnother(err error) bool {
	var alert hello.Alert
	return errors.As(err, &alert) || errors.Is(err, hello.ErrClosed) || errors.Is(err, hello.ErrMalformed) ||
		errors.Is(err, hello.ErrUnsupported) || word(err) == "reset"
}

// proves says whether the server has shown that it has the key of its chain. A
// server that chose key exchange by RSA has not signed; it shows the key by
// finishing a handshake (RFC 5246 section 7.4.7.1).
func (d *door) proves(ctx context.Context, a *answer, leaf *tallystick.Credential) bool {
	if a.finished || a.Proof.Check(leaf.Key.SPKI) == nil {
		return true
	}
	if a.Proof != nil || a.Err != nil || a.Version == hello.TLS13 || a.Suite == 0 || d.hellos.lasting[a.Suite] {
		return false
	}
	o := d.hellos.first
	o.Versions, o.Suites = []hello.Version{a.Version}, []hello.Suite{a.Suite}
	whole := d.complete(ctx, &o)
	return whole.finished && len(whole.Chain) > 0 && slices.Equal(whole.Chain[0], a.Chain[0])
}

// second gets the chain of the other kind of key, if there is one.
func (d *door) second(ctx context.Context, leaf *tallystick.Credential) answer {
	o := d.hellos.rsa
	if isRSA(leaf.Key.Algorithm) {
		o = d.hellos.ec
	}
	return d.ask(ctx, o)
}

// accepted is what a server agreed to.
type accepted struct {
	versions []hello.Version
	suites   []hello.Suite
	order    map[hello.Version][]hello.Suite
	groups   []hello.Group
}

// add notes what one hello brought. A server has accepted what its ServerHello
// chose, whatever becomes of the handshake.
func (c *accepted) add(a answer) {
	if !a.Named() {
		return
	}
	if !slices.Contains(c.versions, a.Version) {
		c.versions = append(c.versions, a.Version)
	}
	if !slices.Contains(c.suites, a.Suite) {
		c.suites = append(c.suites, a.Suite)
	}
	c.addGroup(a.Group)
}

func (c *accepted) addGroup(g hello.Group) {
	if g != 0 && !slices.Contains(c.groups, g) {
		c.groups = append(c.groups, g)
	}
}

// accepts asks for what the depth wants to know beside the chain.
func (d *door) accepts(ctx context.Context, first answer) *accepted {
	c := &accepted{}
	c.add(first)
	switch d.depth {
	case tallystick.DepthVersions:
		d.preferredGroup(ctx, c)
		d.versions(ctx, c)
		d.weakSuites(ctx, c)
	case tallystick.DepthSuites:
		c.order = map[hello.Version][]hello.Suite{}
		for _, v := range hello.Versions() {
			c.order[v] = d.peel(ctx, c, d.hellos.all[v])
		}
		d.allGroups(ctx, c)
	}
	return c
}

// versions asks for each version that is not known yet, the newest first. A
// server that refuses one because of the version refuses the older ones too: a
// hello names the newest version that its sender speaks, and one that speaks any
// of those below would have chosen that (RFC 5246 appendix E.1).
func (d *door) versions(ctx context.Context, c *accepted) {
	for _, v := range slices.Backward(hello.Versions()) {
		if slices.Contains(c.versions, v) || ctx.Err() != nil {
			continue
		}
		a := d.ask(ctx, d.hellos.version[v])
		if errors.Is(a.Err, hello.AlertHandshakeFailure) && v < hello.TLS12 {
			// It knows the version and wants another suite.
			a = d.ask(ctx, d.hellos.all[v])
		}
		c.add(a)
		if errors.Is(a.Err, hello.AlertProtocolVersion) && v < hello.TLS13 {
			return
		}
	}
}

// weakSuites asks for the weak suites in TLS 1.2 and, of a server that takes
// any, in the oldest accepted version too: export suites and DES exist only in
// the older ones (RFC 4346 appendix A.5, RFC 5469).
func (d *door) weakSuites(ctx context.Context, c *accepted) {
	old := slices.DeleteFunc(slices.Clone(c.versions), func(v hello.Version) bool { return v > hello.TLS12 })
	if len(old) == 0 {
		return
	}
	newest, oldest := slices.Max(old), slices.Min(old)
	if d.peelWeak(ctx, c, d.hellos.weak[newest]) && oldest != newest {
		d.peelWeak(ctx, c, d.hellos.weak[oldest])
	}
}

// peelWeak offers suites, and offers what is left again, until it is refused.
// Of those that only lack forward secrecy one tells enough. It says whether
// any was accepted.
func (d *door) peelWeak(ctx context.Context, c *accepted, o hello.Offer) (any bool) {
	o.Suites = slices.DeleteFunc(slices.Clone(o.Suites), func(s hello.Suite) bool { return d.hellos.broken[s] && slices.Contains(c.suites, s) })
	for len(o.Suites) > 0 && ctx.Err() == nil {
		a := d.ask(ctx, o)
		if !slices.Contains(o.Suites, a.Suite) {
			return any
		}
		any = true
		c.add(a)
		o.Suites = slices.DeleteFunc(o.Suites, func(s hello.Suite) bool {
			return s == a.Suite || !d.hellos.broken[a.Suite] && !d.hellos.broken[s]
		})
	}
	return any
}

// chunk is how many suites a server gets that cannot take them all in one
// hello; some old ones stop at 64, some at 255 bytes.
const chunk = 60

// peel returns the accepted suites of one version in the order of the server:
// it offers all, and offers what is left again, until it is refused.
func (d *door) peel(ctx context.Context, c *accepted, o hello.Offer) []hello.Suite {
	o.Suites = slices.Clone(o.Suites)
	found, last := d.peelOff(ctx, c, o)
	var alert hello.Alert
	if len(found) == 0 && last != nil && !errors.As(last, &alert) && worthAnother(last) {
		for part := range slices.Chunk(o.Suites, chunk) {
			o.Suites = slices.Clone(part)
			more, _ := d.peelOff(ctx, c, o)
			found = append(found, more...)
		}
	}
	return found
}

func (d *door) peelOff(ctx context.Context, c *accepted, o hello.Offer) (found []hello.Suite, last error) {
	for len(o.Suites) > 0 && ctx.Err() == nil {
		a := d.ask(ctx, o)
		i := slices.Index(o.Suites, a.Suite)
		if i < 0 || a.Version != o.Versions[0] {
			return found, a.Err
		}
		c.add(a)
		found = append(found, a.Suite)
		o.Suites = slices.Delete(slices.Clone(o.Suites), i, i+1)
	}
	return found, nil
}

// preferredGroup asks which group a server of TLS 1.3 prefers and whether it
// has one that stands against a quantum computer.
func (d *door) preferredGroup(ctx context.Context, c *accepted) {
	if !slices.Contains(c.versions, hello.TLS13) {
		return
	}
	a := d.ask(ctx, d.hellos.groups)
	c.add(a)
	if a.Named() && !a.Group.Hybrid() {
		c.add(d.ask(ctx, d.hellos.hybrids))
	}
}

// mostGroups bounds how many groups one endpoint is asked for.
const mostGroups = 48

// allGroups finds every accepted group: of TLS 1.3 by hellos without a share,
// and of TLS 1.2, where there is no 1.3, by the signed parameters.
func (d *door) allGroups(ctx context.Context, c *accepted) {
	o := d.hellos.groups
	if !slices.Contains(c.versions, hello.TLS13) {
		o = d.hellos.first
		o.Versions, o.Groups = []hello.Version{hello.TLS12}, hello.Groups()
		o.Suites = slices.DeleteFunc(slices.Clone(o.Suites), func(s hello.Suite) bool {
			return !slices.Contains(c.suites, s) || !d.hellos.lasting[s]
		})
	}
	o.Groups = slices.Clone(o.Groups)
	for range mostGroups {
		if len(o.Suites) == 0 || len(o.Groups) == 0 || ctx.Err() != nil {
			return
		}
		a := d.ask(ctx, o.Prepare())
		i := slices.Index(o.Groups, a.Group)
		if i < 0 {
			return
		}
		c.addGroup(a.Group)
		o.Groups = slices.Delete(o.Groups, i, i+1)
	}
}
