// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
)

// readLimit bounds what one connection reads, in bytes. A key exchange with a
// certificate of the largest RSA key stays below 20 KiB.
const readLimit = 64 << 10

var errTooMuch = errors.New("the server sent more than a key exchange needs")

// A recordingConn remembers what it read, up to readLimit, and then fails.
type recordingConn struct {
	net.Conn
	read     []byte
	overflow bool
}

func (c *recordingConn) Read(p []byte) (int, error) {
	left := readLimit - len(c.read)
	if left <= 0 {
		c.overflow = true
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(len(p), left)])
	c.read = append(c.read, p[:n]...)
	return n, err
}

// Message numbers of RFC 4253 section 12, RFC 5656 section 7.1 and RFC 4419
// section 5.
const (
	messageKexInit  = 20
	messageReply    = 31 // of Diffie-Hellman, with the host key; or a group, without
	messageGexReply = 33 // with the host key
)

// A greeting is what a server says in the clear before a key exchange ends.
type greeting struct {
	software string // its identification string (RFC 4253 section 4.2), without the line's end
	other    string // the first line in its place; of a server that is none
	offer    *offer // nil without a KEXINIT
	key      []byte // the host key as it was shown; nil without
}

// An offer is what a KEXINIT message lists (RFC 4253 section 7.1), in order.
type offer struct {
	exchanges, hostKeys, ciphers, macs []string
}

// readGreeting reads what a server sent; it takes as much as there is. The
// result shares memory with stream.
func readGreeting(stream []byte) greeting {
	var g greeting
	for {
		line, rest, ended := bytes.Cut(stream, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		if !bytes.HasPrefix(line, []byte("SSH-")) {
			// A server may greet with other lines first.
			if g.other == "" {
				g.other = string(line)
			}
			if !ended {
				return g
			}
			stream = rest
			continue
		}
		g.software = string(line)
		stream = rest
		break
	}
	for {
		payload, rest, ok := packet(stream)
		if !ok {
			return g
		}
		if g.offer == nil && payload[0] == messageKexInit {
			g.offer = kexInit(payload)
		}
		if g.key == nil && (payload[0] == messageReply || payload[0] == messageGexReply) {
			g.key = shownKey(payload[1:])
		}
		stream = rest
	}
}

// packet reads the packet at the start of stream, in the form that it has
// before keys are taken into use (RFC 4253 section 6); its payload is not empty.
func packet(stream []byte) (payload, rest []byte, ok bool) {
	if len(stream) < 5 {
		return nil, nil, false
	}
	length, padding := binary.BigEndian.Uint32(stream), uint32(stream[4])
	if length > readLimit || int(length) > len(stream)-4 || length < padding+2 {
		return nil, nil, false
	}
	return stream[5 : 4+length-padding], stream[4+length:], true
}

// kexInit reads a KEXINIT message; nil when it is malformed.
func kexInit(payload []byte) *offer {
	const cookie = 1 + 16
	if len(payload) < cookie {
		return nil
	}
	rest := payload[cookie:]
	var lists [6][]string
	for i := range lists {
		text, after, ok := field(rest)
		if !ok {
			return nil
		}
		lists[i], rest = names(text), after
	}
	return &offer{
		exchanges: lists[0], hostKeys: lists[1],
		ciphers: union(lists[3], lists[2]), macs: union(lists[5], lists[4]),
	}
}

// shownKey returns the host key at the start of a reply, nil when there is
// none: a group of RFC 4419 begins with a number in its place.
func shownKey(reply []byte) []byte {
	key, _, ok := field(reply)
	if !ok {
		return nil
	}
	kind, _, ok := field(key)
	if !ok || len(kind) < len("ssh-") || slices.ContainsFunc(kind, func(b byte) bool { return b <= ' ' || b > '~' }) {
		return nil
	}
	return key
}

// field reads a string (RFC 4251 section 5).
func field(b []byte) (text, rest []byte, ok bool) {
	if len(b) < 4 {
		return nil, nil, false
	}
	length := binary.BigEndian.Uint32(b)
	if uint64(length) > uint64(len(b)-4) {
		return nil, nil, false
	}
	return b[4 : 4+length], b[4+length:], true
}

const (
	maxNames = 200 // of one list; servers offer some ten
	maxName  = 64  // bytes (RFC 4251 section 6)
)

// names reads a name-list (RFC 4251 section 5). What cannot be a name is left out.
func names(text []byte) []string {
	var list []string
	for name := range bytes.SplitSeq(text, []byte(",")) {
		bad := slices.ContainsFunc(name, func(b byte) bool { return b <= ' ' || b > '~' })
		if len(name) == 0 || len(name) > maxName || bad {
			continue
		}
		if list = append(list, string(name)); len(list) == maxNames {
			break
		}
	}
	return list
}

// union appends to list what further has beyond it.
func union(list, further []string) []string {
	for _, name := range further {
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}
