// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A session is a connection of a client to a process of smtpd.
type session struct {
	local, peer string
	pid         int
}

// maxSessions bounds how many sessions are looked at, and so the lists of them.
const maxSessions = 1_000

// maxAnswer is where Host cuts the answer of a command, in bytes.
const maxAnswer = 1 << 20

// socketOf finds the process in a line of ss(8).
var socketOf = regexp.MustCompile(`\("smtpd",pid=([0-9]{1,9}),`)

// sessions asks the kernel for the connections of smtpd.
func (d *door) sessions(ctx context.Context, h driver.Host, c *configuration) ([]session, error) {
	var ports []string
	for _, s := range c.doors() {
		for _, address := range c.addresses(s) {
			if _, port, err := net.SplitHostPort(address); err == nil {
				ports = append(ports, "sport = :"+port)
			}
		}
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	if len(ports) == 0 {
		return nil, errors.New("no port of Postfix is known")
	}
	text, err := installing.Run(ctx, h, "ss", "-Htnp", "state", "established", "( "+strings.Join(ports, " or ")+" )")
	if err != nil {
		return nil, err
	}
	return parseSockets(text)
}

// parseSockets reads the lines of ss without its heading: two queues, two addresses, and
// the processes.
func parseSockets(text string) ([]session, error) {
	var all []session
	for line := range strings.Lines(text) {
		process := socketOf.FindStringSubmatch(line)
		fields := strings.Fields(line)
		if process == nil || len(fields) < 5 {
			continue
		}
		if len(all) == maxSessions || len(text) >= maxAnswer {
			return nil, fmt.Errorf("there are more than %d", maxSessions)
		}
		pid, err := strconv.Atoi(process[1])
		_, localErr := netip.ParseAddrPort(fields[2])
		_, peerErr := netip.ParseAddrPort(fields[3])
		if err != nil || pid < 2 || localErr != nil || peerErr != nil {
			continue
		}
		all = append(all, session{fields[2], fields[3], pid})
	}
	return all, nil
}

// A holder is the fingerprints of a client's certificate; both are empty where none was logged.
type holder struct{ certificate, key string }

// holders reads from the log of smtpd (smtpd_tls_loglevel 2) who is served by the processes.
func (d *door) holders(ctx context.Context, h driver.Host, c *configuration, open []session) map[int]holder {
	path := d.Log
	if path == "" {
		path = c.main["maillog_file"]
	}
	if path == "" {
		path = "/var/log/mail.log"
	}
	var pids []string
	for _, s := range open {
		pids = append(pids, strconv.Itoa(s.pid))
	}
	pattern := `smtpd\[(` + strings.Join(pids, "|") + `)\]: (connect from |.*, fingerprint=)`
	output, err := h.Run(ctx, driver.Command{Args: []string{"grep", "-aE", "--", pattern, path}})
	if err != nil || output.Exit > 1 || len(output.Stdout) >= maxAnswer {
		return nil
	}
	return parseLog(string(output.Stdout))
}

var (
	// logLine is what stands before the message of smtpd, whose name postfix and syslog may write otherwise.
	logLine = regexp.MustCompile(`^[^\[\]]*smtpd\[([0-9]{1,9})\]: (.*)$`)
	// logHolder ends the message; what is before it is partly the client's own text.
	logHolder = regexp.MustCompile(`, fingerprint=([0-9A-F:]+), pkey_fingerprint=([0-9A-F:]+)$`)
)

// parseLog reads lines of the log, the last of each process last.
func parseLog(text string) map[int]holder {
	found := map[int]holder{}
	for line := range strings.Lines(text) {
		match := logLine.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if match == nil {
			continue
		}
		pid, err := strconv.Atoi(match[1])
		if err != nil {
			continue
		}
		if strings.HasPrefix(match[2], "connect from ") {
			found[pid] = holder{}
		} else if prints := logHolder.FindStringSubmatch(match[2]); prints != nil {
			found[pid] = holder{prints[1], prints[2]}
		}
	}
	return found
}

// end has the kernel end a connection, and says whether it is gone. The process is not
// ended: where it has served nobody yet, Postfix takes that for a program that cannot
// start, and lets nobody in for a minute.
func (d *door) end(ctx context.Context, h driver.Host, c *configuration, s session) (bool, error) {
	if _, err := installing.Run(ctx, h, "ss", "-HKtn", "src", s.local, "and", "dst", s.peer); err != nil {
		return false, err
	}
	open, err := d.sessions(ctx, h, c)
	return err == nil && !slices.Contains(open, s), err
}

// left describes a session that goes on.
func left(s session, why string) string {
	return fmt.Sprintf("pid %d from %s: it keeps the tables that it began with until it ends, and %s", s.pid, s.peer, why)
}
