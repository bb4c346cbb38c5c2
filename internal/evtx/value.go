// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"
)

// The types of values ([MS-EVEN6] section 2.2.12). An array has flagArray in addition.
const (
	typeNull       = 0x00
	typeString     = 0x01
	typeANSI       = 0x02
	typeInt8       = 0x03
	typeUint8      = 0x04
	typeInt16      = 0x05
	typeUint16     = 0x06
	typeInt32      = 0x07
	typeUint32     = 0x08
	typeInt64      = 0x09
	typeUint64     = 0x0a
	typeReal32     = 0x0b
	typeReal64     = 0x0c
	typeBool       = 0x0d
	typeBinary     = 0x0e
	typeGUID       = 0x0f
	typeSize       = 0x10
	typeFileTime   = 0x11
	typeSystemTime = 0x12
	typeSID        = 0x13
	typeHex32      = 0x14
	typeHex64      = 0x15
	typeBinXML     = 0x21

	flagArray = 0x80
)

// A value is what an event has at a place of its template.
type value struct {
	kind byte
	at   int // of data in the chunk
	data []byte
}

// width returns the size of a value of a type, and 0 where it varies.
func width(kind byte) int {
	switch kind {
	case typeInt8, typeUint8:
		return 1
	case typeInt16, typeUint16:
		return 2
	case typeInt32, typeUint32, typeReal32, typeBool, typeHex32:
		return 4
	case typeInt64, typeUint64, typeReal64, typeFileTime, typeHex64:
		return 8
	case typeGUID, typeSystemTime:
		return 16
	}
	return 0
}

// items yields the values of an array, and a value that is none itself.
func (v value) items() iter.Seq2[int, value] {
	return func(yield func(int, value) bool) {
		if v.kind&flagArray == 0 {
			yield(0, v)
			return
		}
		kind, rest := v.kind&^flagArray, v.data
		for i := 0; len(rest) > 0; i++ {
			size, skip := itemSize(kind, rest)
			if !yield(i, value{kind: kind, data: rest[:size]}) {
				return
			}
			rest = rest[size+skip:]
		}
	}
}

// itemSize returns the size of the first value of an array, and of what ends it.
func itemSize(kind byte, rest []byte) (size, skip int) {
	switch kind {
	case typeString:
		for size = 0; size+1 < len(rest); size += 2 {
			if rest[size] == 0 && rest[size+1] == 0 {
				return size, 2
			}
		}
	case typeANSI:
		if end := bytes.IndexByte(rest, 0); end >= 0 {
			return end, 1
		}
	case typeSID:
		if len(rest) > 1 {
			return min(sidHead+4*int(rest[1]), len(rest)), 0
		}
	default:
		if size := width(kind); size > 0 {
			return min(size, len(rest)), 0
		}
	}
	return len(rest), 0
}

// append writes the value as Windows shows it.
func (v value) append(out []byte) ([]byte, error) {
	if len(v.data) < width(v.kind) {
		return out, fmt.Errorf("a value of type 0x%02x of %d bytes", v.kind, len(v.data))
	}
	switch v.kind {
	case typeNull:
	case typeString:
		for n := len(v.data); n > 1 && v.data[n-1] == 0 && v.data[n-2] == 0; n -= 2 {
			v.data = v.data[:n-2]
		}
		out = appendUTF16(out, v.data)
	case typeANSI:
		// The log does not say its code page; Latin 1 is the beginning of most.
		for _, b := range bytes.TrimRight(v.data, "\x00") {
			out = appendRune(out, rune(b))
		}
	case typeBool:
		out = strconv.AppendBool(out, binary.LittleEndian.Uint32(v.data) != 0)
	case typeBinary:
		out = appendUpper(out, v.data)
	case typeGUID:
		out = appendGUID(out, v.data)
	case typeSID:
		return appendSID(out, v.data)
	case typeFileTime, typeSystemTime:
		return v.appendTime(out), nil
	default:
		return v.appendNumber(out)
	}
	return out, nil
}

