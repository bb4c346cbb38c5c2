// SPDX-License-Identifier: Apache-2.0

package adbytes

import (
	"encoding/binary"
	"time"
)

// An AttributeID is the number of an attribute in the metadata of replication: that of its
// object identifier, in the table of prefixes that every domain has ([MS-DRSR] section 5.16.4).
type AttributeID uint32

// A PropertyChange says when and where an attribute that is no link was last changed. A domain
// controller says it of itself, and of others as it was told: it is no proof.
type PropertyChange struct {
	Version uint32
	At      time.Time
	Where   string // invocation id of the domain controller on which it was changed
	USN     uint64 // its update sequence number there
	Local   uint64 // that of this domain controller
}

const (
	metadataHeader = 16
	metadataEntry  = 48
)

// ReadMetadata reads replPropertyMetaData: a count, and entries of 48 bytes
// (replPropertyMetaDataBlob of Samba's drsblobs.idl, version 1, which is what Windows stores).
func ReadMetadata(b []byte) (map[AttributeID]PropertyChange, error) {
	if len(b) < metadataHeader || binary.LittleEndian.Uint32(b) != 1 {
		return nil, malformed("metadata of replication: it is not of version 1")
	}
	count := uint64(binary.LittleEndian.Uint32(b[8:]))
	if count > uint64(len(b)-metadataHeader)/metadataEntry {
		return nil, malformed("metadata of replication: it is shorter than it says")
	}
	all := make(map[AttributeID]PropertyChange, count)
	for rest := b[metadataHeader:]; count > 0; count, rest = count-1, rest[metadataEntry:] {
		seconds := binary.LittleEndian.Uint64(rest[8:])
		change := PropertyChange{
			Version: binary.LittleEndian.Uint32(rest[4:]), Where: GUID(rest[16:32]),
			USN: binary.LittleEndian.Uint64(rest[32:]), Local: binary.LittleEndian.Uint64(rest[40:]),
		}
		if seconds > epoch && seconds < epoch+1<<34 { // five centuries
			change.At = time.Unix(int64(seconds)-epoch, 0).UTC()
		}
		all[AttributeID(binary.LittleEndian.Uint32(rest))] = change
	}
	return all, nil
}

// IDOf returns the number of an attribute that says who gets in, 0 for any other. It is made of
// the prefix of its object identifier and the last part ([MS-ADA1], [MS-ADA2], [MS-ADA3]).
func IDOf(attribute string) AttributeID {
	const microsoft = 9 << 16 // 1.2.840.113556.1.4
	switch attribute {
	case "userCertificate":
		return 36 // of 2.5.4
	case "userAccountControl":
		return microsoft | 8
	case "pwdLastSet":
		return microsoft | 96
	case "servicePrincipalName":
		return microsoft | 771
	case "altSecurityIdentities":
		return microsoft | 867
	case "msDS-AllowedToDelegateTo":
		return microsoft | 1787
	case "msDS-AllowedToActOnBehalfOfOtherIdentity":
		return microsoft | 2182
	case "msDS-GroupMSAMembership":
		return microsoft | 2200
	}
	return 0
}
