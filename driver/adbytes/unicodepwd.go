// SPDX-License-Identifier: Apache-2.0

package adbytes

import (
	"encoding/binary"
	"unicode/utf16"
)

// UnicodePwd writes a password as the attribute unicodePwd takes it ([MS-ADTS] section
// 3.1.1.3.1.5.1): between quotes, in UTF-16, little endian.
func UnicodePwd(password string) string {
	var value []byte
	for _, unit := range utf16.Encode([]rune(`"` + password + `"`)) {
		value = binary.LittleEndian.AppendUint16(value, unit)
	}
	return string(value)
}