func (v value) appendNumber(out []byte) ([]byte, error) {
	le := binary.LittleEndian
	switch v.kind {
	case typeInt8:
		return strconv.AppendInt(out, int64(int8(v.data[0])), 10), nil
	case typeUint8:
		return strconv.AppendUint(out, uint64(v.data[0]), 10), nil
	case typeInt16:
		return strconv.AppendInt(out, int64(int16(le.Uint16(v.data))), 10), nil
	case typeUint16:
		return strconv.AppendUint(out, uint64(le.Uint16(v.data)), 10), nil
	case typeInt32:
		return strconv.AppendInt(out, int64(int32(le.Uint32(v.data))), 10), nil
	case typeUint32:
		return strconv.AppendUint(out, uint64(le.Uint32(v.data)), 10), nil
	case typeInt64:
		return strconv.AppendInt(out, int64(le.Uint64(v.data)), 10), nil
	case typeUint64:
		return strconv.AppendUint(out, le.Uint64(v.data), 10), nil
	case typeReal32:
		return appendReal(out, float64(math.Float32frombits(le.Uint32(v.data))), 32), nil
	case typeReal64:
		return appendReal(out, math.Float64frombits(le.Uint64(v.data)), 64), nil
	case typeHex32, typeHex64, typeSize:
		if number, ok := unsigned(v.data); ok {
			return strconv.AppendUint(append(out, "0x"...), number, 16), nil
		}
	}
	return out, fmt.Errorf("a value of type 0x%02x of %d bytes", v.kind, len(v.data))
}

// unsigned reads a number of 4 or 8 bytes.
func unsigned(data []byte) (uint64, bool) {
	switch len(data) {
	case 4:
		return uint64(binary.LittleEndian.Uint32(data)), true
	case 8:
		return binary.LittleEndian.Uint64(data), true
	}
	return 0, false
}

func appendReal(out []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(out, "-1.#IND"...)
	case math.IsInf(f, 1):
		return append(out, "1.#INF"...)
	case math.IsInf(f, -1):
		return append(out, "-1.#INF"...)
	}
	return strconv.AppendFloat(out, f, 'g', -1, bits)
}

// appendTime writes a time in UTC, as precise as its type is.
func (v value) appendTime(out []byte) []byte {
	le := binary.LittleEndian
	if v.kind == typeSystemTime {
		part := func(i int) int { return int(le.Uint16(v.data[2*i:])) }
		return fmt.Appendf(out, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", part(0), part(1), part(3), part(4), part(5), part(6), part(7))
	}
	const perSecond, to1970 = 10_000_000, 11_644_473_600 // from 1601 ([MS-DTYP] section 2.3.3)
	ticks := le.Uint64(v.data)
	t := time.Unix(int64(ticks/perSecond)-to1970, int64(ticks%perSecond)*100).UTC()
	return t.AppendFormat(out, "2006-01-02T15:04:05.0000000Z")
}

// appendGUID writes a GUID ([MS-DTYP] section 2.3.4.2).
func appendGUID(out, data []byte) []byte {
	le := binary.LittleEndian
	var text [16]byte
	binary.BigEndian.PutUint32(text[0:], le.Uint32(data))
	binary.BigEndian.PutUint16(text[4:], le.Uint16(data[4:]))
	binary.BigEndian.PutUint16(text[6:], le.Uint16(data[6:]))
	copy(text[8:], data[8:16])
	out = appendUpper(append(out, '{'), text[:4])
	for _, part := range [][]byte{text[4:6], text[6:8], text[8:10], text[10:]} {
		out = appendUpper(append(out, '-'), part)
	}
	return append(out, '}')
}

// appendUpper writes bytes in hexadecimal as Windows does, in capitals.
func appendUpper(out, data []byte) []byte {
	from := len(out)
	out = hex.AppendEncode(out, data)
	for i, b := range out[from:] {
		if b >= 'a' {
			out[from+i] = b - 'a' + 'A'
		}
	}
	return out
}

const sidHead = 8

// appendSID writes a security identifier ([MS-DTYP] section 2.4.2.1).
func appendSID(out, data []byte) ([]byte, error) {
	if len(data) < sidHead || len(data) < sidHead+4*int(data[1]) {
		return out, fmt.Errorf("a security identifier of %d bytes", len(data))
	}
	out = strconv.AppendUint(append(out, "S-"...), uint64(data[0]), 10)
	authority := binary.BigEndian.Uint64(data) & (1<<48 - 1)
	if authority < 1<<32 {
		out = strconv.AppendUint(append(out, '-'), authority, 10)
	} else {
		out = strconv.AppendUint(append(out, "-0x"...), authority, 16)
	}
	for i := range int(data[1]) {
		out = strconv.AppendUint(append(out, '-'), uint64(binary.LittleEndian.Uint32(data[sidHead+4*i:])), 10)
	}
	return out, nil
}
