// SPDX-License-Identifier: Apache-2.0

// Package adbytes reads the binary values of Active Directory that say who gets in: key
// credentials, security descriptors, names with bytes, the metadata of replication, and what
// the numbers of an account mean.
//
// They are foreign bytes: whoever may write an attribute chooses them. Each function takes
// memory in proportion to its input and refuses what is not as the document says that it names.
package adbytes

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrMalformed says that bytes are not what their attribute holds.
var ErrMalformed = errors.New("malformed")

func malformed(what string) error { return fmt.Errorf("%w %s", ErrMalformed, what) }

// A SID is a security identifier in text: "S-1-5-21-...-500".
type SID string

// maxAuthorities is how many parts a SID has at most ([MS-DTYP] section 2.4.2.2).
const maxAuthorities = 15

// ReadSID reads the SID at the beginning of b and returns its length ([MS-DTYP] section 2.4.2.2).
func ReadSID(b []byte) (SID, int, error) {
	if len(b) < 8 || b[0] != 1 || b[1] > maxAuthorities {
		return "", 0, malformed("security identifier")
	}
	size := 8 + 4*int(b[1])
	if len(b) < size {
		return "", 0, malformed("security identifier")
	}
	var authority uint64
	for _, part := range b[2:8] {
		authority = authority<<8 | uint64(part)
	}
	var text strings.Builder
	text.WriteString("S-1-" + strconv.FormatUint(authority, 10))
	for at := 8; at < size; at += 4 {
		text.WriteString("-" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b[at:])), 10))
	}
	return SID(text.String()), size, nil
}

// WellKnown returns the name of a SID that is the same in all domains, or "" ([MS-DTYP] section 2.4.2.4).
func (s SID) WellKnown() string {
	switch s {
	case "S-1-1-0":
		return "Everyone"
	case "S-1-5-7":
		return "Anonymous"
	case "S-1-5-10":
		return "Self"
	case "S-1-5-11":
		return "Authenticated Users"
	case "S-1-5-18":
		return "System"
	case "S-1-5-32-544":
		return "Administrators"
	case "S-1-5-32-548":
		return "Account Operators"
	}
	_, relative, _ := cutLast(string(s))
	if !strings.HasPrefix(string(s), "S-1-5-21-") {
		return ""
	}
	switch relative {
	case "500":
		return "Administrator"
	case "502":
		return "krbtgt"
	case "512":
		return "Domain Admins"
	case "513":
		return "Domain Users"
	case "515":
		return "Domain Computers"
	case "516":
		return "Domain Controllers"
	case "518":
		return "Schema Admins"
	case "519":
		return "Enterprise Admins"
	}
	return ""
}

func cutLast(text string) (before, after string, ok bool) {
	i := strings.LastIndexByte(text, '-')
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+1:], true
}

// GUID writes 16 bytes as Microsoft does: the first three parts in little endian
// ([MS-DTYP] section 2.3.4.2). It returns "" for any other number of bytes.
func GUID(b []byte) string {
	if len(b) != 16 {
		return ""
	}
	return fmt.Sprintf("%08x-%04x-%04x-%s-%s", binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint16(b[4:]),
		binary.LittleEndian.Uint16(b[6:]), hex.EncodeToString(b[8:10]), hex.EncodeToString(b[10:]))
}

// epoch is 1601-01-01 in seconds before 1970.
const epoch = 11_644_473_600

// FileTime reads a number of 100 nanoseconds since 1601 ([MS-DTYP] section 2.3.3). 0 and the
// largest number stand for "never", of which the time is zero.
func FileTime(n int64) time.Time {
	if n <= 0 || n == 1<<63-1 {
		return time.Time{}
	}
	return time.Unix(n/10_000_000-epoch, n%10_000_000*100).UTC()
}

// ParseFileTime reads one that is written as text.
func ParseFileTime(text string) time.Time {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return FileTime(n)
}
