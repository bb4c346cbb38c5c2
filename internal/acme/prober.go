// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// A prober proves names: it is the only part that connects to where clients say. It
// connects to addresses that the operator allowed, each looked at after the name was
// resolved and then dialled as it is, so that a name that answers differently the
// second time (DNS rebinding) leads nowhere.
type prober struct {
	allow     []netip.Prefix
	listeners []netip.AddrPort
	resolver  *net.Resolver
	httpPort  uint16
	tlsPort   uint16
	timeout   time.Duration
	now       func() time.Time
}

func newProber(c Config) *prober {
	p := &prober{
		allow: c.AllowedNetworks(), listeners: c.Listeners, httpPort: uint16(c.HTTPPort), tlsPort: uint16(c.TLSPort), timeout: c.Timeout, now: c.Now,
		resolver: &net.Resolver{PreferGo: true},
	}
	if c.Resolver != "" {
		p.resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, c.Resolver)
		}
	}
	return p
}

// prove tries a challenge and returns why it fails, or nil.
func (p *prober) prove(ctx context.Context, a store.ACMEAuthorization, kind, token, keyAuthorization string) *Problem {
	id := store.ACMEIdentifier{Type: a.Kind, Value: a.Value}
	var err error
	switch kind {
	case http01:
		err = p.proveHTTP(ctx, id, token, keyAuthorization)
	case dns01:
		err = p.proveDNS(ctx, id.Value, keyAuthorization)
	case tlsALPN01:
		err = p.proveTLS(ctx, id, keyAuthorization)
	default:
		err = malformed("there is no challenge %q", kind)
	}
	if err == nil {
		return nil
	}
	return failureOf(ctx, err)
}

// failureOf turns what went wrong into what the client reads. What was received is
// not repeated: the client could read with it what only this server can reach.
func failureOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		why := "the resolver did not answer"
		if dns.IsNotFound {
			why = "there is no such record"
		}
		return problem(http.StatusBadRequest, "dns", "couldn't look up %.253s: %s", dns.Name, why)
	}
	timeout, ok := errors.AsType[net.Error](err)
	if ctx.Err() != nil || ok && timeout.Timeout() {
		return problem(http.StatusBadRequest, "connection", "there was no answer in time")
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return problem(http.StatusBadRequest, "connection", "couldn't connect to %s", op.Addr)
	}
	return problem(http.StatusBadRequest, "connection", "the connection ended before the proof was there")
}

// digest is what dns-01 and tls-alpn-01 show of a key authorization.
func digest(keyAuthorization string) [sha256.Size]byte {
	return sha256.Sum256([]byte(keyAuthorization))
}

// maxRecords bounds how many TXT records of a name are looked at.
const maxRecords = 100

// proveDNS is RFC 8555 section 8.4.
func (p *prober) proveDNS(ctx context.Context, name, keyAuthorization string) error {
	records, err := p.resolver.LookupTXT(ctx, "_acme-challenge."+name+".")
	if err != nil {
		return err
	}
	sum := digest(keyAuthorization)
	want := base64.RawURLEncoding.EncodeToString(sum[:])
	for _, record := range records[:min(len(records), maxRecords)] {
		if subtle.ConstantTimeCompare([]byte(record), []byte(want)) == 1 {
			return nil
		}
	}
	return problem(http.StatusForbidden, "incorrectResponse", "_acme-challenge.%s has %d TXT records, and none of them is the digest of the key authorization", name, len(records))
}

// addresses resolves a host and returns its addresses that may be connected to, IPv6
// first, one of each family (as RFC 8555 section 8.3 leaves to the server). When none
// may, the error says so.
func (p *prober) addresses(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	found := []netip.Addr{}
	if ip, err := netip.ParseAddr(host); err == nil {
		found = append(found, ip)
	} else if found, err = p.resolver.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+"."); err != nil {
		return nil, err
	}
	var good []netip.AddrPort
	var refusal error
	slices.SortStableFunc(found, func(a, b netip.Addr) int { return b.Unmap().BitLen() - a.Unmap().BitLen() })
	for _, ip := range found {
		at := netip.AddrPortFrom(ip.Unmap().WithZone(""), port)
		if err := p.permits(at); err != nil {
			refusal = errors.Join(refusal, err)
		} else if !slices.ContainsFunc(good, func(g netip.AddrPort) bool { return g.Addr().Is4() == at.Addr().Is4() }) {
			good = append(good, at)
		}
	}
	if len(good) == 0 && refusal == nil {
		return nil, problem(http.StatusBadRequest, "dns", "%.253s has no address", host)
	}
	if len(good) == 0 {
		return nil, refusal
	}
	return good, nil
}

