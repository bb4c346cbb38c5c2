// SPDX-License-Identifier: Apache-2.0

package adbytes

import "encoding/binary"

// A Descriptor is a self-relative security descriptor ([MS-DTYP] section 2.4.6).
type Descriptor struct {
	Owner SID // "" where none is named
	Group SID
	// Open says that there is no list of who may: everybody may do everything.
	Open    bool
	Entries []Entry // of that list, in its order
}

// An Entry is one entry of an access control list ([MS-DTYP] section 2.4.4).
type Entry struct {
	Allow     bool // false: it denies
	Mask      uint32
	Object    string // GUID of the right or property that it is for, "" is all
	Inherited bool
	Who       SID
}

// The kinds of entries, their flags and the header of a descriptor.
const (
	aceAllow, aceDeny                   = 0, 1
	aceAllowObject, aceDenyObject       = 5, 6
	aceAllowCallback, aceDenyCallback   = 9, 10
	aceAllowCallbackObject              = 11
	aceDenyCallbackObject               = 12
	aceInheritOnly, aceInherited        = 0x08, 0x10
	aceHasObject, aceHasInherited       = 1, 2
	descriptorHeader, listHeader        = 20, 8
	controlDACLPresent, controlRelative = 0x0004, 0x8000
)

// ReadDescriptor reads one. Entries of kinds that grant and deny nothing are left out.
func ReadDescriptor(b []byte) (Descriptor, error) {
	if len(b) < descriptorHeader || b[0] != 1 {
		return Descriptor{}, malformed("security descriptor")
	}
	control := binary.LittleEndian.Uint16(b[2:])
	if control&controlRelative == 0 {
		return Descriptor{}, malformed("security descriptor: it is not self-relative")
	}
	var d Descriptor
	for at, sid := range map[int]*SID{4: &d.Owner, 8: &d.Group} {
		offset := int64(binary.LittleEndian.Uint32(b[at:]))
		if offset == 0 {
			continue
		}
		if offset < descriptorHeader || offset > int64(len(b)) {
			return Descriptor{}, malformed("security descriptor: it points outside itself")
		}
		var err error
		if *sid, _, err = ReadSID(b[offset:]); err != nil {
			return Descriptor{}, err
		}
	}
	offset := int64(binary.LittleEndian.Uint32(b[16:]))
	if control&controlDACLPresent == 0 || offset == 0 {
		d.Open = true
		return d, nil
	}
	if offset < descriptorHeader || offset+listHeader > int64(len(b)) {
		return Descriptor{}, malformed("security descriptor: it points outside itself")
	}
	var err error
	d.Entries, err = readList(b[offset:])
	return d, err
}

// readList reads an ACL ([MS-DTYP] section 2.4.5).
func readList(b []byte) ([]Entry, error) {
	size, count := int(binary.LittleEndian.Uint16(b[2:])), int(binary.LittleEndian.Uint16(b[4:]))
	if size < listHeader || size > len(b) {
		return nil, malformed("access control list: it is longer than what is there")
	}
	var entries []Entry
	for rest := b[listHeader:size]; count > 0; count-- {
		if len(rest) < 4 {
			return nil, malformed("access control list: an entry is missing")
		}
		length := int(binary.LittleEndian.Uint16(rest[2:]))
		if length < 4 || length > len(rest) {
			return nil, malformed("access control list: an entry is longer than what is there")
		}
		entry, ok, err := readEntry(rest[:length])
		if err != nil {
			return nil, err
		}
		if ok {
			entries = append(entries, entry)
		}
		rest = rest[length:]
	}
	return entries, nil
}

// readEntry reads an ACE; ok is false for one that decides nothing about this object.
func readEntry(b []byte) (e Entry, ok bool, err error) {
	kind, flags := b[0], b[1]
	withObject := false
	switch kind {
	case aceAllow, aceAllowCallback:
		e.Allow = true
	case aceDeny, aceDenyCallback:
	case aceAllowObject, aceAllowCallbackObject:
		e.Allow, withObject = true, true
	case aceDenyObject, aceDenyCallbackObject:
		withObject = true
	default:
		return e, false, nil
	}
	if len(b) < 8 {
		return e, false, malformed("entry of an access control list")
	}
	e.Mask, e.Inherited = binary.LittleEndian.Uint32(b[4:]), flags&aceInherited != 0
	rest := b[8:]
	if withObject {
		if len(rest) < 4 {
			return e, false, malformed("entry of an access control list")
		}
		has := binary.LittleEndian.Uint32(rest)
		rest = rest[4:]
		for _, bit := range []uint32{aceHasObject, aceHasInherited} {
			if has&bit == 0 {
				continue
			}
			if len(rest) < 16 {
				return e, false, malformed("entry of an access control list")
			}
			if bit == aceHasObject {
				e.Object = GUID(rest[:16])
			}
			rest = rest[16:]
		}
	}
	if e.Who, _, err = ReadSID(rest); err != nil {
		return e, false, err
	}
	return e, flags&aceInheritOnly == 0, nil
}

// Allowed returns who is allowed anything, each once, in the order of the list. Where everybody
// is, that is "S-1-1-0". It does not weigh denials: who is denied some of it is in it as well.
func (d Descriptor) Allowed() []SID {
	if d.Open {
		return []SID{"S-1-1-0"}
	}
	seen := map[SID]bool{}
	var all []SID
	for _, e := range d.Entries {
		if e.Allow && e.Mask != 0 && !seen[e.Who] {
			seen[e.Who] = true
			all = append(all, e.Who)
		}
	}
	return all
}
