// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// records are TXT records that can be added and removed. Both may be repeated.
type records interface {
	add(ctx context.Context, name, value string) error
	remove(ctx context.Context, name, value string) error
}

// A dnsSolver answers dns-01 (RFC 8555 section 8.4).
type dnsSolver struct {
	records records
	wait    time.Duration
}

func (d *dnsSolver) kind() string { return acme.ChallengeTypeDNS01 }

func (d *dnsSolver) present(ctx context.Context, challenges []acme.Challenge) (func(), error) {
	remove := func() {
		// Records are removed also when ctx has ended; what is left over proves nothing
		// a second time.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		for _, c := range challenges {
			d.records.remove(ctx, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
		}
	}
	for _, c := range challenges {
		if err := d.records.add(ctx, c.DNS01TXTRecordName(), c.DNS01KeyAuthorization()); err != nil {
			remove()
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, fmt.Errorf("couldn't set the TXT record %s: %w: %s", c.DNS01TXTRecordName(), tallystick.ErrUnavailable, network.Clean(err.Error()))
		}
	}
	timer := time.NewTimer(d.wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return remove, nil
	case <-ctx.Done():
		remove()
		return nil, ctx.Err()
	}
}

// updates change a zone by RFC 2136, signed with TSIG (RFC 8945).
type updates struct {
	server   string
	provider *rfc2136.Provider
}

// ttl of records that live for seconds.
const ttl = time.Minute

func (u updates) add(ctx context.Context, name, value string) error {
	zone, record, err := u.record(ctx, name, value)
	if err == nil {
		_, err = u.provider.AppendRecords(ctx, zone, []libdns.Record{record})
	}
	return err
}

func (u updates) remove(ctx context.Context, name, value string) error {
	zone, record, err := u.record(ctx, name, value)
	if err == nil {
		_, err = u.provider.DeleteRecords(ctx, zone, []libdns.Record{record})
	}
	return err
}

// record finds the zone that a name is in: the first of its parents that the
// server says begins one.
func (u updates) record(ctx context.Context, name, value string) (string, libdns.Record, error) {
	client := &dns.Client{Net: "tcp"}
	for zone := dns.Fqdn(name); zone != "."; zone = parent(zone) {
		question := new(dns.Msg).SetQuestion(zone, dns.TypeSOA)
		answer, _, err := client.ExchangeContext(ctx, question, u.server)
		if err != nil {
			return "", nil, err
		}
		for _, rr := range answer.Answer {
			if _, ok := rr.(*dns.SOA); ok && strings.EqualFold(rr.Header().Name, zone) {
				return zone, libdns.TXT{Name: libdns.RelativeName(dns.Fqdn(name), zone), TTL: ttl, Text: value}, nil
			}
		}
	}
	return "", nil, errors.New("the name server has no zone for it")
}

func parent(zone string) string {
	if _, above, ok := strings.Cut(zone, "."); ok && above != "" {
		return above
	}
	return "."
}

// A hook is a command that changes records.
type hook struct{ command string }

func (h hook) add(ctx context.Context, name, value string) error {
	return h.run(ctx, "add", name, value)
}

func (h hook) remove(ctx context.Context, name, value string) error {
	return h.run(ctx, "remove", name, value)
}

// run runs the command without a shell and with nothing in its environment but
// what it is for: what this process has there is none of its business.
func (h hook) run(ctx context.Context, action, name, value string) error {
	command := exec.CommandContext(ctx, h.command)
	command.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"TALLYSTICK_ACTION=" + action, "TALLYSTICK_NAME=" + name, "TALLYSTICK_VALUE=" + value}
	command.Dir = "/"
	command.WaitDelay = 5 * time.Second
	says := &head{left: 300}
	command.Stdout, command.Stderr = says, says
	if err := command.Run(); err != nil {
		return fmt.Errorf("the hook failed (%w) and says: %s", err, strings.TrimSpace(says.text.String()))
	}
	return nil
}

// A head keeps the beginning of what is written to it.
type head struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
	left int             // guarded by mu
}

func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := min(len(b), h.left)
	h.text.Write(b[:n])
	h.left -= n
	return len(b), nil
}
