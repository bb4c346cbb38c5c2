// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// An extra is what few records have.
type extra struct {
	until, count int64
	parent       uint64 // hash of an identifier of the use it was made with, 0 none
	loose        uint32 // the same as correlation ids are hashed
}

// micro returns a time as records have it.
func micro(t time.Time) int64 { return t.Unix()*1e6 + int64(t.Nanosecond()/1e3) }

func fromMicro(at int64) time.Time { return time.UnixMicro(at).UTC() }

// refOf returns the identifier that the relying party gave.
func refOf(u *tallystick.Use) string {
	for _, id := range [...]*string{&u.IDs.Request, &u.IDs.Queue, &u.IDs.Session, &u.IDs.Serial} {
		if *id != "" {
			return *id
		}
	}
	return u.ID
}

// identity appends what two copies of one record have in common. Whoever gave the
// record an id, or a number in its book, has said so; a record without either is
// known by all that it says. The number alone is not enough: a writer that was
// started again may count from one again, and a record must not vanish for that.
func identity(key []byte, u *tallystick.Use) []byte {
	key = appendText(appendText(appendText(key, string(u.Side)), u.Source), u.ID)
	if u.ID != "" {
		return key
	}
	for _, n := range [...]int64{int64(u.Seq), u.Time.Unix(), int64(u.Time.Nanosecond()), u.Count, u.Until.Unix(), int64(u.Until.Nanosecond()), int64(u.Port)} {
		key = binary.LittleEndian.AppendUint64(key, uint64(n))
	}
	key = appendNames(key, u.Credential)
	for _, s := range [...]string{
		string(u.Level), u.Holder, u.RelyingParty, string(u.Outcome), u.Address, u.Agent, u.Operation, u.Resource, u.Detail,
		u.IDs.UTI, u.IDs.Correlation, u.IDs.Request, u.IDs.Session, u.IDs.Queue, u.IDs.Serial, u.IDs.Parent,
	} {
		key = appendText(key, s)
	}
	return appendMap(appendMap(key, u.Other), u.IDs.Other)
}

// appendMap appends members in the order of their names.
func appendMap(key []byte, m map[string]string) []byte {
	key = binary.AppendUvarint(key, uint64(len(m)))
	if len(m) == 0 {
		return key
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key = appendText(appendText(key, name), m[name])
	}
	return key
}

// IsNamed says whether a second record that says the same is the same. It is
// where its writer gave it an id or a number, where the relying party gave the
// request one, or where it is about the issue of one token.
func IsNamed(u *tallystick.Use) bool {
	return u.ID != "" || u.Source != "" && u.Seq != 0 || u.IDs.Request != "" || u.IDs.UTI != "" && u.Level != tallystick.LevelCall
}

// tieOf returns a hash that is the same in every run, and by which two records are
// told apart that agree in all that is kept of them. One that its writer gave an
// id mostly has it in its ref, see refOf, and then needs nothing here: 0.
func tieOf(u *tallystick.Use, rest []byte) uint32 {
	switch {
	case u.ID == "":
		return fold(add(0, rest))
	case refOf(u) != u.ID:
		return fold(hashOf(u.ID))
	}
	return 0
}

// appendRest appends what makes a record without an id itself, beside its kind.
func appendRest(key []byte, u *tallystick.Use) []byte {
	var numbers [7 * 8]byte
	for i, n := range [...]int64{int64(u.Seq), u.Time.Unix(), int64(u.Time.Nanosecond()), u.Count, u.Until.Unix(), int64(u.Until.Nanosecond()), int64(u.Port)} {
		binary.LittleEndian.PutUint64(numbers[8*i:], uint64(n))
	}
	key = append(key, numbers[:]...)
	key = appendText(appendText(appendText(appendText(key, u.Holder), u.Address), u.IDs.UTI), u.IDs.Correlation)
	rest := [...]*string{&u.Agent, &u.Operation, &u.Resource, &u.Detail, &u.IDs.Request, &u.IDs.Session, &u.IDs.Queue, &u.IDs.Serial, &u.IDs.Parent}
	length := len(u.Other) + len(u.IDs.Other)
	for _, s := range rest {
		length += len(*s)
	}
	if length == 0 {
		return append(key, 0)
	}
	key = append(key, 1)
	for _, s := range rest {
		key = appendText(key, *s)
	}
	return appendMap(appendMap(key, u.Other), u.IDs.Other)
}

// Key names the record of a use among all others: what two copies of one record
// have in common, as 32 hexadecimal digits. It stands in stores, so it is the
// first half of a SHA-256, which nobody can make meet.
func Key(u *tallystick.Use) string {
	sum := sha256.Sum256(identity(nil, u))
	return hex.EncodeToString(sum[:16])
}
