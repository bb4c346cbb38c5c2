// SPDX-License-Identifier: Apache-2.0

package sshd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/processes"
)

// A session is a connection that sshd has open.
type session struct {
	peer netip.AddrPort
	pids []int // of the processes that hold it
}

// String names it for people.
func (s session) String() string { return fmt.Sprintf("pid %d from %s", s.pids[0], s.peer) }

// endSessions ends the sessions of a key: those whose last sign-in in the log was by it.
// What the log does not tell is left, and named.
func (d *Door) endSessions(ctx context.Context, h driver.Host, s *site, key ssh.PublicKey, blocked *driver.Blocked) error {
	open, err := sessions(ctx, h, s)
	if err != nil || len(open) == 0 {
		return err
	}
	by, err := d.signIns(ctx, h, open)
	if errors.Is(err, errUntold) {
		blocked.Left = append(blocked.Left, fmt.Sprintf("those of the key among %d sessions: %v", len(open), err))
		return nil
	}
	if err != nil {
		return err
	}
	var mine []session
	for _, one := range open {
		switch who := by[one.peer]; who {
		case "":
			blocked.Left = append(blocked.Left, one.String()+": whose it is stands not in "+d.options.Log)
		case ssh.FingerprintSHA256(key):
			mine = append(mine, one)
		}
	}
	if len(mine) == 0 {
		return nil
	}
	var pids []int
	for _, one := range mine {
		pids = append(pids, one.pids...)
	}
	if err := processes.Signal(ctx, h, "TERM", pids...); err != nil {
		return err
	}
	left, err := d.outlast(ctx, h, s, mine)
	if err != nil {
		return err
	}
	blocked.Closed = len(mine) - len(left)
	for _, one := range left {
		blocked.Left = append(blocked.Left, one.String()+": it does not end")
	}
	if blocked.Closed > 0 {
		blocked.Changed.Changed, blocked.How = true, append(blocked.How, "sessions")
	}
	return nil
}

// outlast waits until the sessions are gone, and returns those that are left.
func (d *Door) outlast(ctx context.Context, h driver.Host, s *site, ended []session) ([]session, error) {
	for began := time.Now(); ; {
		open, err := sessions(ctx, h, s)
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(open, func(o session) bool {
			return !slices.ContainsFunc(ended, func(e session) bool { return e.peer == o.peer })
		})
		if len(left) == 0 || time.Since(began) > d.options.Patience {
			return left, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// sessions are the open connections to the ports of sshd whose processes are known.
func sessions(ctx context.Context, h driver.Host, s *site) ([]session, error) {
	var ports []string
	for _, address := range s.addresses {
		if at := strings.LastIndexByte(address, ':'); !slices.Contains(ports, "sport = :"+address[at+1:]) {
			ports = append(ports, "sport = :"+address[at+1:])
		}
	}
	if len(ports) == 0 {
		return nil, nil
	}
	output, err := h.Run(ctx, driver.Command{Args: []string{"ss", "-H", "-t", "-n", "-p", "state", "established", "( " + strings.Join(ports, " or ") + " )"}})
	if err != nil {
		return nil, err
	}
	if output.Exit != 0 {
		return nil, fmt.Errorf("%w: ss, of the package iproute2, says nothing", tallystick.ErrUnavailable)
	}
	return parseSessions(string(output.Stdout)), nil
}

// parseSessions reads lines of ss: queues, both addresses, and the processes, as in
// users:(("sshd",pid=7,fd=4),("sshd",pid=9,fd=4)).
func parseSessions(text string) []session {
	var all []session
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		peer, err := parsePeer(fields[3])
		if err != nil {
			continue
		}
		one := session{peer: peer}
		for _, process := range strings.Split(fields[4], "(") {
			name, rest, _ := strings.Cut(process, ",pid=")
			number, _, _ := strings.Cut(rest, ",")
			if pid, err := strconv.Atoi(number); err == nil && pid > 1 && strings.HasPrefix(name, `"sshd`) {
				one.pids = append(one.pids, pid)
			}
		}
		if len(one.pids) > 0 {
			all = append(all, one)
		}
	}
	return all
}

// parsePeer reads an address, without what stands behind a % in it, and as IPv4 where it
// is one in the clothes of IPv6: so sshd logs it.
func parsePeer(text string) (netip.AddrPort, error) {
	peer, err := netip.ParseAddrPort(text)
	return netip.AddrPortFrom(peer.Addr().Unmap().WithZone(""), peer.Port()), err
}

// errUntold is an answer that will be the same the next time.
var errUntold = errors.New("whose they are cannot be told")

const (
	maxSessions = 5000
	logOutput   = 1 << 20 // what a Host keeps of an answer
	otherWay    = "another way"
)

// Lines in which sshd says that a connection began (LogLevel VERBOSE) or that somebody
// signed in, bare as in its own log (-E) or behind what syslog puts before them. Both are
// read from their beginning: strangers choose the names that other lines have in them.
const syslogHead = `^(?:(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\S+) \S+ sshd(?:-\w+)?\[\d+\]: )?`

var (
	beginLine  = regexp.MustCompile(syslogHead + `Connection from (\S+) port (\d+)`)
	signInLine = regexp.MustCompile(syslogHead + `Accepted (\S+) for \S+ from (\S+) port (\d+) ssh2(?:: \S+ (SHA256:[A-Za-z0-9+/]{43})(?: .*)?)?$`)
)

// signIns says by which key the connections were signed in: the fingerprint as OpenSSH
// writes it, otherWay, or nothing where the log does not tell.
func (d *Door) signIns(ctx context.Context, h driver.Host, open []session) (map[netip.AddrPort]string, error) {
	if len(open) > maxSessions {
		return nil, fmt.Errorf("%w: they are too many to look for each in the log", errUntold)
	}
	var wanted strings.Builder
	for _, one := range open {
		fmt.Fprintf(&wanted, "from %s port %d\n", one.peer.Addr(), one.peer.Port())
	}
	// The log of before, too: sessions last.
	output, err := h.Run(ctx, driver.Command{
		Args: []string{"grep", "-a", "-h", "-s", "-F", "-f", "-", "--", d.options.Log + ".1", d.options.Log}, Stdin: []byte(wanted.String()),
	})
	if err != nil {
		return nil, err
	}
	if len(output.Stdout) >= logOutput {
		return nil, fmt.Errorf("%w: %s says too much of them", errUntold, d.options.Log)
	}
	return parseSignIns(string(output.Stdout)), nil
}

// parseSignIns reads lines of the log. A connection that began since has nobody yet: the
// same address and port were somebody else's before.
func parseSignIns(text string) map[netip.AddrPort]string {
	by := map[netip.AddrPort]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if m := beginLine.FindStringSubmatch(line); m != nil {
			if peer, err := parsePeer(joinPeer(m[1], m[2])); err == nil {
				delete(by, peer)
			}
			continue
		}
		m := signInLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		peer, err := parsePeer(joinPeer(m[2], m[3]))
		switch {
		case err != nil:
		case m[1] == "publickey" && m[4] != "":
			by[peer] = m[4]
		default:
			by[peer] = otherWay
		}
	}
	return by
}

func joinPeer(host, port string) string {
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return host + ":" + port
}
