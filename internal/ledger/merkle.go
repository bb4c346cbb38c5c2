// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// pieceSize is how much of a file is one leaf: a part of it can be proved
// without the rest.
const pieceSize = 64 << 10

// merkleRoot returns the root of RFC 6962 section 2.1 over data in pieces.
func merkleRoot(data []byte) []byte {
	var leaves []tlog.Hash
	for len(data) > 0 {
		n := min(pieceSize, len(data))
		leaves = append(leaves, tlog.RecordHash(data[:n]))
		data = data[n:]
	}
	root := subtree(leaves)
	return root[:]
}

func subtree(leaves []tlog.Hash) tlog.Hash {
	switch len(leaves) {
	case 0:
		return tlog.Hash{}
	case 1:
		return leaves[0]
	}
	left := 1 << (bits.Len(uint(len(leaves)-1)) - 1) // the largest power of two that is less
	return tlog.NodeHash(subtree(leaves[:left]), subtree(leaves[left:]))
}
