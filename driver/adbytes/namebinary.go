// SPDX-License-Identifier: Apache-2.0

package adbytes

import (
	"encoding/hex"
	"strconv"
	"strings"
)

// A NameBinary is a value of syntax Object(DN-Binary): bytes, and the object that they are of
// ([MS-ADTS] section 3.1.1.3.1.1.4, "B:<digits>:<hexadecimal>:<DN>").
type NameBinary struct {
	Bytes []byte
	DN    string // perhaps with "<GUID=...>;<SID=...>;" before it
}

// maxBinary bounds the bytes of one value.
const maxBinary = 1 << 20

// ReadNameBinary reads one.
func ReadNameBinary(text string) (NameBinary, error) {
	fields := strings.SplitN(text, ":", 4)
	if len(fields) != 4 || !strings.EqualFold(fields[0], "B") {
		return NameBinary{}, malformed("name with bytes")
	}
	digits, err := strconv.Atoi(fields[1])
	if err != nil || digits != len(fields[2]) || digits > 2*maxBinary {
		return NameBinary{}, malformed("name with bytes: its length is not that of its bytes")
	}
	value, err := hex.DecodeString(fields[2])
	if err != nil {
		return NameBinary{}, malformed("name with bytes: they are not hexadecimal")
	}
	return NameBinary{Bytes: value, DN: fields[3]}, nil
}