// dial connects to a host, to nothing but an address that permits has seen.
func (p *prober) dial(ctx context.Context, host string, port uint16) (net.Conn, error) {
	list, err := p.addresses(ctx, host, port)
	if err != nil {
		return nil, err
	}
	var last error
	for i, at := range list {
		d := net.Dialer{Timeout: p.timeout / time.Duration(len(list)-i)}
		c, err := d.DialContext(ctx, "tcp", at.String())
		if err == nil {
			return c, nil
		}
		last = err
	}
	return nil, last
}

// permits returns why nobody may be made to connect to an address, or nil.
//
// The type is "connection" and not "rejectedIdentifier" (RFC 8555 section 6.7): the
// server does certify the name, it did not connect to where the name led just now.
func (p *prober) permits(at netip.AddrPort) error {
	refuse := func(why string) error {
		return problem(http.StatusBadRequest, "connection", "connection to %s is not allowed by the operator: %s", at.Addr(), why)
	}
	for _, ip := range embedded(at.Addr()) {
		if isNeverAllowed(ip) {
			return refuse("it is not an address of a host in a network (link-local, multicast, unspecified, of a tunnel, or of metadata)")
		}
		if ip.IsLoopback() && !slices.ContainsFunc(p.allow, func(n netip.Prefix) bool { return n.Addr().IsLoopback() && n.Bits() >= 8 && n.Contains(ip) }) {
			return refuse("it is this machine; issuing.acme.allow in the configuration may name a loopback network")
		}
	}
	if !slices.ContainsFunc(p.allow, func(n netip.Prefix) bool { return n.Contains(at.Addr()) }) {
		return refuse("issuing.acme.allow in the configuration does not name its network")
	}
	for _, own := range p.listeners {
		if own.Port() == at.Port() && slices.ContainsFunc(embedded(at.Addr()), func(ip netip.Addr) bool { return listensAt(own.Addr().Unmap(), ip) }) {
			return refuse("this server listens there itself")
		}
	}
	return nil
}

func listensAt(own, ip netip.Addr) bool { return own == ip || own.IsUnspecified() && isOwn(ip) }

// neverAllowed are networks beside those that package netip knows: no hosts that could
// hold a name, ways around the list of what is allowed, and what clouds tell secrets at
// (169.254.169.254 is link-local).
var neverAllowed = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),          // RFC 1122 section 3.2.1.3
	netip.MustParsePrefix("240.0.0.0/4"),        // RFC 1112 section 4
	netip.MustParsePrefix("64:ff9b:1::/48"),     // RFC 8215: where in it the IPv4 address stands, the network alone knows
	netip.MustParsePrefix("2001::/32"),          // Teredo, RFC 4380
	netip.MustParsePrefix("100.100.100.200/32"), // metadata of Alibaba Cloud
	netip.MustParsePrefix("192.0.0.192/32"),     // of Oracle Cloud
	netip.MustParsePrefix("fd00:ec2::254/128"),  // of AWS
	netip.MustParsePrefix("fd20:ce::254/128"),   // of Google Cloud
}

// isNeverAllowed says whether an address is refused whatever the operator allows.
func isNeverAllowed(ip netip.Addr) bool {
	return ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		slices.ContainsFunc(neverAllowed, func(n netip.Prefix) bool { return n.Contains(ip) })
}

// embedded returns an address and the IPv4 addresses within it, through which gateways
// would lead: IPv4-compatible, NAT64 (RFC 6052), 6to4 (RFC 3056) and ISATAP (RFC 5214).
func embedded(ip netip.Addr) []netip.Addr {
	list := []netip.Addr{ip}
	if !ip.Is6() {
		return list
	}
	b := ip.As16()
	if [12]byte(b[:12]) == [12]byte{} && ip != netip.IPv6Loopback() || // ::/96
		[12]byte(b[:12]) == [12]byte{1: 0x64, 2: 0xff, 3: 0x9b} || // 64:ff9b::/96
		b[8]&^2 == 0 && [3]byte(b[9:12]) == [3]byte{0, 0x5e, 0xfe} { // section 6.1 of RFC 5214, with the bit "universal" or without
		list = append(list, netip.AddrFrom4([4]byte(b[12:])))
	}
	if b[0] == 0x20 && b[1] == 0x02 { // 2002::/16
		list = append(list, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return list
}

// isOwn says whether an address is one of this machine. When that cannot be told, it is.
func isOwn(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(list, func(a net.Addr) bool {
		n, err := netip.ParsePrefix(a.String())
		return err == nil && n.Addr().Unmap() == ip
	})
}

// hostPort writes a host for a URL: IPv6 in brackets, and the port unless it is usual.
func hostPort(host string, port, usual uint16) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port == usual {
		return host
	}
	return fmt.Sprintf("%s:%d", host, port)
}
