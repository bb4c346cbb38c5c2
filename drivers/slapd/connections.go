// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
)

// lingering is how long connections that were there before have to end by themselves: the
// new credential of the same subject may be in the middle of something.
const lingering = time.Second

// A connection is one that cn=monitor tells of.
type connection struct {
	number      string
	as          string // whom it is signed in as; "" is nobody yet
	here, there string // addresses
	began       time.Time
	tls         bool   // at a listener of ldaps://
	asked       string // how many operations it has asked for
}

func (c connection) String() string {
	whom := "nobody yet"
	if c.as != "" {
		whom = c.as
	}
	return fmt.Sprintf("connection %s from %s, signed in as %s, since %s", c.number, c.there, whom, c.began.UTC().Format(time.RFC3339))
}

// connections returns those over TCP.
func (s *session) connections() ([]connection, error) {
	entries, err := s.search("cn=Connections,cn=Monitor", ldap.ScopeSingleLevel, "(objectClass=monitorConnection)",
		"monitorConnectionNumber", "monitorConnectionAuthzDN", "monitorConnectionLocalAddress", "monitorConnectionPeerAddress", "monitorConnectionStartTime",
		"monitorConnectionListener", "monitorConnectionOpsReceived")
	if err != nil {
		return nil, answered("couldn't read the connections in cn=monitor", err)
	}
	var all []connection
	for _, e := range entries {
		c := connection{
			number: e.GetAttributeValue("monitorConnectionNumber"), as: e.GetAttributeValue("monitorConnectionAuthzDN"),
			tls: strings.HasPrefix(e.GetAttributeValue("monitorConnectionListener"), "ldaps:"), asked: e.GetAttributeValue("monitorConnectionOpsReceived"),
		}
		here, ok := strings.CutPrefix(e.GetAttributeValue("monitorConnectionLocalAddress"), "IP=")
		there, and := strings.CutPrefix(e.GetAttributeValue("monitorConnectionPeerAddress"), "IP=")
		if !ok || !and {
			continue
		}
		c.here, c.there = here, there
		if c.began, err = time.Parse("20060102150405Z", e.GetAttributeValue("monitorConnectionStartTime")); err != nil {
			continue // one that is being made or taken down now
		}
		all = append(all, c)
	}
	return all, nil
}

// suspects are connections that were there before and may be the old credential's: those
// signed in as its subject, and those of nobody, which can still sign in with what they
// showed when TLS began.
type suspects struct {
	as     []string  // in the form of comparable
	before time.Time // zero: numbers says which there were
	there  []string  // numbers of the connections that there were; nil where before says it
}

func (w suspects) among(all []connection) []connection {
	return slices.DeleteFunc(slices.Clone(all), func(c connection) bool {
		was := c.began.Before(w.before.Truncate(time.Second))
		if w.before.IsZero() {
			was = slices.Contains(w.there, c.number)
		}
		return !was || c.as != "" && !slices.Contains(w.as, comparable(c.as))
	})
}

// closeOpen closes the connections of a certificate's subject that began before, or names
// them. A zero time stands for all that there are now.
func (d *door) closeOpen(ctx context.Context, s *session, h driver.Host, rules []string, old *x509.Certificate, before time.Time, blocked *driver.Blocked) error {
	all, err := s.connections()
	if err != nil {
		blocked.Left = append(blocked.Left, "slapd does not tell which connections are open: "+err.Error())
		return nil
	}
	watched := suspects{as: s.identities(old, rules), before: before}
	for _, c := range all {
		watched.there = append(watched.there, c.number)
	}
	open := watched.among(all)
	for deadline := time.Now().Add(lingering); len(open) > 0 && time.Now().Before(deadline) && ctx.Err() == nil; {
		time.Sleep(50 * time.Millisecond)
		if all, err = s.connections(); err != nil {
			return err
		}
		open = watched.among(all)
	}
	for _, c := range open {
		if why := d.closeOne(ctx, h, c); why != "" {
			blocked.Left = append(blocked.Left, c.String()+": "+why)
			continue
		}
		blocked.Closed++
		blocked.Changed.Changed = true
	}
	if blocked.Closed > 0 {
		blocked.How = append(blocked.How, "closed-connections")
	}
	return nil
}

// closeOne closes a connection, and returns why it did not.
func (d *door) closeOne(ctx context.Context, h driver.Host, c connection) string {
	switch {
	case c.as == "":
		return "it can still sign in with the certificate that it began with, and may be anybody's"
	case !d.Close:
		return "slapd closes none, and the option close is off"
	}
	return kill(ctx, h, c)
}

// kill has the kernel close a connection, and returns why it did not.
func kill(ctx context.Context, h driver.Host, c connection) string {
	said, err := installing.Run(ctx, h, "ss", "-K", "-H", "-t", "-n", "src", c.here, "dst", c.there)
	if err != nil {
		return "slapd closes none, and the kernel would not: " + err.Error()
	}
	if strings.TrimSpace(said) == "" {
		return "slapd closes none, and the kernel knows none such, or ss may not close it"
	}
	return ""
}

// handshakes says whether every listener still makes them: slapd that could not use what it
// was given makes none.
func handshakes(ctx context.Context, request driver.BlockRequest, listeners []driver.Listener) error {
	for _, attempt := range probing.Show(ctx, request.Host, listeners, request.Now) {
		if attempt.Served == "" {
			return fmt.Errorf("%s makes no handshake any more: %s", attempt.Address, attempt.Answer)
		}
	}
	return nil
}
