// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// A Dialer connects to what targets name. Its fields are set before its first
// use; after that it is safe for several goroutines. It is not to be copied.
type Dialer struct {
	Timeout time.Duration // of a lookup, and of one connection until it stands; waiting for Limits not counted
	Limits  *Limits
	Exclude *Exclusion
	// Abort ends connections with a reset in place of the usual closing, so
	// that tens of thousands of them do not use up the ports of this machine
	// (TIME_WAIT, RFC 9293 section 3.6.1).
	Abort bool
	// Lookup resolves a name; nil asks the resolver of this machine.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)

	mu    sync.Mutex
	known map[string]resolved // guarded by mu
}

// A resolved is what a name has resolved to.
type resolved struct {
	addresses []netip.Addr
	err       error
}

const (
	maxKnown     = 4096 // names whose addresses are remembered
	maxAddresses = 32   // of one name; more are a resolver's whim
)

// Resolve returns the addresses of a host, in order: itself when it is one,
// otherwise all that its name resolves to, which is looked up once. What is
// excluded is left out; when nothing is left the error is ErrExcluded.
func (d *Dialer) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return d.allowed([]netip.Addr{address.Unmap()})
	}
	if d.Exclude.Name(host) {
		return nil, fmt.Errorf("%s: %w", host, ErrExcluded)
	}
	d.mu.Lock()
	r, ok := d.known[host]
	d.mu.Unlock()
	if !ok {
		r.addresses, r.err = d.lookup(ctx, host)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		d.remember(host, r)
	}
	if r.err != nil {
		return nil, r.err
	}
	return d.allowed(r.addresses)
}

func (d *Dialer) remember(host string, r resolved) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil || len(d.known) >= maxKnown {
		d.known = map[string]resolved{}
	}
	d.known[host] = r
}

func (d *Dialer) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	lookup := d.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
	found, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	for i := range found {
		found[i] = found[i].Unmap()
	}
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	return found[:min(len(found), maxAddresses)], nil
}

// allowed leaves out what is excluded.
func (d *Dialer) allowed(addresses []netip.Addr) ([]netip.Addr, error) {
	var left []netip.Addr
	for _, a := range addresses {
		if !d.Exclude.Addr(a) {
			left = append(left, a)
		}
	}
	if len(left) == 0 && len(addresses) > 0 {
		return nil, ErrExcluded
	}
	if len(left) == 0 {
		return nil, &net.DNSError{Err: "no addresses", IsNotFound: true}
	}
	return left, nil
}

// Allow returns when a connection to an address may begin: at once or when the
// limits let it. It refuses what is excluded and what is not the address of one
// host. What connects in another way than by Dial asks it first. Word names its
// errors.
func (d *Dialer) Allow(ctx context.Context, address netip.Addr) error {
	address = address.Unmap()
	if d.Exclude.Addr(address) {
		return ErrExcluded
	}
	if address.IsUnspecified() || address.IsMulticast() {
		// Linux takes 0.0.0.0 for this machine, which nobody has named.
		return fmt.Errorf("%s is not the address of a host: %w", address, syscall.EHOSTUNREACH)
	}
	return d.Limits.Wait(ctx, address)
}

// Dial connects to one address, when Allow lets it. Word names its errors.
func (d *Dialer) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	address := to.Addr().Unmap()
	if err := d.Allow(ctx, address); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: d.Timeout, KeepAlive: -1}
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, netip.AddrPortFrom(address, to.Port()))
	if err != nil {
		if op, ok := err.(*net.OpError); ok {
			op.Source = nil // ":0", which tells nobody anything
		}
		return nil, err
	}
	if d.Abort {
		if err := conn.SetLinger(0); err != nil {
			conn.Close()
			return nil, err
		}
	}
	return conn, nil
}

// Word says in one word why a connection failed: "refused", "timeout",
// "reset", "closed", "unreachable", "no-such-host", "lookup-failed",
// "excluded", "cancelled", "denied" (by this machine), "local-limit" (it has no
// files or ports left), or "failed".
func Word(err error) string {
	var lookup *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, ErrExcluded):
		return "excluded"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "no-such-host"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case lookup != nil:
		return "lookup-failed"
	}
	return systemWord(err)
}

// systemWord names what the system calls of connections return, and their end.
func systemWord(err error) string {
	var number syscall.Errno
	errors.As(err, &number)
	switch number {
	case syscall.ECONNREFUSED:
		return "refused"
	case syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED:
		return "reset"
	case syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.EAFNOSUPPORT:
		return "unreachable"
	case syscall.ETIMEDOUT:
		return "timeout"
	case syscall.EACCES, syscall.EPERM:
		return "denied"
	case syscall.EMFILE, syscall.ENFILE, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM:
		return "local-limit"
	}
	// Last, because what is closed over an error (a QUIC transport) has both.
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return "closed"
	}
	return "failed"
}
