// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"github.com/tallystick/tallystick/driver/ber"
	"github.com/tallystick/tallystick/driver/network"
)

// ldapExtendedDone is the tag of the answer to an extended operation (RFC 4511 section 4.12).
const ldapExtendedDone = 0x78

// ldapRequest is message 1, an ExtendedRequest whose name is that of StartTLS.
const ldapRequest = "\x30\x1d" + "\x02\x01\x01" + "\x77\x18" + "\x80\x16" + "1.3.6.1.4.1.1466.20037"

// ldap is the extended operation StartTLS, RFC 4511 section 4.14.
func ldap(d *dialogue) error {
	if err := d.send("%s", ldapRequest); err != nil {
		return err
	}
	message, err := d.berMessage()
	if err != nil {
		return err
	}
	id, rest, ok := ber.Element(message, ber.Integer)
	done, _, okDone := ber.Element(rest, ldapExtendedDone)
	result, rest, okResult := ber.Element(done, ber.Enumerated)
	if !ok || !okDone || !okResult || len(id) != 1 || len(result) != 1 {
		return d.unlike("answered %s", network.Quote(string(message)))
	}
	d.spoken = true
	switch {
	case id[0] == 0: // a notice of disconnection (section 4.4.1)
		return d.fail(Declined, "disconnected with result %d %s", result[0], network.Quote(string(rest)))
	case id[0] != 1:
		return d.unlike("answered message %d", id[0])
	case result[0] != 0:
		return d.fail(NoStartTLS, "result %d %s", result[0], network.Quote(string(rest)))
	}
	return nil
}

// berMessage reads a SEQUENCE and returns what is in it.
func (d *dialogue) berMessage() ([]byte, error) {
	header, err := d.take(2)
	if err != nil {
		return nil, err
	}
	if header[0] != ber.Sequence {
		return nil, d.unlike("begins with %x", header)
	}
	size := int(header[1])
	if size >= 0x80 { // a length of several bytes; directories of Microsoft always use four
		more, err := d.take(size - 0x80)
		if err != nil {
			return nil, err
		}
		var ok bool
		if size, ok = ber.Length(more); !ok {
			return nil, d.unlike("a length of %d bytes", len(more))
		}
	}
	return d.take(size)
}
