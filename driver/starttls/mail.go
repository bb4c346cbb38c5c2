// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/driver/network"
)

// smtp is RFC 3207; LMTP (RFC 2033) differs in the word of greeting.
func smtp(d *dialogue, hello string) error {
	greeting, err := d.reply()
	if err != nil {
		return err
	}
	if greeting.code != 220 {
		return d.fail(Declined, "%s", greeting)
	}
	if err := d.send("%s %s\r\n", hello, self); err != nil {
		return err
	}
	extensions, err := d.reply()
	if err != nil {
		return err
	}
	if extensions.code != 250 || !extensions.offers("STARTTLS") {
		return d.fail(NoStartTLS, "%s", extensions)
	}
	return d.command("STARTTLS", 220)
}

// ftp is RFC 4217.
func ftp(d *dialogue) error {
	greeting, err := d.reply()
	for err == nil && greeting.code == 120 { // ready in some minutes (RFC 959 section 5.4)
		greeting, err = d.reply()
	}
	if err != nil {
		return err
	}
	if greeting.code != 220 {
		return d.fail(Declined, "%s", greeting)
	}
	return d.command("AUTH TLS", 234)
}

// nntp is RFC 4642.
func nntp(d *dialogue) error {
	greeting, err := d.reply()
	if err != nil {
		return err
	}
	if greeting.code != 200 && greeting.code != 201 {
		return d.fail(Declined, "%s", greeting)
	}
	return d.command("STARTTLS", 382)
}

// pop3 is RFC 2595 section 4.
func pop3(d *dialogue) error {
	for _, step := range []struct{ say, otherwise string }{{"", Declined}, {"STLS\r\n", NoStartTLS}} {
		if err := d.send("%s", step.say); err != nil {
			return err
		}
		line, err := d.line()
		switch {
		case err != nil:
			return err
		case strings.HasPrefix(line, "-ERR"):
			d.spoken = true
			return d.fail(step.otherwise, "%s", network.Quote(line))
		case !strings.HasPrefix(line, "+OK"):
			return d.unlike("%s", network.Quote(line))
		}
		d.spoken = true
	}
	return nil
}

// imap is RFC 9051 sections 6.2.1 and 7.1.
func imap(d *dialogue) error {
	const tag = "tallystick"
	greeting, err := d.line()
	if err != nil {
		return err
	}
	switch word(greeting, 0) + " " + word(greeting, 1) {
	case "* OK":
	case "* PREAUTH": // STARTTLS is not allowed any more
		return d.fail(NoStartTLS, "%s", network.Quote(greeting))
	case "* BYE":
		return d.fail(Declined, "%s", network.Quote(greeting))
	default:
		return d.unlike("%s", network.Quote(greeting))
	}
	d.spoken = true
	if err := d.send("%s STARTTLS\r\n", tag); err != nil {
		return err
	}
	for {
		line, err := d.line()
		if err != nil {
			return err
		}
		switch first, second := word(line, 0), word(line, 1); {
		case first == "*" && second != "BYE":
			continue // a server may say anything at any time (section 7)
		case first == "*":
			return d.fail(Declined, "%s", network.Quote(line))
		case first != strings.ToUpper(tag):
			return d.unlike("%s", network.Quote(line))
		case second == "OK":
			return nil
		case second == "NO" || second == "BAD":
			return d.fail(NoStartTLS, "%s", network.Quote(line))
		default:
			return d.unlike("%s", network.Quote(line))
		}
	}
}

// sieve is ManageSieve, RFC 5804 sections 1.7 and 2.2.
func sieve(d *dialogue) error {
	offered, err := d.sieveReply(Declined)
	if err != nil {
		return err
	}
	if !offered {
		return d.fail(NoStartTLS, "it is not among the capabilities")
	}
	if err := d.send("STARTTLS\r\n"); err != nil {
		return err
	}
	_, err = d.sieveReply(NoStartTLS)
	return err
}

// sieveReply reads lines of strings until the response that ends them, and says
// whether one of them was the capability STARTTLS.
func (d *dialogue) sieveReply(otherwise string) (offered bool, err error) {
	for {
		line, err := d.line()
		if err != nil {
			return false, err
		}
		switch first := word(line, 0); {
		case first == "OK":
			return offered, nil
		case first == "NO":
			return false, d.fail(otherwise, "%s", network.Quote(line))
		case first == "BYE":
			return false, d.fail(Declined, "%s", network.Quote(line))
		case !strings.HasPrefix(first, `"`):
			return false, d.unlike("%s", network.Quote(line))
		case first == `"STARTTLS"`:
			offered = true
		}
		d.spoken = true
		if err := d.skipLiteral(line); err != nil {
			return false, err
		}
	}
}

// skipLiteral reads what a line that ends in {n} or {n+} announces, and the rest
// of the line behind it.
func (d *dialogue) skipLiteral(line string) error {
	for strings.HasSuffix(line, "}") {
		digits := strings.TrimSuffix(line[strings.LastIndexByte(line, '{')+1:len(line)-1], "+")
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil {
			return d.unlike("%s", network.Quote(line))
		}
		if _, err := d.take(int(n)); err != nil {
			return err
		}
		if line, err = d.line(); err != nil {
			return err
		}
	}
	return nil
}

// word returns the nth word of a line in upper case, from 0, or "".
func word(line string, n int) string {
	words := strings.Fields(line)
	if n >= len(words) {
		return ""
	}
	return strings.ToUpper(words[n])
}
