// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	maxAnswer  = 16 << 20         // bytes of an answer of the admin socket
	answerTime = 20 * time.Second // for one
)

// errReload says that something does not go by the admin socket: it takes no more than a
// buffer at once (tune.bufsize), and see has.
var errReload = errors.New("HAProxy wants a reload for that")

// ask sends one command to the admin socket and returns the answer.
func (d *Door) ask(ctx context.Context, h driver.Host, command string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	conn, err := d.dial(ctx, h)
	if err != nil {
		return "", fmt.Errorf("%w: couldn't reach the admin socket of HAProxy: %w", tallystick.ErrUnavailable, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// What it does not take it does not read either, and closes: then the error of the
	// write says less than the answer.
	_, writing := io.WriteString(conn, command+"\n")
	answer, err := io.ReadAll(io.LimitReader(conn, maxAnswer+1))
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%w: the admin socket of HAProxy does not answer: %w", tallystick.ErrUnavailable, ctx.Err())
	case len(answer) > maxAnswer:
		return "", invalid("the admin socket of HAProxy answers with more than %d bytes", maxAnswer)
	case len(answer) == 0 && (err != nil || writing != nil):
		return "", errReload
	}
	text := strings.TrimSpace(string(answer))
	if strings.HasPrefix(text, "Permission denied") {
		return "", fmt.Errorf("%w: the socket %s is not of level admin", tallystick.ErrDenied, d.options.Socket)
	}
	return text, nil
}

// dial connects to the admin socket. During a reload nobody listens at it for a moment.
func (d *Door) dial(ctx context.Context, h driver.Host) (net.Conn, error) {
	for began := time.Now(); ; {
		conn, err := h.Dial(ctx, "unix", d.options.Socket)
		if err == nil || time.Since(began) > time.Second {
			return conn, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// set replaces what HAProxy has in memory of a file of a kind that it calls cert,
// crl-file or ca-file.
func (d *Door) set(ctx context.Context, h driver.Host, kind, file string, content []byte) error {
	if err := d.settle(ctx, h, kind, file); err != nil {
		return err
	}
	answer, err := d.ask(ctx, h, "set ssl "+kind+" "+file+" <<\n"+payload(content))
	if err != nil {
		return err
	}
	if answer == "" {
		return errReload
	}
	// It puts what is meant for one file into a transaction for another, where there is
	// one: the answer says which it was.
	if !transaction.MatchString(answer) || !strings.Contains(answer, " "+file+"!") {
		return invalid("HAProxy does not take %s: %s", file, network.Clean(answer))
	}
	answer, err = d.ask(ctx, h, "commit ssl "+kind+" "+file)
	if err == nil && strings.HasSuffix(answer, "Success!") {
		return nil
	}
	d.ask(ctx, h, "abort ssl "+kind+" "+file) // else the next call does it
	if err != nil {
		return err
	}
	return invalid("HAProxy refuses %s: %s", file, network.Clean(answer))
}

var transaction = regexp.MustCompile(`(?i)transaction (created|updated) for`)

// settle ends a transaction that a call before left open when it was killed. One about
// another file belongs to somebody else.
func (d *Door) settle(ctx context.Context, h driver.Host, kind, file string) error {
	answer, err := d.ask(ctx, h, "show ssl "+kind)
	if err != nil {
		return err
	}
	for line := range strings.Lines(answer) {
		name, open := strings.CutPrefix(strings.TrimSpace(line), "*")
		if !open {
			continue
		}
		if name, _, _ = strings.Cut(name, " - "); name != file {
			return fmt.Errorf("%w: somebody has begun to change %s of HAProxy and has not ended it: abort ssl %s %s", tallystick.ErrUnavailable, network.Clean(name), kind, network.Clean(name))
		}
		if _, err := d.ask(ctx, h, "abort ssl "+kind+" "+file); err != nil {
			return err
		}
	}
	return nil
}

// payload is a content without empty lines, one of which would end the command.
func payload(content []byte) string {
	var text strings.Builder
	for line := range strings.Lines(string(content)) {
		if strings.TrimSpace(line) != "" && !strings.HasPrefix(line, "#") {
			text.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	return text.String()
}

var fingerprint = regexp.MustCompile(`(?m)^SHA1 FingerPrint: ([0-9A-F]{40})\r?$`)

// has returns the SHA-1 of the certificates that HAProxy has in memory of a file, sorted,
// and whether they are in use. HAProxy 2.6 loses track of what uses a certificate when
// lists or CAs are replaced at the same bind: it is served as before, and what is set
// afterwards counts for nothing, although it says "Success!".
func (d *Door) has(ctx context.Context, h driver.Host, kind, file string) (all []string, used bool, err error) {
	answer, err := d.ask(ctx, h, "show ssl "+kind+" "+file)
	if err != nil {
		return nil, false, err
	}
	for _, match := range fingerprint.FindAllStringSubmatch(answer, -1) {
		all = append(all, strings.ToLower(match[1]))
	}
	slices.Sort(all)
	return slices.Compact(all), strings.Contains(answer, "\nStatus: Used"), nil
}

func sha1s(ders ...[]byte) []string {
	var all []string
	for _, der := range ders {
		sum := sha1.Sum(der)
		all = append(all, hex.EncodeToString(sum[:]))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// hasLists says whether HAProxy has just these revocation lists in memory, in any order:
// OpenSSL keeps them in one of its own.
func (d *Door) hasLists(ctx context.Context, h driver.Host, file string, lists blocking.Lists) (bool, error) {
	lists = slices.Clone(lists)
	for number := 1; ; number++ {
		answer, err := d.ask(ctx, h, fmt.Sprintf("show ssl crl-file %s:%d", file, number))
		if err != nil {
			return false, err
		}
		if !strings.Contains(answer, lastUpdate) { // there is no further one
			return len(lists) == 0, nil
		}
		i := slices.IndexFunc(lists, func(list *x509.RevocationList) bool { return isList(answer, list) })
		if i < 0 {
			return false, nil
		}
		lists = slices.Delete(lists, i, i+1)
	}
}

const (
	lastUpdate   = "Last Update: "
	serialNumber = "Serial Number: "
	// shownWhole is how long an answer is at most that is not cut off: HAProxy shows of a
	// list what goes into one buffer, 16 KiB unless tune.bufsize is less.
	shownWhole = 4 << 10
)

// isList compares what HAProxy shows of a list: its issuer is in words that cannot be
// compared, but its time can, and which certificates it names, in any order.
func isList(answer string, list *x509.RevocationList) bool {
	want := map[string]bool{}
	for _, one := range list.RevokedCertificateEntries {
		want[fmt.Sprintf("%s%X", serialNumber, one.SerialNumber.Bytes())] = true
	}
	cut := len(answer) > shownWhole
	lines := strings.Split(answer, "\n")
	dated, named := false, 0
	for i, line := range lines {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, lastUpdate):
			dated = line == lastUpdate+list.ThisUpdate.UTC().Format("Jan _2 15:04:05 2006 GMT")
		case !strings.HasPrefix(line, serialNumber) || cut && i == len(lines)-1:
		case !want[line]:
			return false
		default:
			named++
		}
	}
	return dated && (named == len(want) || cut && named > 0)
}

var entry = regexp.MustCompile(`(?m)^(?:0x[0-9a-f]+ )?([0-9A-F]{64})\r?$`)

// entries returns the fingerprints of a list, or of an answer to show acl.
func entries(text string) []string {
	var all []string
	for _, match := range entry.FindAllStringSubmatch(text, -1) {
		all = append(all, match[1])
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// denies returns those on the list in memory.
func (d *Door) denies(ctx context.Context, h driver.Host) ([]string, error) {
	answer, err := d.ask(ctx, h, "show acl "+d.options.Deny)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(answer, "Unknown ACL") {
		return nil, invalid("HAProxy goes by no list %s: docs/doors.md has the lines for haproxy.cfg", d.options.Deny)
	}
	return entries(answer), nil
}

// deny puts a fingerprint on the list in memory, or takes it away.
func (d *Door) deny(ctx context.Context, h driver.Host, one string, lift bool) error {
	verb := "add"
	if lift {
		verb = "del"
	}
	answer, err := d.ask(ctx, h, verb+" acl "+d.options.Deny+" "+one)
	if err != nil {
		return err
	}
	if answer != "" {
		return invalid("HAProxy does not %s what is denied: %s", verb, network.Clean(answer))
	}
	return nil
}
