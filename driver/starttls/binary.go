// SPDX-License-Identifier: Apache-2.0

package starttls

import (
	"bytes"
	"encoding/binary"

	"github.com/tallystick/tallystick/driver/network"
)

// postgres is the SSLRequest of PostgreSQL.
// https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
func postgres(d *dialogue) error {
	if err := d.send("\x00\x00\x00\x08\x04\xd2\x16\x2f"); err != nil {
		return err
	}
	answer, err := d.ReadByte()
	if err != nil {
		return err
	}
	switch answer {
	case 'S':
		return nil
	case 'N':
		return d.fail(NoStartTLS, "answered N")
	case 'E': // a server that cannot serve now, or one from before 7.1
		return d.fail(Declined, "answered with an error")
	}
	return d.unlike("answered %s", network.Quote(string(answer)))
}

// What a MySQL or MariaDB client says that it can do, in an SSL request.
const (
	mysqlLongPassword     = 1 << 0
	mysqlProtocol41       = 1 << 9
	mysqlSSL              = 1 << 11
	mysqlSecureConnection = 1 << 15
	mysqlUTF8             = 33
)

// mysql is the SSL request of MySQL and MariaDB.
// https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_connection_phase.html
func mysql(d *dialogue) error {
	header, err := d.take(4)
	if err != nil {
		return err
	}
	size := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	if size < 3 || size > 4<<10 || header[3] > 2 {
		return d.unlike("begins with %x", header)
	}
	greeting, err := d.take(size)
	if err != nil {
		return err
	}
	capabilities, ok := mysqlCapabilities(greeting)
	switch {
	case greeting[0] == 0xff: // an error packet: too many connections, an address that it does not want
		return d.fail(Declined, "%s", network.Quote(string(greeting[3:])))
	case !ok:
		return d.unlike("%s", network.Quote(string(greeting)))
	case capabilities&mysqlSSL == 0:
		return d.fail(NoStartTLS, "it is not among the capabilities")
	}
	request := []byte{32, 0, 0, header[3] + 1}
	request = binary.LittleEndian.AppendUint32(request, mysqlLongPassword|mysqlProtocol41|mysqlSSL|mysqlSecureConnection)
	request = binary.LittleEndian.AppendUint32(request, 1<<24) // longest packet
	request = append(request, mysqlUTF8)
	request = append(request, make([]byte, 23)...)
	_, err = d.conn.Write(request)
	return err
}

// mysqlCapabilities returns the lower half of the capabilities of a greeting
// ("Protocol::HandshakeV10"), where SSL is.
func mysqlCapabilities(greeting []byte) (uint16, bool) {
	if greeting[0] != 10 {
		return 0, false
	}
	_, rest, ok := bytes.Cut(greeting[1:], []byte{0}) // the version
	const before = 4 + 8 + 1                          // thread, first part of a nonce, filler
	if !ok || len(rest) < before+2 {
		return 0, false
	}
	return binary.LittleEndian.Uint16(rest[before:]), true
}

// Types of the negotiation of RDP ([MS-RDPBCGR] sections 2.2.1.1 and 2.2.1.2).
const (
	rdpResponse = 2
	rdpFailure  = 3
)

// rdp is the X.224 connection request that asks for TLS. It offers CredSSP as
// well, which runs inside TLS, because many servers want that.
func rdp(d *dialogue) error {
	const cookie = "Cookie: mstshash=tallystick\r\n" // servers log it as the name of the visitor
	const negotiation = "\x01\x00\x08\x00" + "\x03\x00\x00\x00"
	const fixed = "\xe0\x00\x00\x00\x00\x00" // connection request, references, class 0
	const x224 = len(fixed) + len(cookie) + len(negotiation)
	err := d.send("%c%c%c%c%c%s", 3, 0, 0, 4+1+x224, x224, fixed+cookie+negotiation)
	if err != nil {
		return err
	}
	header, err := d.take(4)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint16(header[2:]))
	if header[0] != 3 || size < 11 || size > 1<<10 {
		return d.unlike("begins with %x", header)
	}
	confirm, err := d.take(size - 4)
	if err != nil {
		return err
	}
	if confirm[1] != 0xd0 || int(confirm[0]) != len(confirm)-1 {
		return d.unlike("answered %x", confirm)
	}
	answer := confirm[7:] // behind length, code, references and class
	switch {
	case len(answer) == 0:
		return d.fail(NoStartTLS, "it knows only the security of old")
	case len(answer) != 8 || answer[0] != rdpResponse && answer[0] != rdpFailure:
		return d.unlike("answered %x", confirm)
	}
	value := binary.LittleEndian.Uint32(answer[4:])
	if answer[0] == rdpFailure {
		return d.fail(NoStartTLS, "failure %d", value) // 2: not allowed by the server, 3: it has no certificate
	}
	if value == 0 {
		return d.fail(NoStartTLS, "it chose the security of old")
	}
	return nil
}
